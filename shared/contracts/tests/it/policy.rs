//! Rules as people write them, and as they travel.

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use roadstead_contracts::ids::{RuleId, TypedId};
use roadstead_contracts::policy::{
    ClustersDraft, Effect, LIST_MAX, NAME_MAX, REASON_MAX, RULE_BYTES_MAX, RULES_OF_ONE_BYTES_MAX, Rule, RuleDraft,
    Subject, WORD_MAX,
};

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

#[test]
fn names_of_rules() {
    let named = |name: &str| RuleDraft { name: name.to_owned(), ..draft() }.checked(id()).is_ok();
    for good in ["a", "9", "a.b_c-d9", "9-a", &"a".repeat(NAME_MAX)] {
        assert!(named(good), "{good}");
    }
    let long = "a".repeat(NAME_MAX + 1);
    for odd in ["", "-a", "a-", ".a", "a.", "_a", "a_", "A", "aB", "a b", "a/b", "ä", "a\n", long.as_str()] {
        assert!(!named(odd), "{odd:?}");
    }
}

#[test]
fn rules_have_their_bounds() {
    let good = |draft: RuleDraft| draft.checked(id()).is_ok();
    assert_eq!((RULE_BYTES_MAX, RULES_OF_ONE_BYTES_MAX), (4_096, 131_072), "an eighth of the largest message");
    let reason = |length: usize| RuleDraft { reason: Some("x".repeat(length)), ..draft() };
    assert!(good(reason(REASON_MAX)) && !good(reason(REASON_MAX + 1)) && !good(reason(REASON_MAX * 2)));
    let verbs = |count: usize| RuleDraft { verbs: vec!["get".to_owned(); count], ..draft() };
    assert!(good(verbs(LIST_MAX)) && !good(verbs(LIST_MAX + 1)));
    // Of exactly the most bytes, and of one more.
    let kinds = |last: usize| {
        let mut kinds: Vec<String> = (10..24).map(|number| format!("{number}{}", "x".repeat(250))).collect();
        kinds.push("x".repeat(last));
        RuleDraft { kinds, ..draft() }
    };
    let plain = serde_json::to_vec(&kinds(1).checked(id()).unwrap()).unwrap().len();
    let last = RULE_BYTES_MAX - plain + 1;
    assert!((1..WORD_MAX).contains(&last), "{last}");
    assert!(good(kinds(last)) && !good(kinds(last + 1)));
}

#[test]
fn drafts_come_back_from_files() {
    let clusters = |names: &[&str], labels: Option<&str>| ClustersDraft {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        labels: labels.map(str::to_owned),
    };
    for clusters in
        [clusters(&[], None), clusters(&["prod"], None), clusters(&[], Some("env=prod")), clusters(&["a"], Some("b"))]
    {
        let written = RuleDraft { clusters, ..draft() };
        let json = serde_json::to_string(&written).unwrap();
        assert_eq!(serde_json::from_str::<RuleDraft>(&json).unwrap(), written);
        let rule = written.checked(id()).unwrap();
        assert_eq!(serde_json::from_str::<Rule>(&serde_json::to_string(&rule).unwrap()).unwrap(), rule);
        assert_eq!(json.contains("clusters"), !rule.clusters.is_every(), "{json}");
    }
}

#[test]
fn a_rule_stands_until_its_end_and_says_how_far_it_reaches() {
    let end = draft().until.unwrap();
    let rule = draft().checked(id()).unwrap();
    assert!(rule.stands(end - chrono::TimeDelta::microseconds(1)) && !rule.stands(end));
    let endless = RuleDraft { until: None, ..draft() }.checked(id()).unwrap();
    assert!(endless.stands(end) && endless.is_within_clusters());
    let unlimited = || RuleDraft { namespaces: Vec::new(), kinds: Vec::new(), verbs: Vec::new(), ..draft() };
    assert!(!unlimited().checked(id()).unwrap().is_within_clusters());
    for limited in [
        RuleDraft { namespaces: draft().namespaces, ..unlimited() },
        RuleDraft { kinds: draft().kinds, ..unlimited() },
        RuleDraft { verbs: draft().verbs, ..unlimited() },
    ] {
        assert!(limited.checked(id()).unwrap().is_within_clusters(), "{limited:?}");
    }
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
