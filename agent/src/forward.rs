//! The Kubernetes API for a person: one stream is one HTTP/1.1 exchange with the API server, sent on as that person.
//!
//! Only the head of the request is read. Bodies, watches, exec and port-forward are carried as they are, whatever their
//! encoding; an upgrade is spliced after the API server has said 101 and not before (CVE-2018-1002105 is what happens
//! otherwise). kube's own client is not used for this: it retries, and it takes no request bodies that are not yet there. What
//! is only read goes by [`crate::connections`].

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::Config;
use kube::client::ConfigExt as _;
use roadstead_contracts::Error;
use roadstead_contracts::agent::RequestKind;
use roadstead_policy::kubernetes;
use roadstead_runtime::sockets;
use roadstead_tunnel::Stream;
use roadstead_tunnel::exchange::Joined;
use roadstead_tunnel::exchange::serve::{self, RequestBody};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer, Service, ServiceExt as _};

use crate::connections::{Read, Reads};
use crate::core::Identity;
use crate::kubernetes::Reach;
use crate::kubernetes::vetted::{Even, Resolver};

/// Time to connect to the API server.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Idle connections to the API server that are kept: bursts of kubectl and dashboards come back within seconds.
const IDLE_CONNECTIONS: usize = 64;
/// What the kernel keeps of an answer that nobody drains, where the API server is near: left to itself it takes megabytes for
/// each, and a thousand readers that stop take every other connection of the machine its memory.
const RECEIVE_BUFFER: usize = 256 * 1024;
/// How long they are kept: below the 90 s after which common balancers drop them without a word.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// The hub checked the size of the head already; this bounds what a broken hub could do.
const BUFFER_MAX: usize = 64 * 1024;
/// Buffer of each direction of an upgraded exchange.
const SPLICE_BUFFER: usize = 16 * 1024;

/// Headers of the hop between hub and agent, and those that only the agent sets.
const DROPPED: [HeaderName; 5] = [AUTHORIZATION, COOKIE, HOST, HeaderName::from_static("x-api-key"), TRANSFER_ENCODING];

pub(crate) type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;
type Sender<B = RequestBody, A = Incoming> = BoxCloneSyncService<Request<B>, Response<A>, BoxError>;

/// The way to the API server with the agent's own credential: no retries, no limits on silence, bodies as they come.
#[derive(Clone)]
pub(crate) struct Forwarder {
    sender: Sender,
    /// For requests without a body that change nothing.
    reader: Sender<Empty<Bytes>, Read>,
    reach: Reach,
}

impl std::fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Forwarder")
    }
}

impl Forwarder {
    /// From the configuration that kube's client is made of too.
    pub(crate) fn new(config: &Config, reach: &Reach) -> kube::Result<Self> {
        Ok(Self { sender: Self::service(config, reach)?, reader: Self::reader(config, reach)?, reach: reach.clone() })
    }

    /// What sends requests with bodies of some kind.
    pub(crate) fn service<B>(config: &Config, reach: &Reach) -> kube::Result<Sender<B>>
    where
        B: hyper::body::Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let tcp = tcp(reach);
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_idle_timeout(IDLE_LIMIT)
            .http1_max_buf_size(BUFFER_MAX)
            .pool_timer(hyper_util::rt::TokioTimer::new());
        let base = config.base_uri_layer();
        if let Some(proxy) = proxy(config) {
            let tunnelled = Tunnel::new(proxy, tcp);
            let client = builder.build(config.rustls_https_connector_with_connector(tunnelled)?);
            layered(config, base.layer(client))
        } else {
            let connector = config.rustls_https_connector_with_connector(tcp)?;
            let client = builder.build(Even::new(connector, reach.policy.is_some()));
            layered(config, base.layer(client))
        }
    }

    /// What reads.
    fn reader(config: &Config, reach: &Reach) -> kube::Result<Sender<Empty<Bytes>, Read>> {
        let (server, tcp) = (&config.cluster_url, tcp(reach));
        let reads = if let Some(proxy) = proxy(config) {
            let connector = config.rustls_https_connector_with_connector(Tunnel::new(proxy, tcp))?;
            Reads::new(server, connector, IDLE_CONNECTIONS, IDLE_LIMIT)
        } else {
            let connector = config.rustls_https_connector_with_connector(tcp)?;
            Reads::new(server, Even::new(connector, reach.policy.is_some()), IDLE_CONNECTIONS, IDLE_LIMIT)
        };
        layered(config, reads)
    }

    /// Sends, when its turn has come; the API server must begin to answer within the limit, unless it is asked for what may be
    /// silent for as long as it is.
    async fn send(&self, request: Request<RequestBody>) -> Result<Response<AnswerBody>, Unsent> {
        let Reach { pace, limit, .. } = &self.reach;
        if let Some(pace) = pace
            && !pace.turn(limit.unwrap_or(CONNECT_LIMIT)).await
        {
            return Err(Unsent::Busy);
        }
        let upgrade = request.headers().contains_key(UPGRADE);
        let patient = upgrade || may_be_silent(request.method(), request.uri());
        let reads = matches!(*request.method(), Method::GET | Method::HEAD) && request.body().is_end_stream();
        let answer = async {
            if reads && !upgrade {
                let answer = self.reader.clone().oneshot(request.map(|_| Empty::new())).await?;
                return Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()));
            }
            let answer = self.sender.clone().oneshot(request).await?;
            Ok::<_, BoxError>(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
        };
        match limit.filter(|_| !patient) {
            Some(limit) => tokio::time::timeout(limit, answer).await.map_err(|_| Unsent::Late)?,
            None => answer.await,
        }
        .map_err(Unsent::Failed)
    }
}

/// Whether somebody behind the API server answers, whenever there is something to say: a log that is followed has no head before
/// its first line, and what is behind a proxy has a pace of its own.
fn may_be_silent(method: &Method, uri: &Uri) -> bool {
    let query = uri.query().unwrap_or_default();
    let Ok(Some(parts)) = kubernetes::parts(method.as_str(), uri.path(), Some(query)) else { return false };
    let follows = || kubernetes::pairs(query).find_map(|(key, value)| (key == "follow").then_some(value));
    match parts.subresource.as_deref() {
        Some("proxy") => true,
        Some("log") => parts.kind() == "pods" && follows().is_some_and(|value| kubernetes::is_yes(&value)),
        _ => parts.verb == "proxy",
    }
}

/// Dials the API server, or its proxy.
fn tcp(reach: &Reach) -> HttpConnector<Resolver> {
    let mut tcp = HttpConnector::new_with_resolver(Resolver(reach.policy.clone()));
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(sockets::KEEPALIVE_AFTER));
    tcp.set_keepalive_interval(Some(sockets::KEEPALIVE_EVERY));
    tcp.set_keepalive_retries(Some(sockets::KEEPALIVE_PROBES));
    tcp.set_connect_timeout(Some(CONNECT_LIMIT));
    if reach.policy.is_none() {
        tcp.set_recv_buffer_size(Some(RECEIVE_BUFFER));
    }
    tcp
}

fn proxy(config: &Config) -> Option<Uri> {
    config.proxy_url.clone().filter(|proxy| proxy.scheme_str() == Some("http"))
}

/// Why there is no answer of the API server.
enum Unsent {
    /// More is asked than the cluster's `qps` and `burst` allow.
    Busy,
    /// Nothing came in time.
    Late,
    /// The connection failed.
    Failed(BoxError),
}

fn layered<S, B, A>(config: &Config, client: S) -> kube::Result<Sender<B, A>>
where
    B: hyper::body::Body + Send + 'static,
    A: 'static,
    S: Service<Request<B>, Response = Response<A>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    let client = config.extra_headers_layer()?.layer(client.map_err(Into::<BoxError>::into));
    Ok(match config.auth_layer()? {
        Some(auth) => BoxCloneSyncService::new(auth.layer(client)),
        None => BoxCloneSyncService::new(client),
    })
}

/// Who the API server is to see.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    /// `roadstead:<user name>`.
    user: HeaderValue,
    /// `roadstead:<role>` each.
    groups: Vec<HeaderValue>,
    /// The one kind of request that the identity is good for.
    only: Option<RequestKind>,
}

impl Person {
    /// As headers; an identity holds printable ASCII only.
    pub(crate) fn of(identity: &Identity) -> Result<Self, Error> {
        let value =
            |text: &str| HeaderValue::from_str(text).map_err(|_| Error::of(roadstead_contracts::Code::IdentityRefused));
        let groups = identity.groups().map(value).collect::<Result<_, _>>()?;
        Ok(Self { user: value(identity.user())?, groups, only: identity.only().cloned() })
    }

    /// Whether the identity is good for the request. What the policy gave for one kind of request is not spent on another,
    /// whoever sends it.
    fn check<B>(&self, request: &Request<B>) -> Result<(), Error> {
        let Some(only) = &self.only else { return Ok(()) };
        let (path, query) = (request.uri().path(), request.uri().query());
        let read = kubernetes::read(request.method().as_str(), path, query)?;
        if read == *only {
            return Ok(());
        }
        tracing::warn!("an identity for one kind of request came with another");
        Err(Error::new(roadstead_contracts::Code::IdentityRefused, "the identity is good for another request"))
    }
}

/// Serves the exchange on this stream, as a person or with a refusal; returns when it has ended, an upgraded one when both
/// sides are done.
pub(crate) async fn forward(stream: Stream, person: Result<Person, Error>, forwarder: &Forwarder) {
    let (request, mut answering) = match serve::receive(stream).await {
        Ok(received) => received,
        Err(fault) => return tracing::debug!("what the hub asked is no request: {fault}"),
    };
    let answer = match &person {
        Ok(person) => answering.during(exchange(request, person, forwarder)).await,
        Err(refused) => Some(refusal(refused)),
    };
    let Some(mut answer) = answer else { return tracing::debug!("whoever asked did not wait for the answer") };
    let sent = if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let cluster = hyper::upgrade::on(&mut answer);
        match answering.switch(answer.map(drop)).await {
            Ok(hub) => return splice(hub, cluster).await,
            Err(fault) => Err(fault),
        }
    } else {
        answering.answer(answer).await
    };
    if let Err(fault) = sent {
        tracing::debug!("exchange with the API server broke off: {fault}");
    }
}

async fn exchange(mut request: Request<RequestBody>, person: &Person, forwarder: &Forwarder) -> Response<AnswerBody> {
    if let Err(refused) = person.check(&request) {
        return refusal(&refused);
    }
    let upgrade = request.headers().contains_key(UPGRADE);
    if let Err(refused) = become_person(request.headers_mut(), person) {
        return *refused;
    }
    let mut answer = match forwarder.send(request).await {
        Ok(answer) => answer,
        Err(Unsent::Busy) => {
            let busy = "the cluster is asked more than its qps and burst allow";
            return refusal(&Error::new(roadstead_contracts::Code::RateLimited, busy).retry_after(1));
        }
        Err(Unsent::Late) => {
            let late = "the API server did not begin to answer in time";
            return status(StatusCode::GATEWAY_TIMEOUT, "Timeout", "timeout", late);
        }
        Err(Unsent::Failed(fault)) => {
            tracing::warn!("the API server did not answer: {}", chain(&*fault));
            return status(
                StatusCode::BAD_GATEWAY,
                "InternalError",
                "agent_error",
                "the agent did not reach the API server",
            );
        }
    };
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        if upgrade {
            // Whoever sends this on takes the connection out of it.
            return answer.map(|_| Full::default().map_err(|never: Infallible| match never {}).boxed_unsync());
        }
        let what = "the API server switched protocols without being asked";
        return status(StatusCode::BAD_GATEWAY, "InternalError", "agent_error", what);
    }
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE, HeaderName::from_static("keep-alive")] {
        answer.headers_mut().remove(name);
    }
    answer
}

async fn splice(mut hub: Joined, cluster: hyper::upgrade::OnUpgrade) {
    let Ok(cluster) = cluster.await else { return };
    let mut cluster = TokioIo::new(cluster);
    // How it ended is the two ends' business: both see it.
    let _ = tokio::io::copy_bidirectional_with_sizes(&mut hub, &mut cluster, SPLICE_BUFFER, SPLICE_BUFFER).await;
}

/// Puts the person on the request, last, so that nothing the hub sent survives beside it.
fn become_person(headers: &mut HeaderMap, person: &Person) -> Result<(), Box<Response<AnswerBody>>> {
    if headers.keys().any(|name| name.as_str().starts_with("impersonate-") || name.as_str().starts_with("x-remote-")) {
        let what = "the agent sets the identity by itself";
        return Err(Box::new(status(StatusCode::FORBIDDEN, "Forbidden", "impersonation_denied", what)));
    }
    for name in DROPPED {
        headers.remove(name);
    }
    if !headers.contains_key(UPGRADE) {
        headers.remove(CONNECTION);
    }
    headers.insert(HeaderName::from_static("impersonate-user"), person.user.clone());
    for group in &person.groups {
        headers.append(HeaderName::from_static("impersonate-group"), group.clone());
    }
    Ok(())
}

fn refusal(error: &Error) -> Response<AnswerBody> {
    let code = StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::BAD_GATEWAY);
    let reason = match code.as_u16() {
        403 => "Forbidden",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    let mut response = status(code, reason, error.code.as_str(), &error.detail);
    if let Some(seconds) = error.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// An answer of the agent's own, in Kubernetes' words.
pub(crate) fn status(code: StatusCode, reason: &str, ours: &str, message: &str) -> Response<AnswerBody> {
    let body = serde_json::json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": format!("roadstead: {message}"),
        "reason": reason,
        "details": { "causes": [{ "reason": ours, "message": message, "field": "roadstead" }] },
        "code": code.as_u16(),
    });
    let body = Full::new(Bytes::from(body.to_string())).map_err(|never: Infallible| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The error with its causes: the outermost says only "client error".
fn chain(fault: &(dyn std::error::Error + 'static)) -> String {
    let mut text = fault.to_string();
    let mut source = fault.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
#[path = "forward_tests.rs"]
mod tests;
