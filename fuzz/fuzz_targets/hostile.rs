//! A peer that says anything, to an owner that does anything: no panic, and every bound holds.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use roadstead_tunnel::frame::{Frame, MESSAGE_FILL};
use roadstead_tunnel::machine::limits::{BACKLOG_MAX, NOTICES_MAX, SESSION_WINDOW, STREAM_SHARE};
use roadstead_tunnel::machine::{Event, Machine, Role};
use roadstead_tunnel::{Class, Code, StreamId};

/// Streams each side may have open.
const STREAMS: usize = 8;
/// Streams that were refused or reset and whose end is still to be told.
const LINGERING: usize = 1_024;

/// Takes so many bytes off the front, or what there is.
fn take<'a>(data: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = data.split_at(count.min(data.len()));
    *data = rest;
    taken
}

fn byte(data: &mut &[u8]) -> usize {
    take(data, 1).first().copied().unwrap_or(0).into()
}

/// A frame out of a few bytes: random ones are seldom whole.
fn frame(data: &mut &[u8]) -> Frame {
    let kind = byte(data);
    let id = byte(data) as StreamId % 24;
    let length = byte(data);
    let bytes = Bytes::copy_from_slice(take(data, length));
    let number = u32::from_le_bytes([length as u8, kind as u8, id as u8, 0]) >> (kind % 24);
    match kind % 9 {
        0 => Frame::Open { id, class: if length % 2 == 0 { Class::Bulk } else { Class::Interactive }, head: bytes },
        1 | 2 => Frame::Data { id, bytes: Bytes::from(vec![7; 1 + (length * 131) % 32_000]) },
        3 => Frame::Credit { id, grant: number },
        4 => Frame::End { id },
        5 => Frame::Reset { id, code: Code(number) },
        6 => Frame::Ping { value: number.into() },
        7 => Frame::GoAway { code: Code(number), reason: bytes },
        _ => Frame::Notice { bytes: if bytes.is_empty() { Bytes::from_static(b"x") } else { bytes } },
    }
}

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let role = if byte(&mut data) % 2 == 0 { Role::Hub } else { Role::Agent };
    let mut machine = Machine::new(role, STREAMS);
    let mut streams: Vec<StreamId> = Vec::new();
    let (mut now_us, mut notices, mut backlog) = (0_u64, 0, 0_usize);
    while !data.is_empty() {
        let operation = byte(&mut data);
        let chosen = byte(&mut data);
        let stream = streams.get(chosen % streams.len().max(1)).copied().unwrap_or(chosen as StreamId);
        match operation % 12 {
            0..=3 => {
                let mut message = BytesMut::new();
                for _ in 0..=chosen % 4 {
                    frame(&mut data).encode(&mut message);
                }
                if machine.receive(message.freeze(), now_us).is_err() {
                    return;
                }
            }
            4 => {
                let message = Bytes::copy_from_slice(take(&mut data, chosen));
                if machine.receive(message, now_us).is_err() {
                    return;
                }
            }
            5 => streams.extend(machine.open(Bytes::from_static(b"head"), Class::Bulk, now_us)),
            6 => drop(machine.write(stream, &vec![1; chosen * 301])),
            7 => drop(machine.read(stream, 1 + chosen * 97, now_us)),
            8 => machine.finish(stream),
            9 if chosen % 2 == 0 => machine.reset(stream, Code::CANCELLED),
            9 => machine.release(stream),
            10 => {
                let mut out = BytesMut::new();
                machine.transmit(&mut out, 1 + chosen % 64);
                assert!(out.len() <= MESSAGE_FILL);
                let mut sent = out.freeze();
                while let Some(frame) = Frame::decode(&mut sent) {
                    frame.expect("what we send is right");
                }
            }
            _ => {
                now_us += (chosen as u64) << 16;
                machine.cut_stalled(now_us);
            }
        }
        while let Some(event) = machine.event() {
            match event {
                Event::Opened { id, .. } => {
                    backlog += 1;
                    assert!(backlog <= BACKLOG_MAX);
                    // Sometimes the owner is slow to take it up.
                    if chosen % 3 > 0 {
                        machine.accepted();
                        backlog -= 1;
                    }
                    streams.push(id);
                }
                Event::Notice(_) => notices += 1,
                _ => {}
            }
        }
        if Machine::notices_full(notices) {
            assert!(notices <= NOTICES_MAX * 2 + 4);
            return;
        }
        assert!(machine.buffered() <= SESSION_WINDOW + STREAM_SHARE * machine.open_streams() as u32);
        assert!(machine.open_streams() <= 2 * STREAMS + LINGERING);
    }
});
