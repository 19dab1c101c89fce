//! Two machines and a wire between them; what is tested stands in the files beside this one.
#![expect(clippy::cast_possible_truncation, clippy::large_stack_arrays, reason = "tests")]

use bytes::BytesMut;

use super::limits::*;
use super::*;
use crate::error::Violation;
use crate::frame::{Frame, MESSAGE_FILL, SESSION};

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

    /// What was granted is what may be sent, what flies, what waits and what was drained: nothing is made or lost.
    fn check_credit(&self) {
        for side in [HUB, AGENT] {
            let (sender, receiver) = (&self.sides[side], &self.sides[1 - side]);
            assert_eq!(receiver.allowance + receiver.drained + receiver.buffered, SESSION_WINDOW);
            let data: u32 = frames(&self.flying[side])
                .map(|frame| if let Frame::Data { bytes, .. } = frame { bytes.len() as u32 } else { 0 })
                .sum();
            let grants: u32 = frames(&self.flying[1 - side])
                .map(|frame| if let Frame::Credit { id: SESSION, grant } = frame { grant } else { 0 })
                .sum();
            assert_eq!(sender.send_credit + data + grants, receiver.allowance);
            let waiting: u32 = receiver.streams.values().map(StreamState::incoming_bytes).sum();
            assert_eq!(waiting, receiver.buffered);
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
