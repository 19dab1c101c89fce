//! What belongs to accounts with a password here: links to set a new one, authenticator apps, recovery codes.

use chrono::{DateTime, Utc};
use roadstead_contracts::ids::{TypedId, UserId};
use roadstead_store::{Dialect, Result, async_trait};
use uuid::Uuid;

use super::access_requests::{ACCOUNT_LOCK_POSTGRES, ACCOUNT_LOCK_SQLITE};
use super::passkeys::{END_BEGUN_PASSKEYS, PRUNE_CODES};
use crate::domain::{Authenticator, NewReset, Purpose, TakenReset};

/// Local accounts.
#[async_trait]
pub trait LocalAccountStore: Send + Sync {
    /// Stores a link with which somebody sets a new password; older ones of the account are over.
    async fn insert_reset(&self, new: &NewReset) -> Result<()>;
    /// Takes a link, once; answers whose it is.
    async fn take_reset(&self, id: Uuid, digest: &str, now: DateTime<Utc>) -> Result<Option<TakenReset>>;
    /// The authenticator app of an account.
    async fn authenticator(&self, user: UserId) -> Result<Option<Authenticator>>;
    /// Stores an app that is not confirmed yet, unless a confirmed one is there.
    async fn begin_authenticator(&self, user: UserId, sealed_secret: &str, now: DateTime<Utc>) -> Result<bool>;
    /// Confirms it with its first step, and stores the recovery codes' digests. Passkeys that were begun before are over.
    async fn confirm_authenticator(
        &self,
        user: UserId,
        step: i64,
        codes: &[String],
        now: DateTime<Utc>,
    ) -> Result<bool>;
    /// Spends a step: false when it, or a later one, was spent before.
    async fn spend_step(&self, user: UserId, step: i64) -> Result<bool>;
    /// Spends a recovery code: false when there is none such that was not used.
    async fn spend_recovery_code(&self, user: UserId, digest: &str, now: DateTime<Utc>) -> Result<bool>;
    /// How many recovery codes are left.
    async fn recovery_codes_left(&self, user: UserId) -> Result<u32>;
    /// Forgets the app, and with the last second proof the recovery codes; answers whether there was one.
    async fn remove_authenticator(&self, user: UserId) -> Result<bool>;
}

#[derive(Debug, sqlx::FromRow)]
struct AuthenticatorRow {
    sealed_secret: String,
    confirmed_at: Option<DateTime<Utc>>,
    last_step: i64,
}

roadstead_store::for_pools! {
    impl LocalAccountStore for [PgPool, SqlitePool] {
        async fn insert_reset(&self, new: &NewReset) -> Result<()> {
            let mut tx = self.begin_write().await?;
            sqlx::query("DELETE FROM password_resets WHERE user_id = $1").bind(new.user_id.uuid()).execute(&mut *tx).await?;
            sqlx::query(
                "INSERT INTO password_resets (id, user_id, digest, created_by, expires_at, remove_second_factors) \
                 VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(new.id).bind(new.user_id.uuid()).bind(&new.digest).bind(new.created_by.uuid()).bind(new.expires_at)
            .bind(new.remove_second_factors)
            .execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(())
        }

        async fn take_reset(&self, id: Uuid, digest: &str, now: DateTime<Utc>) -> Result<Option<TakenReset>> {
            let _turn = self.turn().await?;
            let taken: Option<(Uuid, bool)> = sqlx::query_as(
                "UPDATE password_resets SET used_at = $3 \
                 WHERE id = $1 AND digest = $2 AND used_at IS NULL AND expires_at > $3 \
                 RETURNING user_id, remove_second_factors",
            )
            .bind(id).bind(digest).bind(now)
            .fetch_optional(self).await?;
            Ok(taken.map(|(user, remove_second_factors)| TakenReset {
                user_id: UserId::from_uuid(user),
                remove_second_factors,
            }))
        }

        async fn authenticator(&self, user: UserId) -> Result<Option<Authenticator>> {
            let row: Option<AuthenticatorRow> =
                sqlx::query_as("SELECT sealed_secret, confirmed_at, last_step FROM authenticators WHERE user_id = $1")
                    .bind(user.uuid())
                    .fetch_optional(self).await?;
            Ok(row.map(|row| Authenticator {
                sealed_secret: row.sealed_secret,
                confirmed: row.confirmed_at.is_some(),
                last_step: row.last_step,
            }))
        }

        async fn begin_authenticator(&self, user: UserId, sealed_secret: &str, now: DateTime<Utc>) -> Result<bool> {
            let _turn = self.turn().await?;
            let done = sqlx::query(
                "INSERT INTO authenticators (user_id, sealed_secret, created_at) VALUES ($1, $2, $3) \
                 ON CONFLICT (user_id) DO UPDATE SET sealed_secret = $2, created_at = $3, last_step = 0 \
                 WHERE authenticators.confirmed_at IS NULL",
            )
            .bind(user.uuid()).bind(sealed_secret).bind(now)
            .execute(self).await?;
            Ok(done.rows_affected() > 0)
        }

        async fn confirm_authenticator(
            &self,
            user: UserId,
            step: i64,
            codes: &[String],
            now: DateTime<Utc>,
        ) -> Result<bool> {
            let mut tx = self.begin_write().await?;
            sqlx::query(Self::pick(ACCOUNT_LOCK_POSTGRES, ACCOUNT_LOCK_SQLITE)).bind(user.uuid())
                .execute(&mut *tx).await?;
            let done = sqlx::query(
                "UPDATE authenticators SET confirmed_at = $2, last_step = $3 WHERE user_id = $1 AND confirmed_at IS NULL",
            )
            .bind(user.uuid()).bind(now).bind(step)
            .execute(&mut *tx).await?;
            if done.rows_affected() == 0 {
                return Ok(false);
            }
            sqlx::query(END_BEGUN_PASSKEYS).bind(user.uuid()).bind(Purpose::Add.as_str()).execute(&mut *tx).await?;
            sqlx::query("DELETE FROM recovery_codes WHERE user_id = $1").bind(user.uuid()).execute(&mut *tx).await?;
            for code in codes {
                sqlx::query("INSERT INTO recovery_codes (user_id, digest) VALUES ($1, $2)")
                    .bind(user.uuid()).bind(code)
                    .execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(true)
        }

        async fn spend_step(&self, user: UserId, step: i64) -> Result<bool> {
            let _turn = self.turn().await?;
            let done = sqlx::query("UPDATE authenticators SET last_step = $2 WHERE user_id = $1 AND last_step < $2")
                .bind(user.uuid()).bind(step)
                .execute(self).await?;
            Ok(done.rows_affected() > 0)
        }

        async fn spend_recovery_code(&self, user: UserId, digest: &str, now: DateTime<Utc>) -> Result<bool> {
            let _turn = self.turn().await?;
            let done = sqlx::query(
                "UPDATE recovery_codes SET used_at = $3 WHERE user_id = $1 AND digest = $2 AND used_at IS NULL",
            )
            .bind(user.uuid()).bind(digest).bind(now)
            .execute(self).await?;
            Ok(done.rows_affected() > 0)
        }

        async fn recovery_codes_left(&self, user: UserId) -> Result<u32> {
            let left: i64 =
                sqlx::query_scalar("SELECT count(*) FROM recovery_codes WHERE user_id = $1 AND used_at IS NULL")
                    .bind(user.uuid())
                    .fetch_one(self).await?;
            Ok(u32::try_from(left).unwrap_or(0))
        }

        async fn remove_authenticator(&self, user: UserId) -> Result<bool> {
            let mut tx = self.begin_write().await?;
            sqlx::query(Self::pick(ACCOUNT_LOCK_POSTGRES, ACCOUNT_LOCK_SQLITE)).bind(user.uuid())
                .execute(&mut *tx).await?;
            let gone =
                sqlx::query("DELETE FROM authenticators WHERE user_id = $1").bind(user.uuid()).execute(&mut *tx).await?;
            sqlx::query(PRUNE_CODES).bind(user.uuid()).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(gone.rows_affected() > 0)
        }
    }
}
