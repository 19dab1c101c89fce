//! The server behind every contender: HTTP/1.1 with as little work a request as can be, so that it is not what is measured.
//!
//! It answers whatever is asked: paths with [`BULK_PATH`] with [`BULK`] bytes, `/version` as an API server does, whether
//! somebody may do something with yes, all else with a list of [`SMALL`] bytes, so that an agent takes it for a cluster. A watch (`watch=`) tells an event each [`EVENT_EVERY`],
//! with the time at which it was sent.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use roadstead_runtime::Tasks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Bytes of a small answer's body.
pub const SMALL: usize = 2 * 1024;
/// Bytes of a large answer's body: more than any tunnel keeps, so a reader that stops stops its writer.
pub const BULK: u64 = 512 << 20;
/// In the paths with large answers.
pub const BULK_PATH: &str = "/bulk";
/// Bytes written at once of a large answer.
const CHUNK: usize = 64 * 1024;
/// Time between two events of a watch.
pub const EVENT_EVERY: Duration = Duration::from_secs(1);
/// Longest request head.
const HEAD_MAX: usize = 16 * 1024;

struct Answers {
    small: Vec<u8>,
    version: Vec<u8>,
    review: Vec<u8>,
    chunk: Vec<u8>,
}

fn answer(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, tasks: Tasks) -> Result<()> {
    let list = r#"{"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[],"padding":""#;
    let small = format!("{list}{}\"}}", "x".repeat(SMALL - list.len() - 2));
    let version = r#"{"major":"1","minor":"36","gitVersion":"v1.36.3","platform":"linux/amd64"}"#;
    let review = r#"{"kind":"SelfSubjectAccessReview","apiVersion":"authorization.k8s.io/v1","metadata":{},"spec":{},"status":{"allowed":true}}"#;
    let chunk = vec![b'x'; CHUNK];
    let answers = Arc::new(Answers { small: answer(&small), version: answer(version), review: answer(review), chunk });
    loop {
        let (stream, _) = listener.accept().await.context("failed to accept")?;
        stream.set_nodelay(true)?;
        let answers = Arc::clone(&answers);
        tasks.spawn("backend", async move {
            // Whoever hangs up has seen enough.
            let _ = connection(stream, &answers).await;
        });
    }
}

async fn connection(mut stream: TcpStream, answers: &Answers) -> std::io::Result<()> {
    let mut buffer = vec![0; HEAD_MAX];
    let mut have = 0;
    loop {
        let read = stream.read(buffer.get_mut(have..).unwrap_or_default()).await?;
        if read == 0 {
            return Ok(());
        }
        have += read;
        // One request at a time: nobody here sends a second before the answer.
        let asked = buffer.get(..have).unwrap_or_default();
        if !asked.ends_with(b"\r\n\r\n") && !has_body(asked) {
            continue;
        }
        let path = asked.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        have = 0;
        if find(path, BULK_PATH.as_bytes()) {
            stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {BULK}\r\n\r\n").as_bytes()).await?;
            for _ in 0..BULK / CHUNK as u64 {
                stream.write_all(&answers.chunk).await?;
            }
        } else if path.ends_with(b"/version") {
            stream.write_all(&answers.version).await?;
        } else if path.ends_with(b"/selfsubjectaccessreviews") {
            stream.write_all(&answers.review).await?;
        } else if find(path, b"watch=") {
            return watch(stream).await;
        } else {
            stream.write_all(&answers.small).await?;
        }
    }
}

/// Events until the reader hangs up.
async fn watch(mut stream: TcpStream) -> std::io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    let mut ticks = tokio::time::interval(EVENT_EVERY);
    loop {
        ticks.tick().await;
        let event = format!("{{\"type\":\"BOOKMARK\",\"object\":{{\"at\":{}}}}}\n", now_us());
        stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await?;
    }
}

/// Microseconds on the clock that all processes of this machine share.
pub fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// Whether a request with a body is there; an agent asks what it may do.
fn has_body(asked: &[u8]) -> bool {
    asked.starts_with(b"P") && find(asked, b"\r\n\r\n")
}

fn find(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}
