//! Streams between members of the mesh: the listener at which other services reach the agents of this replica.
//!
//! Mutual TLS derived from the mesh secret, the tunnel's frames inside, the dialler as hub. A stream names a cluster; it is
//! joined to a stream to the cluster's agent, chunk by chunk and with credit on both sides, so that a stalled reader at one
//! end stops its writer at the other and nobody else. Who may ask was decided by the member that dials.

mod address;
mod splice;

use std::sync::Arc;

use bytes::Bytes;
use roadstead_auth::mesh_tls::MeshTls;
use roadstead_contracts::agent::{RELAY_OPEN, RELAY_REFUSED, RelayHead};
use roadstead_contracts::{Code, Error, Result};
use roadstead_tunnel::transport::Framed;
use roadstead_tunnel::{Class, Event, Options, Role, Stream, start};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::app::App;
use crate::limits::{RELAY_CONNECTIONS, RELAY_HANDSHAKE, RELAY_PAUSE};

pub(crate) use address::advertised;

/// Serves the listener until the process stops.
pub(crate) async fn serve(app: Arc<App>, listener: TcpListener, tls: MeshTls) {
    let acceptor = TlsAcceptor::from(tls.server);
    let stopping = app.tasks.stopping();
    let places = Arc::new(Semaphore::new(RELAY_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            // Streams that run go on until the drain has moved their agents.
            () = stopping.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, _)) => {
                let (app, acceptor) = (Arc::clone(&app), acceptor.clone());
                app.tasks.clone().spawn("relay-connection", async move {
                    connection(&app, acceptor, socket).await;
                    drop(place);
                });
            }
            Err(fault) => {
                tracing::warn!("failed to accept a connection of the mesh: {fault}");
                sleep(RELAY_PAUSE).await;
            }
        }
    }
}

async fn connection(app: &Arc<App>, acceptor: TlsAcceptor, socket: TcpStream) {
    let _ = socket.set_nodelay(true);
    let socket = match timeout(RELAY_HANDSHAKE, acceptor.accept(socket)).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(fault)) => return tracing::warn!("somebody who is no member of the mesh was turned away: {fault}"),
        Err(_) => return,
    };
    let (session, mut incoming) = start(Framed::new(socket), Role::Agent, Options::default(), &app.tasks);
    while let Some(event) = incoming.next().await {
        if let Event::Stream { head, stream } = event {
            let app = Arc::clone(app);
            app.tasks.clone().spawn("relay-stream", async move { relay(&app, &head, stream).await });
        }
    }
    tracing::debug!("a connection of the mesh ended: {:?}", session.close_reason());
}

async fn relay(app: &App, head: &Bytes, mut caller: Stream) {
    match open(app, head) {
        Ok(agent) => {
            if caller.write_all(&[RELAY_OPEN]).await.is_ok() {
                splice::splice(caller, agent).await;
            }
        }
        Err(error) => {
            let mut answer = vec![RELAY_REFUSED];
            answer.extend(serde_json::to_vec(&error).unwrap_or_default());
            // The caller may be gone already.
            let _ = caller.write_all(&answer).await;
            caller.finish();
        }
    }
}

fn open(app: &App, head: &[u8]) -> Result<Stream> {
    let head: RelayHead = serde_json::from_slice(head).map_err(|_| Error::of(Code::BadRequest))?;
    let class = if head.interactive { Class::Interactive } else { Class::Bulk };
    app.open_stream_now(head.cluster_id, &head.head, class)
}
