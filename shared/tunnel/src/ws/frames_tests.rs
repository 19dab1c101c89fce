use proptest::prelude::*;

use super::*;

/// What is said by bytes that come in pieces.
fn read(masked: bool, mut text: &[u8], step: usize) -> Result<Vec<Said>, Fault> {
    let (mut reader, mut said) = (Reader::new(masked, 1 << 16), Vec::new());
    while !text.is_empty() {
        let (now, later) = text.split_at(step.clamp(1, text.len()));
        let mut now = now;
        text = later;
        while let Some(one) = reader.take(&mut now)? {
            said.push(one);
        }
        assert!(now.is_empty());
    }
    Ok(said)
}

#[test]
fn the_samples_of_the_rfc() {
    let hello = Bytes::from_static(b"Hello");
    let masked = [0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(read(true, &masked, 3).unwrap(), [Said::Message(hello.clone())]);
    let fragments = [0x02, 0x03, b'H', b'e', b'l', 0x89, 0x00, 0x80, 0x02, b'l', b'o'];
    assert_eq!(read(false, &fragments, 1).unwrap(), [Said::Ping(Bytes::new()), Said::Message(hello)]);
    assert_eq!(read(false, &[0x88, 2, 0x03, 0xe8], 9).unwrap(), [Said::Close(CloseCode::Normal, "1000".to_owned())]);
    assert_eq!(read(false, &[0x88, 0], 9).unwrap(), [Said::Close(CloseCode::Normal, String::new())]);
    for (bad, fault) in [
        (&[0x82, 0x85][..], Fault::Protocol),
        (&[0xc2, 0x00], Fault::Protocol),
        (&[0x83, 0x00], Fault::Protocol),
        (&[0x80, 0x00], Fault::Protocol),
        (&[0x09, 0x00], Fault::Protocol),
        (&[0x89, 126], Fault::Protocol),
        (&[0x02, 0x00, 0x82, 0x00], Fault::Protocol),
        (&[0x88, 1, 3], Fault::Protocol),
        (&[0x88, 2, 0x03, 0xed], Fault::Protocol),
        (&[0x88, 3, 0x03, 0xe8, 0xff], Fault::Utf8),
        (&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 1], Fault::TooLong),
        (&[0x82, 127, 0xff, 0, 0, 0, 0, 0, 0, 0], Fault::TooLong),
        (&[0x81, 1, b'x'], Fault::Text),
        (&[0x01, 1, 0xff, 0x80, 0], Fault::Utf8),
    ] {
        assert_eq!(read(false, bad, 1), Err(fault), "{bad:02x?}");
    }
    assert_eq!(read(true, &[0x82, 0x05], 2), Err(Fault::Protocol), "clients mask");
}

#[test]
fn heads_are_as_short_as_they_can_be() {
    for (length, head) in [(1, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
        for (masked, more) in [(false, 0), (true, MASK)] {
            let (mut out, mut speaker) = (BytesMut::new(), Speaker::new(masked));
            speaker.message(&mut out, &vec![7; length]);
            assert_eq!(out.len(), head + more + length);
        }
    }
}

proptest! {
    #[test]
    fn what_is_said_is_read(
        lengths in proptest::collection::vec(prop_oneof![0_usize..300, 65_000_usize..65_536], 1..5),
        masked: bool, step in 1_usize..70_000, early in 0_usize..9,
    ) {
        let (mut out, mut speaker) = (BytesMut::new(), Speaker::new(masked));
        let mut expected = Vec::new();
        for (at, length) in lengths.iter().enumerate() {
            let payload: Vec<u8> = (0..*length).map(|byte| (byte + at).to_le_bytes()[0]).collect();
            // Half of them in a buffer that is too small for them.
            let room = if at % 2 == 0 { payload.len() } else { early };
            let told = speaker.message_of(&mut out, room, &mut |out| out.put_slice(&payload));
            prop_assert_eq!(told, Some(*length));
            speaker.message(&mut out, &payload);
            speaker.pong(&mut out, b"!");
            if *length > 0 {
                expected.push(Said::Message(payload.clone().into()));
            }
            expected.extend([Said::Message(payload.into()), Said::Pong]);
        }
        prop_assert_eq!(read(masked, &out, step).unwrap(), expected);
    }

    #[test]
    fn garbage_does_not_panic(text in proptest::collection::vec(any::<u8>(), 0..300), masked: bool, step in 1_usize..40) {
        let _ = read(masked, &text, step);
    }
}
