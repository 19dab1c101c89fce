//! What a decision costs with 10,000 rules: by the rules that travel with a caller, by the whole set with its index, and
//! by Casbin beside. And whether a set that is compiled at the same time holds a decision up.
//!
//! Goal: at most 5 µs for `database-rbac`; Casbin has none, it looks at every line.
#![expect(clippy::expect_used, reason = "a benchmark that cannot begin has nothing to tell")]

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use criterion::{Criterion, criterion_group, criterion_main};
use roadstead_contracts::identity::{Action, CredentialKind, Principal, Reach, Role};
use roadstead_contracts::ids::{ClusterId, RuleId, TypedId, UserId};
use roadstead_contracts::names::Labels;
use roadstead_contracts::policy::{ClusterFacts, ClustersDraft, Effect, RULES_MAX, Rule, RuleDraft};
use roadstead_policy::{Asked, Object, Place, Policy, Who, decide};
use roadstead_user::policy::casbin::{Casbin, Texts};

/// Accounts that rules are for.
const ACCOUNTS: usize = 1_000;
/// Rules for one account, at most: as many as travel, those for everyone and its role among them.
const FULL: usize = 240;

fn id<T: TypedId>(number: usize) -> T {
    T::from_uuid(uuid::Uuid::from_u128(number as u128))
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).expect("a time")
}

/// A rule of the usual kind: a team's namespaces in some clusters, or something that nobody may.
fn rule(number: usize, subject: String, unlimited: bool) -> Rule {
    let one = |text: &str| vec![text.to_owned()];
    let deny = number.is_multiple_of(4);
    RuleDraft {
        name: format!("rule-{number}"),
        effect: if deny { Effect::Deny } else { Effect::Allow },
        subjects: vec![subject],
        permissions: vec!["clusters:read".to_owned(), "operations:write".to_owned()],
        clusters: if unlimited {
            ClustersDraft::default()
        } else {
            ClustersDraft { names: Vec::new(), labels: Some(format!("env=dev,team=t{}", number % 50)) }
        },
        namespaces: if unlimited { Vec::new() } else { one(&format!("team-{}-*", number % 50)) },
        kinds: if deny && !unlimited { one("secrets") } else { Vec::new() },
        verbs: Vec::new(),
        until: number.is_multiple_of(3).then(|| now() + chrono::TimeDelta::hours(1)),
        reason: None,
    }
    .checked(id::<RuleId>(number))
    .expect("a rule")
}

/// Ten rules for each of a thousand accounts, a few for everybody; the first account has all that can travel.
fn rules() -> Vec<Rule> {
    let subject = |number: usize| match number {
        0..8 => "*".to_owned(),
        8..16 => "role:viewer".to_owned(),
        16..FULL => "user:user-0".to_owned(),
        _ => format!("user:user-{}", 1 + number % ACCOUNTS),
    };
    (0..RULES_MAX).map(|number| rule(number + 1, subject(number), false)).collect()
}

fn caller(username: &str) -> Principal {
    Principal {
        user_id: id::<UserId>(7),
        user_seq: 7,
        username: username.to_owned(),
        email: "user@example.com".to_owned(),
        roles: [Role::Viewer].into(),
        reach: Reach::Granted((1..20).map(id::<ClusterId>).collect()),
        credential: CredentialKind::QueuePeer("bench".to_owned()),
        scope: None,
        permissions: None,
        rules: Vec::new(),
    }
}

fn cluster() -> ClusterFacts {
    let labels = [("env", "dev"), ("team", "t7")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    ClusterFacts {
        name: Some("dev-7".to_owned()),
        labels: Some(Labels(BTreeMap::from(labels))),
        ..ClusterFacts::unknown(id(3))
    }
}

fn decisions(criterion: &mut Criterion) {
    let policy = Policy::compile(rules());
    let (cluster, nobody) = (cluster(), BTreeSet::new());
    let object = Object { verb: "create", kind: "deployments.apps", also: None, place: Place::Namespace("team-7-web") };
    let asked = Asked::object(Action::OperationsWrite, &cluster, object);
    let mut group = criterion.benchmark_group("decision at 10,000 rules");
    for (name, username) in [("ten rules of its own", "user-500"), ("as many as travel", "user-0")] {
        let mut who = caller(username);
        group.bench_function(format!("database-rbac, whole set, {name}"), |bencher| {
            bencher.iter(|| policy.decide(black_box(&who), &nobody, black_box(&asked), now()));
        });
        let concerning = Who { username, roles: &who.roles, groups: &nobody };
        who.rules = policy.concerning(concerning, now());
        group.bench_function(format!("database-rbac, at a door, {name}"), |bencher| {
            bencher.iter(|| decide(black_box(&who), black_box(&asked), now()));
        });
    }
    group.finish();
}

fn casbin(criterion: &mut Criterion) {
    let unlimited: Vec<Rule> = (0..RULES_MAX)
        .map(|number| Rule {
            effect: Effect::Allow,
            until: None,
            ..rule(number + 1, format!("user:user-{}", number % ACCOUNTS), true)
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let casbin = runtime.block_on(Casbin::compile(&Texts::default(), unlimited.iter())).expect("lines");
    let mut group = criterion.benchmark_group("decision at 10,000 rules");
    group.sample_size(10);
    group.bench_function("casbin, a word that is not held", |bencher| {
        bencher.iter(|| casbin.decide(black_box("user-999"), Action::SystemWrite));
    });
    group.finish();
}

/// A new set stands beside the old one until it takes its place: decisions go on meanwhile.
fn reloads(criterion: &mut Criterion) {
    let current = Arc::new(ArcSwap::from_pointee(Policy::compile(rules())));
    let stop = Arc::new(AtomicBool::new(false));
    let reloading = std::thread::spawn({
        let (current, stop) = (Arc::clone(&current), Arc::clone(&stop));
        move || {
            let rules = rules();
            while !stop.load(Ordering::Relaxed) {
                current.store(Arc::new(Policy::compile(rules.clone())));
            }
        }
    });
    let (who, cluster, nobody) = (caller("user-500"), cluster(), BTreeSet::new());
    let asked = Asked::cluster(Action::ClustersRead, &cluster);
    criterion.bench_function("decision while sets of 10,000 rules are compiled", |bencher| {
        bencher.iter(|| current.load().decide(black_box(&who), &nobody, black_box(&asked), now()));
    });
    stop.store(true, Ordering::Relaxed);
    reloading.join().expect("the thread that reloads");
}

criterion_group!(benches, decisions, casbin, reloads);
criterion_main!(benches);
