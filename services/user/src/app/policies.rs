//! The rules of the policy, read.

use roadstead_contracts::identity::{Action, Principal};
use roadstead_contracts::ids::RuleId;
use roadstead_contracts::policy::Subject;
use roadstead_contracts::{Code, Error, Result};
use roadstead_policy::Asked;

use super::App;
use crate::domain::{StoredRule, User};

/// Most rules of a page.
pub const RULES_PAGE_MAX: usize = 1_000;

/// Which rules a page shows.
#[derive(Debug, Clone, Default)]
pub struct RuleFilter {
    /// Only those for a subject.
    pub subject: Option<Subject>,
    /// Only those after this name.
    pub after: Option<String>,
    /// Most of them.
    pub limit: usize,
}

/// A page of rules by name, how many match, and whether there are more.
#[derive(Debug)]
pub struct RulePage {
    /// The rules.
    pub rules: Vec<StoredRule>,
    /// How many match in all.
    pub total: usize,
    /// Whether there are more after these.
    pub more: bool,
}

impl App {
    /// Refuses who may not do something that is not about a cluster.
    pub(super) fn require(&self, by: &Principal, action: Action) -> Result<()> {
        roadstead_policy::decide(by, &Asked::hub(action), self.clock.now()).check(by)
    }

    /// Whether somebody may do something that is not about a cluster.
    pub(super) fn permits(&self, by: &Principal, action: Action) -> bool {
        self.require(by, action).is_ok()
    }

    /// Refuses to touch the account of somebody with a higher role: whoever was given accounts to look after, by a rule,
    /// must not become through them what it is not (reliability row Z02).
    pub(super) fn check_rank(by: &Principal, user: &User) -> Result<()> {
        let above = user.roles.iter().any(|role| *role > by.highest_role());
        if above { Err(Error::of(Code::Escalation)) } else { Ok(()) }
    }

    /// A page of the rules, those that are over among them.
    pub async fn list_rules(&self, by: &Principal, filter: &RuleFilter) -> Result<RulePage> {
        self.require(by, Action::SystemRead)?;
        let standing = self.policy.now().await?;
        let about =
            |stored: &&StoredRule| filter.subject.as_ref().is_none_or(|subject| stored.rule.subjects.contains(subject));
        let total = standing.rules().iter().filter(about).count();
        let after = |stored: &&StoredRule| filter.after.as_ref().is_none_or(|name| stored.rule.name > *name);
        let mut rules = standing.rules().iter().filter(about).filter(after);
        let limit = filter.limit.clamp(1, RULES_PAGE_MAX);
        let page: Vec<StoredRule> = rules.by_ref().take(limit).cloned().collect();
        Ok(RulePage { rules: page, total, more: rules.next().is_some() })
    }

    /// A rule by id or name.
    pub async fn rule(&self, by: &Principal, which: &str) -> Result<StoredRule> {
        self.require(by, Action::SystemRead)?;
        let standing = self.policy.now().await?;
        find(standing.rules(), which).cloned().ok_or_else(no_such_rule)
    }

    /// The rules that people wrote, to be kept as a file.
    pub async fn export_rules(&self, by: &Principal) -> Result<Vec<StoredRule>> {
        self.require(by, Action::SystemRead)?;
        let standing = self.policy.now().await?;
        Ok(standing.rules().iter().filter(|stored| stored.rule.origin.is_none()).cloned().collect())
    }
}

pub(super) fn find<'r>(rules: &'r [StoredRule], which: &str) -> Option<&'r StoredRule> {
    match which.parse::<RuleId>() {
        Ok(id) => rules.iter().find(|stored| stored.rule.id == id),
        Err(_) => rules.iter().find(|stored| stored.rule.name == which),
    }
}

pub(super) fn no_such_rule() -> Error {
    Error::not_found("Rule not found")
}
