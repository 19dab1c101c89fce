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
    Object { verb, kind, place }
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
    assert!(denied(&update, "patch", "pods", here));
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
fn the_first_rule_is_named() {
    let rule = |number, name: &str| made(number, &RuleDraft { name: name.to_owned(), ..draft(Effect::Deny, &["*:*"]) });
    let root = who(Role::Admin, vec![rule(2, "second"), rule(1, "first")]);
    let verdict = decide(&root, &Asked::hub(Action::SystemWrite), now());
    assert_eq!(verdict.rule().map(|(_, name)| name), Some("first"));
    let decision = verdict.decision(&root);
    assert_eq!(decision.reason, "the rule first denies system:write");
    assert!(decision.ask.is_some());
}
