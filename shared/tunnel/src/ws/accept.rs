//! The hub's side of the handshake, as a check of a request's head.

use http::header::{CONNECTION, HeaderName, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL};
use http::header::{SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// A request that may become a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    key: HeaderValue,
    /// The sub-protocol, the first of ours that the client offered. `None`: the client offered none at all.
    pub protocol: Option<&'static str>,
}

/// Why a request cannot become a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not an upgrade to WebSocket at all.
    #[error("not a websocket upgrade")]
    NotAnUpgrade,
    /// A version of the protocol other than 13.
    #[error("unknown websocket version")]
    Version,
    /// The key is missing, twice there, or not 16 bytes.
    #[error("bad websocket key")]
    Key,
    /// A browser: agents send no `Origin` (reliability row W02).
    #[error("origin not allowed")]
    Origin,
    /// None of the offered sub-protocols is known here.
    #[error("unknown sub-protocol")]
    Protocol,
}

impl Refusal {
    /// The HTTP status to answer with.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NotAnUpgrade => StatusCode::UPGRADE_REQUIRED,
            Self::Origin => StatusCode::FORBIDDEN,
            Self::Version | Self::Key | Self::Protocol => StatusCode::BAD_REQUEST,
        }
    }
}

/// Checks a request's head against RFC 6455 §4.2.1, for the agents' door: no `Origin`, one of `protocols` if any is
/// offered.
pub fn accept<B>(request: &Request<B>, protocols: &[&'static str]) -> Result<Accepted, Refusal> {
    let headers = request.headers();
    let upgrade = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && has_word(headers, &UPGRADE, "websocket")
        && has_word(headers, &CONNECTION, "upgrade");
    if !upgrade {
        return Err(Refusal::NotAnUpgrade);
    }
    if headers.contains_key(ORIGIN) {
        return Err(Refusal::Origin);
    }
    if headers.get(SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes) != Some(b"13") {
        return Err(Refusal::Version);
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else { return Err(Refusal::Key) };
    if !is_key(key.as_bytes()) {
        return Err(Refusal::Key);
    }
    let protocol = if headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        let mut offered = words(headers, &SEC_WEBSOCKET_PROTOCOL);
        let known = offered.find_map(|word| protocols.iter().find(|known| **known == word));
        Some(*known.ok_or(Refusal::Protocol)?)
    } else {
        None
    };
    Ok(Accepted { key: key.clone(), protocol })
}

impl Accepted {
    /// The answer that turns the connection into a WebSocket.
    pub fn response(&self) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(self.key.as_bytes())) {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        if let Some(protocol) = self.protocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        response
    }
}

/// 16 bytes in base64.
fn is_key(key: &[u8]) -> bool {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

fn has_word(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    words(headers, name).any(|word| word.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(change: impl FnOnce(&mut Request<()>)) -> Request<()> {
        let mut request = Request::builder()
            .uri("/agent/v1/connect")
            .header("upgrade", "WebSocket")
            .header("connection", "keep-alive, Upgrade")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(())
            .unwrap();
        change(&mut request);
        request
    }

    #[test]
    fn the_sample_of_the_rfc() {
        let plain = accept(&request(|_| {}), &["roadstead.tunnel.v1"]).unwrap();
        assert_eq!(plain.protocol, None);
        assert_eq!(plain.response().headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn sub_protocols_are_chosen_or_refused() {
        let offer = |text: &'static str| {
            request(|request| {
                request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(text));
            })
        };
        let ours = accept(&offer("other, roadstead.tunnel.v1"), &["roadstead.tunnel.v1"]).unwrap();
        assert_eq!(ours.protocol, Some("roadstead.tunnel.v1"));
        assert_eq!(ours.response().headers()["sec-websocket-protocol"], "roadstead.tunnel.v1");
        assert_eq!(accept(&offer("roadstead.tunnel.v9"), &["roadstead.tunnel.v1"]), Err(Refusal::Protocol));
    }

    #[test]
    fn what_is_refused() {
        let refuse = |change: fn(&mut Request<()>)| accept(&request(change), &["p"]).unwrap_err();
        assert_eq!(refuse(|request| *request.method_mut() = Method::POST), Refusal::NotAnUpgrade);
        assert_eq!(refuse(|request| drop(request.headers_mut().remove("upgrade"))), Refusal::NotAnUpgrade);
        let origin = refuse(|request| {
            request.headers_mut().insert(ORIGIN, HeaderValue::from_static("https://evil.example"));
        });
        assert_eq!((origin, origin.status()), (Refusal::Origin, StatusCode::FORBIDDEN));
        assert_eq!(refuse(|request| drop(request.headers_mut().remove("sec-websocket-version"))), Refusal::Version);
        assert_eq!(refuse(|request| drop(request.headers_mut().remove("sec-websocket-key"))), Refusal::Key);
        let short = refuse(|request| {
            request.headers_mut().insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("c2hvcnQ="));
        });
        assert_eq!(short, Refusal::Key);
    }
}
