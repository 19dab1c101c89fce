//! What goes out, in which order.
//!
//! Control frames first, then interactive streams, then bulk (and interactive ones with much under way,
//! [`super::stream::StreamState::rank`]); three turns of an interactive stream let one of a bulk
//! stream pass, so neither starves. Within a class it is deficit round robin whose deficit is always zero, because bytes
//! can be cut anywhere: a turn is one frame of at most the class's quantum.

use bytes::{Buf, BytesMut};

use super::limits::{SEND_BUFFER, SESSION_RESERVE};
use super::{Control, Event, Machine, Sending};
use crate::frame::{Class, Frame, HEADER, MESSAGE_FILL, PAYLOAD_MAX, SESSION, StreamId, encode_data};

/// Most bytes of one interactive turn: small, so that many streams share a batch.
const INTERACTIVE_QUANTUM: usize = 16 * 1024;
/// Most bytes of one bulk turn.
const BULK_QUANTUM: usize = PAYLOAD_MAX;
/// Interactive turns for each bulk turn while both wait.
const INTERACTIVE_TURNS: u8 = 3;
/// A message with less room than this is full: slivers cost more than they carry.
const SLIVER: usize = 1024;

impl Machine {
    /// Whether [`Machine::transmit`] would write anything.
    pub fn wants_to_transmit(&self) -> bool {
        !self.said_good_bye
            && (self.ping.is_some()
                || self.pong.is_some()
                || !self.control.is_empty()
                || self.session_credit_due()
                || self.good_bye.is_some()
                || self.next_class().is_some())
    }

    /// A guess at the length of the next message, for its buffer.
    pub fn next_length(&self) -> usize {
        let first = |class: Class| {
            let id = self.ready.get(class as usize).and_then(|queue| queue.front());
            id.and_then(|id| self.streams.get(id)).map_or(0, |stream| stream.outgoing.len() + HEADER)
        };
        let control: usize = self.control.iter().take(8).map(control_length).sum();
        (64 + control + first(Class::Interactive) + first(Class::Bulk)).min(MESSAGE_FILL)
    }

    /// Appends frames to one message, at most `frames`, until it is full. Says how many.
    pub fn transmit(&mut self, out: &mut BytesMut, frames: usize) -> usize {
        let mut count = 0;
        if self.said_good_bye {
            return 0;
        }
        while count < frames && self.control_frame(out) {
            count += 1;
        }
        while count < frames && !self.said_good_bye && out.len() + HEADER + SLIVER <= MESSAGE_FILL {
            let Some(class) = self.next_class() else { break };
            self.turn = if class == Class::Bulk { 0 } else { self.turn.saturating_add(1) };
            if self.data_frame(class, out) {
                count += 1;
            }
        }
        // What a data frame completed (`End`, `Reset` after it) is a control frame: let it ride along.
        while count > 0 && count < frames && self.control_frame(out) {
            count += 1;
        }
        count
    }

    /// One control frame, if there is one and it fits.
    fn control_frame(&mut self, out: &mut BytesMut) -> bool {
        let room = MESSAGE_FILL.saturating_sub(out.len());
        if room < HEADER + 8 || self.said_good_bye {
            return false;
        }
        if let Some(value) = self.pong.take() {
            Frame::Pong { value }.encode(out);
            return true;
        }
        if let Some(value) = self.ping.take() {
            Frame::Ping { value }.encode(out);
            return true;
        }
        if self.session_credit_due() {
            let grant = std::mem::take(&mut self.drained);
            self.allowance = self.allowance.saturating_add(grant);
            Frame::Credit { id: SESSION, grant }.encode(out);
            return true;
        }
        while let Some(front) = self.control.front() {
            if control_length(front) > room {
                return false;
            }
            let Some(control) = self.control.pop_front() else { break };
            if self.control.is_empty() {
                self.control = std::collections::VecDeque::new();
            }
            if let Some(frame) = self.control_to_frame(control) {
                frame.encode(out);
                return true;
            }
        }
        if let Some((code, reason)) = self.good_bye.take() {
            self.said_good_bye = true;
            Frame::GoAway { code, reason }.encode(out);
            return true;
        }
        false
    }

    fn control_to_frame(&mut self, control: Control) -> Option<Frame> {
        Some(match control {
            Control::Open(id, class, head) => Frame::Open { id, class, head },
            Control::Credit(id) => {
                let grant = self.streams.get_mut(&id)?.take_grant();
                if grant == 0 {
                    return None;
                }
                Frame::Credit { id, grant }
            }
            Control::End(id) => Frame::End { id },
            Control::Reset(id, code) => Frame::Reset { id, code },
            Control::Notice(bytes) => {
                self.notices_out = self.notices_out.saturating_sub(1);
                Frame::Notice { bytes }
            }
        })
    }

    /// Whose turn it is, among the classes that may send now.
    fn next_class(&self) -> Option<Class> {
        let [interactive, bulk] = &self.ready;
        let interactive = !interactive.is_empty() && self.send_credit > 0;
        let bulk = !bulk.is_empty() && self.send_credit > SESSION_RESERVE;
        match (interactive, bulk) {
            (true, true) if self.turn >= INTERACTIVE_TURNS => Some(Class::Bulk),
            (true, _) => Some(Class::Interactive),
            (false, true) => Some(Class::Bulk),
            (false, false) => None,
        }
    }

    /// One turn of the first stream of a class.
    fn data_frame(&mut self, class: Class, out: &mut BytesMut) -> bool {
        let Some(id) = self.ready.get_mut(class as usize).and_then(std::collections::VecDeque::pop_front) else {
            return false;
        };
        let session_credit = match class {
            Class::Interactive => self.send_credit,
            Class::Bulk => self.send_credit.saturating_sub(SESSION_RESERVE),
        };
        let Some(stream) = self.streams.get_mut(&id) else { return false };
        stream.queued = false;
        let room = match class {
            Class::Interactive => stream.interactive_room(),
            Class::Bulk => stream.bulk_room(session_credit),
        };
        if class == Class::Bulk && (room as usize) < SLIVER.min(stream.outgoing.len()) {
            stream.parked = true;
            self.parked.push(id);
            return false;
        }
        let quantum = if class == Class::Bulk { BULK_QUANTUM } else { INTERACTIVE_QUANTUM };
        let length = stream
            .outgoing
            .len()
            .min(quantum)
            .min(MESSAGE_FILL.saturating_sub(out.len() + HEADER))
            .min(stream.send_credit.min(session_credit).min(room) as usize);
        if length == 0 {
            self.make_ready(id);
            return false;
        }
        encode_data(out, id, stream.outgoing.get(..length).unwrap_or_default());
        stream.outgoing.advance(length);
        let spent = u32::try_from(length).unwrap_or(u32::MAX);
        stream.spend(spent);
        self.send_credit = self.send_credit.saturating_sub(spent);
        self.after_data(id);
        true
    }

    /// The session has room again: streams whose share has grown stand in line once more.
    pub(super) fn unpark(&mut self) {
        let free = self.send_credit.saturating_sub(SESSION_RESERVE);
        for id in std::mem::take(&mut self.parked) {
            let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.parked) else { continue };
            if (stream.bulk_room(free) as usize) < SLIVER.min(stream.outgoing.len()) {
                self.parked.push(id);
            } else {
                stream.parked = false;
                self.make_ready(id);
            }
        }
    }

    fn after_data(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.outgoing.is_empty() {
            stream.outgoing = BytesMut::new();
        }
        if stream.wants_room && stream.outgoing.len() <= SEND_BUFFER / 2 {
            stream.wants_room = false;
            self.events.push_back(Event::Writable(id));
        }
        if stream.outgoing.is_empty() && stream.sending == Sending::Ending {
            stream.sending = Sending::Done;
            self.control.push_back(Control::End(id));
            if std::mem::take(&mut stream.reset_after_end) {
                stream.reset_sent = true;
                self.control.push_back(Control::Reset(id, crate::frame::Code::CANCELLED));
            }
            self.forget_if_over(id);
        } else {
            self.make_ready(id);
        }
    }
}

fn control_length(control: &Control) -> usize {
    HEADER
        + match control {
            Control::Open(_, _, payload) | Control::Notice(payload) => payload.len(),
            Control::Credit(_) | Control::Reset(..) => 4,
            Control::End(_) => 0,
        }
}
