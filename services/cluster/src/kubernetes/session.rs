//! Sessions in containers: what an upgrade of `exec` or `attach` is a session of.

use roadstead_contracts::message::SessionFacts;

use super::Admitted;
use super::relay::Exchange;
use super::vet::Upgrade;

/// Most words of a command that are told, and the longest text of them together: a recording is no place to keep files.
const COMMAND_WORDS: usize = 64;
const COMMAND_BYTES: usize = 2 * 1024;

/// What the exchange is a session of; nothing for every other exchange.
pub(super) fn facts<B>(exchange: &Exchange<B>, admitted: &Admitted) -> Option<SessionFacts> {
    let upgrade = exchange.upgrade?;
    let (path, query) = exchange.tail.split_once('?').unwrap_or((&exchange.tail, ""));
    let mut segments = path.split('/').skip(1);
    let pod = ["api", "v1", "namespaces"].iter().all(|expected| segments.next() == Some(expected));
    let (namespace, kind, name, verb) = (segments.next()?, segments.next()?, segments.next()?, segments.next()?);
    if !pod || kind != "pods" || !matches!(verb, "exec" | "attach") {
        return None;
    }
    let mut facts = SessionFacts {
        user_id: admitted.user_id,
        username: admitted.user.clone(),
        cluster_id: admitted.cluster_id,
        cluster_name: admitted.cluster_name.clone(),
        namespace: plain(namespace),
        pod: plain(name),
        container: None,
        verb: verb.to_owned(),
        command: Vec::new(),
        tty: false,
        protocol: match upgrade {
            Upgrade::WebSocket => "websocket",
            Upgrade::Spdy => "spdy",
        }
        .to_owned(),
    };
    let mut room = COMMAND_BYTES;
    for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        match key {
            "container" => facts.container = Some(plain(value)),
            "tty" => facts.tty = matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"),
            "command" if facts.command.len() < COMMAND_WORDS => {
                let mut word = plain(value);
                while word.len() > room {
                    word.pop();
                }
                room -= word.len();
                facts.command.push(word);
            }
            _ => {}
        }
    }
    Some(facts)
}

/// A part of a URL as a person reads it.
fn plain(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                let decoded =
                    hex(rest.next()).zip(hex(rest.next())).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
                bytes.push(decoded.unwrap_or(b'?'));
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use hyper::{HeaderMap, Method};
    use roadstead_contracts::ids::{ClusterId, TypedId as _, UserId};
    use tokio_util::sync::CancellationToken;
    use uuid::Uuid;

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
            body: (),
            prefix: String::new(),
            right: right.clone(),
        };
        let admitted = Admitted {
            cluster_id: ClusterId::from_uuid(Uuid::from_u128(1)),
            cluster_name: "prod".to_owned(),
            user_id: UserId::from_uuid(Uuid::from_u128(2)),
            user: "ada".to_owned(),
            actor: roadstead_contracts::audit::Actor::anonymous(),
            origin: roadstead_contracts::audit::Origin::default(),
            acts_as: None,
            assertion: String::new(),
            right,
        };
        facts(&exchange, &admitted)
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
