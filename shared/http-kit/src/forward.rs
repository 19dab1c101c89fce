//! Handing a request over to another service of ours, with who sent it signed: the front door forwards log-in and key
//! routes to the user service, because passwords and new keys ride no queue (ADR 0001).
//!
//! The signature covers method, target, client address and time. It is no credential: the other service authenticates
//! the caller by itself and takes only the client's address from here.

use std::net::IpAddr;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use bytes::{Bytes, BytesMut};
use roadstead_auth::mesh::{MeshKey, SignedParts};
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::SharedClock;

use crate::client::single;
use crate::{ApiFailure, ApiResult, Body, RequestContext};

/// `<client> <unix seconds> <signature>`.
pub const FORWARDED_HEADER: &str = "x-roadstead-forwarded";
const CONTEXT: &str = "forwarded.v1";
/// How far two services' clocks may be apart.
const SKEW_SECONDS: i64 = 60;
/// Longest answer that is handed back: a page of users or keys is far below.
const ANSWER_MAX: usize = 8 * 1024 * 1024;
/// What goes on from the client's request; everything else stays behind.
const REQUEST_HEADERS: [&str; 9] = [
    "accept",
    "authorization",
    "content-type",
    "content-encoding",
    "user-agent",
    "x-api-key",
    "x-bootstrap-token",
    "x-device-info",
    "traceparent",
];
/// What comes back with the answer.
const RESPONSE_HEADERS: [&str; 13] = [
    "allow",
    "cache-control",
    "content-type",
    "content-security-policy",
    "link",
    "location",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "retry-after",
    "set-cookie",
    "www-authenticate",
    "x-total-count",
];

/// Signs the header for a request.
pub fn sign(key: &MeshKey, method: &str, target: &str, client: IpAddr, unix_seconds: i64) -> String {
    let (client, time) = (client.to_string(), unix_seconds.to_string());
    let signature = key.sign(&SignedParts { context: CONTEXT, parts: &parts(method, target, &client, &time) });
    format!("{client} {time} {signature}")
}

/// The client's address, when the header is there, right and fresh.
pub fn verify(
    key: &MeshKey,
    method: &str,
    target: &str,
    headers: &HeaderMap,
    now: chrono::DateTime<chrono::Utc>,
) -> Option<IpAddr> {
    let mut words = single(headers, FORWARDED_HEADER)?.split(' ');
    let (client, time, signature) = (words.next()?, words.next()?, words.next()?);
    let age = now.timestamp().checked_sub(time.parse().ok()?)?;
    let signed = SignedParts { context: CONTEXT, parts: &parts(method, target, client, time) };
    let good = words.next().is_none() && age.abs() <= SKEW_SECONDS && key.verify(&signed, signature);
    good.then(|| client.parse().ok()).flatten()
}

fn parts<'a>(method: &'a str, target: &'a str, client: &'a str, time: &'a str) -> [&'a [u8]; 4] {
    [method.as_bytes(), target.as_bytes(), client.as_bytes(), time.as_bytes()]
}

/// A service that requests are handed to.
#[derive(Debug, Clone)]
pub struct Forward {
    base: String,
    client: reqwest::Client,
    key: MeshKey,
    clock: SharedClock,
}

impl Forward {
    /// `base` is `http://host:port` without a path; it comes from our own settings and is trusted. The client must not
    /// follow redirects: a log-in's redirect is the caller's.
    pub fn new(base: &str, client: reqwest::Client, key: MeshKey, clock: SharedClock) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), client, key, clock }
    }

    /// A client as [`Forward`] wants it; `tls` where the services have certificates for each other.
    pub fn client(timeout: Duration, tls: Option<rustls::ClientConfig>) -> reqwest::Result<reqwest::Client> {
        let mut builder = reqwest::Client::builder();
        if let Some(tls) = tls {
            builder = builder.tls_backend_preconfigured(tls).https_only(true).http1_only();
        }
        builder
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(timeout.min(Duration::from_secs(5)))
            .timeout(timeout)
            .build()
    }

    /// Hands the request over and gives back the answer.
    pub async fn send(&self, request: &HttpRequest, context: &RequestContext, body: Body) -> ApiResult {
        let target = request.uri().path_and_query().map_or("/", |text| text.as_str());
        let method = reqwest::Method::from_bytes(request.method().as_str().as_bytes())
            .map_err(|_| Error::of(Code::BadRequest))?;
        let now = self.clock.now().timestamp();
        let mut outgoing = self
            .client
            .request(method.clone(), format!("{}{target}", self.base))
            .header(FORWARDED_HEADER, sign(&self.key, method.as_str(), target, context.client, now))
            .header("x-request-id", &context.request_id);
        for name in REQUEST_HEADERS {
            // The body was unpacked at the door.
            for value in request.headers().get_all(name).filter(|_| name != "content-encoding") {
                outgoing = outgoing.header(name, value.as_bytes());
            }
        }
        // Of a browser's cookies only ours go on, by the names that count at this host.
        if let Some(cookies) = crate::cookie::own(request.headers()) {
            outgoing = outgoing.header("cookie", cookies);
        }
        if !body.0.is_empty() || method == reqwest::Method::POST || method == reqwest::Method::PUT {
            outgoing = outgoing.body(body.0);
        }
        let answer = outgoing.send().await.map_err(|fault| {
            // The template, not the target: a query may hold a code or a token.
            let route = request.match_pattern().unwrap_or_default();
            let fault = fault.without_url();
            tracing::warn!(
                request_id = context.request_id,
                route,
                "failed to reach the service behind {route}: {fault}"
            );
            Error::of(Code::Unavailable).retry_after(1)
        })?;
        let status = StatusCode::from_u16(answer.status().as_u16()).map_err(|_| Error::of(Code::Unavailable))?;
        let mut response = HttpResponse::build(status);
        for name in RESPONSE_HEADERS {
            for value in answer.headers().get_all(name) {
                if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes())) {
                    response.append_header((name, value));
                }
            }
        }
        let bytes = collect(answer).await.map_err(ApiFailure::from)?;
        Ok(response.body(bytes))
    }
}

async fn collect(mut answer: reqwest::Response) -> Result<Bytes> {
    let mut whole = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(|_| Error::of(Code::Unavailable))? {
        if whole.len() + chunk.len() > ANSWER_MAX {
            return Err(Error::of(Code::Internal));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

#[cfg(test)]
mod tests {
    use roadstead_runtime::{Clock as _, Secret, SystemClock};

    use super::*;

    #[test]
    fn only_the_signed_request_is_believed() {
        let key = MeshKey::new(&Secret::new("k".repeat(32))).unwrap();
        let now = SystemClock.now();
        let client: IpAddr = "2001:db8::1".parse().unwrap();
        let text = sign(&key, "POST", "/auth/login?x=1", client, now.timestamp());
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(FORWARDED_HEADER), HeaderValue::from_str(&text).unwrap());
        let check = |method: &str, target: &str, headers: &HeaderMap, seconds: i64| {
            verify(&key, method, target, headers, now + chrono::Duration::seconds(seconds))
        };
        assert_eq!(check("POST", "/auth/login?x=1", &headers, 5), Some(client));
        assert_eq!(check("GET", "/auth/login?x=1", &headers, 5), None);
        assert_eq!(check("POST", "/auth/login", &headers, 5), None);
        assert_eq!(check("POST", "/auth/login?x=1", &headers, 61), None);
        let forged = text.replacen("2001:db8::1", "2001:db8::2", 1);
        headers.insert(HeaderName::from_static(FORWARDED_HEADER), HeaderValue::from_str(&forged).unwrap());
        assert_eq!(check("POST", "/auth/login?x=1", &headers, 5), None);
    }
}
