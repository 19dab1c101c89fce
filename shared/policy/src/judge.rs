//! Decisions about requests to a cluster's own API, and as whom they go on.
//!
//! A role of the hub becomes a group in the cluster, and the cluster's own RBAC has the last word; so whoever may read a
//! cluster by a role, a grant or as its owner goes on as that role, whatever the request. What a rule gives beyond that goes
//! on in the role that the rule is worth, for the one kind of request that was judged: the signed identity says so, and the
//! agent holds it to that.

use chrono::{DateTime, Utc};
use roadstead_contracts::agent::RequestKind;
use roadstead_contracts::identity::{Action, Principal, Role};
use roadstead_contracts::policy::{ClusterFacts, Effect, Pattern, Rule};

use crate::ask::{Asked, Object};
use crate::decide::{decide, decide_by};
use crate::kubernetes::{Class, EVERYTHING, class, place};
use crate::matches::{applies, covers_cluster};
use crate::verdict::{Ground, Verdict};

/// As whom something that may be done goes to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum As {
    /// In the caller's own roles.
    Own,
    /// In this role, for this kind of request only.
    Raised(Role),
}

/// What was decided about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Whether it may be done.
    pub verdict: Verdict,
    /// As whom. Without meaning when it may not.
    pub goes_as: As,
}

impl Judgement {
    fn refused(verdict: Verdict) -> Self {
        Self { verdict, goes_as: As::Own }
    }
}

/// Whether the caller may send this request to the cluster.
pub fn judge(principal: &Principal, cluster: &ClusterFacts, request: &RequestKind, now: DateTime<Utc>) -> Judgement {
    let Some(kind) = request.kind.as_deref().filter(|_| class(request) != Class::Discovery) else {
        let verdict = enters(principal, cluster, now);
        let goes_as = if verdict.ground == Ground::Granted { As::Own } else { As::Raised(Role::Viewer) };
        return Judgement { verdict, goes_as };
    };
    let object = Object { verb: &request.verb, kind, place: place(request) };
    let reading = Asked::object(Action::ClustersRead, cluster, object);
    let reads = decide(principal, &reading, now);
    if class(request) == Class::Read {
        let own = if reads.ground == Ground::Granted { own_role(principal, cluster) } else { None };
        return settled(principal, &reading, own, reads, now);
    }
    let writing = Asked::object(Action::OperationsWrite, cluster, object);
    let writes = decide(principal, &writing, now);
    // Who may not read something gets no answer to a change of it either.
    for verdict in [&writes, &reads] {
        if !verdict.allowed && matches!(verdict.ground, Ground::Rule { .. } | Ground::Invisible) {
            return Judgement::refused(verdict.clone());
        }
    }
    if !writes.allowed && reads.ground == Ground::Granted {
        // As the role that it is: the cluster's own RBAC may have given this person more.
        return Judgement { verdict: reads, goes_as: As::Own };
    }
    let own = if reads.ground == Ground::Granted { own_role(principal, cluster) } else { None };
    settled(principal, &writing, own, writes, now)
}

/// Whether the caller may have these changes made, and in which role the cluster sees them: the change is signed as a whole,
/// so one role is for all of it. The first refusal counts.
pub fn judge_change(
    principal: &Principal,
    cluster: &ClusterFacts,
    changes: &[RequestKind],
    now: DateTime<Utc>,
) -> Judgement {
    let whole = Asked::cluster(Action::OperationsWrite, cluster);
    let mut judged = Judgement { verdict: decide(principal, &whole, now), goes_as: As::Own };
    if changes.is_empty() || judged.verdict.is_invisible() {
        return judged;
    }
    let mut raised = None;
    for change in changes {
        let kind = change.kind.as_deref().unwrap_or(EVERYTHING);
        let asked =
            Asked::object(Action::OperationsWrite, cluster, Object { verb: &change.verb, kind, place: place(change) });
        // Nobody knows what it will be about: a rule that denies one kind denies this.
        let widened: Vec<Rule>;
        let rules = if kind == EVERYTHING {
            let widen = |rule: &Rule| match rule.effect {
                Effect::Deny => Rule { kinds: Vec::new(), ..rule.clone() },
                Effect::Allow => rule.clone(),
            };
            widened = principal.rules.iter().map(widen).collect();
            &widened
        } else {
            &principal.rules
        };
        let verdict = decide_by(principal, rules.iter(), &asked, now);
        if !verdict.allowed {
            return Judgement::refused(verdict);
        }
        let own = if verdict.ground == Ground::Granted { own_role(principal, cluster) } else { None };
        let one = settled(principal, &asked, own, verdict, now);
        if let As::Raised(role) = one.goes_as {
            raised = raised.max(Some(role));
        }
        judged.verdict = one.verdict;
    }
    Judgement { goes_as: raised.map_or(As::Own, As::Raised), ..judged }
}

/// Whether the caller may look at the cluster at all: its record, and what its API server serves. Whoever may do anything
/// there may.
pub fn enters(principal: &Principal, cluster: &ClusterFacts, now: DateTime<Utc>) -> Verdict {
    let whole = decide(principal, &Asked::cluster(Action::ClustersRead, cluster), now);
    if whole.ground != Ground::Missing {
        return whole;
    }
    let gives = |rule: &&Rule| {
        let here = rule.clusters.is_every() || covers_cluster(&rule.clusters, cluster);
        let something =
            rule.permissions.actions().iter().any(|action| matches!(action.words().0, "clusters" | "operations"));
        rule.effect == Effect::Allow && rule.stands(now) && here && something
    };
    match principal.rules.iter().filter(gives).min_by_key(|rule| rule.id) {
        Some(rule) => Verdict { allowed: true, ground: Ground::Rule { id: rule.id, name: rule.name.clone() }, ..whole },
        None => whole,
    }
}

/// Namespaces of a cluster, as far as the caller is shown them.
#[derive(Debug)]
pub struct Namespaces<'p>(Option<Vec<&'p Pattern>>);

impl Namespaces<'_> {
    /// Whether a namespace is among them.
    pub fn has(&self, namespace: &str) -> bool {
        self.0.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(namespace)))
    }
}

/// Which namespaces the caller is shown in a list of them: all, or those for which a rule allows anything. An error when the
/// caller may not look at the cluster, or a rule denies the list.
pub fn namespaces<'p>(
    principal: &'p Principal,
    cluster: &ClusterFacts,
    now: DateTime<Utc>,
) -> Result<Namespaces<'p>, Verdict> {
    let every = judge(principal, cluster, &RequestKind::of("list", "namespaces", None), now).verdict;
    if every.allowed {
        return Ok(Namespaces(None));
    }
    let enters = enters(principal, cluster, now);
    if every.ground != Ground::Missing || !enters.allowed {
        return Err(if enters.allowed { every } else { enters });
    }
    let here = |rule: &&Rule| {
        rule.effect == Effect::Allow
            && rule.stands(now)
            && (rule.clusters.is_every() || covers_cluster(&rule.clusters, cluster))
    };
    if principal.rules.iter().filter(here).any(|rule| rule.namespaces.is_empty()) {
        return Ok(Namespaces(None));
    }
    Ok(Namespaces(Some(principal.rules.iter().filter(here).flat_map(|rule| &rule.namespaces).collect())))
}

/// The highest role in which the cluster sees the caller without any rule.
fn own_role(principal: &Principal, cluster: &ClusterFacts) -> Option<Role> {
    let reads = principal.allows(Action::ClustersRead) && principal.can_see(cluster.id, cluster.owner);
    principal.cluster_roles().last().copied().filter(|_| reads)
}

/// What is allowed goes on as its own role, or in a higher one that an allow rule is worth.
fn settled(
    principal: &Principal,
    asked: &Asked<'_>,
    own: Option<Role>,
    verdict: Verdict,
    now: DateTime<Utc>,
) -> Judgement {
    if !verdict.allowed {
        return Judgement::refused(verdict);
    }
    let gives = |rule: &&Rule| rule.effect == Effect::Allow && rule.stands(now) && applies(rule, asked);
    let given = principal.rules.iter().filter(gives).max_by_key(|rule| (worth(rule), std::cmp::Reverse(rule.id)));
    match given {
        Some(rule) if own.is_none_or(|own| worth(rule) > own) => {
            let ground = Ground::Rule { id: rule.id, name: rule.name.clone() };
            Judgement { verdict: Verdict { ground, ..verdict }, goes_as: As::Raised(worth(rule)) }
        }
        _ => Judgement { verdict, goes_as: As::Own },
    }
}

/// The role that a rule is worth in a cluster. Naming kinds is meant: what `view` does not show is then shown.
fn worth(rule: &Rule) -> Role {
    let changes = rule.permissions.cover(Action::OperationsWrite);
    let names = !rule.kinds.is_empty() && !rule.kinds.iter().any(Pattern::is_any);
    let least = if changes || names { Role::Operator } else { Role::Viewer };
    Role::covered(|action| rule.permissions.cover(action)).map_or(least, |role| role.max(least))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    use chrono::TimeZone as _;
    use proptest::prelude::*;
    use roadstead_contracts::identity::{CredentialKind, Reach};
    use roadstead_contracts::ids::{ClusterId, RuleId, TypedId, UserId};
    use roadstead_contracts::policy::{ClustersDraft, RuleDraft};
    use roadstead_contracts::scope::Scope;
    use uuid::Uuid;

    use super::*;
    use crate::kubernetes;

    fn id<T: TypedId>(number: u128) -> T {
        T::from_uuid(Uuid::from_u128(number))
    }

    fn now() -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 1, 1, 12, 0, 0).unwrap()
    }

    fn cluster() -> ClusterFacts {
        ClusterFacts { id: id::<ClusterId>(7), name: Some("quay".to_owned()), labels: None, owner: None }
    }

    fn person(roles: &[Role], granted: bool, rules: Vec<Rule>) -> Principal {
        let clusters: BTreeSet<ClusterId> = granted.then(|| id(7)).into_iter().collect();
        Principal {
            user_id: id::<UserId>(1),
            user_seq: 1,
            username: "ada".to_owned(),
            email: String::new(),
            roles: roles.iter().copied().collect(),
            reach: Reach::Granted(clusters),
            credential: CredentialKind::QueuePeer(String::new()),
            scope: None,
            permissions: None,
            rules,
        }
    }

    /// `effect permissions namespaces kinds verbs`, lists joined by commas, `-` for every; for the cluster `quay`.
    fn rule(number: u128, text: &str) -> Rule {
        let words: Vec<&str> = text.split(' ').collect();
        let list = |text: &str| match text {
            "-" => Vec::new(),
            text => text.split(',').map(str::to_owned).collect(),
        };
        let draft = RuleDraft {
            name: format!("r{number}"),
            effect: if words[0] == "allow" { Effect::Allow } else { Effect::Deny },
            subjects: vec!["*".to_owned()],
            permissions: list(words[1]),
            clusters: ClustersDraft { names: vec!["quay".to_owned()], labels: None },
            namespaces: list(words[2]),
            kinds: list(words[3]),
            verbs: list(words[4]),
            until: None,
            reason: None,
        };
        draft.checked(id::<RuleId>(number)).unwrap()
    }

    fn told(who: &Principal, line: &str) -> String {
        let (method, path) = line.split_once(' ').unwrap();
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let request = kubernetes::read(method, path, query).unwrap();
        let Judgement { verdict, goes_as } = judge(who, &cluster(), &request, now());
        match (verdict.allowed, goes_as) {
            (true, As::Own) => "own".to_owned(),
            (true, As::Raised(role)) => role.as_str().to_owned(),
            (false, _) if verdict.is_invisible() => "invisible".to_owned(),
            (false, _) => verdict.rule().map_or("missing", |(_, name)| name).to_owned(),
        }
    }

    const IN_A: &str = "/apis/apps/v1/namespaces/team-a/deployments/web";
    const IN_B: &str = "/apis/apps/v1/namespaces/team-b/deployments/web";

    #[test]
    fn without_rules_the_cluster_decides_about_whoever_may_read_it() {
        for role in Role::ALL {
            let who = person(&[role], true, Vec::new());
            for line in
                ["GET /api", "GET /api/v1/pods", "DELETE /api/v1/nodes", "POST /api/v1/namespaces/a/pods/b/exec"]
            {
                assert_eq!(told(&who, line), "own", "{role:?} {line}");
            }
            assert_eq!(told(&person(&[role], false, Vec::new()), "GET /api"), "invisible");
        }
        assert_eq!(told(&person(&[], true, Vec::new()), "GET /api"), "missing");
    }

    #[test]
    fn a_rule_raises_for_what_it_covers_and_nothing_else() {
        let rules = vec![rule(1, "allow clusters:*,operations:*,*:read team-a - -")];
        let viewer = person(&[Role::Viewer], true, rules.clone());
        for (line, expected) in [
            (format!("PATCH {IN_A}"), "operator"),
            (format!("GET {IN_A}"), "operator"),
            (format!("PATCH {IN_B}"), "own"),
            ("GET /api/v1/namespaces/team-a/secrets".to_owned(), "operator"),
            ("POST /api/v1/namespaces/team-a/pods/x/exec".to_owned(), "operator"),
            ("GET /api/v1/secrets".to_owned(), "own"),
            ("DELETE /apis/apps/v1/deployments".to_owned(), "own"),
            ("POST /api/v1/nodes".to_owned(), "own"),
            ("GET /openapi/v3".to_owned(), "own"),
        ] {
            assert_eq!(told(&viewer, &line), expected, "{line}");
        }
        // P05: without a grant there is the namespace and nothing beside it.
        let of_namespace = person(&[Role::Viewer], false, rules);
        for (line, expected) in [
            (format!("PATCH {IN_A}"), "operator"),
            ("GET /api/v1/namespaces/team-a/pods?watch=1".to_owned(), "operator"),
            ("GET /api/v1/namespaces/team-a".to_owned(), "operator"),
            ("GET /api/v1/pods".to_owned(), "missing"),
            ("GET /api/v1/pods?fieldSelector=metadata.namespace=team-a".to_owned(), "missing"),
            (format!("GET {IN_B}"), "missing"),
            ("DELETE /api/v1/pods".to_owned(), "missing"),
            ("GET /api/v1/nodes/n/proxy/run".to_owned(), "missing"),
            ("GET /api/v1/namespaces".to_owned(), "missing"),
            ("GET /metrics".to_owned(), "missing"),
            ("GET /apis/apps/v1".to_owned(), "viewer"),
            ("POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews".to_owned(), "viewer"),
        ] {
            assert_eq!(told(&of_namespace, &line), expected, "{line}");
        }
        let shown = namespaces(&of_namespace, &cluster(), now()).unwrap();
        assert!(shown.has("team-a") && !shown.has("team-b"));
        assert!(namespaces(&viewer, &cluster(), now()).unwrap().has("team-b"));
    }

    #[test]
    fn what_a_rule_is_worth() {
        let pods = "GET /api/v1/namespaces/a/pods";
        let secrets = "GET /api/v1/namespaces/a/secrets/x";
        for (text, pods_as, secrets_as) in [
            ("allow clusters:read - - -", "viewer", "viewer"),
            ("allow clusters:read - secrets get,list", "missing", "operator"),
            ("allow *:* - - -", "admin", "admin"),
            ("allow operations:write - - -", "missing", "missing"),
            ("allow clusters:read,operations:write a - -", "operator", "operator"),
        ] {
            let who = person(&[], false, vec![rule(1, text)]);
            assert_eq!((told(&who, pods).as_str(), told(&who, secrets).as_str()), (pods_as, secrets_as), "{text}");
        }
        // Somebody who is more than a rule is worth stays what it is.
        let operator = person(&[Role::Operator], true, vec![rule(1, "allow clusters:read - secrets -")]);
        assert_eq!(told(&operator, secrets), "own");
        let admin_for_now = person(&[Role::Operator], true, vec![rule(1, "allow *:* - - -")]);
        assert_eq!(told(&admin_for_now, "POST /apis/rbac.authorization.k8s.io/v1/clusterroles"), "admin");
    }

    #[test]
    fn deny_rules_refuse_changes_that_would_show_what_is_hidden() {
        let rules = vec![rule(3, "deny *:read - secrets -"), rule(4, "deny operations:write prod - -")];
        let operator = person(&[Role::Operator], true, rules);
        for (line, expected) in [
            ("GET /api/v1/namespaces/a/secrets", "r3"),
            ("GET /api/v1/secrets?watch=true", "r3"),
            ("PATCH /api/v1/namespaces/a/secrets/x", "r3"),
            ("GET /api/v1/namespaces/prod/pods", "own"),
            ("DELETE /api/v1/namespaces/prod/pods/x", "r4"),
            ("DELETE /api/v1/pods", "r4"),
            ("DELETE /api/v1/namespaces/prod", "r4"),
            ("GET /api/v1/namespaces/prod/pods/x/exec", "r4"),
            ("GET /apis", "own"),
        ] {
            assert_eq!(told(&operator, line), expected, "{line}");
        }
        let out = person(&[Role::Admin], true, vec![rule(5, "deny *:* - - -")]);
        for line in ["GET /api", "GET /api/v1/pods", "DELETE /api/v1/nodes/x"] {
            assert_eq!(told(&out, line), "r5", "{line}");
        }
    }

    #[test]
    fn a_scope_narrows_what_rules_give() {
        let reads = Scope { permissions: Some(["*:read".to_owned()].into()), ..Scope::default() };
        let mut who = person(&[Role::Viewer], true, vec![rule(1, "allow operations:*,clusters:* team-a - -")]);
        who.scope = Some(reads);
        assert_eq!(told(&who, &format!("PATCH {IN_A}")), "own", "as the viewer that the key is held to");
        who.reach = Reach::Granted(BTreeSet::new());
        assert_eq!(told(&who, &format!("PATCH {IN_A}")), "missing");
        who.scope = Some(Scope { clusters: Some([id(8)].into()), ..Scope::default() });
        assert_eq!(told(&who, &format!("PATCH {IN_A}")), "invisible");
    }

    #[test]
    fn every_kind_of_change_is_judged() {
        let kinds = |texts: &[&str]| -> Vec<RequestKind> {
            let read = |text: &&str| {
                let words: Vec<&str> = text.split(' ').collect();
                RequestKind::of(words[0], words[1], words.get(2).copied())
            };
            texts.iter().map(read).collect()
        };
        let told = |who: &Principal, texts: &[&str]| {
            let judged = judge_change(who, &cluster(), &kinds(texts), now());
            (judged.verdict.allowed, judged.goes_as)
        };
        let here = ["create configmaps team-a", "patch configmaps team-a"];
        let mixed = ["patch configmaps team-a", "patch configmaps team-b"];
        let anything = ["delete * "];
        let viewer = person(&[Role::Viewer], true, vec![rule(1, "allow operations:* team-a - -")]);
        assert_eq!(told(&viewer, &here), (true, As::Raised(Role::Operator)));
        assert!(!told(&viewer, &mixed).0 && !told(&viewer, &["delete *"]).0 && !told(&viewer, &[]).0);
        let operator = person(&[Role::Operator], true, vec![rule(1, "deny *:* team-b - -")]);
        assert_eq!(told(&operator, &here), (true, As::Own));
        assert!(!told(&operator, &mixed).0);
        let no_secrets = person(&[Role::Operator], true, vec![rule(1, "deny *:* - secrets delete")]);
        assert!(told(&no_secrets, &here).0 && !told(&no_secrets, &["delete *"]).0);
        assert!(told(&person(&[Role::Operator], true, Vec::new()), &anything).0);
        assert!(!told(&person(&[Role::Operator], false, Vec::new()), &here).0);
    }

    proptest! {
        /// However a path is spelt: it is refused, or it is judged as the plain one.
        #[test]
        fn no_spelling_changes_a_verdict(
            namespace in "(team-a|team-b)", kind in "(secrets|configmaps)",
            marks in prop::collection::vec(0_u8..25, 70), slash in any::<bool>(),
        ) {
            let who = person(
                &[Role::Viewer],
                false,
                vec![rule(1, "allow *:* team-a - -"), rule(2, "deny *:* team-a secrets -")],
            );
            let plain = format!("/api/v1/namespaces/{namespace}/{kind}/x");
            let mut spelt = String::new();
            for (byte, mark) in plain.bytes().zip(marks) {
                match mark {
                    0 => drop(write!(spelt, "%{byte:02x}")),
                    1 => spelt.push(char::from(byte).to_ascii_uppercase()),
                    2 if byte == b'/' => spelt.push_str("//"),
                    3 if byte == b'/' => spelt.push_str("/%2e/"),
                    4 if byte == b'/' => spelt.push_str("/x/../"),
                    _ => spelt.push(char::from(byte)),
                }
            }
            if slash {
                spelt.push('/');
            }
            let expected = judge(&who, &cluster(), &kubernetes::read("GET", &plain, None).unwrap(), now());
            if let Ok(request) = kubernetes::read("GET", &spelt, None) {
                prop_assert_eq!(judge(&who, &cluster(), &request, now()), expected, "{}", spelt);
            }
        }
    }
}
