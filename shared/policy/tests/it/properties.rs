use chrono::TimeDelta;
use proptest::prelude::*;
use roadstead_contracts::ids::RuleId;
use roadstead_contracts::policy::{Effect, Rule};
use roadstead_policy::matches::applies;
use roadstead_policy::{Ground, Policy, decide, decide_by, gate, sees};

use crate::arbitrary::{id, now, principal, question, rule, rules};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// A deny rule that stands and is about what is asked wins, whatever else there is.
    #[test]
    fn deny_wins(mut who in principal(), rules in rules(), question in question()) {
        who.rules = rules;
        let asked = question.asked();
        let denied = who.rules.iter().any(|rule| {
            rule.effect == Effect::Deny && rule.stands(now()) && applies(rule, &asked)
        });
        let verdict = decide(&who, &asked, now());
        if denied {
            prop_assert!(!verdict.allowed);
            if verdict.ground != Ground::Invisible {
                let (named, _) = verdict.rule().expect("the rule is named");
                prop_assert!(who.rules.iter().any(|rule| rule.id == named && rule.effect == Effect::Deny));
            }
        }
    }

    /// Another deny rule never allows; another allow rule never refuses.
    #[test]
    fn rules_pull_one_way(mut who in principal(), rules in rules(), more in rule(99), question in question()) {
        who.rules = rules;
        let asked = question.asked();
        let before = decide(&who, &asked, now()).allowed;
        let gate_before = gate(&who, asked.action, now()).allowed;
        who.rules.push(more.clone());
        let (after, gate_after) = (decide(&who, &asked, now()).allowed, gate(&who, asked.action, now()).allowed);
        match more.effect {
            Effect::Deny => prop_assert!(before || !after),
            Effect::Allow => prop_assert!(after || !before),
        }
        match more.effect {
            Effect::Deny => prop_assert!(gate_before || !gate_after),
            Effect::Allow => prop_assert!(gate_after || !gate_before),
        }
    }

    /// The verdict, its ground included, does not depend on the order, nor on a rule that is there twice.
    #[test]
    fn order_does_not_matter(
        (who, question) in (principal(), question()),
        (rules, mixed) in rules().prop_flat_map(|rules| (Just(rules.clone()), Just(rules).prop_shuffle())),
    ) {
        let asked = question.asked();
        let one = decide_by(&who, rules.iter(), &asked, now());
        prop_assert_eq!(&one, &decide_by(&who, mixed.iter(), &asked, now()));
        prop_assert_eq!(&one, &decide_by(&who, rules.iter().chain(&mixed), &asked, now()));
    }

    /// What is over counts for nothing, and what will be over counts until then.
    #[test]
    fn over_is_over(mut who in principal(), rules in rules(), question in question()) {
        who.rules = rules;
        let asked = question.asked();
        let verdict = decide(&who, &asked, now());
        let standing: Vec<Rule> = who.rules.iter().filter(|rule| rule.stands(now())).cloned().collect();
        let endless: Vec<Rule> = standing.iter().map(|rule| Rule { until: None, ..rule.clone() }).collect();
        prop_assert_eq!(&verdict, &decide_by(&who, standing.iter(), &asked, now()));
        prop_assert_eq!(&verdict, &decide_by(&who, endless.iter(), &asked, now()));
        if let Some(until) = who.rules.iter().filter_map(|rule| rule.until).max() {
            let after = decide(&who, &asked, until);
            let endless: Vec<Rule> = who.rules.iter().filter(|rule| rule.until.is_none()).cloned().collect();
            prop_assert_eq!(&after, &decide_by(&who, endless.iter(), &asked, until));
        }
    }

    /// A scope takes away, whatever the rules give.
    #[test]
    fn a_scope_narrows(mut who in principal(), rules in rules(), question in question()) {
        who.rules = rules;
        let asked = question.asked();
        let held = decide(&who, &asked, now());
        let scope = who.scope.take();
        if held.allowed {
            prop_assert!(decide(&who, &asked, now()).allowed);
            if let Some(scope) = scope {
                prop_assert!(scope.allows(asked.action));
                prop_assert!(asked.cluster.is_none_or(|cluster| scope.reaches(cluster.id)));
            }
        }
    }

    /// Without rules a decision is what it was before there were any.
    #[test]
    fn without_rules_roles_decide(who in principal(), question in question()) {
        let asked = question.asked();
        let seen = asked.cluster.is_none_or(|cluster| who.can_see(cluster.id, cluster.owner));
        prop_assert_eq!(decide(&who, &asked, now()).allowed, seen && who.allows(asked.action));
        prop_assert_eq!(gate(&who, asked.action, now()).allowed, who.allows(asked.action));
        if let Some(cluster) = asked.cluster {
            prop_assert_eq!(sees(&who, cluster, now()), seen);
        }
    }

    /// What is allowed is seen, and passes the gate.
    #[test]
    fn nothing_is_allowed_that_is_not_seen(mut who in principal(), rules in rules(), question in question()) {
        who.rules = rules;
        let asked = question.asked();
        if decide(&who, &asked, now()).allowed {
            prop_assert!(gate(&who, asked.action, now()).allowed);
            prop_assert!(asked.cluster.is_none_or(|cluster| sees(&who, cluster, now())));
        }
    }

    /// A compiled set decides as the rules that it hands out.
    #[test]
    fn a_compiled_set_decides_the_same(mut who in principal(), rules in rules(), question in question()) {
        let policy = Policy::compile(rules);
        let groups = [].into();
        let concerning = roadstead_policy::Who { username: &who.username, roles: &who.roles, groups: &groups };
        who.rules = policy.concerning(concerning, now());
        let asked = question.asked();
        prop_assert_eq!(policy.decide(&who, &groups, &asked, now()), decide(&who, &asked, now()));
    }

    /// Rules survive JSON and the form in which people write them.
    #[test]
    fn rules_round_trip(rule in rule(3)) {
        let json = serde_json::to_string(&rule).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Rule>(&json).unwrap(), &rule);
        prop_assert_eq!(&rule.draft().checked(id::<RuleId>(3)).unwrap(), &rule);
    }

    /// A rule that was extended by a moment is the same rule until the moment comes.
    #[test]
    fn time_only_ends(mut who in principal(), rules in rules(), question in question(), seconds in 0_i64..10) {
        who.rules = rules.into_iter().filter(|rule| rule.effect == Effect::Allow).collect();
        let asked = question.asked();
        let later = decide(&who, &asked, now() + TimeDelta::seconds(seconds));
        prop_assert!(!later.allowed || decide(&who, &asked, now()).allowed, "allow rules do not begin by themselves");
    }
}
