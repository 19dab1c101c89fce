//! What a peer sends that is no peer of ours.

use proptest::prelude::*;

use super::*;
use crate::frame::{FrameError, encode_data};

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn garbage_never_panics(messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..20)) {
        let mut hub = Machine::new(Role::Hub, 8);
        for bytes in messages {
            if hub.receive(bytes.into(), 0).is_err() {
                break;
            }
        }
    }

    #[test]
    fn hostile_frames_never_panic_and_stay_bounded(
        list in proptest::collection::vec((0..9u8, 0..40u32, 1..2_000usize, any::<u32>()), 1..400)
    ) {
        let mut hub = Machine::new(Role::Hub, 8);
        for (kind, id, length, number) in list {
            let frame = match kind {
                0 => open(id.max(1)),
                1 => data(id.max(1), length),
                2 => Frame::Credit { id, grant: number },
                3 => Frame::End { id: id.max(1) },
                4 => Frame::Reset { id: id.max(1), code: Code(number) },
                5 => Frame::Ping { value: u64::from(number) },
                6 => Frame::Pong { value: u64::from(number) },
                7 => Frame::GoAway { code: Code(number), reason: Bytes::from_static(b"\xff bye") },
                _ => Frame::Notice { bytes: Bytes::from_static(b"n") },
            };
            if hub.receive(message(&[frame]), 0).is_err() {
                break;
            }
            while hub.event().is_some() {}
            let mut out = BytesMut::new();
            hub.transmit(&mut out, 64);
        }
        prop_assert!(hub.buffered() <= SESSION_WINDOW + STREAM_SHARE * (8 + REFUSED_MAX as u32));
        prop_assert!(hub.open_streams() <= 8 + REFUSED_MAX);
    }
}

#[test]
fn regression_answers_that_the_peer_does_not_take_are_bounded() {
    let mut hub = Machine::new(Role::Hub, 8);
    let mut ended = None;
    for id in (1..u32::MAX).step_by(2).take(CONTROL_MAX * 2) {
        // Opened and let go of at once: no limit on open streams sees it.
        let both = [open(id), Frame::Reset { id, code: Code::CANCELLED }];
        if let Err(violation) = hub.receive(message(&both), 0) {
            ended = Some(violation);
            break;
        }
        while let Some(event) = hub.event() {
            if let Event::Opened { id, .. } = event {
                hub.accepted();
                hub.release(id);
            }
        }
    }
    assert_eq!(ended, Some(Violation::Flood));
    assert!(hub.control.len() <= CONTROL_MAX + 2);
}

#[test]
fn a_byte_never_keeps_a_message_alive() {
    let mut hub = Machine::new(Role::Hub, 8);
    hub.receive(message(&[open(1), open(3)]), 0).unwrap();
    let mut out = BytesMut::new();
    encode_data(&mut out, 1, b"x");
    encode_data(&mut out, 3, &[0; 20_000]);
    let whole = out.freeze();
    hub.receive(whole.clone(), 0).unwrap();
    // The small piece was copied, the large one is a slice of the message.
    let Read::Bytes(large) = hub.read(3, usize::MAX, 0) else { panic!() };
    assert!(whole.as_ptr_range().contains(&large.as_ptr()));
    let Read::Bytes(small) = hub.read(1, usize::MAX, 0) else { panic!() };
    assert!(!whole.as_ptr_range().contains(&small.as_ptr()));
}

#[test]
fn regression_last_bytes_leave_although_nobody_reads_on_either_side() {
    for class in [Class::Bulk, Class::Interactive] {
        // More than the peer takes before it says that it drained some.
        for length in [100_000, 300_000] {
            let mut pair = Pair::new();
            let id = pair.sides[AGENT].open(Bytes::from_static(b"h"), class, 0).unwrap();
            pair.settle();
            for side in [HUB, AGENT] {
                let mut left = length;
                while left > 0 {
                    match pair.sides[side].write(id, &vec![1; left]) {
                        Write::Taken(count) if count > 0 => left -= count,
                        _ => break,
                    }
                    let message = pair.send(side);
                    if !message {
                        break;
                    }
                }
                pair.sides[side].finish(id);
                pair.sides[side].release(id);
            }
            pair.settle();
            assert_eq!(pair.sides[HUB].open_streams() + pair.sides[AGENT].open_streams(), 0, "{class:?} {length}");
            pair.check_credit();
        }
    }
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
    assert_eq!(refuse(&[Frame::Credit { id: 0, grant: 1 }]), Violation::Malformed(FrameError::Stream));
    assert_eq!(refuse(&[Frame::Credit { id: 1, grant: u32::MAX }]), Violation::Credit);
    let pings: Vec<Frame> = (0..17).map(|value| Frame::Ping { value }).collect();
    assert_eq!(refuse(&pings), Violation::Flood);
    let notices: Vec<Frame> = (0..33).map(|_| Frame::Notice { bytes: Bytes::from_static(b"n") }).collect();
    assert_eq!(refuse(&notices), Violation::Flood);
    let mut hub = fresh();
    let over = (0..33).find_map(|_| hub.receive(message(&[data(1, 32 * 1024)]), 0).err());
    assert_eq!(over, Some(Violation::Credit));
    assert_eq!(fresh().receive(Bytes::from(vec![0; crate::frame::MESSAGE_MAX + 1]), 0), Err(Violation::MessageTooLong));
}
