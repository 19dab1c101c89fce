//! What happens around every request, whatever its route: it gets a name and a client address, is checked against the
//! limits and brought to one spelling; its answer gets the security headers and, when it is a refusal, the error body.
//!
//! One middleware and not nine: each costs an allocation per request and the order would be a puzzle.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_web::body::{BodySize, BoxBody, MessageBody as _};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, Url};
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    REFERRER_POLICY, TRANSFER_ENCODING, UPGRADE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::http::uri::PathAndQuery;
use actix_web::http::{ConnectionType, Method, StatusCode, Uri};
use actix_web::{HttpMessage, HttpResponse, ResponseError};
use ipnet::IpNet;
use roadstead_auth::mesh::MeshKey;
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::{Ids, SharedClock};
use roadstead_telemetry::TraceParent;
use tracing::Instrument as _;

use crate::body::WasRead;
use crate::client::{self, RequestContext};
use crate::failure::{self, ApiFailure, Pending};
use crate::gate::{Here, Reached};
use crate::meter::HttpMetrics;
use crate::rate::Limiter;
use crate::{Authenticator, forward, path, room, spans};

/// Most header lines: what the HTTP/1 parser takes, so that HTTP/2 has no more.
const HEADERS_MAX: usize = 96;
/// Most bytes of all headers together: the HTTP/1 parser's buffer.
const HEADER_BYTES_MAX: usize = 128 * 1024;
/// Methods named to a client whose request names no path at all.
const ALL_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
/// Stands for the route of a request that reached none.
pub(crate) const UNMATCHED: &str = "unmatched";
/// A page of ours loads nothing unless its handler says otherwise.
const STRICT_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// Sizes and times a request is held to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest body, bytes.
    pub body: usize,
    /// Longest path with query, bytes.
    pub uri: usize,
    /// Longest time for a whole body to arrive.
    pub body_time: Duration,
    /// Most bytes of all bodies that are held at once.
    pub together: usize,
    /// Routes that take more.
    pub long: LongBodies,
}

/// Routes, by the ends of their paths, with a limit of their own: what they take rides no queue.
#[derive(Debug, Clone, Copy, Default)]
pub struct LongBodies {
    /// Ends of paths.
    pub ends: &'static [&'static str],
    /// Longest body of theirs, bytes.
    pub body: usize,
}

impl Limits {
    /// Longest body at a path.
    pub(crate) fn body_at(&self, path: &str) -> usize {
        let path = path.trim_end_matches('/');
        let is_long = self.long.ends.iter().any(|end| path.ends_with(end));
        let most = if is_long { self.body.max(self.long.body) } else { self.body };
        // What can never have room is refused before it is read.
        most.min(room::longest(self.together))
    }
}

impl Default for Limits {
    fn default() -> Self {
        // 1 MiB is the bus's message limit; 8 KiB is what common proxies take; 30 s is reliability row R21.
        // 32 MiB of bodies: what is made of them is a few times as much, and is to fit into 256 MiB with the rest (row F30).
        Self {
            body: 1024 * 1024,
            uri: 8 * 1024,
            body_time: Duration::from_secs(30),
            together: 32 * 1024 * 1024,
            long: LongBodies::default(),
        }
    }
}

/// What every worker of a door shares.
pub struct Front {
    /// Makes request ids.
    pub ids: Ids,
    /// Tells the time of forwarded requests.
    pub clock: SharedClock,
    /// Proxies whose word about the client's address counts.
    pub trusted_proxies: Vec<IpNet>,
    /// Set where requests come signed from the front door.
    pub forwarded_by: Option<MeshKey>,
    /// Limits.
    pub limits: Limits,
    /// Counters.
    pub metrics: Arc<dyn HttpMetrics>,
    /// Knows callers.
    pub authenticator: Arc<dyn Authenticator>,
    /// Quotas.
    pub limiter: Limiter,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front")
            .field("trusted_proxies", &self.trusted_proxies)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// The middleware. [`crate::serve()`] mounts it; tests mount it with `App::wrap`.
#[derive(Debug, Clone)]
pub struct Frame(pub Arc<Front>);

impl<S> Transform<S, ServiceRequest> for Frame
where
    S: Service<ServiceRequest, Response = ServiceResponse<BoxBody>, Error = actix_web::Error> + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = actix_web::Error;
    type Transform = FrameService<S>;
    type InitError = ();
    type Future = Ready<std::result::Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(FrameService { front: Arc::clone(&self.0), service: Rc::new(service) }))
    }
}

/// See [`Frame`].
#[derive(Debug)]
pub struct FrameService<S> {
    front: Arc<Front>,
    service: Rc<S>,
}

impl<S> Service<ServiceRequest> for FrameService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<BoxBody>, Error = actix_web::Error> + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = actix_web::Error;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<Self::Response, Self::Error>>>>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<std::result::Result<(), Self::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let mut watch = Watch::start(Arc::clone(&self.front.metrics), request.method());
        let mut context = context_of(&self.front, &request);
        let span = spans::begin(&mut context, &request);
        let (asked, method) = (span.clone(), watch.method);
        let request_id = context.request_id.clone();
        request.extensions_mut().insert(context);
        let verdict = admit(&self.front, &mut request);
        let under_v1 = request.path().starts_with("/api/v1/");
        let service = Rc::clone(&self.service);
        let answered = async move {
            let answer = match verdict {
                Ok(()) => service.call(request).await,
                Err(refusal) => Ok(request.into_response(refusal.error_response())),
            };
            match answer {
                Ok(response) => {
                    let response = finish(response, under_v1, &request_id);
                    let reached =
                        response.request().extensions().get::<Reached>().map(|reached| Arc::clone(&reached.0));
                    spans::end(&span, method, reached.as_deref(), response.status());
                    watch.done(reached.as_deref(), response.status(), &request_id);
                    Ok(response)
                }
                Err(fault) => {
                    let (head, body) = fault.as_response_error().error_response().into_parts();
                    let (head, body) = finish_parts(head, body, under_v1, &request_id);
                    spans::end(&span, method, None, head.status());
                    watch.done(None, head.status(), &request_id);
                    Err(Finished(RefCell::new(Some(head.set_body(body)))).into())
                }
            }
        };
        Box::pin(answered.instrument(asked))
    }
}

/// A response that had no request left to belong to.
struct Finished(RefCell<Option<HttpResponse>>);

impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Finished")
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("request refused")
    }
}

impl ResponseError for Finished {
    fn error_response(&self) -> HttpResponse {
        self.0.borrow_mut().take().unwrap_or_else(|| HttpResponse::new(StatusCode::INTERNAL_SERVER_ERROR))
    }
}

fn context_of(front: &Front, request: &ServiceRequest) -> RequestContext {
    let headers = request.headers();
    let request_id = client::sane_request_id(headers).map_or_else(|| front.ids.uuid().to_string(), str::to_owned);
    // A unix socket has no peer address; nothing of ours listens on one.
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let signed = front.forwarded_by.as_ref().and_then(|key| {
        let uri = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        forward::verify(key, request.method().as_str(), uri, headers, front.clock.now())
    });
    let client = signed.unwrap_or_else(|| client::address(peer, headers, &front.trusted_proxies));
    let trace = TraceParent::continue_or_new(client::single(headers, "traceparent"), &front.ids);
    RequestContext { request_id, client, traceparent: Some(trace), began: Instant::now() }
}

impl Front {
    /// Whether the request comes signed from the front door, which has looked at what a browser says of it.
    pub(crate) fn is_forwarded(&self, request: &ServiceRequest) -> bool {
        self.forwarded_by.as_ref().is_some_and(|key| {
            let uri = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
            request.headers().contains_key(forward::FORWARDED_HEADER)
                && forward::verify(key, request.method().as_str(), uri, request.headers(), self.clock.now()).is_some()
        })
    }
}

/// Holds the request to the limits and brings its path to the one spelling.
fn admit(front: &Front, request: &mut ServiceRequest) -> std::result::Result<(), ApiFailure> {
    if *request.method() == Method::CONNECT || request.uri().path().is_empty() {
        return Err(ApiFailure::method_not_allowed(ALL_METHODS));
    }
    let uri_length = request.uri().path_and_query().map_or(0, |text| text.as_str().len());
    if uri_length > front.limits.uri {
        return Err(Code::UriTooLong.into());
    }
    check_headers(request.headers(), front.limits.body_at(request.path()))?;
    if matches!(*request.method(), Method::GET | Method::HEAD) && request.headers().contains_key(TRANSFER_ENCODING) {
        // Nobody would read it, and it need not end (row R05).
        return Err(Error::new(Code::BadRequest, "a request to read has no body in chunks").into());
    }
    if request.query_string().len() > 1 && !path::query_is_sane(request.query_string()) {
        return Err(Error::new(Code::BadRequest, "the query has a broken percent escape or is not UTF-8").into());
    }
    if let Some(clean) = path::canonical(request.uri().path())? {
        rewrite(request, &clean)?;
    }
    Ok(())
}

fn check_headers(headers: &HeaderMap, body_limit: usize) -> Result<()> {
    let mut bytes = 0;
    let mut lines = 0;
    for (name, value) in headers {
        lines += 1;
        bytes += name.as_str().len() + value.len();
        if std::str::from_utf8(value.as_bytes()).is_err() {
            return Err(Error::new(Code::BadRequest, "a header is not UTF-8"));
        }
    }
    if lines > HEADERS_MAX || bytes > HEADER_BYTES_MAX {
        return Err(Code::HeadersTooLarge.into());
    }
    let mut hosts = headers.get_all(HOST);
    if hosts.next().is_some_and(|host| !is_host(host.as_bytes())) || hosts.next().is_some() {
        return Err(Error::new(Code::BadRequest, "exactly one host is expected"));
    }
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > body_limit as u64) {
        return Err(Code::PayloadTooLarge.into());
    }
    Ok(())
}

/// Characters of a host with its port (RFC 3986 §3.2.2); nothing of ours looks at it, proxies before us do (row R23).
fn is_host(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+,;=".contains(byte))
}

fn rewrite(request: &mut ServiceRequest, clean: &str) -> Result<()> {
    let text = match request.uri().query() {
        Some(query) => format!("{clean}?{query}"),
        None => clean.to_owned(),
    };
    let refuse = |_| Error::of(Code::BadRequest);
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(text.parse::<PathAndQuery>().map_err(refuse)?);
    let uri = Uri::from_parts(parts).map_err(|_| Error::of(Code::BadRequest))?;
    // Nothing was matched yet, so no segment positions have to move with the text.
    request.match_info_mut().get_mut().update(&uri);
    let _: &Url = request.match_info().get_ref();
    request.head_mut().uri = uri;
    Ok(())
}

fn finish(response: ServiceResponse<BoxBody>, under_v1: bool, request_id: &str) -> ServiceResponse<BoxBody> {
    let (request, response) = response.into_parts();
    let (head, body) = response.into_parts();
    let (mut head, body) = finish_parts(head, body, under_v1, request_id);
    let unread = request.headers().contains_key(TRANSFER_ENCODING) && request.extensions().get::<WasRead>().is_none();
    if unread && head.status() != StatusCode::SWITCHING_PROTOCOLS {
        // Whatever the answer is: a body that nobody has read need not end (row R05).
        head.head_mut().set_connection_type(ConnectionType::Close);
    }
    if request.headers().contains_key(UPGRADE) && head.status() != StatusCode::SWITCHING_PROTOCOLS {
        // To whoever asked for a WebSocket the framework announces chunks and sends none; and what follows that request is
        // no request. So the end of the connection is the end of the answer.
        if body.size() == BodySize::Stream {
            head.head_mut().no_chunking(true);
        }
        head.head_mut().set_connection_type(ConnectionType::Close);
    }
    ServiceResponse::new(request, head.set_body(body))
}

fn finish_parts(
    mut head: HttpResponse<()>,
    mut body: BoxBody,
    under_v1: bool,
    request_id: &str,
) -> (HttpResponse<()>, BoxBody) {
    let pending = head.extensions_mut().remove::<Pending>();
    let error = match pending {
        Some(Pending(error)) => Some(error),
        // The framework's own refusals (a path that does not parse, a handler's panic turned error).
        None if is_bare_refusal(&head, &body) => Some(failure::from_status(head.status())),
        None => None,
    };
    if let Some(error) = error {
        let (status, text) = failure::render(&error, under_v1, request_id);
        *head.status_mut() = status;
        head.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        body = BoxBody::new(text);
    }
    if matches!(head.status(), StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT) {
        // Else the rest of the body would be read and thrown away, for as long as it comes.
        head.head_mut().set_connection_type(ConnectionType::Close);
    }
    if head.status() == StatusCode::UNAUTHORIZED && !head.headers().contains_key(WWW_AUTHENTICATE) {
        head.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    let headers = head.headers_mut();
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(HeaderName::from_static("x-request-id"), value);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    for (name, value) in [(CONTENT_SECURITY_POLICY, STRICT_POLICY), (CACHE_CONTROL, "no-store")] {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    (head, body)
}

/// A refusal that nobody wrote a JSON body for.
fn is_bare_refusal(head: &HttpResponse<()>, body: &BoxBody) -> bool {
    let refused = head.status().is_client_error() || head.status().is_server_error();
    let json = head.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/"));
    refused && !(json && body.size() != BodySize::Sized(0))
}

/// Methods as labels: any other word is one label, so that clients cannot make series.
pub(crate) fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

/// Counts the request also when its client leaves and the future is dropped.
struct Watch {
    metrics: Arc<dyn HttpMetrics>,
    method: &'static str,
    began: Instant,
    open: bool,
}

impl Watch {
    fn start(metrics: Arc<dyn HttpMetrics>, method: &Method) -> Self {
        let method = method_label(method);
        Self { metrics, method, began: Instant::now(), open: true }
    }

    /// One line by template, never the path: paths carry join tokens and people's names (row L02).
    fn done(&mut self, reached: Option<&Here>, status: StatusCode, request_id: &str) {
        self.open = false;
        let elapsed = self.began.elapsed();
        let (method, status) = (self.method, status.as_u16());
        match reached {
            Some(here) => here.meter(method).done(status, elapsed),
            None => self.metrics.route(method, UNMATCHED).done(status, elapsed),
        }
        let template = reached.map_or(UNMATCHED, |here| here.template.as_str());
        let duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        if matches!(template, "/healthz" | "/readyz" | "/metrics" | "/api/v1/health" | "/api/v1/metrics") {
            tracing::debug!(method, route = template, status, duration_ms, request_id, "{method} {template} {status}");
        } else {
            tracing::info!(method, route = template, status, duration_ms, request_id, "{method} {template} {status}");
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.open {
            // 499: the client closed the request (nginx' number; there is no registered one).
            self.metrics.route(self.method, UNMATCHED).done(499, self.began.elapsed());
        }
    }
}
