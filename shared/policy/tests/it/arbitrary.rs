//! Rules, callers and questions out of few words, so that they meet often.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use roadstead_contracts::identity::{Action, CredentialKind, Principal, Reach, Role};
use roadstead_contracts::ids::{ClusterId, RuleId, TypedId, UserId};
use roadstead_contracts::names::Labels;
use roadstead_contracts::policy::{ClusterFacts, ClustersDraft, Effect, Rule, RuleDraft};
use roadstead_contracts::scope::Scope;
use roadstead_policy::{Asked, Object, Place};

const WORDS: [&str; 8] =
    ["*:*", "*:read", "clusters:*", "clusters:read", "clusters:write", "operations:write", "users:write", "audit:read"];
const NAMESPACES: [&str; 4] = ["*", "team-*", "team-a", "kube-system"];
const KINDS: [&str; 5] = ["*", "secrets", "deployments.apps", "pods/*", "pods"];
const VERBS: [&str; 5] = ["*", "get", "list", "delete", "update"];
const LABELS: [&str; 4] = ["env=prod", "env!=prod", "tier", "!tier"];

pub fn id<T: TypedId>(number: u128) -> T {
    T::from_uuid(uuid::Uuid::from_u128(number))
}

pub fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn some(words: &'static [&'static str], least: usize) -> impl Strategy<Value = Vec<String>> {
    subsequence(words.to_vec(), least..=words.len().min(2 + least))
        .prop_map(|words| words.into_iter().map(str::to_owned).collect())
}

pub fn rule(number: u128) -> impl Strategy<Value = Rule> {
    let limits = (some(&NAMESPACES, 0), some(&KINDS, 0), some(&VERBS, 0));
    let clusters = (some(&["alpha", "beta"], 0), proptest::option::weighted(0.3, select(LABELS.to_vec())));
    let until = proptest::option::weighted(0.3, -5_i64..5);
    (any::<bool>(), some(&WORDS, 1), clusters, limits, until).prop_map(
        move |(allow, words, clusters, limits, until)| {
            RuleDraft {
                name: format!("rule-{number}"),
                effect: if allow { Effect::Allow } else { Effect::Deny },
                subjects: vec!["user:ada".to_owned()],
                permissions: words,
                clusters: ClustersDraft { names: clusters.0, labels: clusters.1.map(str::to_owned) },
                namespaces: limits.0,
                kinds: limits.1,
                verbs: limits.2,
                until: until.map(|seconds| now() + TimeDelta::seconds(seconds)),
                reason: None,
            }
            .checked(id::<RuleId>(number))
            .unwrap()
        },
    )
}

pub fn rules() -> impl Strategy<Value = Vec<Rule>> {
    (0_usize..6).prop_flat_map(|count| (0..count).map(|number| rule(number as u128 + 1)).collect::<Vec<_>>())
}

pub fn principal() -> impl Strategy<Value = Principal> {
    let roles = subsequence(Role::ALL.to_vec(), 0..=2);
    let reach = prop_oneof![
        Just(Reach::All),
        Just(Reach::Granted([].into())),
        Just(Reach::Granted([id::<ClusterId>(1)].into())),
    ];
    let scope = proptest::option::weighted(0.3, (some(&WORDS, 1), any::<bool>()));
    (roles, reach, scope).prop_map(|(roles, reach, scope)| Principal {
        user_id: id::<UserId>(7),
        user_seq: 7,
        username: "ada".to_owned(),
        email: "ada@example.com".to_owned(),
        roles: roles.into_iter().collect(),
        reach,
        credential: CredentialKind::QueuePeer("peer".to_owned()),
        scope: scope.map(|(words, bound)| Scope {
            permissions: Some(words.into_iter().collect()),
            clusters: bound.then(|| [id::<ClusterId>(1)].into()),
            sources: None,
        }),
        permissions: None,
        rules: Vec::new(),
    })
}

/// A question that owns its parts.
#[derive(Debug, Clone)]
pub struct Question {
    action: Action,
    cluster: Option<ClusterFacts>,
    object: Option<(&'static str, &'static str, u8)>,
}

impl Question {
    pub fn asked(&self) -> Asked<'_> {
        let object = self.object.map(|(verb, kind, place)| Object {
            verb,
            kind,
            also: None,
            place: match place {
                0 => Place::EveryNamespace,
                1 => Place::Cluster,
                2 => Place::Namespace("team-a"),
                _ => Place::Namespace("kube-system"),
            },
        });
        Asked { action: self.action, cluster: self.cluster.as_ref(), object }
    }
}

fn facts(which: usize) -> ClusterFacts {
    let labels = |pairs: &[(&str, &str)]| {
        Some(Labels(
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>(),
        ))
    };
    let unknown = ClusterFacts::unknown(id(which as u128 + 1));
    match which {
        0 => ClusterFacts { name: Some("alpha".to_owned()), labels: labels(&[("env", "prod")]), ..unknown },
        1 => ClusterFacts {
            name: Some("beta".to_owned()),
            labels: labels(&[("tier", "1")]),
            owner: Some(id(7)),
            ..unknown
        },
        _ => unknown,
    }
}

pub fn question() -> impl Strategy<Value = Question> {
    let cluster = proptest::option::weighted(0.8, (0_usize..3).prop_map(facts));
    let verb = select(vec!["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]);
    let kind = select(vec!["secrets", "deployments.apps", "pods", "pods/exec", "nodes"]);
    let object = proptest::option::weighted(0.7, (verb, kind, 0_u8..4));
    (select(Action::ALL.to_vec()), cluster, object).prop_map(|(action, cluster, object)| {
        // Nothing else is asked about a cluster.
        let cluster = cluster.filter(|_| matches!(action.words().0, "clusters" | "operations"));
        Question { action, object: object.filter(|_| cluster.is_some()), cluster }
    })
}
