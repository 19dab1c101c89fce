//! Sessions in containers: what an upgrade of `exec` or `attach` is a session of, and what runs by a node's proxy.

use roadstead_contracts::message::SessionFacts;
use roadstead_policy::kubernetes::{self, Parts};

use super::Admitted;
use super::relay::Exchange;
use super::vet::Upgrade;

/// Most words of a command that are told, and the longest text of them together: a recording is no place to keep files.
const COMMAND_WORDS: usize = 64;
const COMMAND_BYTES: usize = 2 * 1024;

/// What a kubelet runs for whoever gets through to it by its node's proxy: the very sessions that go by `pods/exec`, in no
/// form that a recorder reads. `cri` is where older ones send the client for them.
const OF_NODES: [&str; 4] = ["exec", "attach", "run", "cri"];

/// What the exchange is a session of; nothing for every other exchange.
pub(super) fn facts<B>(exchange: &Exchange<B>, admitted: &Admitted) -> Option<SessionFacts> {
    let (path, query) = exchange.tail.split_once('?').unwrap_or((&exchange.tail, ""));
    // As the API server reads it: an escape in the path must not make it another path here.
    let parts = kubernetes::parts(exchange.method.as_str(), path, Some(query)).ok()??;
    if !parts.group.is_empty() {
        return None;
    }
    let (place, protocol) = match (parts.resource.as_str(), exchange.upgrade) {
        ("nodes", _) => (by_node(&parts, path)?, SessionFacts::NODE_PROXY),
        ("pods", Some(Upgrade::WebSocket)) => (of_pod(parts)?, "websocket"),
        ("pods", Some(Upgrade::Spdy)) => (of_pod(parts)?, "spdy"),
        _ => return None,
    };
    let mut facts = SessionFacts {
        user_id: admitted.principal.user_id,
        username: admitted.principal.username.clone(),
        cluster_id: admitted.cluster_id,
        cluster_name: admitted.cluster_name.clone(),
        namespace: place.namespace,
        pod: place.pod,
        container: None,
        verb: place.verb,
        command: Vec::new(),
        tty: false,
        protocol: protocol.to_owned(),
    };
    let mut room = COMMAND_BYTES;
    let mut tty = None;
    // The API server undoes escapes before it looks at a key, and takes the first where it takes one.
    for (key, value) in kubernetes::pairs(query) {
        match key.as_str() {
            "container" => {
                facts.container.get_or_insert(value);
            }
            "tty" => {
                tty.get_or_insert(kubernetes::is_yes(&value));
            }
            "command" if facts.command.len() < COMMAND_WORDS => {
                let mut word = value;
                while word.len() > room {
                    word.pop();
                }
                room -= word.len();
                facts.command.push(word);
            }
            _ => {}
        }
    }
    facts.tty = tty.unwrap_or(false);
    Some(facts)
}

struct Place {
    namespace: String,
    pod: String,
    verb: String,
}

fn of_pod(parts: Parts) -> Option<Place> {
    let verb = parts.subresource.filter(|verb| matches!(verb.as_str(), "exec" | "attach"))?;
    Some(Place { namespace: parts.namespace?, pod: parts.name?, verb })
}

/// A session by the proxy of a node, upgrade or not: `run` answers with what the command said.
fn by_node(parts: &Parts, path: &str) -> Option<Place> {
    if parts.subresource.as_deref() != Some("proxy") && parts.verb != "proxy" {
        return None;
    }
    // Behind `/api/v1/nodes/NODE/proxy` or `/api/v1/proxy/nodes/NODE`, below a namespace or not, is the kubelet's own path.
    let before = if parts.namespace.is_some() { 7 } else { 5 };
    let mut behind = path.split('/').filter(|part| !part.is_empty()).skip(before);
    let verb = behind.next()?;
    // Nothing that a kubelet serves needs an escape at its first word: one that is there hides something.
    let is_session = verb.contains('%') || OF_NODES.iter().any(|word| word.eq_ignore_ascii_case(verb));
    let mut next = || behind.next().unwrap_or_default().to_owned();
    is_session.then(|| Place { namespace: next(), pod: next(), verb: verb.to_owned() })
}

#[cfg(test)]
mod tests {
    use hyper::{HeaderMap, Method};
    use roadstead_contracts::ids::{ClusterId, TypedId as _};
    use tokio_util::sync::CancellationToken;
    use uuid::Uuid;

    use super::super::tests::ada;
    use super::super::vet::Pace;
    use super::super::{Right, vet};
    use super::*;

    fn of(tail: &str, upgrade: Option<Upgrade>) -> Option<SessionFacts> {
        let right = Right::new(CancellationToken::new());
        let exchange = Exchange {
            method: Method::GET,
            tail: tail.to_owned(),
            headers: HeaderMap::new(),
            upgrade,
            pace: Pace::Long,
            bulk: false,
            deed: None,
            body: (),
            prefix: String::new(),
            right: right.clone(),
        };
        let admitted = Admitted {
            cluster_id: ClusterId::from_uuid(Uuid::from_u128(1)),
            cluster_name: "prod".to_owned(),
            principal: ada(),
            source: std::net::Ipv4Addr::LOCALHOST.into(),
            user_agent: None,
            acts_as: None,
            assertion: String::new(),
            right,
        };
        facts(&exchange, &admitted)
    }

    #[test]
    fn regression_an_escape_in_the_path_hides_no_session() {
        for path in ["/api/v1/namespaces/a/p%6fds/web/exec", "/api/v1/n%61mespaces/a/pods/web/%65xec"] {
            let facts = of(&format!("{path}?command=sh"), Some(Upgrade::Spdy)).unwrap();
            assert_eq!((facts.namespace.as_str(), facts.pod.as_str(), facts.verb.as_str()), ("a", "web", "exec"));
        }
        // Neither does one in the key of a parameter, nor a second parameter where the first one counts.
        let path = "/api/v1/namespaces/a/pods/web/exec";
        let query =
            "%63ommand=rm&comman%64=-rf&command=%2F&%63ontainer=main&container=side&t%74y&tty=false&x;command=y";
        let facts = of(&format!("{path}?{query}"), Some(Upgrade::WebSocket)).unwrap();
        assert_eq!(facts.command, ["rm", "-rf", "/"]);
        assert_eq!((facts.container.as_deref(), facts.tty), (Some("main"), true));
        assert!(!of(&format!("{path}?tty=False&tty=true"), Some(Upgrade::Spdy)).unwrap().tty);
    }

    /// A kubelet runs the same behind its node's proxy: whoever records must be asked about that, too.
    #[test]
    fn regression_a_nodes_proxy_is_no_way_around_a_recording() {
        for (tail, verb) in [
            ("/api/v1/nodes/n/proxy/exec/a/web/main?command=sh", "exec"),
            ("/api/v1/nodes/https:n:10250/proxy/attach/a/web/main", "attach"),
            ("/api/v1/nodes/n/proxy/run/a/web/main?cmd=id", "run"),
            ("/api/v1/nodes/n/proxy/cri/exec/token", "cri"),
            ("/api/v1/nodes/n/proxy/e%78ec/a/web/main", "e%78ec"),
            ("/api/v1/n%6Fdes/n/pr%6Fxy/exec/a/web/main", "exec"),
            ("/api/v1/proxy/nodes/n/exec/a/web/main", "exec"),
            ("/api/v1/namespaces/x/nodes/n/proxy/exec/a/web/main", "exec"),
        ] {
            for upgrade in [None, Some(Upgrade::Spdy), Some(Upgrade::WebSocket)] {
                let facts = of(tail, upgrade).unwrap_or_else(|| panic!("{tail} is carried unrecorded"));
                assert_eq!((facts.verb.as_str(), facts.protocol.as_str()), (verb, SessionFacts::NODE_PROXY), "{tail}");
            }
        }
        assert_eq!(of("/api/v1/nodes/n/proxy/run/a/web/main", None).unwrap().pod, "web");
        for other in ["stats/summary", "pods", "portForward/a/web", "containerLogs/a/web/main", "metrics", ""] {
            assert!(of(&format!("/api/v1/nodes/n/proxy/{other}"), None).is_none(), "{other}");
        }
        assert!(of("/api/v1/namespaces/a/services/b/proxy/exec/x", None).is_none());
        assert!(of("/api/v1/nodes/exec", None).is_none());
    }

    #[test]
    fn shells_are_sessions_and_nothing_else() {
        let tail = "/api/v1/namespaces/a/pods/web-1/exec?command=sh&command=-c&command=echo+%22a%26b%22&container=main&stdin=true&tty=true";
        let facts = of(tail, Some(Upgrade::WebSocket)).unwrap();
        assert_eq!(
            (facts.namespace.as_str(), facts.pod.as_str(), facts.container.as_deref()),
            ("a", "web-1", Some("main"))
        );
        assert_eq!(facts.command, ["sh", "-c", "echo \"a&b\""]);
        assert!(facts.tty && facts.protocol == "websocket" && facts.verb == "exec");
        assert_eq!(of("/api/v1/namespaces/a/pods/w/attach", Some(Upgrade::Spdy)).unwrap().protocol, "spdy");
        assert!(of(tail, None).is_none());
        for other in
            ["/api/v1/namespaces/a/pods/w/portforward", "/api/v1/namespaces/a/pods/w/log", "/api/v1/pods/a/b/c/exec"]
        {
            assert!(of(other, Some(Upgrade::WebSocket)).is_none(), "{other}");
        }
        let long = format!("/api/v1/namespaces/a/pods/w/exec?command={}&command=more", "x".repeat(10_000));
        let told: usize = of(&long, Some(Upgrade::WebSocket)).unwrap().command.iter().map(String::len).sum();
        assert!(told <= COMMAND_BYTES);
        // What the door lets through is what is read here.
        assert!(vet::target("/k/c/api/v1/namespaces/a/pods/w/exec", None).is_ok());
    }
}
