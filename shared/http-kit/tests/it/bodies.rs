//! All bodies together: there is room for so many bytes, and whoever finds none is refused.

use std::io::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use roadstead_http_kit::Limits;
use roadstead_testkit::wait::eventually;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::door::{Answer, Door, Options, read_all};

const KIB: usize = 1024;
/// Room of the doors here, of which an eighth is for small bodies.
const TOGETHER: usize = 1024 * KIB;
const LARGE: usize = 200 * KIB;
const JSON: (&str, &str) = ("content-type", "application/json");

fn door(body: usize, together: usize) -> Door {
    let limits = Limits { body, together, ..Limits::default() };
    Door::open(Options { limits, head_time: Duration::from_secs(20), workers: 2, ..Options::default() })
}

fn head(line: &str, framing: &str) -> String {
    format!("POST {line} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n{framing}\r\n\r\n")
}

fn with_length(line: &str, body: &[u8]) -> Vec<u8> {
    [head(line, &format!("content-length: {}", body.len())).as_bytes(), body].concat()
}

fn in_chunks(line: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = head(line, "transfer-encoding: chunked").into_bytes();
    for chunk in body.chunks(50_000) {
        let _ = write!(bytes, "{:x}\r\n", chunk.len());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

async fn held(door: &Door) -> usize {
    door.send("GET /held", &[]).await.body.parse().unwrap()
}

async fn holds(door: &Door, bytes: usize) {
    let condition = || async {
        let held = held(door).await;
        if held == bytes { Ok(()) } else { Err(format!("{held} bytes")) }
    };
    eventually(&format!("{bytes} bytes are held"), Duration::from_secs(20), condition).await.unwrap();
}

async fn gives_all_back(door: &Door) {
    holds(door, 0).await;
}

/// Whoever was refused may come again, and is told when.
fn is_refused(answer: &Answer) -> bool {
    if answer.status == 200 {
        return false;
    }
    assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"), "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regression_bodies_together_are_bounded() {
    let door = door(256 * KIB, TOGETHER);
    let body = vec![b'x'; LARGE];
    let (known, unknown) = (with_length("/hold?300", &body), in_chunks("/hold?300", &body));
    let large = join_all((0..60).map(|number| door.raw(if number % 3 == 0 { &unknown } else { &known })));
    let small = async {
        for _ in 0..40 {
            let answer = door.send_body("POST /things", &[JSON], "{\"name\":\"prod\"}").await;
            assert_eq!(answer.status, 201, "{answer:?}");
            let held = held(&door).await;
            assert!(held <= TOGETHER, "{held}");
        }
    };
    let (large, ()) = tokio::join!(large, small);
    let refused = large.iter().filter(|text| is_refused(&Answer::parse(text))).count();
    let most = door.holding.most.load(Ordering::SeqCst);
    assert!(most <= TOGETHER, "{most} bytes at once");
    assert!(most >= LARGE && (1..=57).contains(&refused), "{refused} refused, {most} bytes at once");
    gives_all_back(&door).await;
    assert_eq!(Answer::parse(&door.raw(&known).await).body, LARGE.to_string(), "and there is room again");
}

/// Packed, a few KiB become a megabyte, and were unpacked before they were counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regression_packed_bodies_together_are_bounded() {
    let door = door(256 * KIB, TOGETHER);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![b' '; LARGE]).unwrap();
    let packed = encoder.finish().unwrap();
    let framing = format!("content-encoding: gzip\r\ncontent-length: {}", packed.len());
    let request = [head("/hold?500", &framing).as_bytes(), &packed].concat();
    let answers = join_all((0..40).map(|_| door.raw(&request))).await;
    let refused = answers.iter().filter(|text| is_refused(&Answer::parse(text))).count();
    let most = door.holding.most.load(Ordering::SeqCst);
    assert!(
        (LARGE..=TOGETHER).contains(&most) && (1..=39).contains(&refused),
        "{refused} refused, {most} bytes at once"
    );
    gives_all_back(&door).await;
}

/// The parser has then stopped in the middle of a body that nobody takes, and was not told to go on.
#[tokio::test]
async fn regression_a_body_in_chunks_that_was_refused_ends_the_connection() {
    let door = door(1024 * KIB, 4 * TOGETHER);
    let body = vec![b'x'; 900 * KIB];
    let (held, refused) = (with_length("/hold?6000", &body), in_chunks("/hold", &body));
    let holding = join_all((0..3).map(|_| door.raw(&held)));
    let waiting = async {
        holds(&door, 3 * body.len()).await;
        door.raw(&refused).await
    };
    let (held, text) = tokio::join!(holding, waiting);
    assert!(is_refused(&Answer::parse(&text)), "{text}");
    assert!(held.iter().all(|text| Answer::parse(text).status == 200));
}

/// A length alone takes nothing, a body that stops takes what came, and its end gives that back, whatever it is.
#[tokio::test]
async fn whoever_announces_or_stops_or_leaves_holds_nobody_up() {
    let door = door(256 * KIB, TOGETHER);
    let mut idle = Vec::new();
    for sent in [0, 1, 1, 100_000] {
        let mut stream = TcpStream::connect(door.address).await.unwrap();
        let request = [head("/hold", &format!("content-length: {LARGE}")).as_bytes(), &vec![b'x'; sent]].concat();
        stream.write_all(&request).await.unwrap();
        idle.push(stream);
    }
    holds(&door, LARGE + 2 * 64 * KIB).await;
    assert_eq!(Answer::parse(&door.raw(with_length("/hold", &vec![b'x'; LARGE])).await).status, 200);
    drop(idle);
    gives_all_back(&door).await;
}

#[tokio::test]
async fn what_never_fits_is_refused_before_it_is_read() {
    let door = door(TOGETHER, TOGETHER);
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    stream.write_all(head("/hold", &format!("content-length: {TOGETHER}")).as_bytes()).await.unwrap();
    let answer = Answer::parse(&read_all(&mut stream).await);
    assert_eq!((answer.status, answer.code().as_str()), (413, "payload_too_large"));
    assert_eq!(Answer::parse(&door.raw(with_length("/hold", &vec![b'x'; TOGETHER / 8 * 7])).await).status, 200);
}

#[tokio::test]
async fn a_handler_may_let_go_before_it_answers() {
    let door = door(256 * KIB, TOGETHER);
    let answer = Answer::parse(&door.raw(with_length("/let-go", &vec![b'x'; LARGE])).await);
    assert_eq!((answer.status, answer.body.as_str()), (200, "0"));
}
