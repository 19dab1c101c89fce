//! The rules of the policy, changed. Every change is checked as the set that it makes, and stored only if it still is
//! about the set that it was checked against.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use roadstead_contracts::event::Fact;
use roadstead_contracts::identity::{Action, Principal, Reach};
use roadstead_contracts::ids::RuleId;
use roadstead_contracts::policy::{Effect, RULES_MAX, RULES_OF_ONE_MAX, Rule, RuleDraft};
use roadstead_contracts::{Code, Error, Result};
use roadstead_policy::{Asked, Policy};

use super::App;
use super::policies::{find, no_such_rule};
use crate::domain::{PolicyChange, StoredRule};
use crate::policy::{Standing, Strategy};

/// How often a change is tried again when others change rules at the same time.
const TRIES: u8 = 5;

/// What an import did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Rules that were made.
    pub created: usize,
    /// Rules that were there, and are others now.
    pub changed: usize,
    /// Rules that were there and are the same.
    pub unchanged: usize,
    /// Rules that were removed.
    pub removed: usize,
}

impl App {
    /// Makes a rule.
    pub async fn create_rule(&self, by: &Principal, draft: &RuleDraft) -> Result<StoredRule> {
        self.require(by, Action::SystemWrite)?;
        let rule = self.made(draft, self.ids.next(), None)?;
        let id = rule.id;
        self.change_rules(by, |_| Ok((vec![rule.clone()], Vec::new()))).await?;
        self.stored(id).await
    }

    /// Puts another rule in the place of one.
    pub async fn replace_rule(&self, by: &Principal, which: &str, draft: &RuleDraft) -> Result<StoredRule> {
        self.require(by, Action::SystemWrite)?;
        let mut id = None;
        self.change_rules(by, |standing| {
            let found = find(standing.rules(), which).ok_or_else(no_such_rule)?;
            id = Some(found.rule.id);
            hand_written(found)?;
            Ok((vec![self.made(draft, found.rule.id, Some(&found.rule))?], Vec::new()))
        })
        .await?;
        self.stored(id.ok_or_else(no_such_rule)?).await
    }

    /// Removes a rule.
    pub async fn delete_rule(&self, by: &Principal, which: &str) -> Result<()> {
        self.require(by, Action::SystemWrite)?;
        self.change_rules(by, |standing| {
            let found = find(standing.rules(), which).ok_or_else(no_such_rule)?;
            hand_written(found)?;
            Ok((Vec::new(), vec![found.rule.id]))
        })
        .await
    }

    /// Makes and changes rules by their names, all or none; with `replace` the rules that people wrote and that are not
    /// among them go.
    pub async fn import_rules(&self, by: &Principal, drafts: &[RuleDraft], replace: bool) -> Result<Imported> {
        self.require(by, Action::SystemWrite)?;
        let mut imported = Imported::default();
        self.change_rules(by, |standing| {
            let (put, remove, done) = self.merged(standing, drafts, replace)?;
            imported = done;
            Ok((put, remove))
        })
        .await?;
        Ok(imported)
    }

    /// The rules that drafts would put beside or in the place of what stands, those that would go, and how many of each.
    pub(super) fn merged(
        &self,
        standing: &Standing,
        drafts: &[RuleDraft],
        replace: bool,
    ) -> Result<(Vec<Rule>, Vec<RuleId>, Imported)> {
        if drafts.len() > RULES_MAX {
            return Err(too_many());
        }
        let known: BTreeMap<&str, &StoredRule> =
            standing.rules().iter().map(|stored| (stored.rule.name.as_str(), stored)).collect();
        let (mut put, mut names, mut imported) = (Vec::new(), BTreeSet::new(), Imported::default());
        for (index, draft) in drafts.iter().enumerate() {
            if !names.insert(draft.name.as_str()) {
                return Err(at(index, Error::field(&["body", "name"], "value_error", "the name is there twice")));
            }
            let before = known.get(draft.name.as_str()).copied();
            if let Some(before) = before {
                hand_written(before)?;
                if before.rule.draft() == *draft {
                    imported.unchanged += 1;
                    continue;
                }
            }
            let id = before.map_or_else(|| self.ids.next(), |before| before.rule.id);
            let rule = self.made(draft, id, before.map(|before| &before.rule)).map_err(|error| at(index, error))?;
            // The same in other words.
            if before.is_some_and(|before| before.rule == rule) {
                imported.unchanged += 1;
                continue;
            }
            *(if before.is_some() { &mut imported.changed } else { &mut imported.created }) += 1;
            put.push(rule);
        }
        let goes = |stored: &&StoredRule| {
            replace && stored.rule.origin.is_none() && !names.contains(stored.rule.name.as_str())
        };
        let remove: Vec<RuleId> = standing.rules().iter().filter(goes).map(|stored| stored.rule.id).collect();
        imported.removed = remove.len();
        Ok((put, remove, imported))
    }

    /// A draft as a rule. One that is over when it is made is a mistake; one that stays over is not.
    pub(super) fn made(&self, draft: &RuleDraft, id: RuleId, before: Option<&Rule>) -> Result<Rule> {
        let now = self.clock.now();
        let over = draft.until.filter(|until| *until <= now);
        if over.is_some_and(|until| before.and_then(|rule| rule.until) != Some(until)) {
            return Err(Error::field(&["body", "until"], "value_error", "until must be in the future"));
        }
        draft.checked(id)
    }

    async fn change_rules(
        &self,
        by: &Principal,
        mut change: impl FnMut(&Standing) -> Result<(Vec<Rule>, Vec<RuleId>)>,
    ) -> Result<()> {
        let groups = self.store.groups(by.user_id).await?;
        for _ in 0..TRIES {
            let standing = self.policy.refresh().await?;
            let (put, remove) = change(&standing)?;
            if put.is_empty() && remove.is_empty() {
                return Ok(());
            }
            let now = self.clock.now();
            self.check_set(by, &groups, &standing, &put, &remove, now)?;
            let change = PolicyChange { version: standing.version(), remove, put, by: Some(by.user_id), at: now };
            let event = self.event(Fact::PolicyChanged {}, now);
            if self.store.change_policy(&change, &event).await.map_err(name_taken)? {
                self.outbox.nudge();
                // Here at once; other replicas hear of it.
                self.policy.refresh().await?;
                return Ok(());
            }
        }
        Err(Error::new(Code::Conflict, "others change rules at the same time; try again"))
    }

    fn check_set(
        &self,
        by: &Principal,
        groups: &BTreeSet<String>,
        standing: &Standing,
        put: &[Rule],
        remove: &[RuleId],
        now: DateTime<Utc>,
    ) -> Result<()> {
        if put.iter().filter(|rule| rule.effect == Effect::Allow).any(|rule| !may_give(by, rule, now)) {
            return Err(Error::new(Code::Escalation, "a rule cannot give what you do not have yourself"));
        }
        let set = next_set(standing, put, remove);
        if set.len() > RULES_MAX {
            return Err(too_many());
        }
        let mut names = BTreeSet::new();
        if set.iter().any(|rule| !names.insert(rule.name.as_str())) {
            return Err(taken());
        }
        let policy = Policy::compile(set);
        if let Some(subject) = policy.overfull() {
            let words = format!("more than {RULES_OF_ONE_MAX} rules, or too long ones, would concern {subject}");
            return Err(Error::new(Code::Conflict, words));
        }
        let kept = policy.decide(by, groups, &Asked::hub(Action::SystemWrite), now).allowed;
        if !kept && !matches!(self.policy.strategy(), Strategy::NoAuth) {
            return Err(Error::new(Code::Conflict, "with these rules you could not change the rules again"));
        }
        Ok(())
    }

    async fn stored(&self, id: RuleId) -> Result<StoredRule> {
        let standing = self.policy.now().await?;
        // Somebody else may have removed it meanwhile.
        standing.rules().iter().find(|stored| stored.rule.id == id).cloned().ok_or_else(no_such_rule)
    }
}

/// Whether somebody has, without limits, what an allow rule gives (reliability row Z02).
fn may_give(by: &Principal, rule: &Rule, now: DateTime<Utc>) -> bool {
    let held = |action| roadstead_policy::decide(by, &Asked::hub(action), now).allowed;
    by.reach == Reach::All && !by.is_cluster_bound() && rule.permissions.actions().iter().all(held)
}

/// The set that a change makes.
pub(super) fn next_set(standing: &Standing, put: &[Rule], remove: &[RuleId]) -> Vec<Rule> {
    let gone: BTreeSet<RuleId> = remove.iter().copied().chain(put.iter().map(|rule| rule.id)).collect();
    let stays = standing.rules().iter().map(|stored| &stored.rule).filter(|rule| !gone.contains(&rule.id));
    stays.chain(put).cloned().collect()
}

/// What a rule of the hub's own making is about is changed where it was made.
fn hand_written(stored: &StoredRule) -> Result<()> {
    match &stored.rule.origin {
        None => Ok(()),
        Some(origin) => Err(Error::new(Code::Conflict, format!("the rule was made by {origin}; end that instead"))),
    }
}

fn too_many() -> Error {
    Error::new(Code::Conflict, format!("a hub has at most {RULES_MAX} rules"))
}

fn taken() -> Error {
    Error::new(Code::Conflict, "a rule with this name exists already")
}

fn name_taken(fault: roadstead_store::Error) -> Error {
    if fault.is_conflict("policy_rules_name_key") { taken() } else { fault.into() }
}

/// The faults of one of several rules.
pub(super) fn at(index: usize, mut error: Error) -> Error {
    for fault in &mut error.errors {
        let place = usize::from(fault.loc.first().is_some_and(|first| first == "body"));
        fault.loc.splice(place..place, ["rules".to_owned(), index.to_string()]);
    }
    error
}
