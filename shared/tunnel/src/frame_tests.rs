use proptest::prelude::*;

use super::*;

fn hex(frame: &Frame) -> String {
    let mut out = BytesMut::new();
    frame.encode(&mut out);
    assert_eq!(out.len(), frame.encoded_len());
    out.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// One frame of each number.
fn samples() -> Vec<Frame> {
    vec![
        Frame::Open { id: 2, class: Class::Bulk, head: Bytes::from_static(b"{}") },
        Frame::Data { id: 0x0102_0304, bytes: Bytes::from_static(b"abc") },
        Frame::Credit { id: 0, grant: 65_536 },
        Frame::End { id: 7 },
        Frame::Reset { id: 7, code: Code::SLOW_READER },
        Frame::Ping { value: 0x1122_3344_5566_7788 },
        Frame::Pong { value: 1 },
        Frame::GoAway { code: Code::VIOLATION, reason: Bytes::from_static(b"why") },
        Frame::Notice { bytes: Bytes::from_static(b"{\"type\":\"revoked\"}") },
    ]
}

#[test]
fn bytes_on_the_wire() {
    let lines: Vec<String> = samples().iter().map(hex).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    01010002000000027b7d
    0200000301020304616263
    030000040000000000010000
    0400000000000007
    050000040000000700000005
    06000008000000001122334455667788
    07000008000000000000000000000001
    080000070000000000000007776879
    09000012000000007b2274797065223a227265766f6b6564227d
    ");
}

#[test]
fn every_number_has_a_sample() {
    let numbers: Vec<u8> = samples().iter().map(|frame| u8::from_str_radix(&hex(frame)[..2], 16).unwrap()).collect();
    assert_eq!(numbers, FrameType::ALL.map(|kind| kind as u8));
}

#[test]
fn headers_are_checked() {
    let refuse = |bytes: &[u8]| match Frame::decode(&mut Bytes::copy_from_slice(bytes)) {
        Some(Err(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(refuse(&[0, 0, 0, 0, 0, 0, 0, 0]), FrameError::Type);
    assert_eq!(refuse(&[10, 0, 0, 0, 0, 0, 0, 0]), FrameError::Type);
    assert_eq!(refuse(&[2, 1, 0, 1, 0, 0, 0, 1, 9]), FrameError::Flag);
    assert_eq!(refuse(&[1, 2, 0, 0, 0, 0, 0, 1]), FrameError::Flag);
    assert_eq!(refuse(&[2, 0, 0, 0, 0, 0, 0, 1]), FrameError::Length);
    assert_eq!(refuse(&[2, 0, 0x80, 1, 0, 0, 0, 1]), FrameError::Length);
    assert_eq!(refuse(&[1, 0, 0x40, 1, 0, 0, 0, 1]), FrameError::Length);
    assert_eq!(refuse(&[2, 0, 0, 1, 0, 0, 0, 0, 9]), FrameError::Stream);
    assert_eq!(refuse(&[6, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]), FrameError::Stream);
    assert_eq!(refuse(&[2, 0, 0, 5, 0, 0, 0, 1, 9]), FrameError::Truncated);
    assert_eq!(refuse(&[2, 0, 0]), FrameError::Truncated);
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let id = 1u32..;
    let bytes = |min: usize| proptest::collection::vec(any::<u8>(), min..300).prop_map(Bytes::from);
    prop_oneof![
        (id.clone(), any::<bool>(), bytes(0)).prop_map(|(id, bulk, head)| Frame::Open {
            id,
            class: if bulk { Class::Bulk } else { Class::Interactive },
            head
        }),
        (id.clone(), bytes(1)).prop_map(|(id, bytes)| Frame::Data { id, bytes }),
        (any::<u32>(), any::<u32>()).prop_map(|(id, grant)| Frame::Credit { id, grant }),
        id.clone().prop_map(|id| Frame::End { id }),
        (id, any::<u32>()).prop_map(|(id, code)| Frame::Reset { id, code: Code(code) }),
        any::<u64>().prop_map(|value| Frame::Ping { value }),
        any::<u64>().prop_map(|value| Frame::Pong { value }),
        (any::<u32>(), proptest::collection::vec(any::<u8>(), 0..REASON_MAX))
            .prop_map(|(code, reason)| Frame::GoAway { code: Code(code), reason: reason.into() }),
        bytes(1).prop_map(|bytes| Frame::Notice { bytes }),
    ]
}

fn decode_all(bytes: &[u8]) -> Vec<Result<Frame, FrameError>> {
    let mut message = Bytes::copy_from_slice(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = Frame::decode(&mut message) {
        let stop = frame.is_err();
        frames.push(frame);
        if stop {
            break;
        }
    }
    frames
}

proptest! {
    #[test]
    fn what_is_written_is_read(frames in proptest::collection::vec(any_frame(), 0..20)) {
        let mut out = BytesMut::new();
        for frame in &frames {
            frame.encode(&mut out);
        }
        let read: Vec<Frame> = decode_all(&out).into_iter().map(Result::unwrap).collect();
        prop_assert_eq!(read, frames);
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        decode_all(&bytes);
    }

    #[test]
    fn perturbed_bytes_never_panic(
        frames in proptest::collection::vec(any_frame(), 1..6), place: prop::sample::Index, bit in 0u8..8, cut: prop::sample::Index
    ) {
        let mut out = BytesMut::new();
        for frame in &frames {
            frame.encode(&mut out);
        }
        let place = place.index(out.len());
        out[place] ^= 1 << bit;
        decode_all(&out[..=cut.index(out.len())]);
    }
}
