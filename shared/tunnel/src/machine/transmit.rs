//! What goes out, in which order.
//!
//! Control frames first, then interactive streams, then bulk (and interactive ones with much under way,
//! [`super::stream::StreamState::rank`]); three turns of an interactive stream let one of a bulk
//! stream pass, so neither starves. Within a class it is deficit round robin whose deficit is always zero, because bytes
//! can be cut anywhere: a turn is one frame of at most the class's quantum.

use std::collections::VecDeque;

use bytes::{Buf, BytesMut};

use super::limits::{SEND_BUFFER, SESSION_RESERVE, SESSION_WINDOW, SLIVER};
use super::{Control, Event, Machine, Sending};
use crate::frame::{Class, Frame, HEADER, MESSAGE_FILL, PAYLOAD_MAX, StreamId, encode_data};

/// Most bytes of one interactive turn: small, so that many streams share a batch.
const INTERACTIVE_QUANTUM: usize = 16 * 1024;
/// Most bytes of one bulk turn.
const BULK_QUANTUM: usize = PAYLOAD_MAX;
/// Interactive turns for each bulk turn while both wait.
const INTERACTIVE_TURNS: u8 = 3;

impl Machine {
    /// Whether [`Machine::transmit`] would write anything.
    pub fn wants_to_transmit(&self) -> bool {
        !self.said_good_bye
            && (self.ping.is_some()
                || self.pong.is_some()
                || !self.control.is_empty()
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
        while count < frames && !self.said_good_bye && out.len() + HEADER + SLIVER as usize <= MESSAGE_FILL {
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
        while let Some(front) = self.control.front() {
            if control_length(front) > room {
                return false;
            }
            let Some(control) = self.control.pop_front() else { break };
            if self.control.is_empty() {
                self.control = VecDeque::new();
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
                let stream = self.streams.get_mut(&id)?;
                let held = stream.holds();
                let grant = stream.take_grant();
                self.held = self.held.saturating_sub(held - stream.holds());
                if grant == 0 {
                    return None;
                }
                Frame::Credit { id, grant }
            }
            Control::Settle(id, grant) => Frame::Credit { id, grant },
            Control::End(id) => Frame::End { id },
            Control::Reset(id, code, taken) => {
                // From here on the peer throws away what it was sent.
                self.free(taken);
                Frame::Reset { id, code }
            }
            Control::Notice(bytes) => {
                self.notices_out = self.notices_out.saturating_sub(1);
                Frame::Notice { bytes }
            }
        })
    }

    /// Whose turn it is, among the classes that have something to send.
    fn next_class(&self) -> Option<Class> {
        let [interactive, bulk] = &self.ready;
        match (!interactive.is_empty(), !bulk.is_empty()) {
            (true, true) if self.turn >= INTERACTIVE_TURNS => Some(Class::Bulk),
            (true, _) => Some(Class::Interactive),
            (false, true) => Some(Class::Bulk),
            (false, false) => None,
        }
    }

    /// What a class may still take of the session's window.
    fn window_left(&self, class: Class) -> u32 {
        let left = SESSION_WINDOW.saturating_sub(self.taken);
        if class == Class::Bulk { left.saturating_sub(SESSION_RESERVE) } else { left }
    }

    /// One turn of the first stream of a class.
    fn data_frame(&mut self, class: Class, out: &mut BytesMut) -> bool {
        let Some(id) = self.ready.get_mut(class as usize).and_then(VecDeque::pop_front) else {
            return false;
        };
        let left = self.window_left(class);
        let Some(stream) = self.streams.get_mut(&id) else { return false };
        stream.queued = false;
        if class != stream.rank() {
            self.make_ready(id);
            return false;
        }
        let room = stream.room(class, left);
        if !stream.worth_a_turn(room) {
            stream.parked = true;
            if !std::mem::replace(&mut stream.listed, true) {
                self.parked.push_back(id);
            }
            return false;
        }
        let quantum = if class == Class::Bulk { BULK_QUANTUM } else { INTERACTIVE_QUANTUM };
        let length =
            stream.outgoing.len().min(quantum).min(MESSAGE_FILL.saturating_sub(out.len() + HEADER)).min(room as usize);
        if length == 0 {
            self.make_ready(id);
            return false;
        }
        encode_data(out, id, stream.outgoing.get(..length).unwrap_or_default());
        stream.outgoing.advance(length);
        let taken = stream.takes();
        stream.spend(u32::try_from(length).unwrap_or(u32::MAX));
        self.taken = self.taken.saturating_add(stream.takes() - taken);
        self.after_data(id);
        true
    }

    /// The session's window has so much room again: streams that waited for it stand in line once more.
    pub(super) fn free(&mut self, bytes: u32) {
        self.taken = self.taken.saturating_sub(bytes);
        if bytes == 0 {
            return;
        }
        for _ in 0..self.parked.len() {
            let left = [Class::Interactive, Class::Bulk].map(|class| self.window_left(class));
            let Some(id) = self.parked.pop_front() else { break };
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            stream.listed = false;
            if !stream.parked {
                continue;
            }
            let class = stream.rank();
            let room = left.get(class as usize).map_or(0, |left| stream.room(class, *left));
            if stream.worth_a_turn(room) {
                stream.parked = false;
                self.make_ready(id);
            } else {
                stream.listed = true;
                self.parked.push_back(id);
            }
        }
        if self.parked.is_empty() {
            self.parked = VecDeque::new();
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
                let held = stream.holds();
                stream.reset_sent = true;
                self.held = self.held.saturating_sub(held - stream.holds());
                self.control.push_back(Control::Reset(id, crate::frame::Code::CANCELLED, 0));
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
            Control::Credit(_) | Control::Settle(..) | Control::Reset(..) => 4,
            Control::End(_) => 0,
        }
}
