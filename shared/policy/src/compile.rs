use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use roadstead_contracts::identity::{Principal, Role};
use roadstead_contracts::ids::{RuleId, TypedId as _};
use roadstead_contracts::policy::{
    Clusters, Effect, Permissions, RULES_OF_ONE_BYTES_MAX, RULES_OF_ONE_MAX, Rule, Subject,
};

use crate::ask::Asked;
use crate::decide::decide_by;
use crate::verdict::Verdict;

/// Name of the rule that stands for more deny rules than travel with an account.
const TOO_MANY: &str = "too-many-rules";

/// Whose rules are looked for.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// User name.
    pub username: &'a str,
    /// Roles held.
    pub roles: &'a BTreeSet<Role>,
    /// Groups that an identity provider put the account into.
    pub groups: &'a BTreeSet<String>,
}

/// A set of rules with an index by subject. It does not change: a new set is compiled beside it and takes its place, so
/// that no decision waits.
#[derive(Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
    everyone: Vec<usize>,
    users: HashMap<String, Vec<usize>>,
    roles: HashMap<Role, Vec<usize>>,
    groups: HashMap<String, Vec<usize>>,
}

impl Policy {
    /// Makes the index.
    pub fn compile(rules: Vec<Rule>) -> Self {
        let mut policy = Self::default();
        for (place, rule) in rules.iter().enumerate() {
            for subject in &rule.subjects {
                match subject {
                    Subject::Everyone => policy.everyone.push(place),
                    Subject::User(name) => policy.users.entry(name.as_str().to_owned()).or_default().push(place),
                    Subject::Role(role) => policy.roles.entry(*role).or_default().push(place),
                    Subject::Group(name) => policy.groups.entry(name.clone()).or_default().push(place),
                }
            }
        }
        policy.rules = rules;
        policy
    }

    /// Whether any rule is for a group: else nobody's groups have to be looked up.
    pub fn names_groups(&self) -> bool {
        !self.groups.is_empty()
    }

    /// Every rule.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Rules that concern somebody; one that does so twice comes twice.
    fn of<'p>(&'p self, who: Who<'p>) -> impl Iterator<Item = &'p Rule> {
        let roles = who.roles.iter().filter_map(|role| self.roles.get(role));
        let groups = who.groups.iter().filter_map(|group| self.groups.get(group));
        [Some(&self.everyone), self.users.get(who.username)]
            .into_iter()
            .flatten()
            .chain(roles)
            .chain(groups)
            .flatten()
            .map(|place| &self.rules[*place])
    }

    /// The rules that travel with somebody: those that concern it and stand, with only the subjects that it is. When they
    /// are more than travel, allow rules stay behind first; when even the deny rules are too many, everything is denied.
    pub fn concerning(&self, who: Who<'_>, now: DateTime<Utc>) -> Vec<Rule> {
        let mut found: Vec<&Rule> = self.of(who).filter(|rule| rule.stands(now)).collect();
        found.sort_unstable_by_key(|rule| (rule.effect == Effect::Allow, rule.id));
        found.dedup_by_key(|rule| rule.id);
        let (mut rules, mut bytes) = (Vec::with_capacity(found.len().min(RULES_OF_ONE_MAX)), 0);
        for rule in found {
            bytes += size(rule);
            if rules.len() == RULES_OF_ONE_MAX || bytes > RULES_OF_ONE_BYTES_MAX {
                if rule.effect == Effect::Deny {
                    return vec![deny_all()];
                }
                break;
            }
            let is = |subject: &Subject| match subject {
                Subject::Everyone => true,
                Subject::User(name) => name.as_str() == who.username,
                Subject::Role(role) => who.roles.contains(role),
                Subject::Group(name) => who.groups.contains(name),
            };
            let subjects = rule.subjects.iter().filter(|subject| is(subject)).cloned().collect();
            rules.push(Rule { subjects, ..rule.clone() });
        }
        rules
    }

    /// Whether a caller may do what is asked, by its roles and this set instead of the rules that came with it.
    pub fn decide(
        &self,
        principal: &Principal,
        groups: &BTreeSet<String>,
        asked: &Asked<'_>,
        now: DateTime<Utc>,
    ) -> Verdict {
        let who = Who { username: &principal.username, roles: &principal.roles, groups };
        decide_by(principal, self.of(who), asked, now)
    }

    /// The subject with more rules than travel with one account, if there is one: counted with those for everyone and,
    /// for people and groups, with those of the fullest role.
    pub fn overfull(&self) -> Option<String> {
        let count = |places: &[usize]| {
            let bytes: usize = places.iter().map(|place| size(&self.rules[*place])).sum();
            (places.len(), bytes)
        };
        let add = |one: (usize, usize), two: (usize, usize)| (one.0 + two.0, one.1 + two.1);
        let full = |(number, bytes): (usize, usize)| number > RULES_OF_ONE_MAX || bytes > RULES_OF_ONE_BYTES_MAX;
        let everyone = count(&self.everyone);
        let fullest = self.roles.values().map(|places| count(places)).max().unwrap_or_default();
        let shared = add(everyone, fullest);
        if full(shared) {
            return Some("a role".to_owned());
        }
        let of_users = self.users.iter().map(|(name, places)| ("user", name, places));
        let of_groups = self.groups.iter().map(|(name, places)| ("group", name, places));
        let found = of_users.chain(of_groups).find(|(_, _, places)| full(add(shared, count(places))));
        found.map(|(kind, name, _)| format!("{kind}:{name}"))
    }
}

/// About what a rule takes as JSON: cheaper than writing it, and never less.
fn size(rule: &Rule) -> usize {
    const FRAME: usize = 256;
    // Quotes and a comma.
    const ENTRY: usize = 3;
    let subjects: usize = rule.subjects.iter().map(|subject| subject.to_string().len() * 2 + ENTRY).sum();
    let words: usize = rule.permissions.words().map(|word| word.len() + ENTRY).sum();
    let names: usize = rule.clusters.names.iter().map(|name| name.len() + ENTRY).sum();
    let labels = rule.clusters.labels.as_ref().map_or(0, |labels| labels.to_string().len());
    let patterns: usize = [&rule.namespaces, &rule.kinds, &rule.verbs]
        .into_iter()
        .flatten()
        .map(|pattern| pattern.to_string().len() + ENTRY)
        .sum();
    let texts = rule.name.len()
        + rule.reason.as_ref().map_or(0, |text| text.len() * 2)
        + rule.origin.as_ref().map_or(0, String::len);
    FRAME + subjects + words + names + labels + patterns + texts
}

/// What cannot be told in full is told as the strictest rule.
fn deny_all() -> Rule {
    Rule {
        id: RuleId::from_uuid(uuid::Uuid::nil()),
        name: TOO_MANY.to_owned(),
        effect: Effect::Deny,
        subjects: [Subject::Everyone].into(),
        permissions: Permissions::from_iter(["*:*".to_owned()]),
        clusters: Clusters::default(),
        namespaces: Vec::new(),
        kinds: Vec::new(),
        verbs: Vec::new(),
        until: None,
        reason: None,
        origin: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use roadstead_contracts::identity::Action;
    use roadstead_contracts::policy::{Pattern, Selector};

    use super::*;

    fn rule(number: u128) -> Rule {
        Rule { id: RuleId::from_uuid(uuid::Uuid::from_u128(number)), name: "r".to_owned(), ..deny_all() }
    }

    fn json(rule: &Rule) -> usize {
        serde_json::to_vec(rule).unwrap().len()
    }

    /// A rule whose [`size`] is exactly this.
    fn sized(number: u128, bytes: usize) -> Rule {
        let plain = Rule { origin: Some(String::new()), effect: Effect::Allow, ..rule(number) };
        let rule = Rule { origin: Some("x".repeat(bytes - size(&plain))), ..plain };
        assert_eq!(size(&rule), bytes);
        rule
    }

    fn everyones(policy: &Policy) -> Vec<Rule> {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        policy.concerning(Who { username: "ada", roles: &BTreeSet::new(), groups: &BTreeSet::new() }, now)
    }

    /// What a limit in bytes is counted with may not be below what is sent, and not far above it.
    #[test]
    fn each_part_of_a_rule_is_counted_with_at_least_what_it_takes() {
        let pattern = |number: usize| Pattern::parse(&format!("name-{number}-{}", "n".repeat(40))).unwrap();
        let patterns = || (0..20).map(pattern).collect::<Vec<_>>();
        let word = |action: &Action| format!("{}:{}", action.words().0, action.words().1);
        let quotes = "\"".repeat(180);
        let group = |number: usize| Subject::parse(&format!("group:{number}{quotes}")).unwrap();
        let base = rule(1);
        let parts: Vec<(&str, Rule)> = vec![
            ("name", Rule { name: "n".repeat(63), ..base.clone() }),
            ("subjects", Rule { subjects: (0..20).map(group).collect(), ..base.clone() }),
            ("permissions", Rule { permissions: Action::ALL.iter().map(word).collect(), ..base.clone() }),
            (
                "clusters",
                Rule {
                    clusters: Clusters {
                        names: (0..20).map(|number| pattern(number).to_string()).collect(),
                        labels: None,
                    },
                    ..base.clone()
                },
            ),
            (
                "labels",
                Rule {
                    clusters: Clusters {
                        names: BTreeSet::new(),
                        labels: Some(Selector::parse(&["tier=abcdefghij"; 30].join(",")).unwrap()),
                    },
                    ..base.clone()
                },
            ),
            ("namespaces", Rule { namespaces: patterns(), ..base.clone() }),
            ("kinds", Rule { kinds: patterns(), ..base.clone() }),
            ("verbs", Rule { verbs: patterns(), ..base.clone() }),
            ("reason", Rule { reason: Some("\"".repeat(250)), ..base.clone() }),
            ("origin", Rule { origin: Some("o".repeat(250)), ..base.clone() }),
        ];
        for (part, rule) in parts {
            assert!(size(&rule) >= json(&rule), "{part}: {} for {}", size(&rule), json(&rule));
            let (counted, taken) = (size(&rule) - size(&base), json(&rule) - json(&base));
            // The name of a field that is left out is in the frame of every rule.
            assert!(counted + 32 >= taken && counted <= taken + taken / 2, "{part}: {counted} for {taken}");
        }
    }

    #[test]
    fn what_travels_ends_exactly_at_its_bounds() {
        let one = |bytes| Policy::compile(vec![sized(1, bytes)]);
        assert_eq!(everyones(&one(RULES_OF_ONE_BYTES_MAX)).len(), 1);
        assert_eq!(one(RULES_OF_ONE_BYTES_MAX).overfull(), None);
        assert_eq!(everyones(&one(RULES_OF_ONE_BYTES_MAX + 1)).len(), 0);
        assert!(one(RULES_OF_ONE_BYTES_MAX + 1).overfull().is_some());
        let many = |count: usize| Policy::compile((1..=count as u128).map(rule).collect());
        assert_eq!(
            (everyones(&many(RULES_OF_ONE_MAX)).len(), many(RULES_OF_ONE_MAX).overfull()),
            (RULES_OF_ONE_MAX, None)
        );
        // Deny rules that do not all travel are one that denies everything.
        assert_eq!(everyones(&many(RULES_OF_ONE_MAX + 1)).len(), 1);
        assert!(many(RULES_OF_ONE_MAX + 1).overfull().is_some());
    }

    #[test]
    fn groups_are_looked_up_only_where_a_rule_names_one() {
        let plain = rule(1);
        let grouped = Rule { subjects: [Subject::parse("group:ops").unwrap()].into(), ..rule(2) };
        assert!(!Policy::compile(vec![plain.clone()]).names_groups());
        let policy = Policy::compile(vec![plain.clone(), grouped.clone()]);
        assert!(policy.names_groups());
        assert_eq!(policy.rules(), [plain, grouped], "nothing of a set is lost");
    }
}
