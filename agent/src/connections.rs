//! Connections to the API server for what is only read: kept between requests, and used by the very task that wants the
//! answer. The library's client puts a task of its own and two channels between the two, which cost a small answer more than
//! its bytes. What has a body or upgrades goes by the library's client.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::Empty;
use hyper::header::{HOST, HeaderValue};
use hyper::rt::Executor as _;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use roadstead_tunnel::exchange::AnswerBody;
use roadstead_tunnel::exchange::lent::{self, Keeper, Lent};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt as _};

/// Between two looks for connections that have rested too long or were ended by the server.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// A connection of any kind.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

type Io = Box<dyn Wire>;
/// The body of an answer to what was read.
pub(crate) type Read = AnswerBody<Lent<Io>>;
type Dialler = BoxCloneSyncService<Uri, Io, BoxError>;

/// Connections that rest; the one that was used last is used first.
struct Resting {
    most: usize,
    longest: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle: VecDeque<(Instant, Io)>,
    swept: bool,
}

impl Resting {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that is still good.
    fn take(&self) -> Option<Io> {
        loop {
            let (since, mut io) = self.lock().idle.pop_back()?;
            if since.elapsed() < self.longest && lent::is_quiet(&mut io) {
                return Some(io);
            }
        }
    }

    /// Ends those that nobody needs any more. Says whether any are left.
    fn sweep(&self) -> bool {
        let mut state = self.lock();
        state.idle.retain_mut(|(since, io)| since.elapsed() < self.longest && lent::is_quiet(io));
        state.swept = !state.idle.is_empty();
        if !state.swept {
            state.idle = VecDeque::new();
        }
        state.swept
    }
}

impl Keeper<Io> for Resting {
    fn keep(self: Arc<Self>, io: Io) {
        let mut state = self.lock();
        if state.idle.len() >= self.most {
            return;
        }
        state.idle.push_back((Instant::now(), io));
        let begin = !std::mem::replace(&mut state.swept, true);
        drop(state);
        if begin {
            let this = Arc::downgrade(&self);
            TokioExecutor::new().execute(async move {
                loop {
                    tokio::time::sleep(SWEEP_EVERY).await;
                    if !this.upgrade().is_some_and(|this| this.sweep()) {
                        return;
                    }
                }
            });
        }
    }
}

/// Reads from the API server.
#[derive(Clone)]
pub(crate) struct Reads {
    shared: Arc<Shared>,
}

struct Shared {
    server: Uri,
    host: HeaderValue,
    /// What stands before every path.
    prefix: String,
    dialler: Dialler,
    resting: Arc<Resting>,
}

impl Reads {
    /// By connections that the connector makes, of which so many rest for so long.
    pub(crate) fn new<C>(server: &Uri, connector: C, most: usize, longest: Duration) -> Self
    where
        C: Service<Uri> + Clone + Send + Sync + 'static,
        C::Response: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
        C::Error: Into<BoxError>,
        C::Future: Send + 'static,
    {
        let port = server.port_u16().filter(|port| (server.scheme_str(), *port) != (Some("https"), 443));
        let port = port.filter(|port| (server.scheme_str(), *port) != (Some("http"), 80));
        let host = server.host().unwrap_or_default();
        let host = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let connector = connector.map_response(|io| Box::new(TokioIo::new(io)) as Io).map_err(Into::<BoxError>::into);
        let resting = Arc::new(Resting { most, longest, state: Mutex::default() });
        let shared = Shared {
            server: server.clone(),
            // What stands in a URI may stand in a header.
            host: HeaderValue::from_str(&host).unwrap_or_else(|_| HeaderValue::from_static("kubernetes")),
            prefix: server.path().trim_end_matches('/').to_owned(),
            dialler: BoxCloneSyncService::new(connector),
            resting,
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Service<Request<Empty<Bytes>>> for Reads {
    type Response = Response<Read>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.ask(request).await })
    }
}

impl Shared {
    async fn ask(&self, request: Request<Empty<Bytes>>) -> Result<Response<Read>, BoxError> {
        let (mut parts, _) = request.into_parts();
        parts.headers.insert(HOST, self.host.clone());
        let asked = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let joined;
        let target = if self.prefix.is_empty() {
            asked
        } else {
            joined = format!("{}{asked}", self.prefix);
            &joined
        };
        if let Some(io) = self.resting.take() {
            match self.lend(io).ask(&parts.method, target, &parts.headers).await {
                // The server gave it up just now: what is only read can be asked for again.
                Err(unanswered) if unanswered.silent => {}
                answered => return answered.map_err(Into::into),
            }
        }
        let io = self.dialler.clone().oneshot(self.server.clone()).await?;
        self.lend(io).ask(&parts.method, target, &parts.headers).await.map_err(Into::into)
    }

    fn lend(&self, io: Io) -> Lent<Io> {
        Lent::new(io, Arc::clone(&self.resting) as Arc<dyn Keeper<Io>>)
    }
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;
