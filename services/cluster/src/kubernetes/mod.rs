//! The Kubernetes door: `/k/{cluster}/*` is the whole API of that cluster, for stock kubectl, Helm and client libraries.
//!
//! A hyper listener of its own, because kubectl's SPDY upgrades do not pass an actix server. The door reads the head of a
//! request: who asks ([`Gate`]), for which cluster, which headers may go on ([`vet`]). The rest is carried over a stream
//! to the cluster's agent ([`relay`]); errors of the hub's own are Kubernetes `Status` objects ([`status`]).

pub(crate) mod ask;
mod attempt;
#[cfg(test)]
mod attempt_tests;
mod breaker;
pub(crate) mod browser;
mod build;
mod credential;
mod gate;
mod http2;
mod nobody;
pub(crate) mod proxy;
mod relay;
mod session;
mod socket;
mod standing;
mod status;
#[cfg(test)]
mod tests;
mod vet;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use roadstead_contracts::agent::{RequestKind, StreamHead, StreamTarget};
use roadstead_contracts::audit::Origin;
use roadstead_contracts::identity::Principal;
use roadstead_contracts::ids::{ClusterId, MessageId};
use roadstead_contracts::message::ActsAs;
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::client_address;
use roadstead_relay::AgentStreams;
use roadstead_runtime::{Ids, Tasks};
use roadstead_tunnel::Class;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::audit::{Audit, Deed};
use attempt::Attempt;
use breaker::Breakers;
use nobody::{Refusal, Row};
use relay::{AnswerBody, Exchange, Outcome};

pub(crate) use build::{Built, bind};
pub(crate) use gate::HubGate;
pub(crate) use standing::{Right, Standing};

/// Connections at once: kubectl and client-go open one or two each; beyond this they wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 16_384;
/// Time for a TLS handshake, and then for the head of the first request.
const HEAD_TIME: Duration = Duration::from_secs(20);
/// How long a connection is kept between requests: longer than Go's clients keep theirs (90 s), so that none sends a request
/// into a connection that is just being closed.
const IDLE_TIME: Duration = Duration::from_secs(125);
/// Time to open a stream to the agent, a brief wait for one that is just coming back included.
const OPEN_TIME: Duration = Duration::from_secs(10);
/// Largest head of a request.
const HEAD_MAX: usize = 64 * 1024;
/// HTTP/2 as TLS names it (RFC 9113 §3.2).
pub(crate) const HTTP_2: &[u8] = b"h2";

/// Decides who may go through to which cluster.
#[async_trait]
pub(crate) trait Gate: Send + Sync {
    /// Authenticates, spends quota, finds the cluster (not visible = not found), asks the policy, and has an identity
    /// signed for it.
    async fn admit(&self, asked: Asked<'_>) -> std::result::Result<Admitted, Refusal>;
}

/// What the gate decides on.
pub(crate) struct Asked<'a> {
    /// The request's headers, with the credential.
    pub(crate) headers: &'a HeaderMap,
    /// Id, integer or name of the cluster.
    pub(crate) cluster: &'a str,
    /// The client's address.
    pub(crate) source: IpAddr,
    /// The request's id.
    pub(crate) request_id: &'a str,
    /// As whom the client asks to act.
    pub(crate) acts_as: Option<ActsAs>,
    /// What is asked of the cluster.
    pub(crate) request: RequestKind,
    /// Whether that is a row of the audit trail.
    pub(crate) recorded: bool,
}

/// A caller who may go through.
pub(crate) struct Admitted {
    /// The cluster.
    pub(crate) cluster_id: ClusterId,
    /// Identity signed for it.
    pub(crate) assertion: String,
    /// The cluster's name.
    pub(crate) cluster_name: String,
    /// The account.
    pub(crate) principal: Arc<Principal>,
    /// As whom the caller acts, where that is somebody else.
    pub(crate) acts_as: Option<ActsAs>,
    /// The client's address.
    pub(crate) source: IpAddr,
    /// What the client calls itself.
    pub(crate) user_agent: Option<HeaderValue>,
    /// Ends with the caller's right.
    pub(crate) right: Right,
}

impl Admitted {
    /// Where the request comes from, for the audit trail.
    fn origin(&self, request_id: &str) -> Origin {
        origin(request_id, self.source, self.user_agent.as_ref())
    }
}

fn origin(request_id: &str, source: IpAddr, user_agent: Option<&HeaderValue>) -> Origin {
    Origin::request(request_id).from_address(source).by(user_agent.and_then(|value| value.to_str().ok()))
}

/// The door's parts.
pub(crate) struct Door {
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) streams: Arc<dyn AgentStreams>,
    pub(crate) breakers: Breakers,
    /// Takes records of changes, shells and reads of secrets.
    pub(crate) audit: Option<Arc<Audit>>,
    /// Proxies whose word about the client's address counts.
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) ids: Ids,
    pub(crate) tasks: Tasks,
}

impl Door {
    /// Serves the listener until the process stops.
    pub(crate) fn serve(self: Arc<Self>, listener: TcpListener, tls: Arc<rustls::ServerConfig>) {
        let acceptor = TlsAcceptor::from(tls);
        let tasks = self.tasks.clone();
        tasks.clone().spawn("kubernetes-door", async move {
            let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
            let stopping = tasks.stopping();
            loop {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                let accepted = tokio::select! {
                    () = stopping.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let (socket, peer) = match accepted {
                    Ok(accepted) => accepted,
                    Err(fault) => {
                        // Out of descriptors: wait for some to come free, do not spin.
                        tracing::warn!("failed to accept a connection: {fault}");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                };
                let (door, acceptor) = (Arc::clone(&self), acceptor.clone());
                tasks.spawn("kubernetes-connection", async move {
                    door.connection(acceptor, socket, peer).await;
                    drop(place);
                });
            }
        });
    }

    async fn connection(self: Arc<Self>, acceptor: TlsAcceptor, socket: TcpStream, peer: SocketAddr) {
        // Small frames of exec and watches must not wait for a full segment.
        let _ = socket.set_nodelay(true);
        let Ok(Ok(socket)) = tokio::time::timeout(HEAD_TIME, acceptor.accept(socket)).await else { return };
        if socket.get_ref().1.alpn_protocol() == Some(HTTP_2) {
            self.http2(TokioIo::new(socket), peer).await;
        } else {
            self.http(TokioIo::new(socket), peer).await;
        }
    }

    /// One connection in HTTP/1.1, which is what upgrades; client-go opens as many as it needs.
    async fn http<IO>(self: Arc<Self>, io: IO, peer: SocketAddr)
    where
        IO: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let stopping = self.tasks.stopping();
        let begun = Arc::new(AtomicBool::new(false));
        let began = Arc::clone(&begun);
        let service = service_fn(move |request: Request<Incoming>| {
            let door = Arc::clone(&self);
            began.store(true, Ordering::Relaxed);
            async move { Ok::<_, Infallible>(door.request(request, peer).await) }
        });
        let mut server = hyper::server::conn::http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(IDLE_TIME).max_buf_size(HEAD_MAX);
        let connection = server.serve_connection(io, service).with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let first = tokio::select! {
            _ = connection.as_mut() => return,
            () = stopping.cancelled() => None,
            () = tokio::time::sleep(HEAD_TIME) => Some(begun.load(Ordering::Relaxed)),
        };
        match first {
            // Somebody who holds a place and says nothing.
            Some(false) => return,
            Some(true) => {
                tokio::select! {
                    _ = connection.as_mut() => return,
                    () = stopping.cancelled() => {}
                }
            }
            None => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }

    async fn request(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<AnswerBody> {
        if request.uri().path() == "/healthz" {
            return Response::new(http_body_util::Full::from("ok").map_err(|never| match never {}).boxed_unsync());
        }
        let request_id = self.ids.next::<MessageId>().to_string();
        let mut response = match self.exchange(request, peer, &request_id).await {
            Ok(response) => response,
            Err(error) => {
                tracing::debug!(request_id, "refused at the kubernetes door: {error}");
                status::answer(&error, &request_id).map(|body| body.map_err(|never| match never {}).boxed_unsync())
            }
        };
        if let Ok(value) = HeaderValue::from_str(&request_id) {
            response.headers_mut().insert(HeaderName::from_static("x-request-id"), value);
        }
        response
    }

    async fn exchange(
        &self,
        mut request: Request<Incoming>,
        peer: SocketAddr,
        request_id: &str,
    ) -> Result<Response<AnswerBody>> {
        // CONNECT would ask for a raw pipe, TRACE for the credential back.
        if matches!(*request.method(), hyper::Method::CONNECT | hyper::Method::TRACE) {
            return Err(Error::of(Code::MethodNotAllowed));
        }
        if request.uri().authority().is_some() {
            return Err(Error::new(Code::BadRequest, "the request names a host in its target"));
        }
        let target = vet::target(request.uri().path(), request.uri().query())?;
        let upgrade = vet::upgrade(request.headers())?;
        let acts_as = vet::acts_as(request.headers())?;
        let source = client_address(peer.ip(), &self.trusted_proxies, |name| {
            request.headers().get_all(name).iter().map(HeaderValue::as_bytes).collect()
        });
        let kind = vet::kind(request.method().as_str(), &target.tail)?;
        let deed = Deed::of(request.method().as_str(), &target.tail);
        let asked = Asked {
            headers: request.headers(),
            cluster: &target.cluster,
            source,
            request_id,
            acts_as,
            request: kind,
            recorded: deed.is_some(),
        };
        let admitted = self.admitted(asked, deed.as_ref()).await?;
        let headers = vet::headers(request.headers());
        let client_side = upgrade.map(|_| hyper::upgrade::on(&mut request));
        let right = admitted.right.clone();
        let prefix = format!("/k/{}", target.cluster);
        let method = request.method().clone();
        let exchange = Exchange {
            method,
            tail: target.tail,
            headers,
            upgrade,
            pace: target.pace,
            bulk: target.bulk,
            deed,
            body: request.into_body(),
            prefix,
            right: right.clone(),
        };
        match self.carry(exchange, admitted, request_id).await? {
            Outcome::Answer(response) => Ok(response),
            Outcome::Switched(response, cluster) => {
                let Some(client) = client_side else { return Err(Error::of(Code::Internal)) };
                self.tasks.spawn("kubernetes-upgrade", async move {
                    if let Ok(client) = client.await {
                        relay::splice(TokioIo::new(client), cluster, right).await;
                    }
                });
                Ok(response)
            }
        }
    }

    /// Lets the caller in, or records that it was not.
    pub(crate) async fn admitted(&self, asked: Asked<'_>, deed: Option<&Deed>) -> Result<Admitted> {
        let Asked { headers, cluster, source, request_id, .. } = asked;
        let Refusal { error, actor, row } = match self.gate.admit(asked).await {
            Ok(admitted) => return Ok(admitted),
            Err(refusal) => refusal,
        };
        let Some(audit) = &self.audit else { return Err(error) };
        let origin = origin(request_id, source, headers.get(USER_AGENT));
        match row {
            Row::Own => Err(audit.refused(deed, cluster, origin, actor, error).await),
            Row::Flood { unwritten } => {
                audit.flooded(cluster, origin, unwritten).await;
                Err(error)
            }
            Row::Counted => Err(error),
        }
    }

    /// Carries an exchange of an admitted caller; also for the front door's own route.
    pub(crate) async fn carry<B>(
        &self,
        mut exchange: Exchange<B>,
        mut admitted: Admitted,
        request_id: &str,
    ) -> Result<Outcome>
    where
        B: hyper::body::Body<Data = bytes::Bytes> + Send + Unpin + 'static,
        B::Error: Into<relay::BoxError>,
    {
        let cluster = admitted.cluster_id;
        let session = session::facts(&exchange, &admitted);
        let head = StreamHead {
            target: StreamTarget::Kubernetes {},
            request_id: request_id.to_owned(),
            deadline_milliseconds: u32::try_from(OPEN_TIME.as_millis()).unwrap_or(u32::MAX),
            traceparent: None,
            assertion: Some(std::mem::take(&mut admitted.assertion)),
        };
        // The cluster's audit log then has the hub's id of the request.
        if let Ok(value) = HeaderValue::from_str(request_id) {
            exchange.headers.insert(HeaderName::from_static("audit-id"), value);
        }
        let class = if exchange.bulk && exchange.upgrade.is_none() { Class::Bulk } else { Class::Interactive };
        let path = exchange.tail.split('?').next().unwrap_or_default().to_owned();
        let method = exchange.method.clone();
        self.breakers.check(cluster)?;
        let (mut attempt, exchange) = Attempt::begin(self, exchange, &admitted, request_id).await?;
        let carried = async {
            let opening = match session {
                Some(session) => self.streams.open_session(session, head, class),
                None => self.streams.open(cluster, head, class),
            };
            let stream = tokio::time::timeout(OPEN_TIME, opening).await.map_err(|_| Error::of(Code::Timeout))??;
            attempt.is_open();
            relay::relay(exchange, stream, &self.tasks).await
        };
        let outcome = carried.await;
        let status = match &outcome {
            Ok(Outcome::Answer(response)) => response.status().as_u16(),
            Ok(Outcome::Switched(..)) => StatusCode::SWITCHING_PROTOCOLS.as_u16(),
            Err(error) => error.code.status(),
        };
        let outcome = attempt.over(outcome, status).await;
        let (user, acts_as) = (&admitted.principal.username, admitted.acts_as.map(|somebody| somebody.user));
        tracing::info!(request_id, user, acts_as, cluster_id = %cluster, %method, path, status, "{method} {path} {status}");
        outcome
    }
}
