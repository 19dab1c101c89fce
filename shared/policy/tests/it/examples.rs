//! The examples of `docs/policies.md`, and the cases in which *touches* and *covers* differ.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use roadstead_contracts::Code;
use roadstead_contracts::identity::{Action, CredentialKind, Principal, Reach, Role};
use roadstead_contracts::ids::{ClusterId, RuleId};
use roadstead_contracts::names::Labels;
use roadstead_contracts::policy::{ClusterFacts, ClustersDraft, Effect, Rule, RuleDraft};
use roadstead_contracts::scope::Scope;
use roadstead_policy::{Asked, Ground, Object, Place, decide, gate, sees};

use crate::arbitrary::{id, now};

fn who(role: Role, rules: Vec<Rule>) -> Principal {
    Principal {
        user_id: id(7),
        user_seq: 7,
        username: "ada".to_owned(),
        email: "ada@example.com".to_owned(),
        roles: [role].into(),
        reach: if role == Role::Admin { Reach::All } else { Reach::Granted([id::<ClusterId>(1)].into()) },
        credential: CredentialKind::QueuePeer("peer".to_owned()),
        scope: None,
        permissions: None,
        rules,
    }
}

fn cluster(number: u128, name: &str, env: &str) -> ClusterFacts {
    ClusterFacts {
        name: Some(name.to_owned()),
        labels: Some(Labels(BTreeMap::from([("env".to_owned(), env.to_owned())]))),
        ..ClusterFacts::unknown(id(number))
    }
}

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn draft(effect: Effect, permissions: &[&str]) -> RuleDraft {
    RuleDraft {
        name: "rule".to_owned(),
        effect,
        subjects: texts(&["user:ada"]),
        permissions: texts(permissions),
        clusters: ClustersDraft::default(),
        namespaces: Vec::new(),
        kinds: Vec::new(),
        verbs: Vec::new(),
        until: None,
        reason: None,
    }
}

fn made(number: u128, draft: &RuleDraft) -> Rule {
    draft.checked(id::<RuleId>(number)).unwrap()
}

fn object<'a>(verb: &'a str, kind: &'a str, place: Place<'a>) -> Object<'a> {
    Object { verb, kind, also: None, place }
}

#[test]
fn a_namespace_for_a_team() {
    let prod = cluster(2, "prod", "prod");
    let rule = RuleDraft {
        clusters: ClustersDraft { names: texts(&["prod"]), labels: None },
        namespaces: texts(&["team-a", "team-a-*"]),
        ..draft(Effect::Allow, &["*:read", "operations:write"])
    };
    let ada = who(Role::Viewer, vec![made(1, &rule)]);
    assert!(sees(&ada, &prod, now()) && !sees(&ada, &cluster(3, "dev", "dev"), now()));
    let may = |verb, kind, place| {
        decide(&ada, &Asked::object(Action::OperationsWrite, &prod, object(verb, kind, place)), now()).allowed
    };
    assert!(may("create", "deployments.apps", Place::Namespace("team-a")));
    assert!(may("create", "deployments.apps", Place::Namespace("team-a-blue")));
    assert!(!may("create", "deployments.apps", Place::Namespace("team-b")));
    assert!(!may("deletecollection", "pods", Place::EveryNamespace), "wider than the rule");
    assert!(!may("create", "clusterroles.rbac.authorization.k8s.io", Place::Cluster));
    let whole = decide(&ada, &Asked::cluster(Action::OperationsWrite, &prod), now());
    assert_eq!((whole.allowed, whole.ground), (false, Ground::Missing), "a limited rule is not about the whole");
    assert!(gate(&ada, Action::OperationsWrite, now()).allowed && !gate(&ada, Action::UsersWrite, now()).allowed);
    let elsewhere = decide(&ada, &Asked::cluster(Action::ClustersRead, &cluster(3, "dev", "dev")), now());
    assert!(elsewhere.is_invisible());
    assert_eq!(elsewhere.refusal(&ada).code, Code::NotFound);
}

#[test]
fn no_secrets_in_production() {
    let rule = RuleDraft {
        name: "no-secrets-in-prod".to_owned(),
        clusters: ClustersDraft { names: Vec::new(), labels: Some("env=prod".to_owned()) },
        kinds: texts(&["secrets"]),
        ..draft(Effect::Deny, &["*:*"])
    };
    let root = who(Role::Admin, vec![made(1, &rule)]);
    let (prod, dev) = (cluster(2, "prod", "prod"), cluster(3, "dev", "dev"));
    let read = |cluster, verb, kind, place| {
        decide(&root, &Asked::object(Action::ClustersRead, cluster, object(verb, kind, place)), now())
    };
    let refused = read(&prod, "get", "secrets", Place::Namespace("x"));
    assert_eq!(refused.rule().map(|(_, name)| name), Some("no-secrets-in-prod"));
    let error = refused.refusal(&root);
    assert_eq!(
        (error.code, error.errors[0].loc.as_slice()),
        (Code::Forbidden, &texts(&["rule", "no-secrets-in-prod"])[..])
    );
    assert!(error.errors[0].msg.contains("denies clusters:read; ask an admin"), "{error:?}");
    assert!(!read(&prod, "list", "secrets", Place::EveryNamespace).allowed);
    assert!(read(&prod, "get", "configmaps", Place::Namespace("x")).allowed);
    assert!(read(&dev, "get", "secrets", Place::Namespace("x")).allowed);
    assert!(decide(&root, &Asked::cluster(Action::ClustersRead, &prod), now()).allowed);
    let unknown = ClusterFacts::unknown(id(2));
    assert!(!read(&unknown, "get", "secrets", Place::Namespace("x")).allowed, "nobody knows its labels");
}

#[test]
fn deny_reaches_what_does_the_same() {
    let deny = |kinds: &[&str], verbs: &[&str], namespaces: &[&str]| {
        let rule = RuleDraft {
            kinds: texts(kinds),
            verbs: texts(verbs),
            namespaces: texts(namespaces),
            ..draft(Effect::Deny, &["*:*"])
        };
        who(Role::Admin, vec![made(1, &rule)])
    };
    let dev = cluster(3, "dev", "dev");
    let denied = |root: &Principal, verb, kind, place| {
        !decide(root, &Asked::object(Action::OperationsWrite, &dev, object(verb, kind, place)), now()).allowed
    };
    let here = Place::Namespace("x");
    let pods = deny(&["pods"], &[], &[]);
    assert!(denied(&pods, "create", "pods/exec", here) && denied(&pods, "get", "pods.metrics.k8s.io", here));
    let deployments = deny(&["deployments.apps"], &[], &[]);
    assert!(denied(&deployments, "update", "deployments.apps/scale", here));
    assert!(!denied(&deployments, "update", "deployments.example.com", here));
    let get = deny(&["secrets"], &["get"], &[]);
    assert!(denied(&get, "list", "secrets", here) && denied(&get, "watch", "secrets", here));
    let list = deny(&["secrets"], &["list"], &[]);
    assert!(!denied(&list, "get", "secrets", here) && denied(&list, "list", "secrets", Place::EveryNamespace));
    let delete = deny(&[], &["delete"], &[]);
    assert!(denied(&delete, "deletecollection", "pods", here) && !denied(&delete, "create", "pods", here));
    let update = deny(&[], &["update"], &[]);
    assert!(denied(&update, "patch", "pods", here) && denied(&update, "update", "pods", here));
    let patch = deny(&[], &["patch"], &[]);
    assert!(denied(&patch, "update", "pods", here) && !denied(&patch, "create", "pods", here));
    let exec = deny(&["pods/exec"], &[], &[]);
    assert!(denied(&exec, "create", "pods/exec", here) && !denied(&exec, "get", "pods", here));
    let system = deny(&[], &[], &["kube-*"]);
    assert!(denied(&system, "get", "pods", Place::Namespace("kube-system")));
    assert!(denied(&system, "list", "pods", Place::EveryNamespace), "the list would hold it");
    assert!(!denied(&system, "get", "nodes", Place::Cluster) && !denied(&system, "get", "pods", here));
}

#[test]
fn an_hour_of_more() {
    let end = now() + TimeDelta::hours(1);
    let rule = RuleDraft { until: Some(end), ..draft(Effect::Allow, &["operations:write"]) };
    let ada = who(Role::Viewer, vec![made(1, &rule)]);
    let granted = cluster(1, "alpha", "dev");
    let asked = Asked::cluster(Action::OperationsWrite, &granted);
    assert!(decide(&ada, &asked, end - TimeDelta::microseconds(1)).allowed);
    assert!(!decide(&ada, &asked, end).allowed);
    let other = cluster(2, "beta", "dev");
    assert!(
        decide(&ada, &Asked::cluster(Action::OperationsWrite, &other), now()).is_invisible(),
        "it names no cluster"
    );
    let mut key = ada;
    key.scope = Some(Scope { permissions: Some(["*:read".to_owned()].into()), ..Scope::default() });
    assert_eq!(decide(&key, &asked, now()).ground, Ground::Scope);
}

#[test]
fn a_gate_opens_where_something_may_be_done_somewhere() {
    let opens = |role: Role, action, rules: Vec<Rule>| gate(&who(role, rules), action, now());
    let within = |effect, words: &[&str]| made(1, &RuleDraft { namespaces: texts(&["x"]), ..draft(effect, words) });
    let named = |effect, words: &[&str]| {
        let clusters = ClustersDraft { names: texts(&["prod"]), labels: None };
        made(1, &RuleDraft { clusters, ..draft(effect, words) })
    };
    let every = |effect, words: &[&str]| made(1, &draft(effect, words));
    let over = |rule: Rule| Rule { until: Some(now()), ..rule };
    let (write, trail) = (Action::OperationsWrite, Action::AuditRead);
    for (role, action, rule, expected) in [
        // What is about clusters is asked again about the cluster.
        (Role::Viewer, write, within(Effect::Allow, &["operations:*"]), true),
        (Role::Viewer, write, named(Effect::Allow, &["operations:*"]), true),
        (Role::Viewer, write, over(every(Effect::Allow, &["operations:*"])), false),
        (Role::Viewer, write, every(Effect::Allow, &["clusters:*"]), false),
        // What is not is asked here only: no rule for some clusters gives it.
        (Role::Viewer, trail, every(Effect::Allow, &["audit:read"]), true),
        (Role::Viewer, trail, named(Effect::Allow, &["audit:read"]), false),
        (Role::Viewer, trail, within(Effect::Allow, &["audit:read"]), false),
        (Role::Viewer, trail, over(every(Effect::Allow, &["audit:read"])), false),
        // A deny rule closes it only when it is for everything.
        (Role::Admin, write, every(Effect::Deny, &["*:*"]), false),
        (Role::Admin, write, named(Effect::Deny, &["*:*"]), true),
        (Role::Admin, write, within(Effect::Deny, &["*:*"]), true),
        (Role::Admin, write, over(every(Effect::Deny, &["*:*"])), true),
        (Role::Admin, write, every(Effect::Deny, &["users:*"]), true),
    ] {
        let verdict = opens(role, action, vec![rule.clone()]);
        assert_eq!(verdict.allowed, expected, "{role:?} {action:?} {rule:?}");
        assert_eq!(verdict.action, action);
        if rule.effect == Effect::Deny && !expected {
            assert_eq!(verdict.rule().map(|(_, name)| name), Some("rule"));
        }
    }
    let mut key = who(Role::Admin, Vec::new());
    key.scope = Some(Scope { permissions: Some(["*:read".to_owned()].into()), ..Scope::default() });
    assert_eq!(gate(&key, write, now()).ground, Ground::Scope);
    let two = |effect| {
        vec![Rule { id: id::<RuleId>(2), name: "later".to_owned(), ..every(effect, &["*:*"]) }, every(effect, &["*:*"])]
    };
    assert_eq!(opens(Role::Admin, write, two(Effect::Deny)).rule().map(|(_, name)| name), Some("rule"));
}

#[test]
fn only_an_allow_rule_that_stands_makes_a_cluster_exist() {
    let prod = cluster(2, "prod", "prod");
    let named = |effect, name: &str| {
        let clusters = ClustersDraft { names: texts(&[name]), labels: None };
        made(1, &RuleDraft { clusters, namespaces: texts(&["x"]), ..draft(effect, &["*:*"]) })
    };
    let by_id = id::<ClusterId>(2).to_string();
    let by_label = made(
        1,
        &RuleDraft {
            clusters: ClustersDraft { names: Vec::new(), labels: Some("env=prod".to_owned()) },
            ..draft(Effect::Allow, &["users:read"])
        },
    );
    let seen = |rule: &Rule| {
        let ada = who(Role::Viewer, vec![rule.clone()]);
        let asked = Asked::cluster(Action::ClustersRead, &prod);
        let seen = sees(&ada, &prod, now());
        assert_eq!(!decide(&ada, &asked, now()).is_invisible(), seen, "{rule:?}");
        seen
    };
    assert!(seen(&named(Effect::Allow, "prod")) && seen(&named(Effect::Allow, &by_id)) && seen(&by_label));
    for rule in [
        named(Effect::Deny, "prod"),
        named(Effect::Allow, "dev"),
        Rule { until: Some(now()), ..named(Effect::Allow, "prod") },
        made(1, &draft(Effect::Allow, &["*:*"])),
    ] {
        assert!(!seen(&rule), "{rule:?}");
    }
    // Both limits must hold.
    let both = |name: &str, label: &str| {
        let clusters = ClustersDraft { names: texts(&[name]), labels: Some(label.to_owned()) };
        made(1, &RuleDraft { clusters, ..draft(Effect::Allow, &["*:*"]) })
    };
    assert!(seen(&both("prod", "env=prod")) && !seen(&both("prod", "env=dev")) && !seen(&both("dev", "env=prod")));
    // A credential that is held to other clusters sees none of it.
    let mut key = who(Role::Viewer, vec![named(Effect::Allow, "prod")]);
    key.scope = Some(Scope { clusters: Some([id::<ClusterId>(9)].into()), ..Scope::default() });
    assert!(!sees(&key, &prod, now()));
    key.scope = Some(Scope { clusters: Some([id::<ClusterId>(2)].into()), ..Scope::default() });
    assert!(sees(&key, &prod, now()));
}

#[test]
fn what_is_not_known_of_a_cluster_is_touched_and_not_covered() {
    let unknown = ClusterFacts::unknown(id(1));
    for clusters in [
        ClustersDraft { names: texts(&["prod"]), labels: None },
        ClustersDraft { names: Vec::new(), labels: Some("env=prod".to_owned()) },
    ] {
        let rule = |effect| made(1, &RuleDraft { clusters: clusters.clone(), ..draft(effect, &["*:*"]) });
        let asked = Asked::cluster(Action::ClustersRead, &unknown);
        assert!(!decide(&who(Role::Admin, vec![rule(Effect::Deny)]), &asked, now()).allowed, "{clusters:?}");
        let write = Asked::cluster(Action::OperationsWrite, &unknown);
        assert!(!decide(&who(Role::Viewer, vec![rule(Effect::Allow)]), &write, now()).allowed, "{clusters:?}");
    }
    // Known by its name to be another one.
    let dev = cluster(1, "dev", "prod");
    let clusters = ClustersDraft { names: texts(&["prod"]), labels: Some("env=prod".to_owned()) };
    let rule = made(1, &RuleDraft { clusters, ..draft(Effect::Deny, &["*:*"]) });
    assert!(decide(&who(Role::Admin, vec![rule]), &Asked::cluster(Action::ClustersRead, &dev), now()).allowed);
}

#[test]
fn a_refusal_says_what_is_missing() {
    let dev = cluster(1, "alpha", "dev");
    let told = |who: &Principal, asked: &Asked<'_>| {
        let verdict = decide(who, asked, now());
        let checked = verdict.check(who);
        assert_eq!(checked.is_ok(), verdict.allowed);
        (verdict.decision(who), checked.err().map(|error| (error.code, error.errors)))
    };
    let hub = Asked::hub(Action::AuditRead);
    let rule = RuleDraft { name: "trail".to_owned(), ..draft(Effect::Allow, &["audit:read"]) };
    let (decision, refusal) = told(&who(Role::Viewer, vec![made(1, &rule)]), &hub);
    assert_eq!((decision.reason.as_str(), decision.ask, refusal), ("the rule trail allows audit:read", None, None));
    let (decision, refusal) = told(&who(Role::Viewer, Vec::new()), &hub);
    let (code, errors) = refusal.unwrap();
    assert_eq!((code, errors[0].loc.as_slice()), (Code::Forbidden, &texts(&["permission", "audit:read"])[..]));
    assert!(decision.reason.contains("none of your roles"), "{decision:?}");
    // Granted elsewhere: a rule makes the cluster visible, and the roles are for clusters that were granted.
    let shown = RuleDraft {
        clusters: ClustersDraft { names: texts(&["beta"]), labels: None },
        ..draft(Effect::Allow, &["clusters:read"])
    };
    let operator = who(Role::Operator, vec![made(1, &shown)]);
    let beta = cluster(2, "beta", "dev");
    let (decision, _) = told(&operator, &Asked::cluster(Action::OperationsWrite, &beta));
    assert!(decision.reason.contains("only on clusters that you own or were granted"), "{decision:?}");
    assert!(decision.ask.is_some_and(|ask| ask.contains("whoever owns the cluster")));
    let (decision, refusal) = told(&operator, &Asked::cluster(Action::OperationsWrite, &cluster(3, "gamma", "dev")));
    assert_eq!(refusal.map(|(code, _)| code), Some(Code::NotFound));
    assert!(decision.reason.contains("not there"), "{decision:?}");
    assert!(told(&operator, &Asked::cluster(Action::OperationsWrite, &dev)).1.is_none());
}

#[test]
fn the_first_rule_is_named() {
    let rule = |number, name: &str| made(number, &RuleDraft { name: name.to_owned(), ..draft(Effect::Deny, &["*:*"]) });
    let root = who(Role::Admin, vec![rule(2, "second"), rule(1, "first")]);
    let verdict = decide(&root, &Asked::hub(Action::SystemWrite), now());
    assert_eq!(verdict.rule().map(|(_, name)| name), Some("first"));
    let decision = verdict.decision(&root);
    assert_eq!(decision.reason, "the rule first denies system:write");
    assert!(decision.ask.is_some());
}
