//! Credit: where a sender stops, and when it is given more.

use super::*;

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
    assert_eq!(sent, FIRST_FLIGHT as usize + SEND_BUFFER);
    assert_eq!(pair.sides[HUB].buffered(), FIRST_FLIGHT);
    pair.check_credit();
    let Read::Bytes(read) = pair.sides[HUB].read(id, usize::MAX, 0) else { panic!() };
    assert!(!read.is_empty());
    while let Read::Bytes(_) = pair.sides[HUB].read(id, usize::MAX, 0) {}
    pair.settle();
    assert!(matches!(pair.sides[AGENT].write(id, b"more"), Write::Taken(4)));
}

#[test]
fn a_stream_that_moves_has_more() {
    let mut pair = Pair::new();
    let id = pair.sides[AGENT].open(Bytes::new(), Class::Bulk, 0).unwrap();
    let fill = |pair: &mut Pair| {
        for _ in 0..64 {
            pair.sides[AGENT].write(id, &[1; 32 * 1024]);
            pair.settle();
        }
        pair.sides[HUB].buffered()
    };
    // Nobody has drained anything yet: it may be one that nobody reads.
    assert!(fill(&mut pair) <= GRANT_STEP + BULK_FLIGHT);
    while let Read::Bytes(_) = pair.sides[HUB].read(id, usize::MAX, 0) {}
    pair.settle();
    // Now as much as it leaves to the others.
    assert!((SESSION_WINDOW / 3..=STREAM_WINDOW).contains(&fill(&mut pair)));
    pair.check_credit();
}

/// What was sent before an end counts until it is drained, and no longer: neither side forgets it, nor keeps it.
#[test]
fn a_long_answer_is_counted_until_it_is_read() {
    for read in [0, 100_000, 200_000, usize::MAX] {
        let mut pair = Pair::new();
        let id = pair.sides[HUB].open(Bytes::new(), Class::Interactive, 0).unwrap();
        pair.sides[HUB].finish(id);
        pair.settle();
        let mut written = 0;
        while written < 250_000 {
            let Write::Taken(count) = pair.sides[AGENT].write(id, &vec![7; 250_000 - written]) else { panic!() };
            written += count;
            pair.settle();
        }
        pair.sides[AGENT].finish(id);
        pair.sides[AGENT].release(id);
        pair.settle();
        pair.check_credit();
        assert_eq!(pair.sides[AGENT].open_streams(), 1, "it stands for what is not drained");
        let mut got = 0;
        while got < read {
            match pair.sides[HUB].read(id, 30_000, 0) {
                Read::Bytes(bytes) => got += bytes.len(),
                other => {
                    assert_eq!((other, got), (Read::End, 250_000));
                    break;
                }
            }
        }
        pair.settle();
        pair.check_credit();
        pair.sides[HUB].release(id);
        pair.settle();
        assert_eq!((pair.sides[HUB].open_streams(), pair.sides[AGENT].open_streams()), (0, 0), "read {read}");
        assert_eq!((pair.sides[AGENT].taken, pair.sides[HUB].held), (0, 0));
        assert_eq!(pair.sides[AGENT].counters(), Counters::default());
    }
}
