//! What of a request may reach a cluster: the tail of the path, and an allow-list of headers by exclusion of everything
//! that is between the client and the hub (reliability rows P01 to P04, P07).

use std::collections::BTreeSet;

use hyper::header::{self, HeaderMap, HeaderName};
use roadstead_contracts::agent::RequestKind;
use roadstead_contracts::identity::Role;
use roadstead_contracts::message::ActsAs;
use roadstead_contracts::{Code, Error, Result};

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
    let lower = tail.to_ascii_lowercase();
    let encoded = ["%2e", "%2f", "%5c", "%00", "%25", "\\", "//", ";"].iter().any(|word| lower.contains(word));
    let dots = tail.split('/').any(|segment| segment == "." || segment == "..");
    if !plain_name || encoded || dots {
        return Err(unusual());
    }
    let pace = pace(tail, query.unwrap_or_default());
    let bulk = pace != Pace::Plain || is_whole_list(tail, query.unwrap_or_default());
    let tail = query.map_or_else(|| tail.to_owned(), |query| format!("{tail}?{}", clamped(query)));
    Ok(Target { cluster: cluster.to_owned(), tail, pace, bulk })
}

/// What is asked of the cluster, as its API server will read it. What goes on is what was read.
pub(crate) fn kind(method: &str, tail: &str) -> Result<RequestKind> {
    let (path, query) = tail.split_once('?').map_or((tail, None), |(path, query)| (path, Some(query)));
    roadstead_policy::kubernetes::read(method, path, query)
}

fn pace(path: &str, query: &str) -> Pace {
    let watch = query.split('&').any(|pair| {
        pair.strip_prefix("watch=").is_some_and(|value| matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"))
    });
    if watch || path.split('/').nth(3) == Some("watch") || path.split('/').nth(4) == Some("watch") {
        Pace::Watch
    } else if path.split('/').any(|segment| LONG.contains(&segment)) {
        Pace::Long
    } else {
        Pace::Plain
    }
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
    segments.len() == 1 && !query.split('&').any(|pair| pair.starts_with("limit=") && pair != "limit=0")
}

/// The query with numbers that ask for more than anybody needs made smaller (reliability row P11).
fn clamped(query: &str) -> String {
    let pairs = query.split('&').map(|pair| {
        for (name, most) in [("timeoutSeconds=", TIMEOUT_SECONDS_MAX), ("limit=", LIMIT_MAX)] {
            let digits = pair.strip_prefix(name).filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
            // A number too long to read is larger than any limit.
            if let Some(digits) = digits.filter(|digits| !digits.is_empty())
                && digits.parse::<u64>().map_or(true, |number| number > most)
            {
                return format!("{name}{most}");
            }
        }
        pair.to_owned()
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
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn map(rows: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in rows {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn the_tail_goes_on_as_it_came() {
        let found =
            target("/k/prod/api/v1/namespaces/a/services/https:b:443/proxy/x", Some("watch=true&x=%2F..")).unwrap();
        assert_eq!(found.cluster, "prod");
        assert_eq!(found.tail, "/api/v1/namespaces/a/services/https:b:443/proxy/x?watch=true&x=%2F..");
        assert_eq!(target("/k/7", None).unwrap().tail, "/");
    }

    #[test]
    fn p11_numbers_beyond_reason_are_made_smaller() {
        let tail = |query: &str| target("/k/c/api/v1/pods", Some(query)).unwrap().tail;
        assert_eq!(tail("limit=1000000000&timeoutSeconds=1000000000"), "/api/v1/pods?limit=50000&timeoutSeconds=86400");
        assert_eq!(tail("timeoutSeconds=99999999999999999999999"), "/api/v1/pods?timeoutSeconds=86400");
        for query in [
            "limit=500&timeoutSeconds=600",
            "limit=",
            "limit=-1",
            "limit=x",
            "xlimit=1000000000",
            "labelSelector=a%3Db",
        ] {
            assert_eq!(tail(query), format!("/api/v1/pods?{query}"));
        }
    }

    #[test]
    fn whole_lists_and_streams_are_bulk() {
        let bulk = |path: &str, query| target(path, query).unwrap().bulk;
        for path in [
            "/k/c/api/v1/pods",
            "/k/c/api/v1/namespaces/a/pods",
            "/k/c/apis/apps/v1/deployments",
            "/k/c/api/v1/namespaces",
        ] {
            assert!(bulk(path, None) && bulk(path, Some("limit=0")) && !bulk(path, Some("a=b&limit=500")), "{path}");
        }
        assert!(bulk("/k/c/api/v1/namespaces/a/pods/b/log", None));
        for path in [
            "/k/c/version",
            "/k/c/api",
            "/k/c/apis/apps/v1",
            "/k/c/api/v1/namespaces/a",
            "/k/c/api/v1/namespaces/a/pods/b",
        ] {
            assert!(!bulk(path, None), "{path}");
        }
    }

    #[test]
    fn the_path_tells_the_pace() {
        let pace = |path: &str, query| target(path, query).unwrap().pace;
        assert_eq!(pace("/k/c/api/v1/pods", Some("limit=500")), Pace::Plain);
        assert_eq!(pace("/k/c/api/v1/pods", Some("a=b&watch=true")), Pace::Watch);
        assert_eq!(pace("/k/c/api/v1/watch/pods", None), Pace::Watch);
        assert_eq!(pace("/k/c/apis/apps/v1/watch/deployments", None), Pace::Watch);
        assert_eq!(pace("/k/c/api/v1/namespaces/a/pods/b/log", Some("follow=true")), Pace::Long);
    }

    #[test]
    fn p03_paths_with_two_meanings_are_refused() {
        for tail in [
            "/../x",
            "/a/..",
            "/./a",
            "/a%2e%2e%2fb",
            "/a/%2E%2E/b",
            "/a..;/b",
            "/%252e",
            "/a\\b",
            "//a",
            "/a//b",
            "/a%00",
            "/a%5cb",
        ] {
            assert_eq!(target(&format!("/k/c{tail}"), None).unwrap_err().code, Code::BadRequest, "{tail}");
        }
        for path in ["/k/", "/k", "/x/c/api", "/k//api"] {
            assert_eq!(target(path, None).unwrap_err().code, Code::NotFound, "{path}");
        }
        for path in ["/k/a@evil/api", "/k/a%2fb/api", "/k/a:b/api", "/k/../x"] {
            assert!(target(path, None).is_err(), "{path}");
        }
    }

    #[test]
    fn p01_impersonation_is_read_in_the_hubs_names_and_never_forwarded() {
        for name in ["impersonate-group", "IMPERSONATE-UID", "Impersonate-Extra-x", "impersonate-x"] {
            let refused = acts_as(&map(&[("impersonate-user", "bob"), (name, "x")])).unwrap_err();
            assert_eq!(refused.code, Code::ImpersonationDenied, "{name}");
        }
        for user in ["system:admin", "roadstead:system:admin", "", "a,b", "a/b", "roadstead:", &"x".repeat(200)] {
            assert!(acts_as(&map(&[("impersonate-user", user)])).is_err(), "{user}");
        }
        assert!(acts_as(&map(&[("impersonate-group", "viewer")])).is_err(), "a group without a user");
        assert!(acts_as(&map(&[("impersonate-user", "a"), ("Impersonate-User", "b")])).is_err());
        assert!(acts_as(&map(&[("impersonate-user", "a"), ("impersonate-group", "system:masters")])).is_err());
        for (user, group) in [("bob", "viewer"), ("roadstead:bob", "roadstead:viewer")] {
            let sent = map(&[("IMPERSONATE-USER", user), ("impersonate-group", group), ("accept", "a/b")]);
            let asked = acts_as(&sent).unwrap().unwrap();
            assert_eq!((asked.user.as_str(), asked.roles), ("bob", BTreeSet::from([Role::Viewer])));
            assert_eq!(headers(&sent).len(), 1, "the hub puts its own in their place");
        }
        assert_eq!(acts_as(&map(&[("accept", "a/b")])), Ok(None));
    }

    #[test]
    fn p02_credentials_and_hops_stay_here() {
        let sent = map(&[
            ("authorization", "Bearer x"),
            ("cookie", "a=b"),
            ("x-api-key", "k"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-remote-user", "system:admin"),
            ("x-remote-group", "system:masters"),
            ("connection", "keep-alive, x-mine"),
            ("x-mine", "1"),
            ("te", "trailers"),
            ("accept", "application/json"),
            ("content-type", "application/apply-patch+yaml"),
            ("sec-websocket-protocol", "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0"),
        ]);
        let kept = headers(&sent);
        let names: Vec<&str> = kept.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["accept", "content-type", "sec-websocket-protocol"]);
        assert_eq!(kept["sec-websocket-protocol"], "v5.channel.k8s.io");
    }

    #[test]
    fn p07_only_two_protocols_are_carried() {
        let asked = |rows: &[(&str, &str)]| upgrade(&map(rows));
        assert_eq!(asked(&[]), Ok(None));
        assert_eq!(asked(&[("connection", "Upgrade"), ("upgrade", "SPDY/3.1")]), Ok(Some(Upgrade::Spdy)));
        assert_eq!(
            asked(&[("connection", "keep-alive, upgrade"), ("upgrade", "WebSocket")]),
            Ok(Some(Upgrade::WebSocket))
        );
        for rows in [
            &[("connection", "upgrade"), ("upgrade", "h2c")][..],
            &[("connection", "upgrade"), ("upgrade", "foo")],
            &[("upgrade", "websocket")],
            &[("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "SPDY/3.1")],
            &[("connection", "upgrade"), ("upgrade", "websocket, h2c")],
        ] {
            assert_eq!(asked(rows).unwrap_err().code, Code::BadRequest, "{rows:?}");
        }
    }
}
