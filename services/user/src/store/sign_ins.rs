//! Logins through identity providers: on their way, waiting to be fetched, and the sessions that came of them.

use chrono::{DateTime, Utc};
use roadstead_contracts::event::{Event, Fact};
use roadstead_contracts::ids::{MessageId, SessionId, TypedId, UserId};
use roadstead_store::{Dialect, Error, Result, async_trait, outbox};
use uuid::Uuid;

use super::rows::{UserRow, user_columns};
use super::sessions::{END_SURPLUS, INSERT_PAIR, INSERT_SESSION, insert_session};
use crate::domain::{
    LOGINS_MAX, LoginCode, Loopback, NewAccount, NewSession, ProviderLogin, SESSIONS_MAX, SignIn, User,
};

/// Which sessions a provider ends.
#[derive(Debug, Clone)]
pub struct ProviderLogout {
    /// The provider.
    pub issuer: String,
    /// One of its sessions.
    pub session: Option<String>,
    /// A person; every session of theirs when no session is named.
    pub subject: Option<String>,
}

/// Logins through providers.
#[async_trait]
pub trait SignInStore: Send + Sync {
    /// Stores a login on its way; false when there are too many.
    async fn begin_provider_login(&self, login: &ProviderLogin, now: DateTime<Utc>) -> Result<bool>;
    /// Takes a login that is on its way, once.
    async fn take_provider_login(&self, state: &str, now: DateTime<Utc>) -> Result<Option<ProviderLogin>>;
    /// The account of a provider's subject; notes that it logged in.
    async fn account_of_subject(&self, issuer: &str, subject: &str, now: DateTime<Utc>) -> Result<Option<User>>;
    /// The account with an e-mail address.
    async fn account_by_email(&self, email: &str) -> Result<Option<User>>;
    /// Makes an account without a password, with its link to a provider where it has one.
    async fn insert_account(
        &self,
        new: &NewAccount,
        link: Option<&SignIn>,
        by: Option<UserId>,
        event: &Event,
    ) -> Result<User>;
    /// The accounts of a source, newest first, as many as a list shows.
    async fn accounts_from(&self, source: &str) -> Result<Vec<User>>;
    /// Links a subject to an account. Breaks the primary key when it is linked already.
    async fn link_subject(&self, user: UserId, sign_in: &SignIn, now: DateTime<Utc>) -> Result<()>;
    /// Opens a session that came through a provider.
    async fn open_sign_in(&self, new: &NewSession, sign_in: &SignIn) -> Result<()>;
    /// How a session came about, when it came through a provider.
    async fn sign_in_of(&self, session: SessionId) -> Result<Option<SignIn>>;
    /// Ends what a provider says is over; answers how many sessions.
    async fn end_provider_sessions(
        &self,
        logout: &ProviderLogout,
        now: DateTime<Utc>,
        event_ids: &(dyn Fn() -> MessageId + Send + Sync),
    ) -> Result<u64>;
    /// Stores a login that waits to be fetched.
    async fn insert_login_code(&self, code: &LoginCode, now: DateTime<Utc>) -> Result<()>;
    /// Takes it, once.
    async fn take_login_code(&self, digest: &str, now: DateTime<Utc>) -> Result<Option<LoginCode>>;
}

const BY_SUBJECT: &str = concat!(
    "SELECT ",
    user_columns!(),
    " FROM users u JOIN identities i ON i.user_id = u.id WHERE i.issuer = $1 AND i.subject = $2"
);
const BY_EMAIL: &str = concat!("SELECT ", user_columns!(), " FROM users u WHERE u.email = $1");
const FROM_SOURCE: &str =
    concat!("SELECT ", user_columns!(), " FROM users u WHERE u.auth_source = $1 ORDER BY u.seq DESC LIMIT $2");
/// Most accounts of a list that has no pages.
const ACCOUNTS_MAX: i64 = 1_000;
const BY_ID: &str = concat!("SELECT ", user_columns!(), " FROM users u WHERE u.id = $1");
const INSERT_ACCOUNT: &str = "INSERT INTO users \
    (id, username, email, first_name, last_name, auth_source, active, created_at, updated_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)";
const INSERT_ROLE: &str = "INSERT INTO user_roles (user_id, role, assigned_at, assigned_by) VALUES ($1, $2, $3, $4)";
const INSERT_IDENTITY: &str = "INSERT INTO identities (issuer, subject, user_id, created_at, last_login_at) \
    VALUES ($1, $2, $3, $4, $4)";
const SESSIONS_OF_PROVIDER: &str = "SELECT s.id, s.user_id FROM sessions s JOIN sign_ins i ON i.session_id = s.id \
    WHERE s.revoked_at IS NULL AND i.issuer = $1 \
    AND ((CAST($2 AS text) IS NOT NULL AND i.provider_session = $2) \
      OR (CAST($2 AS text) IS NULL AND i.subject = $3)) \
    AND (CAST($3 AS text) IS NULL OR i.subject = $3)";
const END: &str = "UPDATE sessions SET revoked_at = $2, revoked_reason = 'provider_logout' \
    WHERE id = $1 AND revoked_at IS NULL";

#[derive(Debug, sqlx::FromRow)]
struct LoginRow {
    state: String,
    provider: String,
    binding: String,
    next: Option<String>,
    loopback: Option<String>,
    expires_at: DateTime<Utc>,
}

#[derive(Debug, sqlx::FromRow)]
struct CodeRow {
    digest: String,
    challenge: String,
    user_id: Uuid,
    sign_in: String,
    expires_at: DateTime<Utc>,
}

#[derive(Debug, sqlx::FromRow)]
struct SignInRow {
    provider: String,
    issuer: String,
    subject: String,
    provider_session: Option<String>,
    sealed_id_token: Option<String>,
}

fn json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|_| Error::Corrupt("a login".to_owned()))
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|_| Error::Corrupt("a login".to_owned()))
}

roadstead_store::for_pools! {
    impl SignInStore for [PgPool, SqlitePool] {
        async fn begin_provider_login(&self, login: &ProviderLogin, now: DateTime<Utc>) -> Result<bool> {
            let loopback = login.loopback.as_ref().map(json::<Loopback>).transpose()?;
            let mut tx = self.begin_write().await?;
            sqlx::query("DELETE FROM provider_logins WHERE expires_at < $1").bind(now).execute(&mut *tx).await?;
            let open: i64 = sqlx::query_scalar("SELECT count(*) FROM provider_logins").fetch_one(&mut *tx).await?;
            if open >= LOGINS_MAX {
                return Ok(false);
            }
            sqlx::query(
                "INSERT INTO provider_logins (state, provider, binding, next, loopback, expires_at) \
                 VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(&login.state).bind(&login.provider).bind(&login.binding)
            .bind(&login.next).bind(loopback).bind(login.expires_at)
            .execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(true)
        }

        async fn take_provider_login(&self, state: &str, now: DateTime<Utc>) -> Result<Option<ProviderLogin>> {
            let _turn = self.turn().await?;
            // One statement takes it: two callbacks with one state cannot both have it.
            let row: Option<LoginRow> = sqlx::query_as(
                "DELETE FROM provider_logins WHERE state = $1 \
                 RETURNING state, provider, binding, next, loopback, expires_at",
            )
            .bind(state)
            .fetch_optional(self).await?;
            let Some(row) = row.filter(|row| row.expires_at > now) else { return Ok(None) };
            let loopback = row.loopback.as_deref().map(parse::<Loopback>).transpose()?;
            Ok(Some(ProviderLogin {
                state: row.state,
                provider: row.provider,
                binding: row.binding,
                next: row.next,
                loopback,
                expires_at: row.expires_at,
            }))
        }

        async fn account_of_subject(&self, issuer: &str, subject: &str, now: DateTime<Utc>) -> Result<Option<User>> {
            let _turn = self.turn().await?;
            let row: Option<UserRow> =
                sqlx::query_as(BY_SUBJECT).bind(issuer).bind(subject).fetch_optional(self).await?;
            if row.is_some() {
                sqlx::query("UPDATE identities SET last_login_at = $3 WHERE issuer = $1 AND subject = $2")
                    .bind(issuer).bind(subject).bind(now)
                    .execute(self).await?;
            }
            row.map(TryInto::try_into).transpose()
        }

        async fn account_by_email(&self, email: &str) -> Result<Option<User>> {
            let row: Option<UserRow> = sqlx::query_as(BY_EMAIL).bind(email).fetch_optional(self).await?;
            row.map(TryInto::try_into).transpose()
        }

        async fn insert_account(
            &self,
            new: &NewAccount,
            link: Option<&SignIn>,
            by: Option<UserId>,
            event: &Event,
        ) -> Result<User> {
            let mut tx = self.begin_write().await?;
            sqlx::query(INSERT_ACCOUNT)
                .bind(new.id.uuid()).bind(new.username.as_str()).bind(&new.email)
                .bind(&new.first_name).bind(&new.last_name).bind(new.source)
                .bind(true).bind(new.created_at)
                .execute(&mut *tx).await?;
            for role in &new.roles {
                sqlx::query(INSERT_ROLE)
                    .bind(new.id.uuid()).bind(role.as_str()).bind(new.created_at).bind(by.map(TypedId::uuid))
                    .execute(&mut *tx).await?;
            }
            if let Some(link) = link {
                sqlx::query(INSERT_IDENTITY)
                    .bind(&link.issuer).bind(&link.subject).bind(new.id.uuid()).bind(new.created_at)
                    .execute(&mut *tx).await?;
            }
            outbox::push(&mut tx, event).await?;
            let row: UserRow = sqlx::query_as(BY_ID).bind(new.id.uuid()).fetch_one(&mut *tx).await?;
            tx.commit().await?;
            row.try_into()
        }

        async fn accounts_from(&self, source: &str) -> Result<Vec<User>> {
            let rows: Vec<UserRow> = sqlx::query_as(FROM_SOURCE).bind(source).bind(ACCOUNTS_MAX).fetch_all(self).await?;
            rows.into_iter().map(User::try_from).collect()
        }

        async fn link_subject(&self, user: UserId, sign_in: &SignIn, now: DateTime<Utc>) -> Result<()> {
            let _turn = self.turn().await?;
            sqlx::query(INSERT_IDENTITY)
                .bind(&sign_in.issuer).bind(&sign_in.subject).bind(user.uuid()).bind(now)
                .execute(self).await?;
            Ok(())
        }

        async fn open_sign_in(&self, new: &NewSession, sign_in: &SignIn) -> Result<()> {
            let mut tx = self.begin_write().await?;
            insert_session!(tx, new);
            sqlx::query(
                "INSERT INTO sign_ins (session_id, provider, issuer, subject, provider_session, sealed_id_token) \
                 VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(new.id.uuid()).bind(&sign_in.provider).bind(&sign_in.issuer).bind(&sign_in.subject)
            .bind(&sign_in.provider_session).bind(&sign_in.sealed_id_token)
            .execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(())
        }

        async fn sign_in_of(&self, session: SessionId) -> Result<Option<SignIn>> {
            let row: Option<SignInRow> = sqlx::query_as(
                "SELECT provider, issuer, subject, provider_session, sealed_id_token FROM sign_ins WHERE session_id = $1",
            )
            .bind(session.uuid())
            .fetch_optional(self).await?;
            Ok(row.map(|row| SignIn {
                provider: row.provider,
                issuer: row.issuer,
                subject: row.subject,
                provider_session: row.provider_session,
                sealed_id_token: row.sealed_id_token,
            }))
        }

        async fn end_provider_sessions(
            &self,
            logout: &ProviderLogout,
            now: DateTime<Utc>,
            event_ids: &(dyn Fn() -> MessageId + Send + Sync),
        ) -> Result<u64> {
            let mut tx = self.begin_write().await?;
            let found: Vec<(Uuid, Uuid)> = sqlx::query_as(SESSIONS_OF_PROVIDER)
                .bind(&logout.issuer).bind(&logout.session).bind(&logout.subject)
                .fetch_all(&mut *tx).await?;
            let mut ended = 0;
            for (session, user) in found {
                ended += sqlx::query(END).bind(session).bind(now).execute(&mut *tx).await?.rows_affected();
                let fact = Fact::SessionRevoked {
                    user_id: UserId::from_uuid(user),
                    session_id: SessionId::from_uuid(session),
                };
                outbox::push(&mut tx, &Event { id: event_ids(), at: now, fact }).await?;
            }
            tx.commit().await?;
            Ok(ended)
        }

        async fn insert_login_code(&self, code: &LoginCode, now: DateTime<Utc>) -> Result<()> {
            let mut tx = self.begin_write().await?;
            sqlx::query("DELETE FROM login_codes WHERE expires_at < $1").bind(now).execute(&mut *tx).await?;
            sqlx::query(
                "INSERT INTO login_codes (digest, challenge, user_id, sign_in, expires_at) VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(&code.digest).bind(&code.challenge).bind(code.user_id.uuid()).bind(json(&code.sign_in)?)
            .bind(code.expires_at)
            .execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(())
        }

        async fn take_login_code(&self, digest: &str, now: DateTime<Utc>) -> Result<Option<LoginCode>> {
            let _turn = self.turn().await?;
            let row: Option<CodeRow> = sqlx::query_as(
                "DELETE FROM login_codes WHERE digest = $1 RETURNING digest, challenge, user_id, sign_in, expires_at",
            )
            .bind(digest)
            .fetch_optional(self).await?;
            let Some(row) = row.filter(|row| row.expires_at > now) else { return Ok(None) };
            Ok(Some(LoginCode {
                digest: row.digest,
                challenge: row.challenge,
                user_id: UserId::from_uuid(row.user_id),
                sign_in: parse(&row.sign_in)?,
                expires_at: row.expires_at,
            }))
        }
    }
}
