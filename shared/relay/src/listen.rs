//! The listener at which other members of the mesh come for streams.

use std::pin::pin;
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

/// Serves a listener until `over`: each stream that a member opens is handed to `on_stream` with its head. Whoever still has
/// agents lets members in that never were here before, so `over` may be later than the stop of the process.
pub async fn serve<H, F>(
    listener: TcpListener,
    tls: MeshTls,
    tasks: Tasks,
    over: impl Future<Output = ()> + Send,
    on_stream: H,
) where
    H: Fn(Bytes, Stream) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(tls.server);
    // A listener that refuses the option serves all the same: the tunnel's own pings notice who is gone.
    let _ = keep_alive(&listener);
    let mut over = pin!(over);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = &mut over => return,
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

#[cfg(test)]
mod tests {
    use roadstead_runtime::{Ids, Secret, SystemClock};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::oneshot;

    use super::*;

    /// Says its head to whoever asks.
    async fn say(head: Bytes, mut stream: Stream) {
        stream.write_all(&head).await.unwrap();
        stream.finish();
    }

    async fn ask(sessions: &crate::Sessions, address: &str) -> roadstead_contracts::Result<Vec<u8>> {
        let session = sessions.session(address).await?;
        let mut stream = session.open(Bytes::from_static(b"cluster"), roadstead_tunnel::Class::Bulk).unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).await.unwrap();
        Ok(said)
    }

    /// A replica with agents took nobody in any more from the signal on, so that they could not be reached from a front door
    /// that had not needed it before.
    #[tokio::test]
    async fn regression_a_stopping_member_takes_others_in_until_it_is_empty() {
        roadstead_runtime::install_crypto();
        let tls = MeshTls::derive(&Secret::new("x".repeat(32))).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (tasks, others) = (Tasks::new(), Tasks::new());
        let (drained, over) = oneshot::channel::<()>();
        let over = async move { drop(over.await) };
        tasks.spawn("relay", serve(listener, tls.clone(), tasks.clone(), over, say));
        tasks.stop();
        let sessions = || crate::Sessions::new(Ids::system(SystemClock::shared()), others.clone(), &tls);
        assert_eq!(ask(&sessions(), &address).await.unwrap(), b"cluster");
        drop(drained);
        tasks.finish(Duration::from_secs(5)).await;
        assert_eq!(ask(&sessions(), &address).await.unwrap_err().code, roadstead_contracts::Code::Unavailable);
    }
}
