//! A proxy that breaks the connection: at every byte of the WebSocket's handshake and of a short exchange behind it, so at
//! every frame's boundary too, in either direction; by closing it, and by swallowing what comes without a word.
//!
//! Whatever is cut where: nobody waits for longer than the limits say, both sides learn that it is over, and nobody takes half
//! of what was said for all of it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use roadstead_runtime::{Ids, SystemClock, Tasks};
use roadstead_tunnel::door::{self, Reply};
use roadstead_tunnel::{Class, Event, Incoming, Options, Role, Session, start, ws};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

const PROTOCOL: &str = "roadstead.tunnel.v1";
const QUESTION: &[u8] = b"what does the harbour master say?";
/// Longer than one small frame, so that a cut falls into its middle often.
const ANSWER: [u8; 300] = [7; 300];
/// A connection that was closed is noticed at once: this is virtual time, spent only by waiting.
const AT_ONCE: Duration = Duration::from_millis(100);
/// A connection that fell silent is noticed by the limits of the handshake (10 s) and of the session (20 s).
const IN_SILENCE: Duration = Duration::from_secs(35);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    ToHub,
    ToAgent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Closed,
    Silent,
}

/// Where it breaks: behind so many bytes in one direction.
#[derive(Debug, Clone, Copy)]
struct Cut {
    side: Side,
    after: usize,
    how: How,
}

/// The agent's end of the connection, with the proxy in it.
struct Proxy {
    line: Option<DuplexStream>,
    cut: Option<Cut>,
    counts: Arc<Mutex<[usize; 2]>>,
    silent: bool,
    reader: Option<Waker>,
}

impl Proxy {
    /// Bytes that may still go this way.
    fn left(&self, side: Side) -> usize {
        match self.cut {
            Some(cut) if cut.side == side => cut.after - self.counts.lock().unwrap()[side as usize],
            _ => usize::MAX,
        }
    }

    fn gone(&mut self, side: Side, bytes: usize) {
        self.counts.lock().unwrap()[side as usize] += bytes;
        self.check();
    }

    fn check(&mut self) {
        let Some(cut) = self.cut else { return };
        if self.left(cut.side) == 0 && !self.silent {
            match cut.how {
                How::Closed => self.line = None,
                How::Silent => self.silent = true,
            }
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
    }
}

impl AsyncRead for Proxy {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check();
        self.reader = Some(context.waker().clone());
        if self.silent {
            return Poll::Pending;
        }
        let most = self.left(Side::ToAgent).min(out.remaining());
        // Every second one is told by the end, the others by an error, as networks do.
        let reset = self.cut.is_some_and(|cut| cut.after % 2 == 0);
        let Some(line) = self.line.as_mut() else {
            return if reset { Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())) } else { Poll::Ready(Ok(())) };
        };
        let mut space = vec![0; most];
        let mut part = ReadBuf::new(&mut space);
        let polled = Pin::new(line).poll_read(context, &mut part);
        if polled.is_ready() {
            out.put_slice(part.filled());
            let read = part.filled().len();
            self.gone(Side::ToAgent, read);
        }
        polled
    }
}

impl AsyncWrite for Proxy {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check();
        if self.silent {
            return Poll::Ready(Ok(bytes.len()));
        }
        let most = self.left(Side::ToHub).min(bytes.len());
        let Some(line) = self.line.as_mut() else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        let written = Pin::new(line).poll_write(context, &bytes[..most]);
        if let Poll::Ready(Ok(count)) = &written {
            self.gone(Side::ToHub, *count);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line.as_mut().map_or(Poll::Ready(Ok(())), |line| Pin::new(line).poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line.as_mut().map_or(Poll::Ready(Ok(())), |line| Pin::new(line).poll_shutdown(context))
    }
}

/// A dial and an exchange through the proxy. Answers the bytes that went to the hub and to the agent.
async fn exchange(cut: Option<Cut>) -> [usize; 2] {
    let tasks = Tasks::new();
    let (near, far) = duplex(16 * 1024);
    let counts = Arc::new(Mutex::new([0; 2]));
    let proxy = Proxy { line: Some(near), cut, counts: Arc::clone(&counts), silent: false, reader: None };
    let limit = if cut.is_some_and(|cut| cut.how == How::Silent) { IN_SILENCE } else { AT_ONCE };

    let (dialled, accepted) = oneshot::channel();
    let accepting = hub(far, dialled, tasks.clone());
    let began = Instant::now();
    let ids = Ids::system(SystemClock::shared());
    let uri = "http://hub.example/agent/v1/connect".parse().unwrap();
    let dialling = ws::client(proxy, &uri, PROTOCOL, HeaderMap::new(), &ids);
    let agent = async {
        let Ok(dialled) = dialling.await else { return Err("the handshake failed") };
        let (session, incoming) = start(dialled.socket, Role::Agent, Options::default(), &tasks);
        answer(session, incoming).await
    };
    let asking = async {
        // A connection that broke before it was a WebSocket is nothing to the hub.
        let (session, incoming) = accepted.await.map_err(|_| "nobody dialled")?;
        ask(session, incoming).await
    };
    let (served, answered, asked) =
        tokio::join!(timeout(limit, accepting), timeout(limit, agent), timeout(limit, asking),);
    let place = format!("{cut:?}, {:?} later", began.elapsed());
    assert!(served.is_ok(), "the door still holds the connection: {place}");
    let answered = answered.unwrap_or_else(|_| panic!("the agent still waits: {place}"));
    let asked = asked.unwrap_or_else(|_| panic!("the hub still waits: {place}"));
    if cut.is_none() {
        assert_eq!((answered, asked), (Ok(()), Ok(())));
    }
    tasks.cut();
    let [to_hub, to_agent] = *counts.lock().unwrap();
    [to_hub, to_agent]
}

fn hub(io: DuplexStream, dialled: oneshot::Sender<(Session, Incoming)>, tasks: Tasks) -> impl Future<Output = ()> {
    let dialled = Arc::new(Mutex::new(Some(dialled)));
    door::connection(io, move |request| {
        let (dialled, tasks) = (Arc::clone(&dialled), tasks.clone());
        let accepted = ws::accept(&request, &[PROTOCOL]).unwrap();
        std::future::ready(Reply::Upgrade(
            accepted,
            Box::new(move |socket| {
                let started = start(socket, Role::Hub, Options::default(), &tasks);
                if let Some(dialled) = dialled.lock().unwrap().take() {
                    let _ = dialled.send(started);
                }
            }),
        ))
    })
}

/// The hub: asks on a stream, and reads an answer that is whole or broken.
async fn ask(session: Session, mut incoming: Incoming) -> Result<(), &'static str> {
    let outcome = async {
        let mut stream = session.open(Bytes::from_static(b"head"), Class::Interactive).map_err(|_| "no stream")?;
        stream.write_all(QUESTION).await.map_err(|_| "the question broke off")?;
        stream.finish();
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.map_err(|_| "the answer broke off")?;
        assert_eq!(read, ANSWER, "half an answer was taken for a whole one");
        session.notify(Bytes::from_static(b"thanks")).map_err(|_| "no thanks")
    }
    .await;
    if outcome.is_ok() {
        session.close("done");
    }
    // Whatever broke, the end is told.
    session.closed().await;
    while incoming.next().await.is_some() {}
    assert!(session.open(Bytes::new(), Class::Bulk).is_err());
    outcome
}

/// The agent: reads a question that is whole or broken, and answers it.
async fn answer(session: Session, mut incoming: Incoming) -> Result<(), &'static str> {
    let mut outcome = Err("no question came");
    while let Some(event) = incoming.next().await {
        let Event::Stream { head, mut stream } = event else { continue };
        assert_eq!(head, b"head".as_slice());
        let mut read = Vec::new();
        if stream.read_to_end(&mut read).await.is_ok() {
            assert_eq!(read, QUESTION, "half a question was taken for a whole one");
            let written = stream.write_all(&ANSWER).await;
            stream.finish();
            outcome = written.map_err(|_| "the answer broke off");
        } else {
            outcome = Err("the question broke off");
        }
    }
    session.closed().await;
    outcome
}

/// Every place: each byte of each direction, before the first and behind the last too.
async fn everywhere(how: How, step: usize) {
    let [to_hub, to_agent] = exchange(None).await;
    assert!(to_hub > 500 && to_agent > 250, "{to_hub} and {to_agent} bytes");
    for (side, bytes) in [(Side::ToHub, to_hub), (Side::ToAgent, to_agent)] {
        for after in (0..=bytes).step_by(step) {
            exchange(Some(Cut { side, after, how })).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_closed_at_any_byte_is_noticed_at_once() {
    everywhere(How::Closed, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_falls_silent_at_any_byte_is_noticed_in_time() {
    everywhere(How::Silent, 1).await;
}
