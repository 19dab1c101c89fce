//! The listener at which other members of the mesh come for streams.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roadstead_auth::mesh_tls::MeshTls;
use roadstead_runtime::Tasks;
use roadstead_runtime::sockets::keep_alive;
use roadstead_tunnel::transport::Framed;
use roadstead_tunnel::{Event, Options, Role, Stream, start};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// Connections of other members: each front door holds a few.
const CONNECTIONS: usize = 1_024;
/// Longest handshake of such a connection.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Pause when no connection can be accepted: out of descriptors, some will come free.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves a listener until the process stops: each stream that a member opens is handed to `on_stream` with its head.
pub async fn serve<H, F>(listener: TcpListener, tls: MeshTls, tasks: Tasks, on_stream: H)
where
    H: Fn(Bytes, Stream) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(tls.server);
    // A listener that refuses the option serves all the same: the tunnel's own pings notice who is gone.
    let _ = keep_alive(&listener);
    let stopping = tasks.stopping();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = stopping.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, _)) => {
                let (acceptor, serving, on_stream) = (acceptor.clone(), tasks.clone(), on_stream.clone());
                tasks.spawn("relay-connection", async move {
                    connection(acceptor, socket, &serving, on_stream).await;
                    drop(place);
                });
            }
            Err(fault) => {
                tracing::warn!("failed to accept a connection of the mesh: {fault}");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn connection<H, F>(acceptor: TlsAcceptor, socket: TcpStream, tasks: &Tasks, on_stream: H)
where
    H: Fn(Bytes, Stream) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let _ = socket.set_nodelay(true);
    let socket = match timeout(HANDSHAKE, acceptor.accept(socket)).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(fault)) => return tracing::warn!("somebody who is no member of the mesh was turned away: {fault}"),
        Err(_) => return,
    };
    let (session, mut incoming) = start(Framed::new(socket), Role::Agent, Options::default(), tasks);
    while let Some(event) = incoming.next().await {
        if let Event::Stream { head, stream } = event {
            tasks.spawn("relay-stream", on_stream(head, stream));
        }
    }
    tracing::debug!("a connection of the mesh ended: {:?}", session.close_reason());
}
