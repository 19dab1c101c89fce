//! The rules of a session as a state machine: frames in, events and frames out; no I/O, no clock, no task.
//!
//! Every stream ends with a last frame from each side: `End` (or `Reset`), once, and possibly one `Reset` after the `End`
//! ("stop sending"). A stream's number is forgotten when both last frames are there and the owner let go of it, so late
//! frames can be told from nonsense: `Data` or `End` for an unknown number is an offence, a late `Credit` or `Reset` is
//! allowed a few times per closed stream.
//!
//! Credit: a receiver grants what its owner drained (or what it threw away), never more, so both sides know what a stream has
//! under way. Up to [`limits::STREAM_SHARE`] of it are the stream's own; what all have beyond that stays below
//! [`limits::SESSION_WINDOW`]. See [`receive`] for what comes in, [`transmit`] for the order of what goes out.

pub mod limits;
mod receive;
mod stream;
mod transmit;

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use crate::bucket::Bucket;
use crate::error::{Error, Result};
use crate::frame::{Class, Code, HEAD_MAX, PAYLOAD_MAX, REASON_MAX, StreamId};
use limits::{
    LATE_MAX, LATE_PER_STREAM, NOTICES, NOTICES_MAX, PINGS, SEND_BUFFER, SESSION_WINDOW, STALL_LIMIT_US, STREAMS_MAX,
};
use stream::{Receiving, Sending, StreamState};

/// Which side of the session this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Opens even streams, and pings.
    Hub,
    /// Opens odd streams.
    Agent,
}

/// Something the owner should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The peer opened a stream.
    Opened {
        /// Its number.
        id: StreamId,
        /// How urgent.
        class: Class,
        /// What it is for.
        head: Bytes,
    },
    /// There is something to read: bytes, the end, or a reset.
    Readable(StreamId),
    /// There is room to write again, or writing failed.
    Writable(StreamId),
    /// A control message.
    Notice(Bytes),
    /// The peer ends the session.
    GoneAway {
        /// Why.
        code: Code,
        /// One sentence.
        reason: Bytes,
    },
}

/// What reading a stream gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// Some bytes.
    Bytes(Bytes),
    /// The peer sent its last byte.
    End,
    /// The stream was cut.
    Reset(Code),
    /// Nothing yet.
    Pending,
}

/// What writing a stream gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// So many bytes were taken.
    Taken(usize),
    /// No room now; [`Event::Writable`] comes.
    Full,
    /// The stream takes nothing any more.
    Closed(Code),
}

/// Numbers for metrics and tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames for unknown streams.
    pub offences: u32,
    /// Late frames of closed streams.
    pub late: u64,
    /// Streams that were refused.
    pub refused: u64,
    /// Streams that were reset because nobody drained them.
    pub stalled: u64,
}

/// A control frame that waits to be written.
#[derive(Debug)]
enum Control {
    Open(StreamId, Class, Bytes),
    /// The amount stands in the stream's state, so that grants merge.
    Credit(StreamId),
    /// The last grant of a stream that is forgotten here.
    Settle(StreamId, u32),
    End(StreamId),
    /// With what the stream took of the session's window until then.
    Reset(StreamId, Code, u32),
    Notice(Bytes),
}

/// The state of one session. See the module.
#[derive(Debug)]
pub struct Machine {
    role: Role,
    streams_max: usize,
    next_id: StreamId,
    last_remote: StreamId,
    streams: HashMap<StreamId, StreamState>,
    ours: usize,
    theirs: usize,
    backlog: usize,
    control: VecDeque<Control>,
    notices_out: usize,
    ping: Option<u64>,
    pong: Option<u64>,
    good_bye: Option<(Code, Bytes)>,
    said_good_bye: bool,
    ready: [VecDeque<StreamId>; 2],
    /// Streams that wait for the session's window.
    parked: VecDeque<StreamId>,
    turn: u8,
    /// What our streams take of the session's window: sent beyond their shares and not granted again.
    taken: u32,
    /// What the peer's take: received beyond their shares and not granted again.
    held: u32,
    /// Received and not yet drained.
    buffered: u32,
    late_allowance: u32,
    pings: Bucket,
    notices: Bucket,
    ping_sent: Option<u64>,
    round_trip_us: Option<u64>,
    events: VecDeque<Event>,
    counters: Counters,
}

impl Machine {
    /// A session at its beginning.
    pub fn new(role: Role, streams_max: usize) -> Self {
        Self {
            role,
            streams_max: streams_max.min(STREAMS_MAX),
            next_id: if role == Role::Agent { 1 } else { 2 },
            last_remote: 0,
            streams: HashMap::new(),
            ours: 0,
            theirs: 0,
            backlog: 0,
            control: VecDeque::new(),
            notices_out: 0,
            ping: None,
            pong: None,
            good_bye: None,
            said_good_bye: false,
            ready: [VecDeque::new(), VecDeque::new()],
            parked: VecDeque::new(),
            turn: 0,
            taken: 0,
            held: 0,
            buffered: 0,
            late_allowance: 0,
            pings: PINGS,
            notices: NOTICES,
            ping_sent: None,
            round_trip_us: None,
            events: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Opens a stream.
    pub fn open(&mut self, head: Bytes, class: Class, now_us: u64) -> Result<StreamId> {
        if head.len() > HEAD_MAX {
            return Err(Error::HeadTooLong(head.len()));
        }
        if self.ours >= self.streams_max {
            return Err(Error::TooManyStreams);
        }
        let id = self.next_id;
        self.next_id = id.checked_add(2).ok_or(Error::Exhausted)?;
        self.streams.insert(id, StreamState::new(class, now_us));
        self.ours += 1;
        self.control.push_back(Control::Open(id, class, head));
        Ok(id)
    }

    /// The owner took up a stream that [`Event::Opened`] told about.
    pub fn accepted(&mut self) {
        self.backlog = self.backlog.saturating_sub(1);
    }

    /// Takes bytes to send on a stream, as many as there is room for.
    pub fn write(&mut self, id: StreamId, bytes: &[u8]) -> Write {
        let Some(stream) = self.streams.get_mut(&id) else { return Write::Closed(Code::CLOSED) };
        match stream.sending {
            Sending::Open => {}
            Sending::Ending | Sending::Done => return Write::Closed(stream.reset.unwrap_or(Code::CLOSED)),
        }
        let taken = SEND_BUFFER.saturating_sub(stream.outgoing.len()).min(bytes.len());
        if taken == 0 {
            stream.wants_room = true;
            return if bytes.is_empty() { Write::Taken(0) } else { Write::Full };
        }
        stream.outgoing.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        self.make_ready(id);
        Write::Taken(taken)
    }

    /// Ends our side of a stream after what was written. A second call does nothing.
    pub fn finish(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.sending != Sending::Open {
            return;
        }
        if stream.outgoing.is_empty() {
            stream.sending = Sending::Done;
            self.control.push_back(Control::End(id));
            self.forget_if_over(id);
        } else {
            stream.sending = Sending::Ending;
        }
    }

    /// Cuts a stream in both directions: nothing more is sent, what was received is thrown away.
    pub fn reset(&mut self, id: StreamId, code: Code) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let over = stream.sending == Sending::Done && stream.receiving != Receiving::Open;
        stream.reset.get_or_insert(code);
        if !over && !stream.reset_sent {
            // Behind our end the peer keeps what it has, and says what it drained; otherwise it throws everything away.
            let taken = if stream.sending == Sending::Done { 0 } else { stream.acquit() };
            stream.stop_sending();
            let held = stream.holds();
            stream.reset_sent = true;
            self.held = self.held.saturating_sub(held - stream.holds());
            self.control.push_back(Control::Reset(id, code, taken));
        }
        self.discard(id);
        self.forget_if_over(id);
    }

    /// The owner let go of a stream. What it had finished is still sent; anything else is cut.
    pub fn release(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.owned = false;
        let sent = stream.sending != Sending::Open;
        if sent && stream.sending == Sending::Ending {
            stream.reset_after_end = stream.receiving == Receiving::Open;
            let dropped = stream.clear_incoming();
            if stream.thrown(dropped, self.held > receive::TIGHT) {
                self.control.push_back(Control::Credit(id));
            }
            self.buffered = self.buffered.saturating_sub(dropped);
        } else {
            self.reset(id, Code::CANCELLED);
        }
    }

    /// Reads from a stream, at most `most` bytes. What is read is granted again.
    pub fn read(&mut self, id: StreamId, most: usize, now_us: u64) -> Read {
        let Some(stream) = self.streams.get_mut(&id) else { return Read::Reset(Code::CLOSED) };
        let Some(bytes) = stream.take(most) else {
            stream.announced = stream.has_data();
            return match (stream.receiving, stream.reset) {
                (_, Some(code)) if stream.receiving != Receiving::Ended => Read::Reset(code),
                (Receiving::Open, _) => Read::Pending,
                (Receiving::Ended, _) => Read::End,
                (Receiving::Cut, code) => Read::Reset(code.unwrap_or(Code::CLOSED)),
            };
        };
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if stream.drained(length, self.held > receive::TIGHT, now_us) {
            self.control.push_back(Control::Credit(id));
        }
        self.buffered = self.buffered.saturating_sub(length);
        Read::Bytes(bytes)
    }

    /// Queues a control message.
    pub fn notify(&mut self, bytes: Bytes) -> Result<()> {
        if bytes.is_empty() || bytes.len() > PAYLOAD_MAX {
            return Err(Error::NoticeTooLong(bytes.len()));
        }
        if self.notices_out >= NOTICES_MAX {
            return Err(Error::NoticesFull);
        }
        self.notices_out += 1;
        self.control.push_back(Control::Notice(bytes));
        Ok(())
    }

    /// Asks the peer whether it is there.
    pub fn ping(&mut self, now_us: u64) {
        self.ping = Some(now_us);
        self.ping_sent = Some(now_us);
    }

    /// Says good-bye; the last frame that is written.
    pub fn go_away(&mut self, code: Code, reason: &str) {
        let mut end = reason.len().min(REASON_MAX);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        self.good_bye = Some((code, Bytes::copy_from_slice(reason.as_bytes().get(..end).unwrap_or_default())));
    }

    /// The next thing to look at.
    pub fn event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if self.events.is_empty() {
            self.events = VecDeque::new();
        }
        event
    }

    /// Streams that are not over.
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// Bytes received and not drained.
    pub fn buffered(&self) -> u32 {
        self.buffered
    }

    /// Last measured round trip.
    pub fn round_trip_us(&self) -> Option<u64> {
        self.round_trip_us
    }

    /// Counters so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// When the session runs out of room: resets the streams that nobody drained for [`STALL_LIMIT_US`].
    pub fn cut_stalled(&mut self, now_us: u64) {
        if self.held < SESSION_WINDOW / 4 * 3 {
            return;
        }
        let stalled: Vec<StreamId> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.has_data() && now_us.saturating_sub(stream.drained_at_us) >= STALL_LIMIT_US)
            .map(|(id, _)| *id)
            .collect();
        for id in stalled {
            self.counters.stalled += 1;
            if let Some(stream) = self.streams.get_mut(&id) {
                let held = stream.holds();
                let grant = stream.settle();
                stream.receiving = match stream.receiving {
                    // Its owner has not seen the end yet; it must see that bytes are missing.
                    Receiving::Ended => Receiving::Cut,
                    other => other,
                };
                stream.reset = Some(Code::SLOW_READER);
                self.held = self.held.saturating_sub(held - stream.holds());
                if grant > 0 {
                    self.control.push_back(Control::Settle(id, grant));
                }
            }
            self.reset(id, Code::SLOW_READER);
            self.events.push_back(Event::Readable(id));
            self.events.push_back(Event::Writable(id));
        }
    }

    /// Throws away what a stream received, and tells the peer if it still counts it.
    fn discard(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        self.buffered = self.buffered.saturating_sub(stream.clear_incoming());
        self.settle(id);
    }

    /// The last grant of a stream whose end has come, if the peer waits for one.
    fn settle(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let held = stream.holds();
        let grant = stream.settle();
        if grant > 0 {
            self.held = self.held.saturating_sub(held - stream.holds());
            self.control.push_back(Control::Settle(id, grant));
        }
    }

    fn make_ready(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if !stream.queued && !stream.parked && !stream.outgoing.is_empty() {
            stream.queued = true;
            if let Some(queue) = self.ready.get_mut(stream.rank() as usize) {
                queue.push_back(id);
            }
        }
    }

    /// Forgets a stream when both sides are done with it and the owner let go.
    fn forget_if_over(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get(&id) else { return };
        if stream.owned || stream.sending != Sending::Done || stream.receiving == Receiving::Open {
            return;
        }
        // The peer may not have drained what we sent before our end: the number stands for that until it has.
        let counted = stream.takes() > 0;
        self.settle(id);
        if counted {
            return;
        }
        self.streams.remove(&id);
        if self.is_ours(id) {
            self.ours = self.ours.saturating_sub(1);
        } else {
            self.theirs = self.theirs.saturating_sub(1);
        }
        self.late_allowance = (self.late_allowance + LATE_PER_STREAM).min(LATE_MAX);
        if self.streams.is_empty() {
            // An idle session holds no tables: 10,000 of them are the product's headline.
            self.streams = HashMap::new();
            self.ready = [VecDeque::new(), VecDeque::new()];
            self.parked = VecDeque::new();
        }
    }

    fn is_ours(&self, id: StreamId) -> bool {
        (id % 2 == 1) == (self.role == Role::Agent)
    }
}

#[cfg(test)]
mod tests;
