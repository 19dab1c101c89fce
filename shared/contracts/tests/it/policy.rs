//! Rules as people write them, and as they travel.

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use roadstead_contracts::ids::{RuleId, TypedId};
use roadstead_contracts::policy::{ClustersDraft, Effect, Rule, RuleDraft, Subject};

fn id() -> RuleId {
    RuleId::from_uuid(uuid::Uuid::from_u128(0x0198_c5b0_0000_7000_8000_0000_0000_0001))
}

fn draft() -> RuleDraft {
    RuleDraft {
        name: "no-secrets.in_prod".to_owned(),
        effect: Effect::Deny,
        subjects: vec![
            "role:viewer".to_owned(),
            "group:/ops/on call".to_owned(),
            "user:ADA".to_owned(),
            "*".to_owned(),
        ],
        permissions: vec!["*:read".to_owned(), "operations:write".to_owned()],
        clusters: ClustersDraft { names: vec!["prod".to_owned()], labels: Some("env=prod, tier != 1".to_owned()) },
        namespaces: vec!["team-*".to_owned()],
        kinds: vec!["secrets".to_owned(), "deployments.apps".to_owned()],
        verbs: vec!["get".to_owned()],
        until: Some("2026-01-02T03:04:05Z".parse::<DateTime<Utc>>().unwrap()),
        reason: Some("audit finding 7".to_owned()),
    }
}

#[test]
fn rules_as_they_travel() {
    let rule = draft().checked(id()).unwrap();
    assert!(rule.subjects.contains(&Subject::parse("user:ada").unwrap()), "names are folded");
    insta::assert_json_snapshot!("rule", rule);
    let short = RuleDraft {
        name: "a".to_owned(),
        effect: Effect::Allow,
        subjects: vec!["*".to_owned()],
        permissions: vec!["*:*".to_owned()],
        clusters: ClustersDraft::default(),
        namespaces: Vec::new(),
        kinds: Vec::new(),
        verbs: Vec::new(),
        until: None,
        reason: None,
    };
    insta::assert_json_snapshot!("rule_without_limits", short.checked(id()).unwrap());
}

#[test]
fn every_fault_is_named() {
    let odd = RuleDraft {
        name: "0198c5b0-0000-7000-8000-000000000001".to_owned(),
        subjects: vec!["root".to_owned()],
        permissions: vec!["clusters:impersonate".to_owned(), "x".to_owned()],
        clusters: ClustersDraft { names: vec!["A".to_owned()], labels: Some("=".to_owned()) },
        namespaces: vec!["a".to_owned(); 65],
        kinds: vec!["Secrets".to_owned()],
        verbs: vec![String::new()],
        reason: Some("a\nb".to_owned()),
        ..draft()
    };
    let error = odd.checked(id()).unwrap_err();
    let fields: Vec<&str> = error.errors.iter().map(|fault| fault.loc[1].as_str()).collect();
    assert_eq!(
        fields,
        [
            "name",
            "subjects",
            "permissions",
            "permissions",
            "clusters",
            "clusters",
            "namespaces",
            "kinds",
            "verbs",
            "reason"
        ]
    );
    let none = RuleDraft { subjects: Vec::new(), permissions: Vec::new(), ..draft() };
    assert_eq!(none.checked(id()).unwrap_err().errors.len(), 2);
    let long = |length: usize| (0..64).map(|number| format!("{number}-{}", "x".repeat(length))).collect();
    let large = RuleDraft { namespaces: long(60), kinds: long(60), ..draft() };
    assert!(large.checked(id()).unwrap_err().detail.contains("4096 bytes"));
}

proptest! {
    /// Row Z04: what cannot be understood is no rule, and never a panic.
    #[test]
    fn garbage_is_no_rule(text in ".{0,60}", name in "[a-z]{1,12}") {
        for word in [&text, &format!("user:{text}"), &format!("group:{text}")] {
            let _ = RuleDraft { subjects: vec![word.clone()], ..draft() }.checked(id());
        }
        let _ = RuleDraft { permissions: vec![text.clone()], kinds: vec![text.clone()], ..draft() }.checked(id());
        let clusters = ClustersDraft { names: vec![text.clone()], labels: Some(text.clone()) };
        let _ = RuleDraft { name: text.clone(), clusters, ..draft() }.checked(id());
        let json = serde_json::to_string(&draft().checked(id()).unwrap()).unwrap();
        let odd = json.replace(&name, &text);
        let _ = serde_json::from_str::<Rule>(&odd);
        let _ = serde_json::from_str::<Rule>(&text);
    }

    /// Patterns cost what their length says, whatever they are.
    #[test]
    fn patterns_end(pattern in "[a*]{1,60}", name in "a{0,253}") {
        let pattern = roadstead_contracts::policy::Pattern::parse(&pattern).unwrap();
        let stars = pattern.to_string().bytes().filter(|byte| *byte == b'*').count();
        let letters = pattern.to_string().len() - stars;
        prop_assert_eq!(pattern.matches(&name), if stars == 0 { letters == name.len() } else { letters <= name.len() });
    }
}
