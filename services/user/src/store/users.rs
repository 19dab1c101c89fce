//! Accounts and their roles.

use chrono::{DateTime, Utc};
use roadstead_contracts::event::Event;
use roadstead_contracts::ids::{TypedId, UserId};
use roadstead_store::{Dialect, Result, Window, async_trait, outbox};

use super::passkeys::{END_BEGUN_APP, PRUNE_CODES, REMOVE_ALL};
use super::policy::{count_up, forget_subject, put_rule, remove_rule};
use super::rows::{UserRow, user_columns};
use crate::domain::{NewPassword, NewUser, User, UserChanges, UserRef};

/// What came of changing or removing an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserChange {
    /// Done; the account as it is now (as it was, when removed).
    Done(User),
    /// No such account.
    Missing,
    /// It is the last active admin, and would not be one afterwards.
    LastAdmin,
}

/// Accounts.
#[async_trait]
pub trait UserStore: Send + Sync {
    /// Makes an account. Breaks `users_username_key` or `users_email_key` when it is there.
    async fn insert_user(&self, new: &NewUser, assigned_by: Option<UserId>, event: &Event) -> Result<User>;
    /// Makes an account if there is no admin yet, `None` otherwise. Two at once: one wins.
    async fn insert_first_admin(&self, new: &NewUser, event: &Event) -> Result<Option<User>>;
    /// Whether there is an admin.
    async fn admin_exists(&self) -> Result<bool>;
    /// An account.
    async fn user(&self, which: &UserRef) -> Result<Option<User>>;
    /// An account by name, with its password's hash.
    async fn user_for_login(&self, username: &str) -> Result<Option<(User, Option<String>)>>;
    /// A page of accounts, newest first, and how many there are.
    async fn users(&self, window: &Window) -> Result<(Vec<User>, u64)>;
    /// Changes an account. An inactive one loses its sessions at once.
    async fn change_user(
        &self,
        id: UserId,
        changes: &UserChanges,
        by: UserId,
        now: DateTime<Utc>,
        event: &Event,
    ) -> Result<UserChange>;
    /// Removes an account with its sessions, keys, roles and grants.
    async fn delete_user(&self, id: UserId, event: &Event) -> Result<UserChange>;
    /// Stores the hash of the same password made anew, unless the password was changed meanwhile.
    async fn rehash_password(&self, id: UserId, old_hash: &str, new_hash: &str) -> Result<()>;
    /// Stores a new password's hash, and ends what goes with the old one: sessions, an app that was begun with it, where it is asked
    /// for the second factors. Answers whether the account is there.
    async fn set_password(&self, id: UserId, new: &NewPassword<'_>, now: DateTime<Utc>, event: &Event) -> Result<bool>;
}

pub(super) const INSERT_USER: &str = "INSERT INTO users \
    (id, username, email, first_name, last_name, password_hash, active, created_at, updated_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)";
pub(super) const INSERT_ROLE: &str =
    "INSERT INTO user_roles (user_id, role, assigned_at, assigned_by) VALUES ($1, $2, $3, $4)";
pub(super) const USER_BY_ID: &str = concat!("SELECT ", user_columns!(), " FROM users u WHERE u.id = $1");
const USER_BY_SEQ: &str = concat!("SELECT ", user_columns!(), " FROM users u WHERE u.seq = $1");
const USER_BY_NAME: &str = concat!("SELECT ", user_columns!(), " FROM users u WHERE u.username = $1");
const USERS: &str =
    concat!("SELECT ", user_columns!(), " FROM users u WHERE u.seq < $1 ORDER BY u.seq DESC LIMIT $2 OFFSET $3");
const ADMIN_EXISTS: &str = "SELECT EXISTS (SELECT 1 FROM user_roles WHERE role = 'admin')";
// Whoever gives or takes the admin role, or counts admins, takes turns.
const ADMINS_LOCK_POSTGRES: &str = "LOCK TABLE user_roles IN SHARE ROW EXCLUSIVE MODE";
const ADMINS_LOCK_SQLITE: &str = "SELECT 1";
const OTHER_ADMIN: &str = "SELECT EXISTS (SELECT 1 FROM user_roles r JOIN users u ON u.id = r.user_id \
    WHERE r.role = 'admin' AND u.active AND u.id <> $1)";
const UPDATE_USER: &str = "UPDATE users SET email = $2, first_name = $3, last_name = $4, active = $5, updated_at = $6 \
    WHERE id = $1";
const END_SESSIONS: &str = "UPDATE sessions SET revoked_at = $2, revoked_reason = $3 \
    WHERE user_id = $1 AND revoked_at IS NULL";
const END_OTHER_SESSIONS: &str = "UPDATE sessions SET revoked_at = $2, revoked_reason = $3 \
    WHERE user_id = $1 AND revoked_at IS NULL AND id <> $4";

roadstead_store::for_pools! {
    impl UserStore for [PgPool, SqlitePool] {
        async fn insert_user(&self, new: &NewUser, assigned_by: Option<UserId>, event: &Event) -> Result<User> {
            let mut tx = self.begin_write().await?;
            sqlx::query(INSERT_USER)
                .bind(new.id.uuid()).bind(new.username.as_str()).bind(&new.email)
                .bind(&new.first_name).bind(&new.last_name).bind(&new.password_hash)
                .bind(true).bind(new.created_at)
                .execute(&mut *tx).await?;
            for role in &new.roles {
                sqlx::query(INSERT_ROLE)
                    .bind(new.id.uuid()).bind(role.as_str()).bind(new.created_at).bind(assigned_by.map(TypedId::uuid))
                    .execute(&mut *tx).await?;
            }
            outbox::push(&mut tx, event).await?;
            let row: UserRow = sqlx::query_as(USER_BY_ID).bind(new.id.uuid()).fetch_one(&mut *tx).await?;
            tx.commit().await?;
            row.try_into()
        }

        async fn insert_first_admin(&self, new: &NewUser, event: &Event) -> Result<Option<User>> {
            let mut tx = self.begin_write().await?;
            sqlx::raw_sql(Self::pick(ADMINS_LOCK_POSTGRES, ADMINS_LOCK_SQLITE)).execute(&mut *tx).await?;
            let exists: bool = sqlx::query_scalar(ADMIN_EXISTS).fetch_one(&mut *tx).await?;
            if exists {
                return Ok(None);
            }
            sqlx::query(INSERT_USER)
                .bind(new.id.uuid()).bind(new.username.as_str()).bind(&new.email)
                .bind(&new.first_name).bind(&new.last_name).bind(&new.password_hash)
                .bind(true).bind(new.created_at)
                .execute(&mut *tx).await?;
            for role in &new.roles {
                sqlx::query(INSERT_ROLE)
                    .bind(new.id.uuid()).bind(role.as_str()).bind(new.created_at).bind(None::<uuid::Uuid>)
                    .execute(&mut *tx).await?;
            }
            outbox::push(&mut tx, event).await?;
            let row: UserRow = sqlx::query_as(USER_BY_ID).bind(new.id.uuid()).fetch_one(&mut *tx).await?;
            tx.commit().await?;
            row.try_into().map(Some)
        }

        async fn admin_exists(&self) -> Result<bool> {
            Ok(sqlx::query_scalar(ADMIN_EXISTS).fetch_one(self).await?)
        }

        async fn user(&self, which: &UserRef) -> Result<Option<User>> {
            let row: Option<UserRow> = match which {
                UserRef::Id(id) => sqlx::query_as(USER_BY_ID).bind(id.uuid()).fetch_optional(self).await?,
                UserRef::Seq(seq) => sqlx::query_as(USER_BY_SEQ).bind(*seq).fetch_optional(self).await?,
                UserRef::Name(name) => sqlx::query_as(USER_BY_NAME).bind(name.as_str()).fetch_optional(self).await?,
            };
            row.map(TryInto::try_into).transpose()
        }

        async fn user_for_login(&self, username: &str) -> Result<Option<(User, Option<String>)>> {
            let row: Option<UserRow> = sqlx::query_as(USER_BY_NAME).bind(username).fetch_optional(self).await?;
            let hash: Option<Option<String>> =
                sqlx::query_scalar("SELECT password_hash FROM users WHERE username = $1").bind(username)
                    .fetch_optional(self).await?;
            row.map(|row| User::try_from(row).map(|user| (user, hash.flatten()))).transpose()
        }

        async fn users(&self, window: &Window) -> Result<(Vec<User>, u64)> {
            let rows: Vec<UserRow> = sqlx::query_as(USERS)
                .bind(window.before).bind(window.fetch).bind(window.offset)
                .fetch_all(self).await?;
            let total: i64 = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(self).await?;
            let users = rows.into_iter().map(User::try_from).collect::<Result<_>>()?;
            Ok((users, u64::try_from(total).unwrap_or(0)))
        }

        async fn change_user(
            &self,
            id: UserId,
            changes: &UserChanges,
            by: UserId,
            now: DateTime<Utc>,
            event: &Event,
        ) -> Result<UserChange> {
            let mut tx = self.begin_write().await?;
            sqlx::raw_sql(Self::pick(ADMINS_LOCK_POSTGRES, ADMINS_LOCK_SQLITE)).execute(&mut *tx).await?;
            let row: Option<UserRow> = sqlx::query_as(USER_BY_ID).bind(id.uuid()).fetch_optional(&mut *tx).await?;
            let Some(row) = row else { return Ok(UserChange::Missing) };
            let before = User::try_from(row)?;
            let active = changes.active.unwrap_or(before.active);
            let roles = changes.roles.as_ref().unwrap_or(&before.roles);
            let stays_admin = active && roles.contains(&roadstead_contracts::identity::Role::Admin);
            if before.is_admin() && before.active && !stays_admin {
                let other: bool = sqlx::query_scalar(OTHER_ADMIN).bind(id.uuid()).fetch_one(&mut *tx).await?;
                if !other {
                    return Ok(UserChange::LastAdmin);
                }
            }
            sqlx::query(UPDATE_USER)
                .bind(id.uuid())
                .bind(changes.email.as_ref().unwrap_or(&before.email))
                .bind(changes.first_name.as_ref().or(before.first_name.as_ref()))
                .bind(changes.last_name.as_ref().or(before.last_name.as_ref()))
                .bind(active).bind(now)
                .execute(&mut *tx).await?;
            for gone in before.roles.difference(roles) {
                sqlx::query("DELETE FROM user_roles WHERE user_id = $1 AND role = $2")
                    .bind(id.uuid()).bind(gone.as_str()).execute(&mut *tx).await?;
            }
            for added in roles.difference(&before.roles) {
                sqlx::query(INSERT_ROLE)
                    .bind(id.uuid()).bind(added.as_str()).bind(now).bind(by.uuid())
                    .execute(&mut *tx).await?;
            }
            if !active {
                sqlx::query(END_SESSIONS).bind(id.uuid()).bind(now).bind("account_disabled").execute(&mut *tx).await?;
            }
            outbox::push(&mut tx, event).await?;
            let row: UserRow = sqlx::query_as(USER_BY_ID).bind(id.uuid()).fetch_one(&mut *tx).await?;
            tx.commit().await?;
            row.try_into().map(UserChange::Done)
        }

        async fn delete_user(&self, id: UserId, event: &Event) -> Result<UserChange> {
            let mut tx = self.begin_write().await?;
            sqlx::raw_sql(Self::pick(ADMINS_LOCK_POSTGRES, ADMINS_LOCK_SQLITE)).execute(&mut *tx).await?;
            let row: Option<UserRow> = sqlx::query_as(USER_BY_ID).bind(id.uuid()).fetch_optional(&mut *tx).await?;
            let Some(row) = row else { return Ok(UserChange::Missing) };
            let user = User::try_from(row)?;
            if user.is_admin() && user.active {
                let other: bool = sqlx::query_scalar(OTHER_ADMIN).bind(id.uuid()).fetch_one(&mut *tx).await?;
                if !other {
                    return Ok(UserChange::LastAdmin);
                }
            }
            // First, as with every change of rules: whoever gives it something at the same time waits here, or is waited for.
            forget_subject!(tx, &user.username, event.at);
            sqlx::query("DELETE FROM users WHERE id = $1").bind(id.uuid()).execute(&mut *tx).await?;
            outbox::push(&mut tx, event).await?;
            tx.commit().await?;
            Ok(UserChange::Done(user))
        }

        async fn rehash_password(&self, id: UserId, old_hash: &str, new_hash: &str) -> Result<()> {
            let _turn = self.turn().await?;
            sqlx::query("UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2")
                .bind(id.uuid()).bind(old_hash).bind(new_hash)
                .execute(self).await?;
            Ok(())
        }

        async fn set_password(
            &self,
            id: UserId,
            new: &NewPassword<'_>,
            now: DateTime<Utc>,
            event: &Event,
        ) -> Result<bool> {
            let mut tx = self.begin_write().await?;
            let changed = sqlx::query("UPDATE users SET password_hash = $2, updated_at = $3 WHERE id = $1")
                .bind(id.uuid()).bind(new.hash).bind(now)
                .execute(&mut *tx).await?;
            if changed.rows_affected() == 0 {
                return Ok(false);
            }
            match new.keep {
                Some(keep) => {
                    sqlx::query(END_OTHER_SESSIONS)
                        .bind(id.uuid()).bind(now).bind("password_changed").bind(keep.uuid())
                        .execute(&mut *tx).await?
                }
                None => {
                    sqlx::query(END_SESSIONS).bind(id.uuid()).bind(now).bind("password_changed").execute(&mut *tx).await?
                }
            };
            sqlx::query(END_BEGUN_APP).bind(id.uuid()).execute(&mut *tx).await?;
            if new.remove_second_factors {
                for remove in REMOVE_ALL {
                    sqlx::query(remove).bind(id.uuid()).execute(&mut *tx).await?;
                }
                sqlx::query(PRUNE_CODES).bind(id.uuid()).execute(&mut *tx).await?;
            }
            outbox::push(&mut tx, event).await?;
            tx.commit().await?;
            Ok(true)
        }
    }
}
