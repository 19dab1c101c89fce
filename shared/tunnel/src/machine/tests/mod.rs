//! Two machines and a wire between them; what is tested stands in the files beside this one.
#![expect(clippy::cast_possible_truncation, clippy::large_stack_arrays, reason = "tests")]

use bytes::BytesMut;

use super::limits::*;
use super::*;
use crate::error::Violation;
use crate::frame::{Frame, MESSAGE_FILL};

mod exchange;
mod fairness;
mod hostile;
mod random;
mod windows;

/// Two machines and the messages on their way between them.
struct Pair {
    sides: [Machine; 2],
    flying: [VecDeque<Bytes>; 2],
    now_us: u64,
}

const HUB: usize = 0;
const AGENT: usize = 1;

impl Pair {
    fn new() -> Self {
        Self::with(8)
    }

    fn with(streams: usize) -> Self {
        Self {
            sides: [Machine::new(Role::Hub, streams), Machine::new(Role::Agent, streams)],
            flying: [VecDeque::new(), VecDeque::new()],
            now_us: 0,
        }
    }

    /// One message from a side onto the wire.
    fn send(&mut self, side: usize) -> bool {
        let mut out = BytesMut::new();
        let count = self.sides[side].transmit(&mut out, 64);
        assert!(out.len() <= MESSAGE_FILL);
        if count > 0 {
            self.flying[side].push_back(out.freeze());
        }
        count > 0
    }

    /// One message off the wire.
    fn deliver(&mut self, from: usize) -> Result<bool, Violation> {
        let Some(message) = self.flying[from].pop_front() else { return Ok(false) };
        self.sides[1 - from].receive(message, self.now_us)?;
        Ok(true)
    }

    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for side in [HUB, AGENT] {
                moved |= self.send(side);
                moved |= self.deliver(side).unwrap();
            }
            if !moved {
                return;
            }
        }
    }

    fn events(&mut self, side: usize) -> Vec<Event> {
        std::iter::from_fn(|| self.sides[side].event()).collect()
    }

    /// Both sides agree on what is under way, but for what flies: nothing is made or lost.
    fn check_credit(&self) {
        for side in [HUB, AGENT] {
            let (sender, receiver) = (&self.sides[side], &self.sides[1 - side]);
            let waiting: u32 = receiver.streams.values().map(StreamState::incoming_bytes).sum();
            assert_eq!(waiting, receiver.buffered);
            assert_eq!(receiver.held, receiver.streams.values().map(StreamState::holds).sum::<u32>());
            let cut = |control: &Control| if let Control::Reset(_, _, taken) = control { *taken } else { 0 };
            let taken: u32 = sender.streams.values().map(StreamState::takes).sum();
            assert_eq!(sender.taken, taken + sender.control.iter().map(cut).sum::<u32>());
            assert!(receiver.held <= SESSION_WINDOW && sender.taken <= SESSION_WINDOW);
            for (id, stream) in &sender.streams {
                let Some(other) = receiver.streams.get(id) else { continue };
                if stream.reset_sent || other.reset_sent || stream.reset.is_some() || other.reset.is_some() {
                    continue;
                }
                let mut flying = 0;
                for frame in frames(&self.flying[side]) {
                    if let Frame::Data { id: of, bytes } = frame
                        && of == *id
                    {
                        flying += bytes.len() as u32;
                    }
                }
                for frame in frames(&self.flying[1 - side]) {
                    if let Frame::Credit { id: of, grant } = frame
                        && of == *id
                    {
                        flying += grant;
                    }
                }
                for control in &receiver.control {
                    if let Control::Settle(of, grant) = control
                        && of == id
                    {
                        flying += grant;
                    }
                }
                assert_eq!(stream.under_way().0, flying + other.under_way().1, "stream {id}");
            }
        }
    }
}

fn frames(messages: &VecDeque<Bytes>) -> impl Iterator<Item = Frame> {
    messages.iter().cloned().flat_map(|mut message| {
        std::iter::from_fn(move || Frame::decode(&mut message).map(Result::unwrap)).collect::<Vec<_>>()
    })
}

fn message(list: &[Frame]) -> Bytes {
    let mut out = BytesMut::new();
    for frame in list {
        frame.encode(&mut out);
    }
    out.freeze()
}

fn open(id: StreamId) -> Frame {
    Frame::Open { id, class: Class::Interactive, head: Bytes::new() }
}

fn data(id: StreamId, length: usize) -> Frame {
    Frame::Data { id, bytes: Bytes::from(vec![7; length]) }
}
