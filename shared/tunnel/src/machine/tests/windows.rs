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
