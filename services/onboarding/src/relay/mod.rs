//! Streams between members of the mesh: the listener at which other services reach the agents of this replica.
//!
//! Mutual TLS derived from the mesh secret, the tunnel's frames inside, the dialler as hub. A stream names a cluster; it is
//! joined to a stream to the cluster's agent, chunk by chunk and with credit on both sides, so that a stalled reader at one
//! end stops its writer at the other and nobody else. Who may ask was decided by the member that dials. Sessions in containers
//! go through a recorder where they are recorded. Requests that must not ride a queue come here too ([`RelayCall`]).

mod splice;

use std::sync::Arc;

use bytes::Bytes;
use roadstead_auth::mesh_tls::MeshTls;
use roadstead_contracts::agent::{RELAY_OPEN, RELAY_REFUSED, RelayCall, RelayHead};
use roadstead_contracts::message::HANDOVER_REQUEST_MAX;
use roadstead_contracts::{Code, Error, Result};
use roadstead_tunnel::{Class, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::app::App;
use crate::limits::CALL_BODY_WAIT;
use crate::recording::Recorder;

/// Serves the listener until the drain is over: until then a member that was never here before may need an agent.
pub(crate) async fn serve(app: Arc<App>, listener: TcpListener, tls: MeshTls, drained: CancellationToken) {
    let tasks = app.tasks.clone();
    let on_stream = move |head: Bytes, stream: Stream| {
        let app = Arc::clone(&app);
        async move { relay(&app, &head, stream).await }
    };
    roadstead_relay::serve(listener, tls, tasks, drained.cancelled_owned(), on_stream).await;
}

async fn relay(app: &Arc<App>, head: &Bytes, mut caller: Stream) {
    if let Ok(call) = serde_json::from_slice::<RelayCall>(head) {
        return answer(app, &call, caller).await;
    }
    match open(app, head).await {
        Ok((agent, recorder)) => {
            if caller.write_all(&[RELAY_OPEN]).await.is_err() {
                return;
            }
            match recorder {
                Some(recorder) => recorder.record(caller, agent).await,
                None => splice::splice(caller, agent).await,
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

async fn open(app: &App, head: &[u8]) -> Result<(Stream, Option<Recorder>)> {
    let head: RelayHead = serde_json::from_slice(head).map_err(|_| Error::of(Code::BadRequest))?;
    let class = if head.interactive { Class::Interactive } else { Class::Bulk };
    let recorder = Recorder::for_session(app, head.session.as_ref(), &head.head.request_id).await?;
    match app.open_stream_now(head.cluster_id, &head.head, class) {
        Ok(agent) => Ok((agent, recorder)),
        Err(error) => {
            if let Some(recorder) = recorder {
                recorder.abandon().await;
            }
            Err(error)
        }
    }
}

/// A request that must not ride a queue. Its body and its answer are bounded by the reader's and the writer's own limits.
async fn answer(app: &Arc<App>, call: &RelayCall, mut caller: Stream) {
    let mut body = Zeroizing::new(Vec::new());
    let most = HANDOVER_REQUEST_MAX as u64 + 1;
    if timeout(CALL_BODY_WAIT, (&mut caller).take(most).read_to_end(&mut body)).await.is_err() {
        return caller.reset(roadstead_tunnel::Code::TIMEOUT);
    }
    let reply = crate::app::handover(app, &call.call, &body).await;
    tracing::debug!(request_id = %call.request_id, "a request was handed over");
    // The caller may be gone already.
    let _ = caller.write_all(&[RELAY_OPEN]).await;
    let _ = caller.write_all(&reply).await;
    caller.finish();
}
