//! HTTP/2 at the door, as kubectl and client-go speak it when they may: many requests on one connection, without upgrades
//! (those come on connections of their own, in HTTP/1.1). What a connection may cost is bounded here: streams at once,
//! heads, buffers, and requests that are taken back before they are answered (rapid reset, CVE-2023-44487).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper::{Request, Uri};
use hyper_util::rt::TokioTimer;
use roadstead_runtime::Tasks;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::relay::{AnswerBody, BoxError};
use super::{Door, HEAD_MAX, HEAD_TIME, IDLE_TIME};

/// Requests at once on one connection: as kube-apiserver's own server has it by default. Clients open another one beyond.
const STREAMS_MAX: u32 = 250;
/// What a client may send of one body before it is read, and of all of them.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What is kept of one answer for a client that does not take it: the rest waits in the cluster.
const SEND_BUFFER: usize = 64 * 1024;
/// A client that is gone without a word is noticed after both together, as on HTTP/1.1 by the kernel.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_LIMIT: Duration = Duration::from_secs(20);
/// Streams that were reset before they were taken up, and resets that we had to answer with, before the library hangs up.
const RESETS_PENDING_MAX: usize = 64;
const RESETS_LOCAL_MAX: usize = 256;
/// Requests that a client may take back before it has an answer: when a program with some hundred watches ends, it takes
/// all of them back at once. Beyond that, so many a second.
const TAKEN_BACK_BURST: u32 = 512;
const TAKEN_BACK_EVERY: Duration = Duration::from_millis(50);

/// Starts the library's own tasks: one for each request that is under way.
#[derive(Debug, Clone)]
struct Starter(Tasks);

impl<F> hyper::rt::Executor<F> for Starter
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        self.0.spawn("kubernetes-request", async move {
            let _ = future.await;
        });
    }
}

/// What is known of one connection.
#[derive(Debug)]
struct Facts {
    /// Requests so far.
    requests: AtomicU64,
    /// Cloned into every request and answer that is not over.
    open: Arc<()>,
    taken_back: Mutex<TakenBack>,
    too_many: CancellationToken,
}

/// How much of [`TAKEN_BACK_BURST`] is used, as a time until which it is (GCRA).
#[derive(Debug)]
struct TakenBack {
    until: Instant,
}

impl TakenBack {
    /// Counts one. Says whether it was one too many.
    fn one(&mut self, now: Instant) -> bool {
        self.until = self.until.max(now) + TAKEN_BACK_EVERY;
        self.until > now + TAKEN_BACK_EVERY * TAKEN_BACK_BURST
    }
}

impl Facts {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            requests: AtomicU64::new(0),
            open: Arc::new(()),
            taken_back: Mutex::new(TakenBack { until: Instant::now() }),
            too_many: CancellationToken::new(),
        })
    }

    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.open) == 1
    }
}

/// A request that is not answered yet. When it goes before, the client took it back.
struct Waiting {
    facts: Arc<Facts>,
    answered: AtomicBool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.answered.load(Ordering::Relaxed) {
            return;
        }
        let mut taken_back = self.facts.taken_back.lock().unwrap_or_else(PoisonError::into_inner);
        if taken_back.one(Instant::now()) {
            self.facts.too_many.cancel();
        }
    }
}

impl Door {
    /// One connection in HTTP/2.
    pub(super) async fn http2<IO>(self: Arc<Self>, io: IO, peer: SocketAddr)
    where
        IO: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (facts, stopping) = (Facts::new(), self.tasks.stopping());
        let server = builder(self.tasks.clone());
        let counted = Arc::clone(&facts);
        let service = service_fn(move |request: Request<Incoming>| {
            let (door, facts) = (Arc::clone(&self), Arc::clone(&counted));
            facts.requests.fetch_add(1, Ordering::Relaxed);
            async move {
                let place = Arc::clone(&facts.open);
                let waiting = Waiting { facts, answered: AtomicBool::new(false) };
                let response = door.request(in_origin_form(request), peer).await;
                waiting.answered.store(true, Ordering::Relaxed);
                Ok::<_, Infallible>(response.map(|body| Held { body, _place: place }.boxed_unsync()))
            }
        });
        let mut connection = pin!(server.serve_connection(io, service));
        // The first request must come soon; later the connection may rest between requests, but not for ever.
        let (mut seen, mut look_after) = (0, HEAD_TIME);
        loop {
            tokio::select! {
                _ = connection.as_mut() => return,
                () = facts.too_many.cancelled() => {
                    tracing::warn!(source = %peer.ip(), "a client takes back its requests as fast as it makes them; hung up");
                    return;
                }
                () = stopping.cancelled() => break,
                () = tokio::time::sleep(look_after) => {
                    let now = facts.requests.load(Ordering::Relaxed);
                    if now == seen && facts.is_idle() {
                        break;
                    }
                    (seen, look_after) = (now, IDLE_TIME);
                }
            }
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            _ = connection.as_mut() => {}
            () = facts.too_many.cancelled() => {}
        }
    }
}

fn builder(tasks: Tasks) -> hyper::server::conn::http2::Builder<Starter> {
    let mut server = hyper::server::conn::http2::Builder::new(Starter(tasks));
    server
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEAD_MAX).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(RESETS_LOCAL_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_LIMIT);
    server
}

/// Every request of HTTP/2 names its authority beside its path; from here on it is one as HTTP/1.1 has them. The name under
/// which a client calls decides nothing.
fn in_origin_form(mut request: Request<Incoming>) -> Request<Incoming> {
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
    request
}

/// A body that is counted while it is under way.
struct Held {
    body: AnswerBody,
    _place: Arc<()>,
}

impl Body for Held {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_program_that_ends_may_take_all_of_its_requests_back() {
        let mut taken_back = TakenBack { until: Instant::now() };
        assert!((0..TAKEN_BACK_BURST).all(|_| !taken_back.one(Instant::now())));
        assert!(taken_back.one(Instant::now()));
        tokio::time::advance(TAKEN_BACK_EVERY * 3).await;
        assert!(!taken_back.one(Instant::now()));
    }
}
