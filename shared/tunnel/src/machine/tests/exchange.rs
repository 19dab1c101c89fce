//! Streams from their opening to their end.

use super::*;

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
