//! Where a request comes from and what it is called in the logs.

use std::future::{Ready, ready};
use std::net::IpAddr;
use std::time::Instant;

use actix_web::dev::Payload;
use actix_web::http::header::{HeaderMap, HeaderValue};
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use ipnet::IpNet;
use roadstead_contracts::{Code, Error};
use roadstead_telemetry::TraceParent;

use crate::ApiFailure;

/// Longest request id taken from a client: a UUID with a prefix fits, a log line stays a line.
const REQUEST_ID_MAX: usize = 64;
/// Most hops of a forwarding header that are looked at, from the right.
const HOPS_MAX: usize = 16;

/// What is known of a request before anybody is authenticated. An extractor: the frame puts it there.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// The request's name: `X-Request-Id` when it was sane, else made here.
    pub request_id: String,
    /// The client's address, as far as trusted proxies tell it.
    pub client: IpAddr,
    /// W3C trace context: a step of the client's trace, or of a new one. Few requests go on with it, so it is no text yet.
    pub traceparent: Option<TraceParent>,
    /// When it came: what is asked elsewhere to answer it shares one deadline.
    pub began: Instant,
}

impl FromRequest for RequestContext {
    type Error = ApiFailure;
    type Future = Ready<Result<Self, ApiFailure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // Absent only when the frame is not mounted, which is a fault of ours.
        ready(request.extensions().get::<Self>().cloned().ok_or_else(|| Error::of(Code::Internal).into()))
    }
}

/// The one value of a header, or nothing when it is absent, repeated or not text.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name);
    let first = values.next()?;
    if values.next().is_some() {
        return None;
    }
    first.to_str().ok()
}

/// The client's request id, when it can go into a log line as it is.
pub(crate) fn sane_request_id(headers: &HeaderMap) -> Option<&str> {
    single(headers, "x-request-id").filter(|text| {
        (1..=REQUEST_ID_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    })
}

/// [`client_address`] of a request to a door of this crate's.
pub(crate) fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    client_address(peer, trusted, |name| headers.get_all(name).map(HeaderValue::as_bytes).collect())
}

/// The client's address: the peer, unless the peer is a trusted proxy; then the right-most address that the proxies
/// name and that is not one of them. Where `X-Forwarded-For` and `Forwarded` disagree one of them may be the client's
/// own, so neither counts (reliability row A11). `lines` gives the values of a header by its name, whatever keeps them.
pub fn client_address<'a>(peer: IpAddr, trusted: &[IpNet], lines: impl Fn(&'static str) -> Vec<&'a [u8]>) -> IpAddr {
    let peer = peer.to_canonical();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|range| range.contains(address));
    if !is_trusted(&peer) {
        return peer;
    }
    let right_most = |hops: Vec<Option<IpAddr>>| {
        let mut last = None;
        for hop in hops.into_iter().rev().take(HOPS_MAX) {
            // An unreadable hop ends the chain: what is left of it cannot be vouched for.
            let Some(address) = hop else { break };
            last = Some(address);
            if !is_trusted(&address) {
                break;
            }
        }
        last
    };
    let listed = right_most(hops(&lines("x-forwarded-for"), Some));
    let forwarded = right_most(hops(&lines("forwarded"), |part| {
        part.split(';').find_map(|pair| {
            let (key, value) = pair.trim().split_once('=')?;
            key.eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"'))
        })
    }));
    match (listed, forwarded) {
        (Some(one), Some(two)) if one != two => peer,
        (Some(address), _) | (None, Some(address)) => address,
        (None, None) => peer,
    }
}

fn hops<'a>(lines: &[&'a [u8]], pick: impl Fn(&'a str) -> Option<&'a str> + Copy) -> Vec<Option<IpAddr>> {
    // What is no text is a hop that cannot be read.
    let text = |line: &'a [u8]| std::str::from_utf8(line).ok().filter(|text| text.is_ascii()).unwrap_or("?");
    let parts = lines.iter().flat_map(|line| text(line).split(','));
    parts.map(|part| pick(part.trim()).and_then(parse_hop)).collect()
}

/// `1.2.3.4`, `1.2.3.4:5`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:5`.
fn parse_hop(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        return Some(address.ip().to_canonical());
    }
    text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderName;
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn seen(peer: &str, pairs: &[(&str, &str)]) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        address(peer.parse().unwrap(), &headers(pairs), &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        for name in ["x-forwarded-for", "forwarded", "x-real-ip"] {
            let value = if name == "forwarded" { "for=9.9.9.9" } else { "9.9.9.9" };
            assert_eq!(seen("1.2.3.4", &[(name, value)]), "1.2.3.4", "{name}");
        }
        assert_eq!(seen("10.0.0.1", &[("x-real-ip", "9.9.9.9")]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &[("x-forwarded-for", "9.9.9.9")]), "9.9.9.9");
        assert_eq!(seen("::ffff:10.0.0.1", &[("x-forwarded-for", "9.9.9.9")]), "9.9.9.9");
    }

    #[test]
    fn the_right_most_untrusted_hop_counts() {
        assert_eq!(seen("10.0.0.1", &[("x-forwarded-for", "6.6.6.6, 7.7.7.7, 10.1.1.1")]), "7.7.7.7");
        assert_eq!(seen("10.0.0.1", &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "7.7.7.7")]), "7.7.7.7");
        assert_eq!(seen("10.0.0.1", &[("x-forwarded-for", "6.6.6.6, unknown, 10.1.1.1")]), "10.1.1.1");
        assert_eq!(
            seen("10.0.0.1", &[("forwarded", "for=6.6.6.6, For=\"[2001:db8::1]:80\";proto=https")]),
            "2001:db8::1"
        );
        assert_eq!(seen("10.0.0.1", &[("x-forwarded-for", "7.7.7.7"), ("forwarded", "for=6.6.6.6")]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &[("x-forwarded-for", "")]), "10.0.0.1");
    }

    #[test]
    fn request_ids_are_checked() {
        assert_eq!(sane_request_id(&headers(&[("x-request-id", "a-1")])), Some("a-1"));
        for bad in ["", "a b", "a\"b", &"x".repeat(65)] {
            assert_eq!(sane_request_id(&headers(&[("x-request-id", bad)])), None, "{bad}");
        }
        assert_eq!(sane_request_id(&headers(&[("x-request-id", "a"), ("x-request-id", "b")])), None);
    }

    proptest! {
        #[test]
        fn garbage_hops_do_not_panic(text in "[ -~]{0,60}") {
            let map = headers(&[("x-forwarded-for", &text), ("forwarded", &text)]);
            let _ = address("10.0.0.1".parse().unwrap(), &map, &["10.0.0.0/8".parse().unwrap()]);
        }
    }
}
