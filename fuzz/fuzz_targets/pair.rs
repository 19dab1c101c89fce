//! Two honest ends with anything done to them: neither ever offends the other, bytes arrive in order and once, and what is
//! whole stays whole.
#![no_main]

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use roadstead_tunnel::machine::limits::{SESSION_WINDOW, STREAM_SHARE};
use roadstead_tunnel::machine::{Event, Machine, Read, Role, Write};
use roadstead_tunnel::{Class, Code, StreamId};

struct Side {
    machine: Machine,
    flying: VecDeque<Bytes>,
    streams: Vec<StreamId>,
    /// Bytes given to each stream, and bytes read from it.
    written: BTreeMap<StreamId, usize>,
    read: BTreeMap<StreamId, usize>,
    finished: Vec<StreamId>,
}

impl Side {
    fn new(role: Role) -> Self {
        Self {
            machine: Machine::new(role, 8),
            flying: VecDeque::new(),
            streams: Vec::new(),
            written: BTreeMap::new(),
            read: BTreeMap::new(),
            finished: Vec::new(),
        }
    }
}

/// What stands at a place of a stream.
fn letter(id: StreamId, at: usize) -> u8 {
    (at as u8).wrapping_mul(31).wrapping_add(id as u8)
}

fuzz_target!(|data: &[u8]| {
    let mut sides = [Side::new(Role::Hub), Side::new(Role::Agent)];
    let mut now_us = 0_u64;
    for operation in data.chunks_exact(2) {
        let (side, chosen) = (usize::from(operation[0] >> 7), usize::from(operation[1]));
        let [one, other] = &mut sides;
        let (side, other) = if side == 0 { (one, other) } else { (other, one) };
        let stream = side.streams.get(chosen % side.streams.len().max(1)).copied();
        match (operation[0] % 9, stream) {
            (0, _) => {
                let class = if chosen % 2 == 0 { Class::Bulk } else { Class::Interactive };
                if let Ok(id) = side.machine.open(Bytes::from_static(b"head"), class, now_us) {
                    side.streams.push(id);
                }
            }
            (1 | 2, Some(id)) => {
                let from = *side.written.get(&id).unwrap_or(&0);
                let bytes: Vec<u8> = (from..from + chosen * 211).map(|at| letter(id, at)).collect();
                if let Write::Taken(count) = side.machine.write(id, &bytes) {
                    *side.written.entry(id).or_default() += count;
                }
            }
            (3, Some(id)) => {
                let at = side.read.entry(id).or_default();
                match side.machine.read(id, 1 + chosen * 199, now_us) {
                    Read::Bytes(bytes) => {
                        for byte in bytes {
                            assert_eq!(byte, letter(id, *at));
                            *at += 1;
                        }
                    }
                    // The end comes behind everything, and only if it was said.
                    Read::End => {
                        assert!(other.finished.contains(&id));
                        assert_eq!(other.written.get(&id).unwrap_or(&0), at);
                    }
                    Read::Reset(_) | Read::Pending => {}
                }
            }
            (4, Some(id)) if chosen % 4 == 0 => {
                side.machine.finish(id);
                side.finished.push(id);
            }
            // Whoever lets go of a stream has no handle left.
            (5, Some(id)) if chosen % 4 == 0 => {
                if chosen % 8 == 0 {
                    side.machine.reset(id, Code::CANCELLED);
                }
                side.machine.release(id);
                side.streams.retain(|known| *known != id);
            }
            (6, _) => {
                let mut out = BytesMut::new();
                if side.machine.transmit(&mut out, 1 + chosen % 64) > 0 {
                    side.flying.push_back(out.freeze());
                }
            }
            (7, _) => {
                if let Some(message) = other.flying.pop_front() {
                    side.machine.receive(message, now_us).expect("an honest peer offends nobody");
                }
            }
            _ => now_us += (chosen as u64) << 10,
        }
        while let Some(event) = side.machine.event() {
            if let Event::Opened { id, .. } = event {
                side.machine.accepted();
                side.streams.push(id);
            }
        }
        assert!(side.machine.buffered() <= SESSION_WINDOW + STREAM_SHARE * side.machine.open_streams() as u32);
    }
});
