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
