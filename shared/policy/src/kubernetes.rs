//! What a request to the Kubernetes API is about: verb, namespace, group, resource, subresource, read from method, path and
//! query as the API server's own `RequestInfo` reads them (k8s.io/apiserver `pkg/endpoints/request`). Whoever decides and
//! whoever carries read the same text, so there is one spelling: a path with a second meaning is refused, not interpreted.

use roadstead_contracts::agent::RequestKind;
use roadstead_contracts::operation::ObjectKey;
use roadstead_contracts::{Code, Error, Result};

use crate::ask::Place;

/// Longest path that is read: the doors take no longer one.
const PATH_MAX: usize = 16 * 1024;

/// Paths that tell what an API server serves, and how it is. Kubernetes gives them to everybody it knows
/// (`system:discovery`); a client that may touch anything at all needs them first.
const DISCOVERY: [&str; 6] = ["api", "apis", "openapi", "version", "livez", "readyz"];
/// The same, without anything below.
const HEALTH: &str = "/healthz";
/// Kind that stands for any: of a change whose objects are not known beforehand.
pub const EVERYTHING: &str = "*";
/// Questions about the asker's own rights, asked by creating them; nothing is changed.
const SELF_QUESTIONS: [&str; 3] = [
    "selfsubjectaccessreviews.authorization.k8s.io",
    "selfsubjectrulesreviews.authorization.k8s.io",
    "selfsubjectreviews.authentication.k8s.io",
];
/// Subresources that open a way into a pod or behind it: whatever the verb, more than reading.
const SHELLS: [&str; 4] = ["exec", "attach", "portforward", "proxy"];
/// Subresources of a namespace itself; anything else below a namespace lies in it.
const OF_NAMESPACES: [&str; 2] = ["status", "finalize"];
/// Resources of Kubernetes itself that have no namespace: a list of them spans none.
const CLUSTER_WIDE: [(&str, &[&str]); 13] = [
    ("", &["namespaces", "nodes", "persistentvolumes", "componentstatuses"]),
    ("rbac.authorization.k8s.io", &["clusterroles", "clusterrolebindings"]),
    ("apiextensions.k8s.io", &["customresourcedefinitions"]),
    ("apiregistration.k8s.io", &["apiservices"]),
    (
        "admissionregistration.k8s.io",
        &[
            "mutatingwebhookconfigurations",
            "validatingwebhookconfigurations",
            "validatingadmissionpolicies",
            "validatingadmissionpolicybindings",
            "mutatingadmissionpolicies",
            "mutatingadmissionpolicybindings",
        ],
    ),
    ("storage.k8s.io", &["storageclasses", "csidrivers", "csinodes", "volumeattachments", "volumeattributesclasses"]),
    ("scheduling.k8s.io", &["priorityclasses"]),
    ("node.k8s.io", &["runtimeclasses"]),
    ("networking.k8s.io", &["ingressclasses", "ipaddresses", "servicecidrs"]),
    ("certificates.k8s.io", &["certificatesigningrequests", "clustertrustbundles"]),
    ("flowcontrol.apiserver.k8s.io", &["flowschemas", "prioritylevelconfigurations"]),
    ("resource.k8s.io", &["deviceclasses", "resourceslices"]),
    ("metrics.k8s.io", &["nodes"]),
];

/// What a request does, as far as the hub's permissions tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It asks what the API server serves, or what the asker may do: needed before anything else, and tells nothing of the
    /// objects of the cluster.
    Discovery,
    /// It reads objects.
    Read,
    /// It changes something, or opens a way into a pod.
    Write,
}

/// A request as `RequestInfo` has it.
#[derive(Debug)]
struct Info<'a> {
    verb: &'a str,
    group: &'a str,
    resource: &'a str,
    subresource: Option<&'a str>,
    namespace: Option<&'a str>,
    name: Option<&'a str>,
}

/// A request to a resource, taken apart: for whoever writes down what was asked. Decisions take [`read`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// As in [`RequestKind`]; empty for a method that the API server knows no verb for.
    pub verb: String,
    /// Empty for the core group.
    pub group: String,
    /// In the plural.
    pub resource: String,
    /// What of it.
    pub subresource: Option<String>,
    /// Where; a namespace itself is in its own.
    pub namespace: Option<String>,
    /// Which; none for a collection.
    pub name: Option<String>,
}

impl Parts {
    /// The resource as rules name it, without what of it.
    pub fn kind(&self) -> String {
        kind_of(&self.group, &self.resource, None)
    }
}

/// Takes a request apart, read as [`read`] reads it; nothing for a path that is not one of resources.
pub fn parts(method: &str, path: &str, query: Option<&str>) -> Result<Option<Parts>> {
    let path = canonical(path)?;
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Ok(info(method, &path, query)?.map(|info| Parts {
        verb: info.verb.to_owned(),
        group: info.group.to_owned(),
        resource: info.resource.to_owned(),
        subresource: owned(info.subresource),
        namespace: owned(info.namespace),
        name: owned(info.name),
    }))
}

/// Reads what kind of request this is. The path is as it stands in the request's head, escapes included.
pub fn read(method: &str, path: &str, query: Option<&str>) -> Result<RequestKind> {
    let path = canonical(path)?;
    if let Some(info) = info(method, &path, query)? {
        return Ok(RequestKind {
            verb: info.verb.to_owned(),
            kind: Some(kind_of(info.group, info.resource, info.subresource)),
            namespace: info.namespace.map(str::to_owned),
            also: None,
        });
    }
    let verb = if matches!(method, "GET" | "HEAD") { "get".to_owned() } else { method.to_ascii_lowercase() };
    // Patterns of rules are in small letters.
    let path = path.to_ascii_lowercase();
    let first = path.split('/').nth(1).unwrap_or_default();
    let discovery = verb == "get" && (path == "/" || DISCOVERY.contains(&first) || path == HEALTH);
    Ok(RequestKind { verb, kind: (!discovery).then_some(path), namespace: None, also: None })
}

/// Reads a path that is one of resources; nothing for another.
fn info<'a>(method: &'a str, path: &'a str, query: Option<&str>) -> Result<Option<Info<'a>>> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (group, rest) = match parts.as_slice() {
        ["api", _, rest @ ..] if !rest.is_empty() => ("", rest),
        ["apis", group, _, rest @ ..] if !rest.is_empty() => (*group, rest),
        ["api" | "apis", ..] => return Ok(None),
        // The API server would not know it either; a second spelling of a rule's path must not become a question.
        [first, ..] if ["api", "apis"].iter().any(|known| known.eq_ignore_ascii_case(first)) => {
            return Err(unclear("the API is spelt in small letters"));
        }
        _ => return Ok(None),
    };
    let (special, rest) = match rest {
        ["watch" | "proxy"] => return Err(unclear("the path names no resource")),
        [verb @ ("watch" | "proxy"), rest @ ..] => (Some(*verb), rest),
        rest => (None, rest),
    };
    let namespace = match rest {
        ["namespaces", namespace, ..] => Some(*namespace),
        _ => None,
    };
    let rest = match rest {
        ["namespaces", _, inside @ ..] if inside.first().is_some_and(|next| !OF_NAMESPACES.contains(next)) => inside,
        rest => rest,
    };
    let resource = rest.first().copied().unwrap_or_default();
    let subresource = rest.get(2).copied().filter(|_| special != Some("proxy"));
    let lower = |text: &str| !text.bytes().any(|byte| byte.is_ascii_uppercase());
    if ![group, resource, namespace.unwrap_or_default(), subresource.unwrap_or_default()].into_iter().all(lower) {
        return Err(unclear("groups, resources and namespaces are spelt in small letters"));
    }
    let name = rest.get(1).copied();
    let named = name.is_some();
    let verb = match (special, method) {
        (Some(verb), _) => verb,
        (None, "POST") => "create",
        (None, "PUT") => "update",
        (None, "PATCH") => "patch",
        (None, "DELETE") if named => "delete",
        (None, "DELETE") => "deletecollection",
        (None, "GET" | "HEAD") if named => "get",
        (None, "GET" | "HEAD") if is_watch(query.unwrap_or_default()) => "watch",
        (None, "GET" | "HEAD") => "list",
        _ => "",
    };
    Ok(Some(Info { verb, group, resource, subresource, namespace, name }))
}

/// Where it reaches.
pub fn place(request: &RequestKind) -> Place<'_> {
    if let Some(namespace) = request.namespace.as_deref() {
        return Place::Namespace(namespace);
    }
    let kind = request.kind.as_deref().unwrap_or("/");
    if kind == EVERYTHING {
        return Place::EveryNamespace;
    }
    // One object without a namespace is cluster-wide. A collection may be either, where it is not known.
    let many = matches!(request.verb.as_str(), "list" | "watch" | "deletecollection" | "proxy" | "");
    let whole = kind.split_once('/').map_or(kind, |(whole, _)| whole);
    let (resource, group) = whole.split_once('.').unwrap_or((whole, ""));
    let cluster_wide = CLUSTER_WIDE.iter().any(|(own, kinds)| *own == group && kinds.contains(&resource));
    if many && !kind.starts_with('/') && !cluster_wide { Place::EveryNamespace } else { Place::Cluster }
}

/// What it does.
pub fn class(request: &RequestKind) -> Class {
    let Some(kind) = request.kind.as_deref() else { return Class::Discovery };
    let subresource = kind.split_once('/').filter(|(whole, _)| !whole.is_empty()).map(|(_, subresource)| subresource);
    if subresource.is_some_and(|subresource| SHELLS.contains(&subresource)) {
        return Class::Write;
    }
    match request.verb.as_str() {
        "get" | "list" | "watch" => Class::Read,
        "create" if SELF_QUESTIONS.contains(&kind) => Class::Discovery,
        _ => Class::Write,
    }
}

/// A resource as rules name it.
fn kind_of(group: &str, resource: &str, subresource: Option<&str>) -> String {
    let group = if group.is_empty() { String::new() } else { format!(".{group}") };
    let subresource = subresource.map(|subresource| format!("/{subresource}")).unwrap_or_default();
    format!("{resource}{group}{subresource}")
}

/// The resource of an object as rules name it. A manifest says its kind and not its resource, and only its API server knows
/// the one for the other; the rule of thumb below is the one by which nearly all are named, Kubernetes' own without exception.
pub fn kind_of_object(key: &ObjectKey) -> String {
    let group = key.api_version.split_once('/').map_or("", |(group, _)| group);
    kind_of(group, &plural(&key.kind.to_ascii_lowercase()), None)
}

/// The kind of an object in the place of its resource, where the rule of thumb may be wrong: its group is somebody's own.
/// Rules may name either.
pub fn other_kind_of_object(key: &ObjectKey) -> Option<String> {
    let group = key.api_version.split_once('/').map_or("", |(group, _)| group);
    let own = group.contains('.') && !group.ends_with(".k8s.io");
    own.then(|| kind_of(group, &key.kind.to_ascii_lowercase(), None))
}

fn plural(kind: &str) -> String {
    if kind.ends_with("endpoints") {
        return kind.to_owned();
    }
    let sibilant = ["s", "x", "z", "ch", "sh"].iter().any(|ending| kind.ends_with(ending));
    match kind.strip_suffix('y') {
        _ if sibilant => format!("{kind}es"),
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{stem}ies"),
        _ => format!("{kind}s"),
    }
}

fn unclear(why: &'static str) -> Error {
    Error::new(Code::BadRequest, why)
}

/// The one spelling of a path: unescaped, without a slash at its end. What could be read in two ways is refused.
fn canonical(path: &str) -> Result<String> {
    let unusual = || unclear("the path has an encoded or doubled separator, or a dot segment");
    if path.len() > PATH_MAX {
        return Err(Error::of(Code::UriTooLong));
    }
    if !path.starts_with('/') || path.contains("//") || path.contains(['?', '#']) {
        return Err(unusual());
    }
    let path = path.strip_suffix('/').filter(|rest| !rest.is_empty()).unwrap_or(path);
    let mut plain = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let (byte, escaped) = match byte {
            b'%' => (unescaped(&mut bytes).ok_or_else(unusual)?, true),
            byte => (byte, false),
        };
        // An escaped dot or separator is a second spelling; a semicolon begins parameters to some servers and not to others.
        let odd = byte.is_ascii_control() || matches!(byte, b'\\' | b';');
        if odd || (escaped && matches!(byte, b'/' | b'.' | b'%')) {
            return Err(unusual());
        }
        plain.push(byte);
    }
    let plain = String::from_utf8(plain).map_err(|_| unusual())?;
    if plain.split('/').any(|part| part == "." || part == "..") {
        return Err(unusual());
    }
    Ok(plain)
}

fn unescaped(bytes: &mut std::str::Bytes<'_>) -> Option<u8> {
    let mut digit =
        || bytes.next().and_then(|byte| char::from(byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
    Some(digit()? << 4 | digit()?)
}

/// Whether a query makes a list a watch. The first `watch` counts, as for the API server; everything but `0` and `false` is
/// yes, an empty value too. A field selector that names one object makes it no other kind of request.
pub fn is_watch(query: &str) -> bool {
    pairs(query).find_map(|(key, value)| (key == "watch").then_some(value)).is_some_and(|value| is_yes(&value))
}

/// A switch of a query, as the API server reads it.
pub fn is_yes(value: &str) -> bool {
    value != "0" && !value.eq_ignore_ascii_case("false")
}

/// The pairs of a query as the API server reads them, unescaped: `%63ommand` is `command`.
pub fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    query.split('&').filter_map(pair)
}

/// A pair of a query, unescaped. One that cannot be read, or has a semicolon, does not count (Go's `url.ParseQuery`).
pub fn pair(text: &str) -> Option<(String, String)> {
    if text.is_empty() || text.contains(';') {
        return None;
    }
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    Some((form(key)?, form(value)?))
}

fn form(text: &str) -> Option<String> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'+' => b' ',
            b'%' => unescaped(&mut bytes)?,
            byte => byte,
        });
    }
    // Go takes any bytes; what is no text is none of the words that count.
    Some(String::from_utf8_lossy(&plain).into_owned())
}

#[cfg(test)]
mod tests;
