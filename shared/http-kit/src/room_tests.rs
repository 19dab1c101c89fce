use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::RouteMetrics;

const KIB: usize = 1024;

/// Counts refusals.
#[derive(Default)]
struct Counts(AtomicU32);

impl HttpMetrics for Counts {
    fn route(&self, _: &'static str, _: &str) -> Arc<dyn RouteMetrics> {
        Arc::new(NoMetrics)
    }

    fn crowded(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn room(together: usize) -> (Arc<Room>, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let room = Room { patience: Duration::from_millis(50), ..Room::new(together, Arc::clone(&counts) as _) };
    (Arc::new(room), counts)
}

/// Reads a body of that length in pieces of 16 KiB.
async fn read(room: &Arc<Room>, expected: Option<usize>, length: usize) -> Result<(Share, Bytes)> {
    let mut share = room.share(expected);
    let mut body = Growing::new(longest(room.units * UNIT), &mut share);
    let mut left = length;
    while left > 0 {
        let piece = left.min(16 * KIB);
        body.push(&vec![b'x'; piece]).await?;
        left -= piece;
    }
    let body = body.finish();
    assert_eq!(body.len(), length);
    Ok((share, body))
}

#[tokio::test]
async fn a_share_is_what_the_body_takes_and_is_given_back() {
    let (room, _) = room(1024 * KIB);
    for expected in [false, true] {
        for length in [1, KIB, 16 * KIB, SMALL - 1, SMALL, SMALL + 1, 300 * KIB, 896 * KIB] {
            let (share, _body) = read(&room, expected.then_some(length), length).await.unwrap();
            assert_eq!(room.held(), length.div_ceil(KIB) * KIB, "{length}, known {expected}");
            drop(share);
            assert_eq!(room.held(), 0);
        }
    }
    let (share, body) = read(&room, None, 0).await.unwrap();
    assert_eq!((room.held(), body.len()), (0, 0));
    drop(share);
}

#[tokio::test]
async fn nothing_is_taken_by_a_length_alone() {
    let (room, _) = room(1024 * KIB);
    let mut share = room.share(Some(800 * KIB));
    assert_eq!(room.held(), 0);
    let mut body = Growing::new(896 * KIB, &mut share);
    body.push(b"x").await.unwrap();
    assert_eq!(room.held(), SMALL);
    body.push(&vec![b'x'; SMALL]).await.unwrap();
    assert_eq!(room.held(), 800 * KIB);
    assert_eq!(body.whole.capacity(), 800 * KIB);
    let over = body.push(&vec![b'x'; 900 * KIB]).await.unwrap_err();
    assert_eq!(over.code, Code::PayloadTooLarge);
}

#[tokio::test]
async fn whoever_finds_no_room_waits_and_is_refused() {
    let (room, counts) = room(1024 * KIB);
    let (held, _body) = read(&room, Some(800 * KIB), 800 * KIB).await.unwrap();
    for expected in [Some(200 * KIB), None] {
        let began = Instant::now();
        let refused = read(&room, expected, 200 * KIB).await.unwrap_err();
        assert!(began.elapsed() >= Duration::from_millis(50));
        assert_eq!((refused.code, refused.retry_after), (Code::Unavailable, Some(RETRY_SECONDS)));
        assert_eq!(room.held(), 800 * KIB, "a refused body leaves nothing");
    }
    assert_eq!(counts.0.load(Ordering::SeqCst), 2);
    let waiting = read(&room, Some(200 * KIB), 200 * KIB);
    let ends = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        drop(held);
    };
    assert!(tokio::join!(waiting, ends).0.is_ok(), "room that comes in time is taken");
    assert_eq!(room.held(), 0);
}

/// Small ones have the reserve, and beyond it what is free.
#[tokio::test]
async fn small_bodies_pass_large_ones() {
    let (room, _) = room(1024 * KIB);
    let large = read(&room, Some(896 * KIB), 896 * KIB).await.unwrap();
    let mut small = Vec::new();
    for _ in 0..2 {
        small.push(read(&room, Some(SMALL), SMALL).await.unwrap());
    }
    assert_eq!(room.held(), 1024 * KIB);
    assert!(read(&room, Some(10), 10).await.is_err(), "all of it is out");
    drop(large);
    small.push(read(&room, Some(10), 10).await.unwrap());
    assert_eq!(room.held(), 129 * KIB);
}

/// Many at once, none of which fits beside more than a few others: those that are in go on.
#[tokio::test]
async fn nobody_stops_in_the_middle_for_room_that_the_others_hold() {
    for known in [true, false] {
        let (room, _) = room(1024 * KIB);
        let all = (0..100).map(|_| async {
            let read = read(&room, known.then_some(400 * KIB), 400 * KIB).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(room.held() <= 1024 * KIB);
            read.is_ok()
        });
        let good = futures_util::future::join_all(all).await.into_iter().filter(|good| *good).count();
        assert!(good >= 2, "{good} of 100, lengths known: {known}");
        assert_eq!((room.held(), room.line.available_permits()), (0, 3));
    }
}

/// Whoever leaves while it waits is out of the line, too.
#[tokio::test]
async fn whoever_leaves_leaves_nothing() {
    let (room, _) = room(1024 * KIB);
    let (held, _body) = read(&room, Some(896 * KIB), 896 * KIB).await.unwrap();
    for expected in [Some(200 * KIB), None] {
        let gone = timeout(Duration::from_millis(10), read(&room, expected, 200 * KIB)).await;
        assert!(gone.is_err());
    }
    drop(held);
    assert_eq!((room.held(), room.line.available_permits()), (0, 3));
}
