//! Sets of rules: what travels with somebody, and what is too much.

use std::collections::BTreeSet;

use roadstead_contracts::identity::Role;
use roadstead_contracts::ids::RuleId;
use roadstead_contracts::policy::{ClustersDraft, Effect, RULES_OF_ONE_BYTES_MAX, RULES_OF_ONE_MAX, Rule, RuleDraft};
use roadstead_policy::{Policy, Who};

use crate::arbitrary::{id, now};

fn rule(number: usize, effect: Effect, subjects: &[&str], reason: usize) -> Rule {
    RuleDraft {
        name: format!("rule-{number}"),
        effect,
        subjects: subjects.iter().map(|subject| (*subject).to_owned()).collect(),
        permissions: vec!["clusters:read".to_owned()],
        clusters: ClustersDraft::default(),
        namespaces: (0..reason).map(|number| format!("namespace-{number}-{}", "x".repeat(20))).collect(),
        kinds: Vec::new(),
        verbs: Vec::new(),
        until: None,
        reason: None,
    }
    .checked(id::<RuleId>(number as u128))
    .unwrap()
}

fn concerning(policy: &Policy, username: &str, roles: &[Role], groups: &[&str]) -> Vec<Rule> {
    let roles: BTreeSet<Role> = roles.iter().copied().collect();
    let groups: BTreeSet<String> = groups.iter().map(|group| (*group).to_owned()).collect();
    policy.concerning(Who { username, roles: &roles, groups: &groups }, now())
}

#[test]
fn rules_travel_with_whom_they_concern() {
    let policy = Policy::compile(vec![
        rule(1, Effect::Allow, &["user:ada", "user:bob"], 0),
        rule(2, Effect::Allow, &["role:viewer", "user:ada"], 0),
        rule(3, Effect::Deny, &["group:ops"], 0),
        rule(4, Effect::Allow, &["*"], 0),
    ]);
    let names = |rules: Vec<Rule>| rules.into_iter().map(|rule| rule.name).collect::<Vec<_>>();
    assert_eq!(names(concerning(&policy, "ada", &[Role::Viewer], &[])), ["rule-1", "rule-2", "rule-4"]);
    assert_eq!(names(concerning(&policy, "eve", &[Role::Operator], &["ops"])), ["rule-3", "rule-4"]);
    assert_eq!(names(concerning(&policy, "eve", &[], &[])), ["rule-4"]);
    let adas = concerning(&policy, "ada", &[], &[]);
    assert_eq!(adas[0].subjects.iter().map(ToString::to_string).collect::<Vec<_>>(), ["user:ada"], "bob is not told");
    assert!(policy.names_groups() && policy.overfull().is_none());
}

#[test]
fn too_many_allow_rules_stay_behind() {
    let rules = |effect| (1..=300).map(move |number| rule(number, effect, &["user:ada"], 0));
    let mut all: Vec<Rule> = rules(Effect::Allow).collect();
    all.push(rule(999, Effect::Deny, &["*"], 0));
    let policy = Policy::compile(all);
    assert_eq!(policy.overfull().as_deref(), Some("user:ada"));
    let told = concerning(&policy, "ada", &[], &[]);
    assert_eq!((told.len(), told[0].name.as_str()), (RULES_OF_ONE_MAX, "rule-999"), "what denies goes first");
    assert_eq!(concerning(&policy, "bob", &[], &[]).len(), 1);
}

#[test]
fn too_many_deny_rules_deny_everything() {
    let policy = Policy::compile((1..=300).map(|number| rule(number, Effect::Deny, &["role:viewer"], 0)).collect());
    assert_eq!(policy.overfull().as_deref(), Some("a role"));
    let told = concerning(&policy, "ada", &[Role::Viewer], &[]);
    assert_eq!((told.len(), told[0].name.as_str(), told[0].effect), (1, "too-many-rules", Effect::Deny));
    assert!(told[0].clusters.is_every() && told[0].permissions.words().eq(["*:*"]));
}

#[test]
fn what_travels_is_bounded_in_bytes() {
    let policy = Policy::compile((1..=250).map(|number| rule(number, Effect::Allow, &["user:ada"], 60)).collect());
    assert!(policy.overfull().is_some());
    let told = concerning(&policy, "ada", &[], &[]);
    assert!(told.len() < 250 && !told.is_empty());
    assert!(serde_json::to_vec(&told).unwrap().len() <= RULES_OF_ONE_BYTES_MAX);
}
