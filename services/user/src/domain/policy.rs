//! Rules of the policy as they are kept.

use chrono::{DateTime, Utc};
use roadstead_contracts::ids::{RuleId, UserId};
use roadstead_contracts::policy::Rule;

/// A rule with its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRule {
    /// The rule.
    pub rule: Rule,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
}

/// A change of the set of rules: whole, or nothing of it.
#[derive(Debug, Clone, Default)]
pub struct PolicyChange {
    /// The set that it was checked against. If that is not the set any more, nothing is changed.
    pub version: i64,
    /// Rules to be removed, first.
    pub remove: Vec<RuleId>,
    /// Rules to be made, or changed when their id is there.
    pub put: Vec<Rule>,
    /// Who changes.
    pub by: Option<UserId>,
    /// When.
    pub at: DateTime<Utc>,
}
