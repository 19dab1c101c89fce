//! A closed loop of HTTP/1.1 GETs over kept connections: as little work a request as can be, so that it is not what is
//! measured.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Longest answer: the bodies that are compared are small.
const ANSWER_MAX: usize = 64 * 1024;

/// What one slice of load showed.
#[derive(Debug, Default)]
pub struct Slice {
    /// Good answers.
    pub answers: u64,
    /// Answers with another status, and lost connections.
    pub faults: u64,
    /// How long it took.
    pub took: Duration,
    /// Each request's time.
    pub times: Vec<Duration>,
}

impl Slice {
    /// Good answers a second. Contenders with more than one fault in a thousand have none.
    pub fn per_second(&self) -> Result<f64> {
        if self.faults * 1000 > self.answers {
            bail!("{} faults in {} answers", self.faults, self.answers);
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of a slice")]
        let answers = self.answers as f64;
        Ok(answers / self.took.as_secs_f64())
    }
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where.
    pub address: SocketAddr,
    /// Path with query.
    pub path: String,
    /// Header lines, each with its end.
    pub headers: String,
}

/// Asks over so many connections for so long.
pub async fn run(target: &Target, connections: usize, time: Duration) -> Result<Slice> {
    let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n{}\r\n", target.path, target.address, target.headers);
    let until = Instant::now() + time;
    let mut set = JoinSet::new();
    for _ in 0..connections {
        let (address, request) = (target.address, request.clone());
        set.spawn(async move { one(address, request.as_bytes(), until).await });
    }
    let began = Instant::now();
    let mut all = Slice::default();
    while let Some(done) = set.join_next().await {
        let slice = done.context("a connection's task failed")??;
        all.answers += slice.answers;
        all.faults += slice.faults;
        all.times.extend(slice.times);
    }
    all.took = began.elapsed();
    Ok(all)
}

async fn one(address: SocketAddr, request: &[u8], until: Instant) -> Result<Slice> {
    let mut slice = Slice::default();
    let mut stream = TcpStream::connect(address).await.with_context(|| format!("failed to connect to {address}"))?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; ANSWER_MAX];
    while Instant::now() < until {
        let began = Instant::now();
        stream.write_all(request).await?;
        if exchange(&mut stream, &mut buffer).await? {
            slice.answers += 1;
            slice.times.push(began.elapsed());
        } else {
            slice.faults += 1;
        }
    }
    Ok(slice)
}

/// Reads one answer with a content length or in chunks; whether its status was 200.
pub(crate) async fn exchange<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut [u8]) -> Result<bool> {
    let mut have = 0;
    loop {
        let read = stream.read(&mut buffer[have..]).await?;
        if read == 0 {
            bail!("the server closed the connection, or its answer is longer than {ANSWER_MAX} bytes");
        }
        have += read;
        let Some(head) = find(&buffer[..have], b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&buffer[..head]).context("the answer's head is not text")?;
        let field = |wanted: &str| {
            let mut fields = text.lines().filter_map(|line| line.split_once(':'));
            fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
        };
        let ok = text.starts_with("HTTP/1.1 200");
        let length: Option<usize> =
            field("content-length").map(str::parse).transpose().context("a length that is none")?;
        let chunked = field("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        if length.is_none() && !chunked {
            bail!("the answer has neither length nor chunks");
        }
        // Nothing follows the last chunk: one request at a time.
        while length.map_or(!buffer[..have].ends_with(b"\r\n0\r\n\r\n"), |length| have < head + 4 + length) {
            let read = stream.read(&mut buffer[have..]).await?;
            if read == 0 {
                bail!("the answer ended early");
            }
            have += read;
        }
        return Ok(ok);
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}
