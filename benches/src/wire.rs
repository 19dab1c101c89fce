//! A load that goes its way through a tunnel: plain TCP, a Unix socket with `CONNECT` first, or TLS.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::backend::{BULK, now_us};
use crate::load::{Slice, exchange};

/// Longest small answer.
const ANSWER_MAX: usize = 64 * 1024;
/// Read at once of a large answer.
const BULK_BUFFER: usize = 256 * 1024;
/// Longest head of an answer.
const HEAD_MAX: usize = 16 * 1024;
/// What a reader takes before it stops.
const STALLED_AFTER: usize = 64 * 1024;
/// No connection takes longer to open.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// An answer that is not there after this long counts as a fault.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// A connection of any kind.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// How the server is reached.
#[derive(Clone)]
pub enum Way {
    /// At this address.
    Tcp(SocketAddr),
    /// Behind a proxy at a Unix socket, which is asked for this address.
    Connect(PathBuf, SocketAddr),
    /// By TLS at this address.
    Tls(SocketAddr, Arc<rustls::ClientConfig>),
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Connect(socket, address) => write!(f, "{address} by {}", socket.display()),
            Self::Tls(address, _) => write!(f, "{address} by TLS"),
        }
    }
}

impl Way {
    async fn open(&self) -> Result<Box<dyn Wire>> {
        let opening = async {
            Ok::<Box<dyn Wire>, anyhow::Error>(match self {
                Self::Tcp(address) => Box::new(tcp(*address).await?),
                Self::Connect(socket, address) => {
                    let mut stream = UnixStream::connect(socket).await?;
                    let asked = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n");
                    stream.write_all(asked.as_bytes()).await?;
                    let head = head(&mut stream).await?;
                    ensure!(head.contains(" 200 "), "the proxy answered {head:?}");
                    Box::new(stream)
                }
                Self::Tls(address, config) => {
                    let name = ServerName::from(address.ip());
                    Box::new(TlsConnector::from(Arc::clone(config)).connect(name, tcp(*address).await?).await?)
                }
            })
        };
        tokio::time::timeout(OPEN_LIMIT, opening).await.context("no connection in time")?
    }
}

async fn tcp(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("failed to connect to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads to the end of a head, byte by byte so that nothing behind it is taken.
async fn head<S: AsyncRead + Unpin + ?Sized>(stream: &mut S) -> Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < HEAD_MAX, "the head is too long");
        head.push(stream.read_u8().await.context("the connection ended")?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// What is asked.
#[derive(Clone)]
pub struct Asking {
    /// How the server is reached.
    pub way: Way,
    /// Path.
    pub path: String,
    /// Header lines, each with its end; each connection goes through them in turn.
    pub headers: Vec<String>,
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers hold credentials.
        write!(f, "{} of {:?}", self.path, self.way)
    }
}

impl Asking {
    /// Without headers.
    pub fn new(way: Way, path: &str) -> Self {
        Self { way, path: path.to_owned(), headers: vec![String::new()] }
    }

    /// The same with another path behind it.
    #[must_use]
    pub fn at(&self, path: &str) -> Self {
        Self { path: format!("{}{path}", self.path), ..self.clone() }
    }

    fn turn(&self, number: usize) -> &str {
        self.headers.get(number % self.headers.len().max(1)).map_or("", String::as_str)
    }

    fn request(&self, headers: &str) -> Vec<u8> {
        format!("GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n", self.path).into_bytes()
    }
}

/// Small answers in a closed loop over so many kept connections, for so long.
pub async fn small(asking: &Asking, connections: usize, time: Duration) -> Result<Slice> {
    let mut streams = Vec::new();
    for _ in 0..connections {
        streams.push(asking.way.open().await.with_context(|| format!("no way to {:?}", asking.way))?);
    }
    let requests: Vec<Vec<u8>> = asking.headers.iter().map(|headers| asking.request(headers)).collect();
    let requests: Arc<[Vec<u8>]> = requests.into();
    let mut set = JoinSet::new();
    let began = Instant::now();
    let until = began + time;
    for (number, stream) in streams.into_iter().enumerate() {
        let requests = Arc::clone(&requests);
        set.spawn(async move { one(stream, &requests, number, connections, until).await });
    }
    let mut all = Slice::default();
    while let Some(done) = set.join_next().await {
        let slice = done.context("a connection's task failed")?;
        all.answers += slice.answers;
        all.faults += slice.faults;
        all.times.extend(slice.times);
    }
    all.took = began.elapsed();
    Ok(all)
}

async fn one(
    mut stream: Box<dyn Wire>,
    requests: &[Vec<u8>],
    number: usize,
    connections: usize,
    until: Instant,
) -> Slice {
    let mut slice = Slice::default();
    let mut buffer = vec![0; ANSWER_MAX];
    let mut turn = number;
    while Instant::now() < until {
        let began = Instant::now();
        let Some(request) = requests.get(turn % requests.len().max(1)) else { break };
        turn += connections;
        let answered = async {
            stream.write_all(request).await?;
            exchange(&mut stream, &mut buffer).await
        };
        match tokio::time::timeout(ANSWER_LIMIT, answered).await {
            Ok(Ok(true)) => {
                slice.answers += 1;
                slice.times.push(began.elapsed());
            }
            Ok(Ok(false)) => slice.faults += 1,
            // A broken or stuck connection is not taken up again: its time is lost to the contender.
            Ok(Err(_)) | Err(_) => {
                slice.faults += 1;
                break;
            }
        }
    }
    slice
}

/// What large answers came to.
#[derive(Debug, Clone, Copy)]
pub struct Moved {
    /// Bytes of bodies.
    pub bytes: u64,
    /// Time.
    pub took: Duration,
}

impl Moved {
    /// Megabytes a second.
    #[expect(clippy::cast_precision_loss, reason = "bytes far below 2^52")]
    pub fn megabytes_a_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.took.as_secs_f64()
    }
}

/// Large answers over so many connections, for so long.
pub async fn bulk(asking: &Asking, connections: usize, time: Duration) -> Result<Moved> {
    let bytes = Arc::new(AtomicU64::new(0));
    // Nobody asks before all are open: one that is not read may hold up others.
    let mut streams = Vec::new();
    for _ in 0..connections {
        streams.push(asking.way.open().await?);
    }
    let mut set = JoinSet::new();
    let began = Instant::now();
    for mut stream in streams {
        let (asking, bytes) = (asking.clone(), Arc::clone(&bytes));
        set.spawn(async move {
            let mut buffer = vec![0; BULK_BUFFER];
            loop {
                ask(&asking, &mut stream).await?;
                let mut left = BULK;
                while left > 0 {
                    let read = stream.read(&mut buffer).await?;
                    ensure!(read > 0, "a large answer ended early, {left} bytes before its end");
                    ensure!(buffer.first() == Some(&b'x'), "the bytes came changed");
                    left = left.saturating_sub(read as u64);
                    bytes.fetch_add(read as u64, Ordering::Relaxed);
                }
            }
        });
    }
    // The tasks end only by a fault.
    let ended: Option<Result<Result<()>, _>> = tokio::time::timeout(time, set.join_next()).await.ok().flatten();
    let moved = Moved { bytes: bytes.load(Ordering::Relaxed), took: began.elapsed() };
    match ended {
        Some(Ok(Err(fault))) => Err(fault),
        Some(_) => bail!("a reader ended"),
        None => Ok(moved),
    }
}

/// Asks for a large answer and reads its head.
async fn ask(asking: &Asking, stream: &mut Box<dyn Wire>) -> Result<()> {
    stream.write_all(&asking.request(asking.turn(0))).await?;
    let head = tokio::time::timeout(OPEN_LIMIT, head(stream)).await.context("no answer in time")??;
    ensure!(head.starts_with("HTTP/1.1 200"), "answered {head:?}");
    Ok(())
}

/// A reader of a large answer that stops; it goes with the value.
pub async fn stalled(asking: &Asking) -> Result<Box<dyn Wire>> {
    let mut stream = asking.way.open().await?;
    ask(asking, &mut stream).await?;
    let mut some = vec![0; STALLED_AFTER];
    stream.read_exact(&mut some).await.context("the large answer ended early")?;
    Ok(stream)
}

/// Asks and never reads, not even the head.
pub async fn deaf(asking: &Asking, number: usize) -> Result<Box<dyn Wire>> {
    let mut stream = asking.way.open().await?;
    stream.write_all(&asking.request(asking.turn(number))).await?;
    Ok(stream)
}

/// So many watches for so long: how old each event was when it was read.
pub async fn watches(asking: &Asking, connections: usize, time: Duration) -> Result<Vec<Duration>> {
    let mut set = JoinSet::new();
    let mut streams = Vec::new();
    for number in 0..connections {
        let mut stream = asking.way.open().await?;
        stream.write_all(&asking.request(asking.turn(number))).await?;
        let head = tokio::time::timeout(OPEN_LIMIT, head(&mut stream)).await.context("no answer in time")??;
        ensure!(head.starts_with("HTTP/1.1 200"), "answered {head:?}");
        streams.push(stream);
    }
    // What came while they were opened waited for its reader.
    let began = now_us();
    for mut stream in streams {
        set.spawn(async move {
            let mut ages = Vec::new();
            let mut buffer = vec![0; HEAD_MAX];
            let reading = async {
                loop {
                    let read = stream.read(&mut buffer).await?;
                    ensure!(read > 0, "a watch ended");
                    let now = now_us();
                    let text = String::from_utf8_lossy(buffer.get(..read).unwrap_or_default());
                    for part in text.split("\"at\":").skip(1) {
                        let sent: u64 = part.split('}').next().unwrap_or_default().parse().context("half an event")?;
                        if sent > began {
                            ages.push(Duration::from_micros(now.saturating_sub(sent)));
                        }
                    }
                }
            };
            let ended: Result<Result<()>, _> = tokio::time::timeout(time, reading).await;
            ended.map_or(Ok(()), |ended| ended).map(|()| ages)
        });
    }
    let mut all = Vec::new();
    while let Some(done) = set.join_next().await {
        all.extend(done.context("a watch's task failed")??);
    }
    Ok(all)
}
