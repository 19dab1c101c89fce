//! What the peer says.

use bytes::Bytes;

use super::limits::{BACKLOG_MAX, NOTICES_MAX, OFFENCES_MAX, REFUSED_MAX};
use super::{Control, Event, Machine, Receiving, Sending, StreamState};
use crate::error::Violation;
use crate::frame::{Class, Code, Frame, MESSAGE_MAX, SESSION, StreamId};

impl Machine {
    /// Takes a message in. An error ends the session.
    pub fn receive(&mut self, mut message: Bytes, now_us: u64) -> Result<(), Violation> {
        let length = message.len();
        if length > MESSAGE_MAX {
            return Err(Violation::MessageTooLong);
        }
        while let Some(frame) = Frame::decode(&mut message) {
            match frame? {
                Frame::Open { id, class, head } => self.opened(id, class, &head, now_us)?,
                Frame::Data { id, bytes } => self.data(id, bytes, length)?,
                Frame::Credit { id: SESSION, grant } => {
                    self.send_credit = self.send_credit.checked_add(grant).ok_or(Violation::Credit)?;
                    self.unpark();
                }
                Frame::Credit { id, grant } => self.credit(id, grant)?,
                Frame::End { id } => self.ended(id)?,
                Frame::Reset { id, code } => self.was_reset(id, code)?,
                Frame::Ping { value } => {
                    if !self.pings.take(now_us) {
                        return Err(Violation::Flood);
                    }
                    self.pong = Some(value);
                }
                Frame::Pong { value } => {
                    if self.ping_sent.take_if(|sent| *sent == value).is_some() {
                        self.round_trip_us = Some(now_us.saturating_sub(value));
                    } else if !self.pings.take(now_us) {
                        return Err(Violation::Flood);
                    }
                }
                Frame::GoAway { code, reason } => self.events.push_back(Event::GoneAway { code, reason }),
                Frame::Notice { bytes } => {
                    if !self.notices.take(now_us) {
                        return Err(Violation::Flood);
                    }
                    // A copy: the slice would keep the whole message alive.
                    self.events.push_back(Event::Notice(Bytes::copy_from_slice(&bytes)));
                }
            }
        }
        Ok(())
    }

    /// Whether so many notices wait that another one is too many.
    pub fn notices_full(waiting: usize) -> bool {
        waiting >= NOTICES_MAX * 2
    }

    fn opened(&mut self, id: StreamId, class: Class, head: &[u8], now_us: u64) -> Result<(), Violation> {
        if self.is_ours(id) || id <= self.last_remote {
            return Err(Violation::StreamId);
        }
        self.last_remote = id;
        if self.theirs >= self.streams_max + REFUSED_MAX {
            return Err(Violation::Streams);
        }
        self.theirs += 1;
        let mut stream = StreamState::new(class, now_us);
        if self.theirs > self.streams_max || self.backlog >= BACKLOG_MAX {
            // The number stays known until the opener lets go: it may have sent data right behind the head.
            stream.owned = false;
            stream.stop_sending();
            stream.reset_sent = true;
            stream.reset = Some(Code::REFUSED);
            self.counters.refused += 1;
            self.streams.insert(id, stream);
            self.control.push_back(Control::Reset(id, Code::REFUSED));
            return Ok(());
        }
        self.backlog += 1;
        self.streams.insert(id, stream);
        self.events.push_back(Event::Opened { id, class, head: Bytes::copy_from_slice(head) });
        Ok(())
    }

    fn data(&mut self, id: StreamId, bytes: Bytes, message: usize) -> Result<(), Violation> {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.allowance = self.allowance.checked_sub(length).ok_or(Violation::Credit)?;
        let Some(stream) = self.streams.get_mut(&id) else {
            self.drained = self.drained.saturating_add(length);
            return self.offence();
        };
        if stream.receiving != Receiving::Open {
            return Err(Violation::AfterEnd);
        }
        stream.allowance = stream.allowance.checked_sub(length).ok_or(Violation::Credit)?;
        if !stream.owned || stream.reset_sent {
            self.drained = self.drained.saturating_add(length);
            if stream.thrown(length) {
                self.control.push_back(Control::Credit(id));
            }
            return Ok(());
        }
        stream.push(bytes, message);
        self.buffered += length;
        if !std::mem::replace(&mut stream.announced, true) {
            self.events.push_back(Event::Readable(id));
        }
        Ok(())
    }

    fn credit(&mut self, id: StreamId, grant: u32) -> Result<(), Violation> {
        let Some(stream) = self.streams.get_mut(&id) else { return self.late(id) };
        if !stream.granted(grant) {
            return Err(Violation::Credit);
        }
        stream.parked = false;
        self.make_ready(id);
        Ok(())
    }

    fn ended(&mut self, id: StreamId) -> Result<(), Violation> {
        let Some(stream) = self.streams.get_mut(&id) else { return self.offence() };
        if stream.receiving != Receiving::Open {
            return Err(Violation::AfterEnd);
        }
        stream.receiving = Receiving::Ended;
        stream.reset_after_end = false;
        if stream.owned {
            self.events.push_back(Event::Readable(id));
        }
        self.forget_if_over(id);
        Ok(())
    }

    fn was_reset(&mut self, id: StreamId, code: Code) -> Result<(), Violation> {
        let Some(stream) = self.streams.get_mut(&id) else { return self.late(id) };
        if stream.receiving == Receiving::Cut {
            return self.offence();
        }
        let ended = stream.receiving == Receiving::Ended;
        stream.receiving = if ended { Receiving::Ended } else { Receiving::Cut };
        stream.reset.get_or_insert(code);
        if stream.sending != Sending::Done {
            stream.stop_sending();
            stream.reset_sent = true;
            self.control.push_back(Control::Reset(id, Code::CLOSED));
        }
        if stream.owned {
            self.events.push_back(Event::Readable(id));
            self.events.push_back(Event::Writable(id));
        }
        if !ended {
            self.discard(id);
        }
        self.forget_if_over(id);
        Ok(())
    }

    /// A credit or reset for a number that is over: allowed a few times per closed stream, never for one that never was.
    fn late(&mut self, id: StreamId) -> Result<(), Violation> {
        let existed = if self.is_ours(id) { id < self.next_id } else { id <= self.last_remote };
        match self.late_allowance.checked_sub(1) {
            Some(left) if existed => {
                self.late_allowance = left;
                self.counters.late += 1;
                Ok(())
            }
            _ => self.offence(),
        }
    }

    fn offence(&mut self) -> Result<(), Violation> {
        self.counters.offences += 1;
        if self.counters.offences >= OFFENCES_MAX { Err(Violation::UnknownStream) } else { Ok(()) }
    }
}
