//! What the front door's routes are called in the audit trail.

use roadstead_http_kit::Word;

/// The word of a changing route, or of one that shows what a session showed; nothing for others that only read or that another
/// service records.
pub(super) fn word(method: &str, path: &str) -> Option<Word> {
    // What a session showed is as good as having been there.
    if (method, path) == ("GET", "/api/v1/recordings/{recording}") {
        return Some(Word::here("recording.read", "recording"));
    }
    if matches!(method, "GET" | "HEAD" | "OPTIONS") || is_recorded_elsewhere(path) {
        return None;
    }
    let here = Word::here;
    Some(match (method, path) {
        ("POST", "/api/v2.0/generate-agent-id") => here("agent.generate_id", "agent"),
        ("POST", "/api/v2.0/onboard" | "/onboard" | "/api/v1/clusters") => here("cluster.create", "cluster"),
        ("POST", path) if path.ends_with("/onboard-cluster") => here("cluster.create", "cluster"),
        ("DELETE", path) if path.ends_with("/remove-cluster/{cluster}") => here("cluster.delete", "cluster"),
        ("POST", path) if path.ends_with("/execute-kubectl-direct/{cluster}") => here("cluster.kubectl", "cluster"),
        // Only reads, in the seed's way.
        ("POST", path) if path.ends_with("/select-cluster-and-get-namespaces/{cluster}") => return None,
        // The Kubernetes door records the change itself.
        ("PUT", path) if path.contains("/yaml/") => Word::elsewhere("cluster.yaml", "cluster"),
        ("PUT", "/api/v1/clusters/{cluster}") => here("cluster.change", "cluster"),
        ("DELETE", "/api/v1/clusters/{cluster}") => here("cluster.delete", "cluster"),
        ("PUT", "/api/v1/clusters/{cluster}/grants/{account}") => here("grant.create", "cluster"),
        ("DELETE", "/api/v1/clusters/{cluster}/grants/{account}") => here("grant.revoke", "cluster"),
        ("DELETE", "/api/v1/agents/{agent}") => here("agent.revoke", "agent"),
        ("POST", "/api/v1/join-tokens") => here("join_token.create", "join_token"),
        ("DELETE", "/api/v1/join-tokens/{token}") => here("join_token.revoke", "join_token"),
        _ => derived(method, path),
    })
}

/// Routes that the user service answers record there; those of the Kubernetes door record at that door.
fn is_recorded_elsewhere(path: &str) -> bool {
    path.ends_with("/{tail:.*}")
        || path.contains("/proxy/")
        || [
            "/api/v1/auth",
            "/api/v1/audit",
            "/api/v1/access-requests",
            "/api/v1/service-accounts",
            "/auth",
            "/users",
            "/api-keys",
            "/license",
            "/api/v1.0/",
        ]
        .iter()
        .any(|prefix| path.starts_with(prefix))
}

/// The path's own words: `POST /api/v1/operations/{operation}/cancel` is `operation.cancel`.
fn derived(method: &str, path: &str) -> Word {
    let words: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && !part.starts_with('{') && *part != "api" && !is_version(part))
        .collect();
    let resource = words.first().map_or("other", |word| word.strip_suffix('s').unwrap_or(word)).replace('-', "_");
    let verb = match method {
        "POST" => "create",
        "PUT" | "PATCH" => "change",
        _ => "delete",
    };
    let tail = words.get(1..).unwrap_or_default().join(".").replace('-', "_");
    // A word behind a thing's own name is what is done to it; one that stands for things gets the method's verb.
    let action = match (tail.as_str(), path.ends_with('}')) {
        ("", _) => format!("{resource}.{verb}"),
        (tail, true) => format!("{resource}.{tail}.{verb}"),
        (tail, false) if tail.ends_with('s') => format!("{resource}.{tail}.{verb}"),
        (tail, false) => format!("{resource}.{tail}"),
    };
    Word::here(action, resource)
}

fn is_version(part: &str) -> bool {
    part.strip_prefix('v')
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_off_the_path() {
        let action = |method: &str, path: &str| word(method, path).map(|word| word.action.into_owned());
        assert_eq!(action("POST", "/api/v1/operations/{operation}/cancel").unwrap(), "operation.cancel");
        assert_eq!(action("POST", "/api/v1/rollouts").unwrap(), "rollout.create");
        assert_eq!(action("POST", "/api/v1/clusters/{cluster}/manifests").unwrap(), "cluster.manifests.create");
        assert_eq!(action("DELETE", "/api/v1/clusters/{cluster}").unwrap(), "cluster.delete");
        for prefix in ["/kubeconfig", "/api/v2.0"] {
            let at = |method: &str, tail: &str| action(method, &format!("{prefix}/{tail}"));
            assert_eq!(at("POST", "onboard-cluster").unwrap(), "cluster.create");
            assert_eq!(at("DELETE", "remove-cluster/{cluster}").unwrap(), "cluster.delete");
            assert_eq!(at("POST", "execute-kubectl-direct/{cluster}").unwrap(), "cluster.kubectl");
            assert_eq!(at("POST", "select-cluster-and-get-namespaces/{cluster}"), None);
        }
        assert_eq!(action("GET", "/api/v1/clusters"), None);
        assert_eq!(action("GET", "/api/v1/recordings/{recording}").unwrap(), "recording.read");
        assert_eq!(action("GET", "/api/v1/recordings"), None);
        assert_eq!(action("POST", "/api/v1/auth/{tail:.*}"), None);
    }
}
