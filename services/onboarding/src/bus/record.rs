//! Changes that are asked for over the bus, in the words of the audit trail. They are read off the message itself, so that no
//! new one can be forgotten.

use roadstead_bus::Incoming;
use roadstead_contracts::audit::{Actor, Origin, Resource};
use roadstead_contracts::identity::Principal;
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::message::Request;
use roadstead_store::audit::Deed;
use serde_json::Value;

/// Members of a message that name what it is about, in the order in which they are looked for. No other member is read.
const NAMES: [&str; 7] = ["cluster", "name", "agent", "agent_id", "token_id", "id", "cluster_id"];

/// What a message asks for.
pub(super) fn deed<R: Request>(request: &R, incoming: &Incoming) -> Deed {
    let message = serde_json::to_value(request).unwrap_or_default();
    let principal = message.get("principal").and_then(|value| serde_json::from_value::<Principal>(value.clone()).ok());
    let actor = principal.map_or_else(|| Actor::system("service"), |principal| Actor::of(&principal));
    let (action, kind) = word(R::KIND);
    let name = NAMES.iter().find_map(|name| message.get(name).and_then(Value::as_str));
    let resource = name.map_or_else(|| Resource::kind(&kind), |name| Resource::named(&kind, name));
    let cluster = message.get("cluster_id").and_then(Value::as_str).and_then(|text| text.parse::<ClusterId>().ok());
    let resource = match cluster {
        Some(cluster) => resource.in_cluster(cluster),
        None => resource,
    };
    Deed { origin: Origin::request(&incoming.request_id), actor, action, resource }
}

/// `create_join_token.v1` is `join_token.create`, done to a `join_token`.
fn word(kind: &str) -> (String, String) {
    let name = kind.split('.').next().unwrap_or(kind);
    match name.split_once('_') {
        Some((verb, thing)) => (format!("{thing}.{verb}"), thing.to_owned()),
        None => (name.to_owned(), name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_off_the_kind() {
        assert_eq!(word("create_join_token.v1"), ("join_token.create".to_owned(), "join_token".to_owned()));
        assert_eq!(word("revoke_agent.v1").0, "agent.revoke");
    }
}
