//! The rules of the policy, and the groups that make them somebody's.
//!
//! Every change counts the version up before it does anything else: writers take turns on that row, and a replica that
//! sees another number reads the rules again.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use roadstead_contracts::event::Event;
use roadstead_contracts::ids::{RuleId, TypedId, UserId};
use roadstead_contracts::policy::Rule;
use roadstead_store::{Dialect, Error, Result, async_trait, outbox};
use uuid::Uuid;

use crate::domain::{PolicyChange, StoredRule};

/// The policy.
#[async_trait]
pub trait PolicyStore: Send + Sync {
    /// Which set of rules this is.
    async fn policy_version(&self) -> Result<i64>;
    /// Every rule by name, with the version of the set. A row that cannot be read is an error: it may be what denies.
    async fn policy_rules(&self) -> Result<(i64, Vec<StoredRule>)>;
    /// Makes a change whole; answers `false`, and changes nothing, when the set is another than it was checked against.
    async fn change_policy(&self, change: &PolicyChange, event: &Event) -> Result<bool>;
    /// Removes rules that ended before a time; answers how many. Nobody has to be told: they did not count any more.
    async fn prune_policy(&self, before: DateTime<Utc>) -> Result<u64>;
    /// Groups of an account.
    async fn groups(&self, user: UserId) -> Result<BTreeSet<String>>;
    /// Stores what groups an account is in; answers whether they were others.
    async fn set_groups(&self, user: UserId, groups: &BTreeSet<String>, event: &Event) -> Result<bool>;
}

const VERSION: &str = "SELECT version FROM policy_state WHERE id = 1";
pub(super) const COUNT_UP: &str = "UPDATE policy_state SET version = version + 1 WHERE id = 1";
const COUNT_UP_FROM: &str = "UPDATE policy_state SET version = version + 1 WHERE id = 1 AND version = $1";
const RULES: &str = "SELECT id, name, rule, created_at, updated_at FROM policy_rules ORDER BY name";
pub(super) const PUT: &str = "INSERT INTO policy_rules (id, name, rule, ends_at, created_at, updated_at, updated_by) \
    VALUES ($1, $2, $3, $4, $5, $5, $6) ON CONFLICT (id) DO UPDATE SET name = excluded.name, rule = excluded.rule, \
    ends_at = excluded.ends_at, updated_at = excluded.updated_at, updated_by = excluded.updated_by";
pub(super) const REMOVE: &str = "DELETE FROM policy_rules WHERE id = $1";
const OVER: &str = "SELECT EXISTS (SELECT 1 FROM policy_rules WHERE ends_at < $1)";
const PRUNE: &str = "DELETE FROM policy_rules WHERE ends_at < $1";
// Rules are few and accounts are removed seldom: every rule is read.
pub(super) const RULE_TEXTS: &str = "SELECT id, name, rule, created_at, updated_at FROM policy_rules";

#[derive(Debug, sqlx::FromRow)]
pub(super) struct RuleRow {
    id: Uuid,
    name: String,
    rule: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<RuleRow> for StoredRule {
    type Error = Error;

    fn try_from(row: RuleRow) -> Result<Self> {
        let corrupt = || Error::Corrupt(format!("the rule {} of the policy", row.id));
        let rule: Rule = serde_json::from_str(&row.rule).map_err(|_| corrupt())?;
        if rule.id.uuid() != row.id || rule.name != row.name {
            return Err(corrupt());
        }
        Ok(Self { rule, created_at: row.created_at, updated_at: row.updated_at })
    }
}

/// A rule as its column holds it.
pub(super) fn rule_text(rule: &Rule) -> Result<String> {
    serde_json::to_string(rule).map_err(|_| Error::Corrupt("a rule of the policy".to_owned()))
}

/// Makes a rule, or changes it, in a transaction of another store's. `count_up!` goes first.
macro_rules! put_rule {
    ($tx:expr, $rule:expr, $at:expr, $by:expr) => {{
        let (rule, by): (&roadstead_contracts::policy::Rule, Option<roadstead_contracts::ids::UserId>) = ($rule, $by);
        sqlx::query(crate::store::policy::PUT)
            .bind(rule.id.uuid())
            .bind(&rule.name)
            .bind(crate::store::policy::rule_text(rule)?)
            .bind(rule.until)
            .bind($at)
            .bind(by.map(roadstead_contracts::ids::TypedId::uuid))
            .execute(&mut *$tx)
            .await?
    }};
}
pub(super) use put_rule;

/// Removes a rule in a transaction of another store's. `count_up!` goes first.
macro_rules! remove_rule {
    ($tx:expr, $id:expr) => {
        sqlx::query(crate::store::policy::REMOVE).bind($id).execute(&mut *$tx).await?
    };
}
pub(super) use remove_rule;

/// Begins a change of the rules in a transaction.
macro_rules! count_up {
    ($tx:expr) => {
        sqlx::query(crate::store::policy::COUNT_UP).execute(&mut *$tx).await?
    };
}
pub(super) use count_up;

/// Takes an account that is removed out of the rules, so that no later one of the same name has them.
macro_rules! forget_subject {
    ($tx:expr, $username:expr, $at:expr) => {{
        count_up!($tx);
        let rows: Vec<crate::store::policy::RuleRow> =
            sqlx::query_as(crate::store::policy::RULE_TEXTS).fetch_all(&mut *$tx).await?;
        for row in rows {
            // A rule that cannot be read names nobody that could be taken out; it denies everything until it is mended.
            let Ok(crate::domain::StoredRule { mut rule, .. }) = crate::domain::StoredRule::try_from(row) else {
                continue;
            };
            if !crate::store::policy::without(&mut rule, $username) {
                continue;
            }
            if rule.subjects.is_empty() {
                remove_rule!($tx, rule.id.uuid());
            } else {
                put_rule!($tx, &rule, $at, None);
            }
        }
    }};
}
pub(super) use forget_subject;

/// Takes an account out of a rule's subjects; answers whether it was one.
pub(super) fn without(rule: &mut Rule, username: &str) -> bool {
    let before = rule.subjects.len();
    let is = |subject: &roadstead_contracts::policy::Subject| matches!(subject, roadstead_contracts::policy::Subject::User(name) if name.as_str() == username);
    rule.subjects.retain(|subject| !is(subject));
    rule.subjects.len() < before
}

roadstead_store::for_pools! {
    impl PolicyStore for [PgPool, SqlitePool] {
        async fn policy_version(&self) -> Result<i64> {
            Ok(sqlx::query_scalar(VERSION).fetch_one(self).await?)
        }

        async fn policy_rules(&self) -> Result<(i64, Vec<StoredRule>)> {
            // Read first: a change between the two is found by its number.
            let version = sqlx::query_scalar(VERSION).fetch_one(self).await?;
            let rows: Vec<RuleRow> = sqlx::query_as(RULES).fetch_all(self).await?;
            let rules = rows.into_iter().map(TryInto::try_into).collect::<Result<_>>()?;
            Ok((version, rules))
        }

        async fn change_policy(&self, change: &PolicyChange, event: &Event) -> Result<bool> {
            let mut tx = self.begin_write().await?;
            let counted = sqlx::query(COUNT_UP_FROM).bind(change.version).execute(&mut *tx).await?;
            if counted.rows_affected() == 0 {
                return Ok(false);
            }
            for id in &change.remove {
                remove_rule!(tx, RuleId::uuid(*id));
            }
            for rule in &change.put {
                put_rule!(tx, rule, change.at, change.by);
            }
            outbox::push(&mut tx, event).await?;
            tx.commit().await?;
            Ok(true)
        }

        async fn prune_policy(&self, before: DateTime<Utc>) -> Result<u64> {
            let over: bool = sqlx::query_scalar(OVER).bind(before).fetch_one(self).await?;
            if !over {
                return Ok(0);
            }
            let mut tx = self.begin_write().await?;
            count_up!(tx);
            let gone = sqlx::query(PRUNE).bind(before).execute(&mut *tx).await?.rows_affected();
            tx.commit().await?;
            Ok(gone)
        }

        async fn groups(&self, user: UserId) -> Result<BTreeSet<String>> {
            let names: Vec<String> = sqlx::query_scalar("SELECT name FROM user_groups WHERE user_id = $1")
                .bind(user.uuid())
                .fetch_all(self).await?;
            Ok(names.into_iter().collect())
        }

        async fn set_groups(&self, user: UserId, groups: &BTreeSet<String>, event: &Event) -> Result<bool> {
            let mut tx = self.begin_write().await?;
            let known: Vec<String> = sqlx::query_scalar("SELECT name FROM user_groups WHERE user_id = $1")
                .bind(user.uuid())
                .fetch_all(&mut *tx).await?;
            if known.into_iter().collect::<BTreeSet<_>>() == *groups {
                return Ok(false);
            }
            sqlx::query("DELETE FROM user_groups WHERE user_id = $1").bind(user.uuid()).execute(&mut *tx).await?;
            for name in groups {
                sqlx::query("INSERT INTO user_groups (user_id, name) VALUES ($1, $2)")
                    .bind(user.uuid()).bind(name)
                    .execute(&mut *tx).await?;
            }
            outbox::push(&mut tx, event).await?;
            tx.commit().await?;
            Ok(true)
        }
    }
}
