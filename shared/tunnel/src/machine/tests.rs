#![expect(clippy::cast_possible_truncation, clippy::large_stack_arrays, reason = "tests")]

use std::collections::BTreeMap;

use bytes::BytesMut;
use proptest::prelude::*;

use super::limits::*;
use super::*;
use crate::error::Violation;
use crate::frame::{Frame, MESSAGE_FILL, SESSION};

#[path = "hostile_tests.rs"]
mod hostile;

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

#[test]
fn a_request_and_its_answer() {
    let mut pair = Pair::new();
    let id = pair.sides[HUB].open(Bytes::from_static(b"head"), Class::Interactive, 0).unwrap();
    assert_eq!(id, 2);
    assert_eq!(pair.sides[HUB].write(id, b"question"), Write::Taken(8));
    pair.sides[HUB].finish(id);
    pair.settle();
    assert_eq!(
        pair.events(AGENT),
        [
            Event::Opened { id, class: Class::Interactive, head: Bytes::from_static(b"head") },
            Event::Readable(id),
            Event::Readable(id)
        ]
    );
    assert_eq!(pair.sides[AGENT].read(id, 100, 0), Read::Bytes(Bytes::from_static(b"question")));
    assert_eq!(pair.sides[AGENT].read(id, 100, 0), Read::End);
    pair.sides[AGENT].write(id, b"answer");
    pair.sides[AGENT].finish(id);
    pair.sides[AGENT].release(id);
    pair.settle();
    assert_eq!(pair.sides[HUB].read(id, 100, 0), Read::Bytes(Bytes::from_static(b"answer")));
    assert_eq!(pair.sides[HUB].read(id, 100, 0), Read::End);
    pair.sides[HUB].release(id);
    pair.settle();
    assert_eq!((pair.sides[HUB].open_streams(), pair.sides[AGENT].open_streams()), (0, 0));
    assert_eq!(pair.sides[HUB].counters(), Counters::default());
}

#[test]
fn a_sender_stops_at_its_credit_and_goes_on_with_more() {
    let mut pair = Pair::new();
    let id = pair.sides[AGENT].open(Bytes::new(), Class::Interactive, 0).unwrap();
    let mut sent = 0;
    loop {
        match pair.sides[AGENT].write(id, &[1; 4_096]) {
            Write::Taken(count) => sent += count,
            Write::Full => break,
            Write::Closed(code) => panic!("{code:?}"),
        }
        pair.settle();
    }
    assert_eq!(sent, STREAM_WINDOW as usize + SEND_BUFFER);
    assert_eq!(pair.sides[HUB].buffered(), STREAM_WINDOW);
    pair.check_credit();
    let Read::Bytes(read) = pair.sides[HUB].read(id, usize::MAX, 0) else { panic!() };
    assert!(!read.is_empty());
    while let Read::Bytes(_) = pair.sides[HUB].read(id, usize::MAX, 0) {}
    pair.settle();
    assert!(matches!(pair.sides[AGENT].write(id, b"more"), Write::Taken(4)));
}

#[test]
fn stalled_bulk_streams_leave_room_for_interactive_ones() {
    let mut pair = Pair::with(64);
    let stalled: Vec<_> = (0..24).map(|_| pair.sides[AGENT].open(Bytes::new(), Class::Bulk, 0).unwrap()).collect();
    for _ in 0..100 {
        for id in &stalled {
            pair.sides[AGENT].write(*id, &[1; 32 * 1024]);
        }
        pair.settle();
    }
    assert!(pair.sides[HUB].buffered() <= SESSION_WINDOW - SESSION_RESERVE);
    assert!(pair.sides[HUB].buffered() > SESSION_WINDOW / 2);
    let quick = pair.sides[HUB].open(Bytes::new(), Class::Interactive, 0).unwrap();
    pair.settle();
    pair.sides[AGENT].write(quick, b"answer");
    pair.settle();
    assert_eq!(pair.sides[HUB].read(quick, 10, 0), Read::Bytes(Bytes::from_static(b"answer")));
    // Nobody drains them: they are cut, and the session has its room back.
    pair.sides[HUB].cut_stalled(STALL_LIMIT_US);
    assert!(pair.sides[HUB].counters().stalled >= 18);
    pair.settle();
    pair.check_credit();
    assert_eq!(pair.sides[HUB].read(stalled[0], 10, 0), Read::Reset(Code::SLOW_READER));
    assert_eq!(pair.sides[AGENT].write(stalled[0], b"x"), Write::Closed(Code::SLOW_READER));
}

/// Several readers that stop, from the start or after a while, hold up no other bulk stream.
#[test]
fn regression_stalled_bulk_readers_delay_no_other_bulk_stream() {
    for (stalled, first) in [(0, 0), (8, 0), (16, 0), (4, 1 << 20), (8, 300 * 1024)] {
        let mut pair = Pair::with(64);
        let ids: Vec<_> = (0..stalled).map(|_| pair.sides[AGENT].open(Bytes::new(), Class::Bulk, 0).unwrap()).collect();
        let mut taken = vec![0_usize; ids.len()];
        for _ in 0..200 {
            for (id, taken) in ids.iter().zip(&mut taken) {
                pair.sides[AGENT].write(*id, &[1; 32 * 1024]);
                // They read so much, and then nothing any more.
                while *taken < first {
                    let Read::Bytes(bytes) = pair.sides[HUB].read(*id, usize::MAX, 0) else { break };
                    *taken += bytes.len();
                }
            }
            pair.settle();
        }
        let moving = pair.sides[AGENT].open(Bytes::new(), Class::Bulk, 0).unwrap();
        let (mut received, mut rounds) = (0, 0);
        while received < 8 << 20 {
            pair.sides[AGENT].write(moving, &[2; 64 * 1024]);
            pair.settle();
            while let Read::Bytes(bytes) = pair.sides[HUB].read(moving, usize::MAX, 0) {
                received += bytes.len();
            }
            pair.settle();
            rounds += 1;
            // Alone it takes a write buffer a round.
            assert!(rounds <= 8 * (8 << 20) / (64 * 1024), "{stalled} stalled after {first}: {received} in {rounds}");
        }
        pair.check_credit();
    }
}

/// Whatever stops and goes on again, and in whichever order: when everybody reads again, everything arrives.
#[test]
fn streams_that_had_their_share_come_back() {
    for seed in 1..40_u64 {
        let mut pair = Pair::with(64);
        let ids: Vec<_> = (0..12).map(|_| pair.sides[AGENT].open(Bytes::new(), Class::Bulk, 0).unwrap()).collect();
        let (mut state, mut sent, mut got) = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), [0_usize; 12], [0_usize; 12]);
        let mut draw = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap()
        };
        for step in 0..400 {
            let at = draw() % ids.len();
            if let Write::Taken(count) = pair.sides[AGENT].write(ids[at], &[7; 64 * 1024]) {
                sent[at] += count;
            }
            // For most of the time only a few of them are read.
            let reads = if step < 300 { draw() % 3 } else { ids.len() };
            for (reader, id) in ids.iter().enumerate().take(reads) {
                while let Read::Bytes(bytes) = pair.sides[HUB].read(*id, 1 + draw() % 40_000, step) {
                    got[reader] += bytes.len();
                }
            }
            pair.settle();
        }
        for _ in 0..200 {
            for (reader, id) in ids.iter().enumerate() {
                while let Read::Bytes(bytes) = pair.sides[HUB].read(*id, usize::MAX, 1_000) {
                    got[reader] += bytes.len();
                }
            }
            pair.settle();
        }
        assert_eq!(got, sent, "seed {seed}");
        pair.check_credit();
    }
}

#[test]
fn interactive_streams_go_first_and_bulk_is_not_starved() {
    let mut pair = Pair::new();
    let bulk = pair.sides[HUB].open(Bytes::new(), Class::Bulk, 0).unwrap();
    let quick = pair.sides[HUB].open(Bytes::new(), Class::Interactive, 0).unwrap();
    pair.settle();
    let fill = |pair: &mut Pair| {
        pair.sides[HUB].write(bulk, &[0; SEND_BUFFER]);
        pair.sides[HUB].write(quick, &[0; SEND_BUFFER]);
    };
    fill(&mut pair);
    let mut order = Vec::new();
    while pair.send(HUB) {
        fill(&mut pair);
        let all: Vec<_> = frames(&pair.flying[HUB]).collect();
        order =
            all.iter().filter_map(|frame| if let Frame::Data { id, .. } = frame { Some(*id) } else { None }).collect();
        if order.len() > 12 {
            break;
        }
    }
    assert_eq!(order[0], quick);
    assert!(order.iter().take(8).any(|id| *id == bulk), "{order:?}");
    assert!(order.iter().filter(|id| **id == quick).count() > order.len() / 2, "{order:?}");
}

#[test]
fn offences_end_the_session() {
    let mut hub = Machine::new(Role::Hub, 8);
    for _ in 1..OFFENCES_MAX {
        assert_eq!(hub.receive(message(&[data(9, 1)]), 0), Ok(()));
    }
    assert_eq!(hub.receive(message(&[Frame::End { id: 9 }]), 0), Err(Violation::UnknownStream));
    assert_eq!(hub.counters().offences, OFFENCES_MAX);
}

#[test]
fn fatal_violations() {
    let fresh = || {
        let mut hub = Machine::new(Role::Hub, 8);
        hub.receive(message(&[open(1)]), 0).unwrap();
        hub
    };
    let refuse = |list: &[Frame]| fresh().receive(message(list), 0).unwrap_err();
    assert_eq!(refuse(&[open(2)]), Violation::StreamId);
    assert_eq!(refuse(&[open(1)]), Violation::StreamId);
    assert_eq!(refuse(&[Frame::End { id: 1 }, data(1, 1)]), Violation::AfterEnd);
    assert_eq!(refuse(&[Frame::Credit { id: 0, grant: u32::MAX }]), Violation::Credit);
    assert_eq!(refuse(&[Frame::Credit { id: 1, grant: u32::MAX }]), Violation::Credit);
    let pings: Vec<Frame> = (0..17).map(|value| Frame::Ping { value }).collect();
    assert_eq!(refuse(&pings), Violation::Flood);
    let notices: Vec<Frame> = (0..33).map(|_| Frame::Notice { bytes: Bytes::from_static(b"n") }).collect();
    assert_eq!(refuse(&notices), Violation::Flood);
    let mut hub = fresh();
    let over = (0..9).find_map(|_| hub.receive(message(&[data(1, 32 * 1024)]), 0).err());
    assert_eq!(over, Some(Violation::Credit));
    assert_eq!(fresh().receive(Bytes::from(vec![0; crate::frame::MESSAGE_MAX + 1]), 0), Err(Violation::MessageTooLong));
}

#[test]
fn too_many_streams_are_refused_not_fatal() {
    let mut pair = Pair::new();
    let mut agent = Machine::new(Role::Agent, 100);
    std::mem::swap(&mut agent, &mut pair.sides[AGENT]);
    let ids: Vec<_> = (0..10).map(|_| pair.sides[AGENT].open(Bytes::new(), Class::Interactive, 0).unwrap()).collect();
    // Data right behind the head of a stream that is refused is thrown away, not an offence.
    pair.sides[AGENT].write(ids[9], b"early");
    pair.settle();
    assert_eq!(pair.sides[HUB].counters(), Counters { refused: 2, ..Counters::default() });
    assert_eq!(pair.sides[AGENT].read(ids[9], 1, 0), Read::Reset(Code::REFUSED));
    pair.check_credit();
    assert_eq!(pair.sides[HUB].open_streams(), 8);
}

#[test]
fn late_credits_and_resets_are_not_offences() {
    let mut pair = Pair::new();
    for _ in 0..50 {
        let id = pair.sides[HUB].open(Bytes::new(), Class::Interactive, 0).unwrap();
        pair.settle();
        // Both cut it at once: each side's reset arrives at a stream that is over.
        pair.sides[HUB].release(id);
        pair.sides[AGENT].release(id);
        pair.settle();
        pair.sides[AGENT].accepted();
    }
    assert_eq!((pair.sides[HUB].open_streams(), pair.sides[AGENT].open_streams()), (0, 0));
    assert_eq!((pair.sides[HUB].counters().offences, pair.sides[AGENT].counters().offences), (0, 0));
}

#[test]
fn a_finished_stream_that_was_let_go_is_still_sent() {
    let mut pair = Pair::new();
    let id = pair.sides[AGENT].open(Bytes::new(), Class::Interactive, 0).unwrap();
    pair.sides[AGENT].write(id, &[5; 1_000]);
    pair.sides[AGENT].finish(id);
    pair.sides[AGENT].release(id);
    pair.settle();
    assert_eq!(pair.sides[HUB].read(id, 2_000, 0), Read::Bytes(Bytes::from(vec![5; 1_000])));
    assert_eq!(pair.sides[HUB].read(id, 2_000, 0), Read::End);
    assert!(matches!(pair.sides[HUB].write(id, b"nobody listens"), Write::Closed(_)));
}

#[test]
fn windows_grow_when_they_are_what_limits() {
    let mut pair = Pair::new();
    let id = pair.sides[AGENT].open(Bytes::new(), Class::Bulk, 0).unwrap();
    pair.sides[HUB].ping(0);
    pair.send(HUB);
    pair.now_us = 50_000;
    pair.deliver(HUB).unwrap();
    pair.settle();
    assert_eq!(pair.sides[HUB].round_trip_us(), Some(50_000));
    let before = pair.sides[HUB].streams[&id].allowance;
    for _ in 0..16 {
        pair.sides[AGENT].write(id, &[1; 32 * 1024]);
        pair.settle();
        pair.now_us += 1_000;
        while let Read::Bytes(_) = pair.sides[HUB].read(id, usize::MAX, pair.now_us) {}
        pair.settle();
    }
    assert!(pair.sides[HUB].streams[&id].allowance > before);
    pair.check_credit();
}

/// What a test does to one side.
#[derive(Debug, Clone)]
enum Act {
    Open(bool),
    Write(usize, usize),
    Read(usize, usize),
    Finish(usize),
    Reset(usize),
    Release(usize),
    Send,
    Deliver,
    Ping,
    Notice,
}

fn acts() -> impl Strategy<Value = Vec<(bool, Act)>> {
    let act = prop_oneof![
        2 => any::<bool>().prop_map(Act::Open),
        6 => (0..8usize, 1..70_000usize).prop_map(|(at, length)| Act::Write(at, length)),
        6 => (0..8usize, 1..100_000usize).prop_map(|(at, most)| Act::Read(at, most)),
        1 => (0..8usize).prop_map(Act::Finish),
        1 => (0..8usize).prop_map(Act::Reset),
        1 => (0..8usize).prop_map(Act::Release),
        8 => Just(Act::Send),
        8 => Just(Act::Deliver),
        1 => Just(Act::Ping),
        1 => Just(Act::Notice),
    ];
    proptest::collection::vec((any::<bool>(), act), 0..300)
}

/// What one side knows of a stream: bytes written and read, and how it ended.
#[derive(Debug, Default, Clone)]
struct View {
    written: usize,
    read: usize,
    finished: bool,
    ended: bool,
    cut: bool,
}

/// The byte at a place of a stream, different for both directions.
fn byte_at(id: StreamId, side: usize, place: usize) -> u8 {
    (place.wrapping_mul(31) ^ (place >> 8) ^ (id as usize).wrapping_mul(7) ^ side.wrapping_mul(101)) as u8
}

struct Model {
    pair: Pair,
    views: [BTreeMap<StreamId, View>; 2],
}

impl Model {
    fn look(&mut self, side: usize) {
        for event in self.pair.events(side) {
            if let Event::Opened { id, .. } = event {
                self.pair.sides[side].accepted();
                self.views[side].insert(id, View::default());
            }
        }
    }

    fn pick(&self, side: usize, at: usize) -> Option<StreamId> {
        let ids: Vec<StreamId> = self.views[side].keys().copied().collect();
        if ids.is_empty() { None } else { Some(ids[at % ids.len()]) }
    }

    fn read(&mut self, side: usize, id: StreamId, most: usize) -> bool {
        let got = self.pair.sides[side].read(id, most, self.pair.now_us);
        let view = self.views[side].get_mut(&id).unwrap();
        match got {
            Read::Bytes(bytes) => {
                assert!(bytes.len() <= most && !view.ended);
                for (index, byte) in bytes.iter().enumerate() {
                    assert_eq!(*byte, byte_at(id, 1 - side, view.read + index), "stream {id} at {}", view.read + index);
                }
                view.read += bytes.len();
                true
            }
            Read::End => {
                view.ended = true;
                false
            }
            Read::Reset(_) => {
                view.cut = true;
                false
            }
            Read::Pending => false,
        }
    }

    fn act(&mut self, side: usize, act: &Act) {
        self.pair.now_us += 300_000;
        let now = self.pair.now_us;
        match act {
            Act::Open(bulk) => {
                let class = if *bulk { Class::Bulk } else { Class::Interactive };
                if let Ok(id) = self.pair.sides[side].open(Bytes::from_static(b"h"), class, now) {
                    self.views[side].insert(id, View::default());
                }
            }
            Act::Write(at, length) => {
                let Some(id) = self.pick(side, *at) else { return };
                let view = self.views[side].get_mut(&id).unwrap();
                let bytes: Vec<u8> = (0..*length).map(|index| byte_at(id, side, view.written + index)).collect();
                if let Write::Taken(count) = self.pair.sides[side].write(id, &bytes) {
                    view.written += count;
                }
            }
            Act::Read(at, most) => {
                if let Some(id) = self.pick(side, *at) {
                    self.read(side, id, *most);
                }
            }
            Act::Finish(at) => {
                let Some(id) = self.pick(side, *at) else { return };
                self.pair.sides[side].finish(id);
                self.views[side].get_mut(&id).unwrap().finished = true;
            }
            Act::Reset(at) => {
                let Some(id) = self.pick(side, *at) else { return };
                self.pair.sides[side].reset(id, Code::CANCELLED);
                self.views[side].get_mut(&id).unwrap().cut = true;
            }
            Act::Release(at) => {
                let Some(id) = self.pick(side, *at) else { return };
                self.pair.sides[side].release(id);
                self.views[side].remove(&id);
            }
            Act::Send => drop(self.pair.send(side)),
            Act::Deliver => drop(self.pair.deliver(side).unwrap()),
            Act::Ping => self.pair.sides[side].ping(now),
            Act::Notice => drop(self.pair.sides[side].notify(Bytes::from_static(b"notice"))),
        }
        self.look(0);
        self.look(1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_doubled_or_overdrawn(list in acts()) {
        let mut model = Model { pair: Pair::new(), views: [BTreeMap::new(), BTreeMap::new()] };
        for (agent, act) in &list {
            model.act(usize::from(*agent), act);
            model.pair.check_credit();
        }
        // Everything still on its way arrives, everything is read.
        loop {
            model.pair.now_us += 1_000_000;
            model.pair.settle();
            model.look(0);
            model.look(1);
            let mut moved = false;
            for side in [HUB, AGENT] {
                for id in model.views[side].keys().copied().collect::<Vec<_>>() {
                    moved |= model.read(side, id, usize::MAX);
                }
            }
            if !moved {
                break;
            }
        }
        model.pair.check_credit();
        for side in [HUB, AGENT] {
            for (id, view) in &model.views[side] {
                let Some(peer) = model.views[1 - side].get(id) else { continue };
                if !view.cut && !peer.cut {
                    prop_assert_eq!(view.read, peer.written);
                    prop_assert_eq!(view.ended, peer.finished);
                }
            }
            prop_assert_eq!(model.pair.sides[side].counters().offences, 0);
            prop_assert_eq!(model.pair.sides[side].buffered(), 0);
        }
        // Let go of everything: no stream is left behind.
        for side in [HUB, AGENT] {
            for id in model.views[side].keys().copied().collect::<Vec<_>>() {
                model.pair.sides[side].release(id);
            }
        }
        model.pair.settle();
        prop_assert_eq!(model.pair.sides[HUB].open_streams() + model.pair.sides[AGENT].open_streams(), 0);
        model.pair.check_credit();
    }
}
