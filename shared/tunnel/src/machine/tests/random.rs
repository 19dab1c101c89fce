//! Whatever both sides do, in any order: nothing is lost, doubled or overdrawn.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

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
