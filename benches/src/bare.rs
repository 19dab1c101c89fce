//! Our tunnel with nothing around it: a hub that takes an agent and joins each connection of a client to a stream, an
//! agent that joins each stream to a connection to the backend. What other tunnels do, and nothing more.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::{Buf as _, Bytes};
use http::{HeaderMap, Response};
use roadstead_contracts::agent::{CONNECT_PATH, SUBPROTOCOL};
use roadstead_runtime::{Ids, SystemClock, Tasks};
use roadstead_tunnel::door::{self, Reply};
use roadstead_tunnel::{Class, Event, Options, Role, Session, Stream, start, ws};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// Read at once from a connection; as much as one batch of the tunnel.
const BUFFER: usize = 32 * 1024;
/// Wait between dials.
const AGAIN: Duration = Duration::from_millis(50);

type Held = Arc<Mutex<Option<Session>>>;

/// The hub: agents dial one port, clients the others, by how large the answers are that they want.
pub async fn hub(agents: SocketAddr, clients: SocketAddr, bulk: SocketAddr, tasks: &Tasks) -> Result<()> {
    let held = Held::default();
    let door = TcpListener::bind(agents).await.context("failed to listen for agents")?;
    let (owner, own) = (Arc::clone(&held), tasks.clone());
    tasks.spawn("agents", async move {
        let inner = own.clone();
        door::serve(door, &own, door::plain, move |request, _| {
            let reply = match ws::accept(&request, &[SUBPROTOCOL]) {
                Ok(accepted) => {
                    let (held, tasks) = (Arc::clone(&owner), inner.clone());
                    Reply::Upgrade(
                        accepted,
                        Box::new(move |socket| {
                            let (session, mut incoming) = start(socket, Role::Hub, Options::default(), &tasks);
                            *held.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
                            tasks.spawn("incoming", async move { while incoming.next().await.is_some() {} });
                        }),
                    )
                }
                Err(refusal) => {
                    let mut response = Response::new(Bytes::new());
                    *response.status_mut() = refusal.status();
                    Reply::Answer(response)
                }
            };
            std::future::ready(reply)
        })
        .await;
    });
    let bulk = accept(bulk, Class::Bulk, Arc::clone(&held), tasks.clone());
    tokio::try_join!(accept(clients, Class::Interactive, held, tasks.clone()), bulk)?;
    Ok(())
}

/// Joins each connection to a stream of a class.
async fn accept(clients: SocketAddr, class: Class, held: Held, tasks: Tasks) -> Result<()> {
    let listener = TcpListener::bind(clients).await.context("failed to listen for clients")?;
    loop {
        let (client, _) = listener.accept().await.context("failed to accept")?;
        client.set_nodelay(true)?;
        let session = held.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Without an agent the connection just ends: the load tries again.
        let Some(session) = session else { continue };
        let Ok(stream) = session.open(Bytes::from_static(b"bare"), class) else { continue };
        tasks.spawn("client", carry(client, stream));
    }
}

/// The agent: dials until it is let in, then serves.
pub async fn agent(hub: SocketAddr, backend: SocketAddr, tasks: &Tasks) -> Result<()> {
    let ids = Ids::system(SystemClock::shared());
    let uri = format!("http://{hub}{CONNECT_PATH}").parse()?;
    loop {
        let Ok(io) = TcpStream::connect(hub).await else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        io.set_nodelay(true)?;
        let Ok(dialled) = ws::client(io, &uri, SUBPROTOCOL, HeaderMap::new(), &ids).await else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        let (_session, mut incoming) = start(dialled.socket, Role::Agent, Options::default(), tasks);
        while let Some(event) = incoming.next().await {
            let Event::Stream { stream, .. } = event else { continue };
            tasks.spawn("stream", async move {
                if let Ok(connection) = TcpStream::connect(backend).await {
                    let _ = connection.set_nodelay(true);
                    carry(connection, stream).await;
                }
            });
        }
    }
}

/// Joins a connection and a stream until both directions have ended or one broke.
async fn carry(mut connection: TcpStream, mut stream: Stream) {
    let mut there = There { buffer: vec![0; BUFFER], from: 0, to: 0, ended: false };
    let mut back = Back { chunk: Bytes::new(), ended: false };
    // How it ended is the two ends' business: both see it.
    let _ = poll_fn(|context| {
        let there = there.poll(&mut connection, &mut stream, context)?;
        let back = back.poll(&mut stream, &mut connection, context)?;
        if there.is_ready() && back.is_ready() { Poll::Ready(Ok::<_, io::Error>(())) } else { Poll::Pending }
    })
    .await;
}

/// From the connection into the stream.
struct There {
    buffer: Vec<u8>,
    from: usize,
    to: usize,
    ended: bool,
}

impl There {
    fn poll(
        &mut self,
        connection: &mut TcpStream,
        stream: &mut Stream,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.ended {
            if self.from < self.to {
                let rest = self.buffer.get(self.from..self.to).unwrap_or_default();
                self.from += ready!(Pin::new(&mut *stream).poll_write(context, rest))?;
                continue;
            }
            let mut space = ReadBuf::new(&mut self.buffer);
            ready!(Pin::new(&mut *connection).poll_read(context, &mut space))?;
            (self.from, self.to) = (0, space.filled().len());
            if self.to == 0 {
                stream.finish();
                self.ended = true;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// From the stream into the connection.
struct Back {
    chunk: Bytes,
    ended: bool,
}

impl Back {
    fn poll(
        &mut self,
        stream: &mut Stream,
        connection: &mut TcpStream,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.ended {
            if !self.chunk.is_empty() {
                let written = ready!(Pin::new(&mut *connection).poll_write(context, &self.chunk))?;
                self.chunk.advance(written);
                continue;
            }
            if let Some(chunk) = ready!(stream.poll_chunk(context, usize::MAX))? {
                self.chunk = chunk;
            } else {
                ready!(Pin::new(&mut *connection).poll_shutdown(context))?;
                self.ended = true;
            }
        }
        Poll::Ready(Ok(()))
    }
}
