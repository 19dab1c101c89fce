//! The door that agents dial: HTTP/1.1 with plain answers and upgrades to WebSocket on one listener.
//!
//! A connection is one task until it is upgraded; then [`Reply::Upgrade`] hands the WebSocket to its owner and the task
//! and all that HTTP needed are gone.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use roadstead_runtime::Tasks;
use roadstead_runtime::sockets::keep_alive;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::lines::Lines;
use crate::ws::{Accepted, WebSocket};

/// Longest request head. An assertion and a few headers; hyper takes no less than 8 KiB.
const HEAD_MAX: usize = 16 * 1024;
/// Most headers of a request.
const HEADERS_MAX: usize = 64;
/// Longest body: an enrolment with 64 labels is half of it.
const BODY_MAX: usize = 64 * 1024;
/// A head must be there within this time, TLS included before it (reliability row W05).
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// A body, and the owner's answer, must be there within this time.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(30);
/// Connections that are not yet upgraded. More wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 4_096;
/// Wait after a failed accept (out of descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What to do with a request.
pub enum Reply<IO> {
    /// Answer it.
    Answer(Response<Bytes>),
    /// Make it a WebSocket; the function gets it once the answer is out.
    Upgrade(Accepted, Box<dyn FnOnce(WebSocket<IO>) + Send>),
}

impl<IO> std::fmt::Debug for Reply<IO> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answer(response) => write!(f, "Answer({})", response.status()),
            Self::Upgrade(..) => f.write_str("Upgrade"),
        }
    }
}

type Slot<IO> = Arc<Mutex<Option<(OnUpgrade, Box<dyn FnOnce(WebSocket<IO>) + Send>)>>>;

/// Accepts connections until the tasks stop. `wrap` makes the connection usable (TLS, or nothing: [`plain`]); it counts
/// against [`HEAD_LIMIT`]. Handlers get the peer's address.
pub async fn serve<IO, W, WF, H, HF>(listener: TcpListener, tasks: &Tasks, wrap: W, handler: H)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    W: Fn(TcpStream) -> WF + Clone + Send + 'static,
    WF: Future<Output = io::Result<IO>> + Send,
    H: Fn(Request<Bytes>, SocketAddr) -> HF + Clone + Send + Sync + 'static,
    HF: Future<Output = Reply<IO>> + Send,
{
    let stopping = tasks.stopping();
    // A listener that refuses the option serves all the same: the tunnel's own pings notice who is gone.
    let _ = keep_alive(&listener);
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => return,
            accepted = async {
                let permit = Arc::clone(&room).acquire_owned().await;
                (permit, listener.accept().await)
            } => accepted,
        };
        let (Ok(permit), accepted) = accepted else { return };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("failed to accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Frames are written when they are whole; waiting for more would only delay them.
        let _ = stream.set_nodelay(true);
        let (wrap, handler) = (wrap.clone(), handler.clone());
        tasks.spawn("agent-door", async move {
            let wrapped = tokio::time::timeout(HEAD_LIMIT, wrap(stream)).await;
            if let Ok(Ok(io)) = wrapped {
                connection(io, move |request| handler(request, peer)).await;
            }
            drop(permit);
        });
    }
}

/// A connection as it is, for [`serve`].
pub fn plain(stream: TcpStream) -> std::future::Ready<io::Result<TcpStream>> {
    std::future::ready(Ok(stream))
}

/// Serves one connection until it ends or is upgraded.
pub async fn connection<IO, H, HF>(io: IO, handler: H)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Bytes>) -> HF + Send + Sync,
    HF: Future<Output = Reply<IO>> + Send,
{
    let slot: Slot<IO> = Arc::default();
    let service = service_fn(|request| {
        let slot = Arc::clone(&slot);
        let handler = &handler;
        async move { Ok::<_, Infallible>(exchange(request, handler, &slot).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(Lines::new(io)), service)
        .with_upgrades();
    if let Err(error) = Box::pin(served).await {
        tracing::debug!("connection at the agents' door ended: {error}");
    }
    let waiting = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some((upgrade, owner)) = waiting else { return };
    let Ok(Ok(upgraded)) = tokio::time::timeout(HEAD_LIMIT, upgrade).await else { return };
    if let Ok(parts) = upgraded.downcast::<TokioIo<Lines<IO>>>() {
        owner(WebSocket::server(parts.io.into_inner().into_inner(), parts.read_buf));
    }
}

async fn exchange<IO, H, HF>(mut request: Request<Incoming>, handler: &H, slot: &Slot<IO>) -> Response<Full<Bytes>>
where
    H: Fn(Request<Bytes>) -> HF,
    HF: Future<Output = Reply<IO>>,
{
    let upgrade = hyper::upgrade::on(&mut request);
    let answered = tokio::time::timeout(EXCHANGE_LIMIT, async {
        let (head, body) = request.into_parts();
        let body = match Limited::new(body, BODY_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return Err(StatusCode::PAYLOAD_TOO_LARGE),
            Err(_) => return Err(StatusCode::BAD_REQUEST),
        };
        Ok(handler(Request::from_parts(head, body)).await)
    });
    match answered.await {
        Ok(Ok(Reply::Answer(response))) => last(response.map(Full::new)),
        Ok(Ok(Reply::Upgrade(accepted, owner))) => {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some((upgrade, owner));
            accepted.response().map(|()| Full::default())
        }
        Ok(Err(status)) => only(status),
        Err(_) => only(StatusCode::REQUEST_TIMEOUT),
    }
}

/// An answer without a body that also ends the connection: what follows it cannot be trusted.
fn only(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    last(response)
}

/// Ends the connection: agents make one request of it, and the line ends of one head are looked at ([`Lines`]). Not said by hyper's
/// own setting, which would say it beside an upgrade as well, and clients of the seeds take that for none.
fn last(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    response.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
    response
}
