//! What the store promises about rules, whichever database it is. Part of the suite.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use roadstead_contracts::event::{Event, Fact};
use roadstead_contracts::identity::Role;
use roadstead_contracts::policy::{ClustersDraft, Effect, Rule, RuleDraft};
use roadstead_store::Opened;
use roadstead_user::domain::{PolicyChange, StoredRule};

use crate::store_suite::{Suite, suite};

impl Suite {
    fn rule(&self, name: &str, subjects: &[&str]) -> Rule {
        RuleDraft {
            name: name.to_owned(),
            effect: Effect::Deny,
            subjects: subjects.iter().map(|subject| (*subject).to_owned()).collect(),
            permissions: vec!["*:read".to_owned()],
            clusters: ClustersDraft { names: vec!["prod".to_owned()], labels: Some("env=prod,tier!=1".to_owned()) },
            namespaces: vec!["team-*".to_owned()],
            kinds: vec!["secrets".to_owned()],
            verbs: vec!["get".to_owned()],
            until: None,
            reason: Some("because".to_owned()),
        }
        .checked(self.ids.next())
        .unwrap()
    }

    fn policy_event(&self) -> Event {
        Event { id: self.ids.next(), at: self.now, fact: Fact::PolicyChanged {} }
    }

    async fn put(&self, rules: &[&Rule]) -> bool {
        let version = self.store.policy_version().await.unwrap();
        let put = rules.iter().map(|rule| (*rule).clone()).collect();
        let change = PolicyChange { version, put, at: self.now, ..PolicyChange::default() };
        self.store.change_policy(&change, &self.policy_event()).await.unwrap()
    }

    async fn rules(&self) -> Vec<StoredRule> {
        self.store.policy_rules().await.unwrap().1
    }
}

pub async fn rules_live(opened: Opened) {
    let suite = suite(&opened).await;
    let store = &suite.store;
    assert_eq!((store.policy_version().await.unwrap(), suite.rules().await), (0, Vec::new()));
    let (mut one, two) = (suite.rule("b", &["*"]), suite.rule("a", &["role:viewer"]));
    assert!(suite.put(&[&one, &two]).await);
    let (version, stored) = store.policy_rules().await.unwrap();
    assert_eq!(version, store.policy_version().await.unwrap());
    assert_eq!(stored.iter().map(|stored| &stored.rule).collect::<Vec<_>>(), [&two, &one], "by name");
    assert_eq!((stored[0].created_at, stored[0].updated_at), (suite.now, suite.now));

    "c".clone_into(&mut one.name);
    one.until = Some(suite.now + TimeDelta::hours(1));
    let later = suite.now + TimeDelta::minutes(1);
    let change =
        PolicyChange { version, put: vec![one.clone()], remove: vec![two.id], at: later, ..PolicyChange::default() };
    assert!(store.change_policy(&change, &suite.policy_event()).await.unwrap());
    assert!(!store.change_policy(&change, &suite.policy_event()).await.unwrap(), "about a set that is gone");
    let stored = suite.rules().await;
    assert_eq!(stored.len(), 1);
    assert_eq!((&stored[0].rule, stored[0].created_at, stored[0].updated_at), (&one, suite.now, later));

    let twin = suite.rule("c", &["*"]);
    let version = store.policy_version().await.unwrap();
    let change = PolicyChange { version, put: vec![twin], at: later, ..PolicyChange::default() };
    let fault = store.change_policy(&change, &suite.policy_event()).await.unwrap_err();
    assert!(fault.is_conflict("policy_rules_name_key"), "{fault:?}");
    assert_eq!(store.policy_version().await.unwrap(), version, "all or nothing");

    assert_eq!(store.prune_policy(suite.now + TimeDelta::hours(1)).await.unwrap(), 0);
    assert_eq!(store.policy_version().await.unwrap(), version);
    assert_eq!(store.prune_policy(suite.now + TimeDelta::hours(2)).await.unwrap(), 1);
    assert!(suite.rules().await.is_empty());
    assert_ne!(store.policy_version().await.unwrap(), version);
}

pub async fn changes_of_rules_take_turns(opened: Opened) {
    let suite = suite(&opened).await;
    let version = suite.store.policy_version().await.unwrap();
    let mut changing = tokio::task::JoinSet::new();
    for number in 0..8 {
        let put = vec![suite.rule(&format!("rule-{number}"), &["*"])];
        let change = PolicyChange { version, put, at: suite.now, ..PolicyChange::default() };
        let (store, event) = (suite.store.clone(), suite.policy_event());
        changing.spawn(async move { store.change_policy(&change, &event).await.unwrap() });
    }
    let done = changing.join_all().await.into_iter().filter(|done| *done).count();
    assert_eq!((done, suite.rules().await.len()), (1, 1), "one of those that were about the same set");
}

pub async fn rules_of_a_removed_account_go(opened: Opened) {
    let suite = suite(&opened).await;
    suite.user("root", &[Role::Admin]).await;
    let ada = suite.user("ada", &[]).await;
    let [own, shared, other] =
        [&["user:ada"][..], &["user:ada", "user:bob"], &["user:adam", "group:ada"]].map(<[&str]>::to_vec);
    let rules = [suite.rule("own", &own), suite.rule("shared", &shared), suite.rule("other", &other)];
    assert!(suite.put(&rules.each_ref()).await);
    let version = suite.store.policy_version().await.unwrap();
    suite.store.delete_user(ada.id, &suite.event(ada.id)).await.unwrap();
    let left: Vec<_> = suite.rules().await.into_iter().map(|stored| stored.rule).collect();
    let subjects = |rule: &Rule| rule.subjects.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(left.iter().map(subjects).collect::<Vec<_>>(), [vec!["user:adam", "group:ada"], vec!["user:bob"]]);
    assert_ne!(suite.store.policy_version().await.unwrap(), version);
}

pub async fn groups_live(opened: Opened) {
    let suite = suite(&opened).await;
    let ada = suite.user("ada", &[]).await;
    let groups = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
    for (names, changed) in [(&["/ops", "dev"][..], true), (&["dev", "/ops"], false), (&["dev"], true), (&[], true)] {
        let event = suite.event(ada.id);
        assert_eq!(suite.store.set_groups(ada.id, &groups(names), &event).await.unwrap(), changed, "{names:?}");
        assert_eq!(suite.store.groups(ada.id).await.unwrap(), groups(names));
    }
}
