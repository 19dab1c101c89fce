//! The session cookie of browsers, and the check that a change which comes with it was sent by a page of the hub.
//!
//! Over TLS cookies carry the prefix `__Host-`: only the hub itself, over TLS, can set such a one, so a neighbour under the
//! same domain cannot plant a session. Without TLS (a hub on this machine) the plain name counts, and only where the
//! browser asked an IP address or `localhost`: those have no neighbours.

use actix_web::http::Method;
use actix_web::http::header::{COOKIE, HOST, HeaderMap, ORIGIN};
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::Secret;

use crate::client::single;

/// Prefix that browsers take over TLS only (RFC 6265bis §4.1.3.2).
const PREFIX: &str = "__Host-";
/// The session.
pub const SESSION: &str = "roadstead_session";
/// What binds a login on its way to the browser that began it.
pub const LOGIN: &str = "roadstead_login";
/// What binds a sign-in with a passkey to the browser that began it.
pub const PASSKEY: &str = "roadstead_passkey";
/// The mark of a device that logged in before.
pub const DEVICE: &str = "roadstead_device";
/// Longest value that is looked at: a session is an access token of some 700 bytes.
const VALUE_MAX: usize = 4 * 1024;

/// The name of a cookie of ours.
pub fn name(base: &str, tls: bool) -> String {
    if tls { format!("{PREFIX}{base}") } else { base.to_owned() }
}

/// The text of `Set-Cookie`. Values are tokens of ours: letters, digits and `-_.`.
pub fn set(base: &str, tls: bool, value: &str, seconds: u64) -> String {
    let secure = if tls { "; Secure" } else { "" };
    format!("{}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}", name(base, tls))
}

/// The text of `Set-Cookie` that takes a cookie away.
pub fn remove(base: &str, tls: bool) -> String {
    set(base, tls, "", 0)
}

/// Which names of a cookie count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Only the one that TLS alone can set.
    Prefixed,
    /// The plain one too, where the browser asked a host without neighbours.
    ByHost,
    /// Both: whoever forwarded the request, or the settings, know that the plain one may count.
    Both,
}

/// The value of a cookie of ours, when there is exactly one.
pub fn read(headers: &HeaderMap, base: &str, names: Names) -> Option<Secret> {
    if let Some(value) = one(headers, &name(base, true)) {
        return Some(value);
    }
    let plain = match names {
        Names::Prefixed => false,
        Names::ByHost => is_alone(headers),
        Names::Both => true,
    };
    plain.then(|| one(headers, base)).flatten()
}

/// Every value under a name: two of them are none, for one may be somebody else's.
fn one(headers: &HeaderMap, name: &str) -> Option<Secret> {
    let mut found = headers
        .get_all(COOKIE)
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(known, _)| *known == name)
        .map(|(_, value)| value.trim_matches('"'));
    let value = found.next().filter(|value| (1..=VALUE_MAX).contains(&value.len()))?;
    found.next().is_none().then(|| Secret::new(value))
}

/// Whether the browser asked a host that has no neighbours under the same domain.
fn is_alone(headers: &HeaderMap) -> bool {
    let Some(host) = single(headers, HOST.as_str()) else { return false };
    if host.starts_with('[') {
        return true;
    }
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::Ipv4Addr>().is_ok()
}

/// Our cookies of a request as one line, for the service behind the front door.
pub(crate) fn own(headers: &HeaderMap) -> Option<String> {
    let mut kept = Vec::new();
    for base in [SESSION, LOGIN, PASSKEY, DEVICE] {
        for (tls, good) in [(true, true), (false, is_alone(headers))] {
            if let Some(value) = one(headers, &name(base, tls)).filter(|_| good) {
                kept.push(format!("{}={}", name(base, tls), value.expose()));
            }
        }
    }
    (!kept.is_empty()).then(|| kept.join("; "))
}

/// Refuses a change that no page of the hub sent. Browsers say so by `Sec-Fetch-Site`; older ones, and all of them without
/// TLS, by `Origin`. What says neither is no browser, and programs send their credential in a header.
pub(crate) fn check_site(method: &Method, headers: &HeaderMap) -> Result<()> {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let own = match single(headers, "sec-fetch-site") {
        Some(site) => site == "same-origin",
        None if headers.contains_key("sec-fetch-site") => false,
        None => is_own_origin(headers),
    };
    let refusal = || Error::new(Code::CrossSite, "this change was not sent by a page of the hub");
    if own { Ok(()) } else { Err(refusal()) }
}

fn is_own_origin(headers: &HeaderMap) -> bool {
    let (Some(origin), Some(host)) = (single(headers, ORIGIN.as_str()), single(headers, HOST.as_str())) else {
        return false;
    };
    let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    !host.is_empty() && rest.is_some_and(|rest| rest.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn session(pairs: &[(&str, &str)]) -> Option<String> {
        read(&headers(pairs), SESSION, Names::ByHost).map(|value| value.expose().to_owned())
    }

    #[test]
    fn a_neighbour_cannot_plant_a_session() {
        let planted = [("host", "hub.example"), ("cookie", "roadstead_session=evil")];
        assert_eq!(session(&planted), None);
        assert_eq!(
            session(&[
                ("host", "hub.example"),
                ("cookie", "a=b; roadstead_session=evil; __Host-roadstead_session=good")
            ]),
            Some("good".into())
        );
        for host in ["127.0.0.1:8008", "localhost:1", "[::1]:8008", "192.0.2.1"] {
            assert_eq!(session(&[("host", host), ("cookie", "roadstead_session=x")]), Some("x".into()), "{host}");
        }
        for host in ["127.0.0.1.evil:80", "localhost.evil", "hub"] {
            assert_eq!(session(&[("host", host), ("cookie", "roadstead_session=x")]), None, "{host}");
        }
    }

    #[test]
    fn two_values_are_none() {
        let line = "__Host-roadstead_session=a; __Host-roadstead_session=b";
        assert_eq!(session(&[("host", "h"), ("cookie", line)]), None);
        let twice = [("cookie", "__Host-roadstead_session=a"), ("cookie", "__Host-roadstead_session=b")];
        assert_eq!(session(&twice), None);
        assert_eq!(session(&[("cookie", "__Host-roadstead_session=")]), None);
    }

    #[test]
    fn only_our_cookies_go_on() {
        let all = headers(&[("host", "h"), ("cookie", "tracker=1; __Host-roadstead_session=a; roadstead_login=evil")]);
        assert_eq!(own(&all).as_deref(), Some("__Host-roadstead_session=a"));
    }

    #[test]
    fn changes_come_from_our_pages() {
        let check = |pairs: &[(&str, &str)]| check_site(&Method::POST, &headers(pairs)).is_ok();
        assert!(check(&[("sec-fetch-site", "same-origin")]));
        assert!(check(&[("host", "hub.example:8443"), ("origin", "https://HUB.example:8443")]));
        for bad in [
            &[][..],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "cross-site"), ("host", "h"), ("origin", "https://h")],
            &[("host", "h"), ("origin", "null")],
            &[("host", "h"), ("origin", "https://h.evil")],
            &[("host", "h"), ("origin", "https://evil/h")],
            &[("host", ""), ("origin", "https://")],
        ] {
            assert!(!check(bad), "{bad:?}");
        }
        assert!(check_site(&Method::GET, &headers(&[])).is_ok());
    }

    #[test]
    fn cookies_cannot_be_read_by_scripts() {
        let text = set(SESSION, true, "x", 5);
        assert_eq!(text, "__Host-roadstead_session=x; Path=/; HttpOnly; SameSite=Lax; Max-Age=5; Secure");
        assert!(!set(SESSION, false, "x", 5).contains("Secure"));
    }
}
