//! Readers that stop, writers that do not: nobody waits for another's sake.

use super::*;

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
    assert!(pair.sides[HUB].held <= SESSION_WINDOW - SESSION_RESERVE);
    assert!(pair.sides[HUB].buffered() <= SESSION_WINDOW - SESSION_RESERVE + 24 * STREAM_SHARE);
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

/// Readers that stop on streams of the interactive class have the session's room no more than those of bulk: what nobody
/// takes goes on as bulk. Eight of them filled it once.
#[test]
fn regression_stalled_interactive_readers_leave_room() {
    let mut pair = Pair::with(64);
    let open = |pair: &mut Pair| pair.sides[AGENT].open(Bytes::new(), Class::Interactive, 0).unwrap();
    let stalled: Vec<_> = (0..16).map(|_| open(&mut pair)).collect();
    for _ in 0..100 {
        for id in &stalled {
            pair.sides[AGENT].write(*id, &[1; 32 * 1024]);
        }
        pair.settle();
    }
    let held = pair.sides[HUB].held;
    assert!(held <= SESSION_WINDOW - SESSION_RESERVE, "{held} bytes are held for readers that stopped");
    // Small answers come whole, and so does a large one that somebody reads.
    let quick = open(&mut pair);
    pair.sides[AGENT].write(quick, &[2; 60 * 1024]);
    pair.settle();
    let mut answer = 0;
    while let Read::Bytes(bytes) = pair.sides[HUB].read(quick, usize::MAX, 0) {
        answer += bytes.len();
    }
    assert_eq!(answer, 60 * 1024);
    let (moving, mut received, mut rounds) = (open(&mut pair), 0, 0);
    while received < 4 << 20 {
        pair.sides[AGENT].write(moving, &[3; 64 * 1024]);
        pair.settle();
        while let Read::Bytes(bytes) = pair.sides[HUB].read(moving, usize::MAX, 0) {
            received += bytes.len();
        }
        pair.settle();
        rounds += 1;
        assert!(rounds <= 8 * (4 << 20) / (64 * 1024), "{received} bytes in {rounds} rounds");
    }
    pair.check_credit();
}

/// However many readers stop, what is small comes whole and at once, and what is large comes at a share a round trip. A thousand
/// of them held the whole session once, and small answers waited until they were cut.
#[test]
fn regression_a_thousand_stopped_readers_delay_no_small_answer() {
    for first in [0, 200 * 1024] {
        let mut pair = Pair::with(1_100);
        let open = |pair: &mut Pair| {
            let id = pair.sides[AGENT].open(Bytes::new(), Class::Interactive, 0).unwrap();
            pair.settle();
            pair.sides[HUB].accepted();
            id
        };
        let stalled: Vec<_> = (0..1_000).map(|_| open(&mut pair)).collect();
        for id in stalled {
            let mut taken = 0;
            for _ in 0..12 {
                pair.sides[AGENT].write(id, &[1; 32 * 1024]);
                pair.settle();
                // Some of them read for a while, and then no more.
                while taken < first {
                    let Read::Bytes(bytes) = pair.sides[HUB].read(id, usize::MAX, 0) else { break };
                    taken += bytes.len();
                }
            }
        }
        pair.check_credit();
        let held = pair.sides[HUB].buffered();
        assert!(held <= SESSION_WINDOW + 1_000 * STREAM_SHARE, "{held}");
        for _ in 0..50 {
            let quick = open(&mut pair);
            pair.sides[AGENT].write(quick, &[2; 10_000]);
            pair.sides[AGENT].finish(quick);
            assert!(pair.send(AGENT) && pair.deliver(AGENT).unwrap());
            let mut answer = 0;
            while let Read::Bytes(bytes) = pair.sides[HUB].read(quick, usize::MAX, 0) {
                answer += bytes.len();
            }
            assert_eq!(answer, 10_000);
            pair.sides[HUB].release(quick);
            pair.sides[AGENT].release(quick);
            pair.settle();
        }
        let (moving, mut received, mut rounds) = (open(&mut pair), 0, 0);
        while received < 1 << 20 {
            pair.sides[AGENT].write(moving, &[3; 64 * 1024]);
            pair.settle();
            while let Read::Bytes(bytes) = pair.sides[HUB].read(moving, usize::MAX, 0) {
                received += bytes.len();
            }
            pair.settle();
            rounds += 1;
            assert!(rounds <= 2 * (1 << 20) / STREAM_SHARE, "{received} bytes in {rounds} rounds");
        }
        pair.check_credit();
    }
}

/// Whatever stops and goes on again, and in whichever order: when everybody reads again, everything arrives.
#[test]
fn streams_that_had_their_share_come_back() {
    for seed in 1..40_u64 {
        let mut pair = Pair::with(64);
        let class = |at: usize| if at.is_multiple_of(3) { Class::Interactive } else { Class::Bulk };
        let ids: Vec<_> = (0..12).map(|at| pair.sides[AGENT].open(Bytes::new(), class(at), 0).unwrap()).collect();
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
