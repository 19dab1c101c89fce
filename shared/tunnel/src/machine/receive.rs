//! What the peer says.

use bytes::Bytes;

use super::limits::{BACKLOG_MAX, CONTROL_MAX, NOTICES_MAX, OFFENCES_MAX, REFUSED_MAX, SESSION_WINDOW};
use super::{Control, Event, Machine, Receiving, Sending, StreamState};
use crate::error::Violation;
use crate::frame::{Class, Code, Frame, MESSAGE_MAX, StreamId};

/// Held bytes from which on grants are hurried.
pub(super) const TIGHT: u32 = SESSION_WINDOW / 2;

impl Machine {
    /// Takes a message in. An error ends the session.
    pub fn receive(&mut self, mut message: Bytes, now_us: u64) -> Result<(), Violation> {
        let length = message.len();
        if length > MESSAGE_MAX {
            return Err(Violation::MessageTooLong);
        }
        while let Some(frame) = Frame::decode(&mut message) {
            if self.control.len() > CONTROL_MAX {
                return Err(Violation::Flood);
            }
            match frame? {
                Frame::Open { id, class, head } => self.opened(id, class, &head, now_us)?,
                Frame::Data { id, bytes } => self.data(id, bytes, length)?,
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
            self.control.push_back(Control::Reset(id, Code::REFUSED, 0));
            return Ok(());
        }
        self.backlog += 1;
        self.streams.insert(id, stream);
        self.events.push_back(Event::Opened { id, class, head: Bytes::copy_from_slice(head) });
        Ok(())
    }

    fn data(&mut self, id: StreamId, bytes: Bytes, message: usize) -> Result<(), Violation> {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let Some(stream) = self.streams.get_mut(&id) else { return self.offence() };
        if stream.receiving != Receiving::Open {
            return Err(Violation::AfterEnd);
        }
        let (held, tight) = (stream.holds(), self.held > TIGHT);
        if !stream.received(length) {
            return Err(Violation::Credit);
        }
        if !stream.owned || stream.reset_sent {
            if stream.thrown(length, tight) {
                self.control.push_back(Control::Credit(id));
            }
        } else {
            stream.push(bytes, message);
            self.buffered += length;
            if !std::mem::replace(&mut stream.announced, true) {
                self.events.push_back(Event::Readable(id));
            }
        }
        self.held = self.held.saturating_add(stream.holds() - held);
        if self.held > SESSION_WINDOW {
            return Err(Violation::Credit);
        }
        if self.held > TIGHT && !tight {
            self.grant_all();
        }
        Ok(())
    }

    /// The session's window is wanted: what was drained is granted now, and not when a whole step is together.
    fn grant_all(&mut self) {
        for (id, stream) in &mut self.streams {
            if stream.is_due(true) {
                self.control.push_back(Control::Credit(*id));
            }
        }
    }

    fn credit(&mut self, id: StreamId, grant: u32) -> Result<(), Violation> {
        let Some(stream) = self.streams.get_mut(&id) else { return self.late(id) };
        let taken = stream.takes();
        if !stream.granted(grant) {
            return Err(Violation::Credit);
        }
        let freed = taken - stream.takes();
        stream.parked = false;
        self.make_ready(id);
        self.forget_if_over(id);
        self.free(freed);
        Ok(())
    }

    fn ended(&mut self, id: StreamId) -> Result<(), Violation> {
        let Some(stream) = self.streams.get_mut(&id) else { return self.offence() };
        if stream.receiving != Receiving::Open {
            return Err(Violation::AfterEnd);
        }
        let (held, thrown) = (stream.holds(), stream.reset_sent);
        stream.receiving = Receiving::Ended;
        stream.reset_after_end = false;
        self.held = self.held.saturating_add(stream.holds() - held);
        if stream.owned {
            self.events.push_back(Event::Readable(id));
        }
        if thrown {
            // It ended before it heard that we throw its bytes away.
            self.settle(id);
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
        let held = stream.holds();
        stream.receiving = if ended { Receiving::Ended } else { Receiving::Cut };
        self.held = self.held.saturating_sub(held - stream.holds());
        stream.reset.get_or_insert(code);
        let mut freed = 0;
        if stream.sending != Sending::Done {
            stream.stop_sending();
            stream.reset_sent = true;
            // The peer throws away what is on its way. Where it had our end before, it says what it drained.
            freed = stream.acquit();
            self.control.push_back(Control::Reset(id, Code::CLOSED, 0));
        }
        if stream.owned {
            self.events.push_back(Event::Readable(id));
            self.events.push_back(Event::Writable(id));
        }
        if !ended {
            self.discard(id);
        }
        self.forget_if_over(id);
        self.free(freed);
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
