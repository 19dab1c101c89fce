//! What of a request may reach a cluster: the tail of the path, and an allow-list of headers by exclusion of everything
//! that is between the client and the hub (reliability rows P01 to P04, P07).

use std::collections::BTreeSet;

use hyper::header::{self, HeaderMap, HeaderName};
use roadstead_contracts::agent::RequestKind;
use roadstead_contracts::identity::Role;
use roadstead_contracts::message::ActsAs;
use roadstead_contracts::{Code, Error, Result};
use roadstead_policy::kubernetes;

/// Longest path and query that go on: above kube-apiserver's own practice, below its 1 MiB of head.
const TARGET_MAX: usize = 16 * 1024;

/// Headers that describe the connection between client and hub (RFC 9110 §7.6.1), or that only a proxy may set.
const NOT_FORWARDED: &[&str] = &[
    "connection",
    "proxy-connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "authorization",
    "cookie",
    "x-api-key",
    "host",
    "forwarded",
    "via",
    "x-real-ip",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-uri",
    "x-forwarded-prefix",
    "x-forwarded-client-cert",
    "x-forwarded-port",
    "x-forwarded-user",
    "x-request-id",
    // The hub's own id of the request takes its place.
    "audit-id",
    "expect",
    "http2-settings",
];
/// The API server's front-proxy headers (`--requestheader-*`): never a client's to send.
const NOT_FORWARDED_PREFIXES: &[&str] = &["x-remote-", "x-roadstead-"];

/// A request's place: the cluster it names, and what goes on to that cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Id, integer or name.
    pub(crate) cluster: String,
    /// Path and query for the API server; begins with a slash.
    pub(crate) tail: String,
    /// How long its answer may take.
    pub(crate) pace: Pace,
    /// Whether its answer may be large or without end. Such answers leave room in the agent's session for the small ones
    /// that somebody waits for, so that readers that stop hold up nobody.
    pub(crate) bulk: bool,
}

/// How an exchange goes, as far as the path tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// The API server answers within a minute or ends it.
    Plain,
    /// Somebody behind the API server answers when it can: logs, exec, proxies.
    Long,
    /// A log that is followed: it may be silent for as long as its pod is.
    Follow,
    /// A watch: events as they come. Where it breaks it ends cleanly, because clients resume then (complaints 2 to 4).
    Watch,
}

/// Longest time that a watch may ask for: a day; clients ask for minutes.
const TIMEOUT_SECONDS_MAX: u64 = 86_400;
/// Most rows of one page: clients that page ask for 500.
const LIMIT_MAX: u64 = 50_000;
/// Subresources that somebody behind the API server answers.
const LONG: [&str; 5] = ["log", "exec", "attach", "portforward", "proxy"];

/// Splits `/k/{cluster}/tail?query`. The tail is sent on as it came, so it must have one meaning only: no dot segments, no
/// encoded separators, no backslash, no empty segment.
pub(crate) fn target(path: &str, query: Option<&str>) -> Result<Target> {
    let unusual = || Error::new(Code::BadRequest, "the path has an encoded or doubled separator, or a dot segment");
    let rest = path.strip_prefix("/k/").ok_or_else(|| Error::of(Code::NotFound))?;
    let (cluster, tail) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    if cluster.is_empty() {
        return Err(Error::of(Code::NotFound));
    }
    if path.len() + query.map_or(0, str::len) > TARGET_MAX {
        return Err(Error::of(Code::UriTooLong));
    }
    let plain_name = cluster.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let dots = tail.split('/').any(|segment| segment == "." || segment == "..");
    if !plain_name || is_ambiguous(tail) || dots {
        return Err(unusual());
    }
    let pace = pace(tail, query.unwrap_or_default());
    let bulk = pace != Pace::Plain || is_whole_list(tail, query.unwrap_or_default());
    let tail = query.map_or_else(|| tail.to_owned(), |query| format!("{tail}?{}", clamped(query)));
    Ok(Target { cluster: cluster.to_owned(), tail, pace, bulk })
}

/// Whether a path has a separator, a dot or an escape in disguise, an empty segment or parameters.
fn is_ambiguous(path: &str) -> bool {
    let bytes = path.as_bytes();
    let doubled = bytes.windows(2).any(|pair| pair == b"//");
    let escapes = || bytes.windows(3).filter(|three| three.first() == Some(&b'%'));
    let encoded =
        |word: &[u8]| [&b"%2e"[..], b"%2f", b"%5c", b"%00", b"%25"].iter().any(|bad| word.eq_ignore_ascii_case(bad));
    doubled || bytes.iter().any(|byte| matches!(byte, b'\\' | b';')) || escapes().any(encoded)
}

/// What is asked of the cluster, as its API server will read it. What goes on is what was read.
pub(crate) fn kind(method: &str, tail: &str) -> Result<RequestKind> {
    let (path, query) = tail.split_once('?').map_or((tail, None), |(path, query)| (path, Some(query)));
    kubernetes::read(method, path, query)
}

fn pace(path: &str, query: &str) -> Pace {
    if kubernetes::is_watch(query) || path.split('/').nth(3) == Some("watch") || path.split('/').nth(4) == Some("watch")
    {
        Pace::Watch
    } else if is_followed(path, query) {
        Pace::Follow
    } else if path.split('/').any(|segment| LONG.contains(&segment)) {
        Pace::Long
    } else {
        Pace::Plain
    }
}

/// Whether this is a log that goes on.
fn is_followed(path: &str, query: &str) -> bool {
    let asked = kubernetes::pairs(query).find_map(|(key, value)| (key == "follow").then_some(value));
    let parts = || kubernetes::parts("GET", path, Some(query)).ok().flatten();
    asked.is_some_and(|value| kubernetes::is_yes(&value))
        && parts().is_some_and(|parts| parts.kind() == "pods" && parts.subresource.as_deref() == Some("log"))
}

/// Whether this is a collection that is asked for without pages. kubectl asks for pages of 500.
fn is_whole_list(path: &str, query: &str) -> bool {
    let mut segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let head = match segments.first() {
        Some(&"api") => 2,
        Some(&"apis") => 3,
        _ => return false,
    };
    segments.drain(..head.min(segments.len()));
    if segments.first() == Some(&"namespaces") && segments.len() > 2 {
        segments.drain(..2);
    }
    let limit = kubernetes::pairs(query).find_map(|(key, value)| (key == "limit").then_some(value));
    segments.len() == 1 && limit.is_none_or(|limit| matches!(limit.as_str(), "" | "0"))
}

/// The query with numbers that ask for more than anybody needs made smaller (reliability row P11).
fn clamped(query: &str) -> String {
    let pairs = query.split('&').map(|text| {
        // Read as the API server reads it: an escape hides no number.
        let Some((key, value)) = kubernetes::pair(text) else { return text.to_owned() };
        for (name, most) in [("timeoutSeconds", TIMEOUT_SECONDS_MAX), ("limit", LIMIT_MAX)] {
            let digits = value.strip_prefix('+').unwrap_or(&value);
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            // A number too long to read is larger than any limit.
            if key == name && is_number && digits.parse::<u64>().map_or(true, |number| number > most) {
                return format!("{name}={most}");
            }
        }
        text.to_owned()
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// Whether a request wants to become another protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upgrade {
    /// `websocket` (RFC 6455).
    WebSocket,
    /// `SPDY/3.1`, kubectl before WebSockets.
    Spdy,
}

impl Upgrade {
    /// The header's value for the API server.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Upgrade::WebSocket => "websocket",
            Upgrade::Spdy => "SPDY/3.1",
        }
    }
}

/// Reads the upgrade: one of the two protocols Kubernetes uses, asked for once and with `Connection: upgrade`.
pub(crate) fn upgrade(headers: &HeaderMap) -> Result<Option<Upgrade>> {
    let refused = || Error::new(Code::BadRequest, "only upgrades to websocket and SPDY/3.1 are carried");
    let mut wanted = headers.get_all(header::UPGRADE).iter();
    let Some(first) = wanted.next() else { return Ok(None) };
    if wanted.next().is_some() {
        return Err(refused());
    }
    let connection = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    let first = first.to_str().map_err(|_| refused())?.trim();
    match (connection, first) {
        (true, word) if word.eq_ignore_ascii_case("websocket") => Ok(Some(Upgrade::WebSocket)),
        (true, word) if word.eq_ignore_ascii_case("SPDY/3.1") => Ok(Some(Upgrade::Spdy)),
        _ => Err(refused()),
    }
}

/// As whom the client asks to act, in the hub's own names: `Impersonate-User` and `Impersonate-Group`, with the hub's prefix
/// or without. What the hub could not put in its place is refused, never dropped: a client that believes it acts as somebody
/// else must learn that it does not. Whether it may is the gate's.
pub(crate) fn acts_as(incoming: &HeaderMap) -> Result<Option<ActsAs>> {
    let denied = |why: &'static str| Err(Error::new(Code::ImpersonationDenied, why));
    if !incoming.keys().any(is_impersonation) {
        return Ok(None);
    }
    if incoming
        .keys()
        .any(|name| is_impersonation(name) && !["impersonate-user", "impersonate-group"].contains(&name.as_str()))
    {
        return denied("Impersonate headers other than Impersonate-User and Impersonate-Group are not carried");
    }
    let plain = |value: &header::HeaderValue| {
        let text = value.to_str().ok()?;
        Some(text.strip_prefix(PREFIX).unwrap_or(text).to_owned())
    };
    let mut users = incoming.get_all("impersonate-user").iter();
    let (Some(user), None) = (users.next().and_then(plain), users.next()) else {
        return denied("Impersonate-User must be there once");
    };
    // As the agent judges names: no others reach a cluster.
    let printable = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b',' | b'/');
    if user.is_empty() || user.len() > ACTED_NAME_MAX || !user.bytes().all(printable) || user.starts_with("system:") {
        return denied(
            "Impersonate-User must be the name of a user of the hub; users of Kubernetes itself are never acted as",
        );
    }
    let mut roles = BTreeSet::new();
    for group in incoming.get_all("impersonate-group") {
        let Some(role) = plain(group).and_then(|group| Role::parse(&group)) else {
            return denied("Impersonate-Group must be roadstead:viewer, roadstead:operator or roadstead:admin");
        };
        roles.insert(role);
    }
    Ok(Some(ActsAs { user, roles }))
}

fn is_impersonation(name: &HeaderName) -> bool {
    name.as_str().starts_with("impersonate-")
}

/// Prefix of the hub's users and groups in a cluster.
const PREFIX: &str = "roadstead:";
/// Longest user name, as the agent takes it.
const ACTED_NAME_MAX: usize = 128;

/// The headers that go on. `Impersonate-*` stays here: [`acts_as`] has read it.
pub(crate) fn headers(incoming: &HeaderMap) -> HeaderMap {
    // What `Connection` names is for this hop too, whatever it is.
    let named: Vec<String> = incoming
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|word| word.trim().to_ascii_lowercase())
        .collect();
    let mut outgoing = HeaderMap::with_capacity(incoming.len());
    for (name, value) in incoming {
        let dropped = |name: &HeaderName| {
            let name = name.as_str();
            NOT_FORWARDED.contains(&name)
                || name.starts_with("impersonate-")
                || NOT_FORWARDED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
                || named.iter().any(|word| word == name)
        };
        if name == header::SEC_WEBSOCKET_PROTOCOL {
            if let Some(kept) = without_bearer(value.as_bytes()) {
                outgoing.append(name, kept);
            }
        } else if !dropped(name) {
            outgoing.append(name, value.clone());
        }
    }
    outgoing
}

/// Browsers cannot set headers on a WebSocket and put their token among the sub-protocols (as kube-apiserver reads it); it is
/// the hub's credential and stays here.
fn without_bearer(value: &[u8]) -> Option<header::HeaderValue> {
    let text = std::str::from_utf8(value).ok()?;
    let kept: Vec<&str> =
        text.split(',').map(str::trim).filter(|word| !word.starts_with(BEARER_PROTOCOL) && !word.is_empty()).collect();
    header::HeaderValue::from_str(&kept.join(", ")).ok().filter(|_| !kept.is_empty())
}

/// How a token among the WebSocket sub-protocols begins.
pub(crate) const BEARER_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

#[cfg(test)]
#[path = "vet_tests.rs"]
mod tests;
