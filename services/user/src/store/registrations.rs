//! Registrations that wait for an admin. A password's hash is kept as long as it may become an account's, no longer.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use roadstead_contracts::event::Event;
use roadstead_contracts::identity::Role;
use roadstead_contracts::ids::{TypedId, UserId};
use roadstead_store::{Dialect, Error, Result, async_trait, outbox};
use uuid::Uuid;

use super::rows::UserRow;
use super::users::{INSERT_ROLE, INSERT_USER, USER_BY_ID};
use crate::domain::{NewUser, REGISTRATION_KEPT, REGISTRATIONS_MAX, RegistrationState, User};

/// Registrations.
#[async_trait]
pub trait RegistrationStore: Send + Sync {
    /// Stores one; false when too many wait. Breaks the unique rules of accounts when name or address is an account's or
    /// another registration's.
    async fn insert_registration(&self, new: &NewUser, expires_at: DateTime<Utc>) -> Result<bool>;
    /// Makes the account, once; `None` when nothing waits under that id.
    async fn confirm_registration(
        &self,
        id: UserId,
        roles: &BTreeSet<Role>,
        by: UserId,
        now: DateTime<Utc>,
        event: &Event,
    ) -> Result<Option<User>>;
    /// Makes no account, once; answers whether something waited.
    async fn reject_registration(&self, id: UserId, now: DateTime<Utc>) -> Result<bool>;
    /// What became of one, and until when it waits.
    async fn registration(&self, id: UserId, now: DateTime<Utc>) -> Result<Option<(RegistrationState, DateTime<Utc>)>>;
    /// The one that waits under an id, a name or an address.
    async fn waiting_registration(
        &self,
        id: Option<UserId>,
        username: Option<&str>,
        email: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Option<UserId>>;
}

const LAPSE: &str = "UPDATE registrations SET state = 'expired', password_hash = NULL \
    WHERE state = 'pending' AND expires_at <= $1";
const PRUNE: &str = "DELETE FROM registrations WHERE expires_at < $1";
const WAITING: &str = "SELECT count(*) FROM registrations WHERE state = 'pending'";
const NAME_TAKEN: &str = "SELECT EXISTS (SELECT 1 FROM users WHERE username = $1) \
    OR EXISTS (SELECT 1 FROM registrations WHERE username = $1 AND state = 'pending')";
const EMAIL_TAKEN: &str = "SELECT EXISTS (SELECT 1 FROM users WHERE email = $1) \
    OR EXISTS (SELECT 1 FROM registrations WHERE email = $1 AND state = 'pending')";
const INSERT: &str = "INSERT INTO registrations \
    (id, username, email, first_name, last_name, password_hash, state, created_at, expires_at) \
    VALUES ($1, $2, $3, $4, $5, $6, 'pending', $7, $8)";
macro_rules! pending {
    () => {
        "SELECT username, email, first_name, last_name, password_hash FROM registrations \
         WHERE id = $1 AND state = 'pending' AND expires_at > $2"
    };
}
const PENDING_POSTGRES: &str = concat!(pending!(), " FOR UPDATE");
const PENDING_SQLITE: &str = pending!();
const SETTLE: &str = "UPDATE registrations SET state = $3, decided_at = $2, password_hash = NULL \
    WHERE id = $1 AND state = 'pending' AND expires_at > $2";
const STATE: &str = "SELECT state, expires_at FROM registrations WHERE id = $1";
const WAITING_ONE: &str = "SELECT id FROM registrations WHERE (id = $1 OR username = $2 OR email = $3) \
    AND state = 'pending' AND expires_at > $4 ORDER BY created_at LIMIT 1";
// Registrations take turns, so that their number and their names are exact.
const LOCK_POSTGRES: &str = "LOCK TABLE registrations IN SHARE ROW EXCLUSIVE MODE";
const LOCK_SQLITE: &str = "SELECT 1";

/// Name, address, first name, last name, password.
type Waiting = (String, String, Option<String>, Option<String>, Option<String>);

fn taken(rule: &str) -> Error {
    Error::Conflict { constraint: rule.to_owned() }
}

roadstead_store::for_pools! {
    impl RegistrationStore for [PgPool, SqlitePool] {
        async fn insert_registration(&self, new: &NewUser, expires_at: DateTime<Utc>) -> Result<bool> {
            let mut tx = self.begin_write().await?;
            sqlx::raw_sql(Self::pick(LOCK_POSTGRES, LOCK_SQLITE)).execute(&mut *tx).await?;
            sqlx::query(LAPSE).bind(new.created_at).execute(&mut *tx).await?;
            sqlx::query(PRUNE).bind(new.created_at - REGISTRATION_KEPT).execute(&mut *tx).await?;
            let waiting: i64 = sqlx::query_scalar(WAITING).fetch_one(&mut *tx).await?;
            if waiting >= REGISTRATIONS_MAX {
                tx.commit().await?;
                return Ok(false);
            }
            let name: bool = sqlx::query_scalar(NAME_TAKEN).bind(new.username.as_str()).fetch_one(&mut *tx).await?;
            if name {
                return Err(taken("users_username_key"));
            }
            let email: bool = sqlx::query_scalar(EMAIL_TAKEN).bind(&new.email).fetch_one(&mut *tx).await?;
            if email {
                return Err(taken("users_email_key"));
            }
            sqlx::query(INSERT)
                .bind(new.id.uuid()).bind(new.username.as_str()).bind(&new.email)
                .bind(&new.first_name).bind(&new.last_name).bind(&new.password_hash)
                .bind(new.created_at).bind(expires_at)
                .execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(true)
        }

        async fn confirm_registration(
            &self,
            id: UserId,
            roles: &BTreeSet<Role>,
            by: UserId,
            now: DateTime<Utc>,
            event: &Event,
        ) -> Result<Option<User>> {
            let mut tx = self.begin_write().await?;
            let waiting: Option<Waiting> = sqlx::query_as(Self::pick(PENDING_POSTGRES, PENDING_SQLITE))
                .bind(id.uuid()).bind(now)
                .fetch_optional(&mut *tx).await?;
            let Some((username, email, first_name, last_name, password_hash)) = waiting else { return Ok(None) };
            sqlx::query(SETTLE).bind(id.uuid()).bind(now).bind(RegistrationState::Confirmed.as_str())
                .execute(&mut *tx).await?;
            sqlx::query(INSERT_USER)
                .bind(id.uuid()).bind(username).bind(email).bind(first_name).bind(last_name).bind(password_hash)
                .bind(true).bind(now)
                .execute(&mut *tx).await?;
            for role in roles {
                sqlx::query(INSERT_ROLE).bind(id.uuid()).bind(role.as_str()).bind(now).bind(by.uuid())
                    .execute(&mut *tx).await?;
            }
            outbox::push(&mut tx, event).await?;
            let row: UserRow = sqlx::query_as(USER_BY_ID).bind(id.uuid()).fetch_one(&mut *tx).await?;
            tx.commit().await?;
            row.try_into().map(Some)
        }

        async fn reject_registration(&self, id: UserId, now: DateTime<Utc>) -> Result<bool> {
            let _turn = self.turn().await?;
            let done = sqlx::query(SETTLE).bind(id.uuid()).bind(now).bind(RegistrationState::Rejected.as_str())
                .execute(self).await?;
            Ok(done.rows_affected() > 0)
        }

        async fn registration(
            &self,
            id: UserId,
            now: DateTime<Utc>,
        ) -> Result<Option<(RegistrationState, DateTime<Utc>)>> {
            let row: Option<(String, DateTime<Utc>)> =
                sqlx::query_as(STATE).bind(id.uuid()).fetch_optional(self).await?;
            let Some((state, expires_at)) = row else { return Ok(None) };
            let corrupt = || Error::Corrupt(format!("the state of registration {id}"));
            let state = match RegistrationState::parse(&state).ok_or_else(corrupt)? {
                RegistrationState::Pending if now >= expires_at => RegistrationState::Expired,
                state => state,
            };
            Ok(Some((state, expires_at)))
        }

        async fn waiting_registration(
            &self,
            id: Option<UserId>,
            username: Option<&str>,
            email: Option<&str>,
            now: DateTime<Utc>,
        ) -> Result<Option<UserId>> {
            let found: Option<Uuid> = sqlx::query_scalar(WAITING_ONE)
                .bind(id.map(TypedId::uuid)).bind(username).bind(email).bind(now)
                .fetch_optional(self).await?;
            Ok(found.map(UserId::from_uuid))
        }
    }
}
