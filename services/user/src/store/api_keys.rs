//! API keys.

use chrono::{DateTime, Utc};
use roadstead_contracts::event::Event;
use roadstead_contracts::ids::{ApiKeyId, TypedId, UserId};
use roadstead_contracts::scope::Scope;
use roadstead_store::{Dialect, Error, Result, async_trait, outbox};

use super::rows::{ApiKeyRow, UserRow, api_key_columns, user_columns};
use crate::domain::{ApiKey, ApiKeyChanges, ApiKeyRef, KEYS_MAX, NewApiKey, User};

/// A key, whose it is, and the sealed digest to compare with. Whether it is good is for the caller to say.
#[derive(Debug, Clone)]
pub struct KnownKey {
    /// The account.
    pub user: User,
    /// The key.
    pub key: ApiKey,
    /// Sealed digest of its secret.
    pub digest: String,
    /// Sealed digest of the secret before it, and until when that works.
    pub previous: Option<(String, DateTime<Utc>)>,
}

/// API keys.
#[async_trait]
pub trait ApiKeyStore: Send + Sync {
    /// Stores a key; `None` when the account has too many. Breaks `api_keys_user_id_name_key` when the name is taken.
    async fn insert_api_key(&self, new: &NewApiKey) -> Result<Option<ApiKey>>;
    /// The keys of an account, newest first.
    async fn api_keys(&self, user: UserId) -> Result<Vec<ApiKey>>;
    /// A key of an account.
    async fn api_key(&self, user: UserId, which: ApiKeyRef) -> Result<Option<ApiKey>>;
    /// Changes a key of an account.
    async fn change_api_key(
        &self,
        user: UserId,
        id: ApiKeyId,
        changes: &ApiKeyChanges,
        now: DateTime<Utc>,
        event: &Event,
    ) -> Result<Option<ApiKey>>;
    /// Removes a key of an account; answers whether it was there.
    async fn delete_api_key(&self, user: UserId, id: ApiKeyId, event: &Event) -> Result<bool>;
    /// A key by its public half.
    async fn known_key(&self, id: ApiKeyId) -> Result<Option<KnownKey>>;
    /// A key of the predecessors' form by its sealed digest.
    async fn known_legacy_key(&self, digest: &str) -> Result<Option<KnownKey>>;
    /// Notes when keys were last used.
    async fn touch_api_keys(&self, used: &[(ApiKeyId, DateTime<Utc>)]) -> Result<()>;
}

const INSERT: &str = "INSERT INTO api_keys \
    (id, user_id, name, digest, legacy, preview, active, expires_at, created_at, updated_at, scope) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10)";
const BY_ID: &str = concat!("SELECT ", api_key_columns!(), " FROM api_keys k WHERE k.user_id = $1 AND k.id = $2");
const BY_SEQ: &str = concat!("SELECT ", api_key_columns!(), " FROM api_keys k WHERE k.user_id = $1 AND k.seq = $2");
const ALL: &str =
    concat!("SELECT ", api_key_columns!(), " FROM api_keys k WHERE k.user_id = $1 ORDER BY k.seq DESC LIMIT $2");
const KNOWN: &str = concat!(
    "SELECT ",
    user_columns!(),
    ", ",
    api_key_columns!(),
    ", k.digest, k.previous_digest FROM api_keys k JOIN users u ON u.id = k.user_id \
    WHERE k.id = $1 AND NOT k.legacy"
);
const KNOWN_LEGACY: &str = concat!(
    "SELECT ",
    user_columns!(),
    ", ",
    api_key_columns!(),
    ", k.digest, k.previous_digest FROM api_keys k JOIN users u ON u.id = k.user_id \
    WHERE k.digest = $1 AND k.legacy"
);
const UPDATE: &str = "UPDATE api_keys SET name = COALESCE($3, name), active = COALESCE($4, active), \
    expires_at = $5, scope = $6, updated_at = $7 WHERE user_id = $1 AND id = $2";
// A regenerated key of the predecessors' form is one of ours from then on; its old text has no id to be found by.
const NEW_SECRET: &str = "UPDATE api_keys SET \
    previous_digest = CASE WHEN legacy OR CAST($5 AS text) IS NULL THEN NULL ELSE digest END, \
    previous_until = $4, digest = $2, preview = $3, legacy = $6 WHERE id = $1";

#[derive(Debug, sqlx::FromRow)]
struct KnownRow {
    #[sqlx(flatten)]
    user: UserRow,
    #[sqlx(flatten)]
    key: ApiKeyRow,
    digest: String,
    previous_digest: Option<String>,
}

impl KnownRow {
    fn known(self) -> Result<KnownKey> {
        let key: ApiKey = self.key.try_into()?;
        let previous = self.previous_digest.zip(key.previous_until);
        Ok(KnownKey { user: self.user.try_into()?, key, digest: self.digest, previous })
    }
}

fn scope_text(scope: Option<&Scope>) -> Result<Option<String>> {
    let unlimited = scope.is_none_or(Scope::is_unlimited);
    let text = scope.filter(|_| !unlimited).map(serde_json::to_string).transpose();
    text.map_err(|_| Error::Corrupt("a key's scope".to_owned()))
}

roadstead_store::for_pools! {
    impl ApiKeyStore for [PgPool, SqlitePool] {
        async fn insert_api_key(&self, new: &NewApiKey) -> Result<Option<ApiKey>> {
            let mut tx = self.begin_write().await?;
            let held: i64 = sqlx::query_scalar("SELECT count(*) FROM api_keys WHERE user_id = $1")
                .bind(new.user_id.uuid()).fetch_one(&mut *tx).await?;
            if held >= KEYS_MAX {
                return Ok(None);
            }
            sqlx::query(INSERT)
                .bind(new.id.uuid()).bind(new.user_id.uuid()).bind(&new.name).bind(&new.digest).bind(new.legacy)
                .bind(&new.preview).bind(true).bind(new.expires_at).bind(new.created_at).bind(scope_text(new.scope.as_ref())?)
                .execute(&mut *tx).await?;
            let row: ApiKeyRow =
                sqlx::query_as(BY_ID).bind(new.user_id.uuid()).bind(new.id.uuid()).fetch_one(&mut *tx).await?;
            tx.commit().await?;
            row.try_into().map(Some)
        }

        async fn api_keys(&self, user: UserId) -> Result<Vec<ApiKey>> {
            let rows: Vec<ApiKeyRow> = sqlx::query_as(ALL).bind(user.uuid()).bind(KEYS_MAX).fetch_all(self).await?;
            rows.into_iter().map(ApiKey::try_from).collect()
        }

        async fn api_key(&self, user: UserId, which: ApiKeyRef) -> Result<Option<ApiKey>> {
            let row: Option<ApiKeyRow> = match which {
                ApiKeyRef::Id(id) => {
                    sqlx::query_as(BY_ID).bind(user.uuid()).bind(id.uuid()).fetch_optional(self).await?
                }
                ApiKeyRef::Seq(seq) => sqlx::query_as(BY_SEQ).bind(user.uuid()).bind(seq).fetch_optional(self).await?,
            };
            row.map(ApiKey::try_from).transpose()
        }

        async fn change_api_key(
            &self,
            user: UserId,
            id: ApiKeyId,
            changes: &ApiKeyChanges,
            now: DateTime<Utc>,
            event: &Event,
        ) -> Result<Option<ApiKey>> {
            let mut tx = self.begin_write().await?;
            let before: Option<ApiKeyRow> =
                sqlx::query_as(BY_ID).bind(user.uuid()).bind(id.uuid()).fetch_optional(&mut *tx).await?;
            let Some(before) = before.map(ApiKey::try_from).transpose()? else { return Ok(None) };
            let scope = changes.scope.as_ref().unwrap_or(&before.scope);
            sqlx::query(UPDATE)
                .bind(user.uuid()).bind(id.uuid()).bind(&changes.name).bind(changes.active)
                .bind(changes.end.after(before.expires_at)).bind(scope_text(scope.as_ref())?).bind(now)
                .execute(&mut *tx).await?;
            if let Some(secret) = &changes.secret {
                let keeps = secret.previous_until.map(|_| "keeps");
                sqlx::query(NEW_SECRET)
                    .bind(id.uuid()).bind(&secret.digest).bind(&secret.preview).bind(secret.previous_until)
                    .bind(keeps).bind(false)
                    .execute(&mut *tx).await?;
            }
            outbox::push(&mut tx, event).await?;
            let row: ApiKeyRow = sqlx::query_as(BY_ID).bind(user.uuid()).bind(id.uuid()).fetch_one(&mut *tx).await?;
            tx.commit().await?;
            row.try_into().map(Some)
        }

        async fn delete_api_key(&self, user: UserId, id: ApiKeyId, event: &Event) -> Result<bool> {
            let mut tx = self.begin_write().await?;
            let gone = sqlx::query("DELETE FROM api_keys WHERE user_id = $1 AND id = $2")
                .bind(user.uuid()).bind(id.uuid())
                .execute(&mut *tx).await?;
            if gone.rows_affected() == 0 {
                return Ok(false);
            }
            outbox::push(&mut tx, event).await?;
            tx.commit().await?;
            Ok(true)
        }

        async fn known_key(&self, id: ApiKeyId) -> Result<Option<KnownKey>> {
            let row: Option<KnownRow> = sqlx::query_as(KNOWN).bind(id.uuid()).fetch_optional(self).await?;
            row.map(KnownRow::known).transpose()
        }

        async fn known_legacy_key(&self, digest: &str) -> Result<Option<KnownKey>> {
            let row: Option<KnownRow> = sqlx::query_as(KNOWN_LEGACY).bind(digest).fetch_optional(self).await?;
            row.map(KnownRow::known).transpose()
        }

        async fn touch_api_keys(&self, used: &[(ApiKeyId, DateTime<Utc>)]) -> Result<()> {
            let mut tx = self.begin_write().await?;
            for (id, at) in used {
                sqlx::query(
                    "UPDATE api_keys SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)",
                )
                .bind(id.uuid()).bind(*at)
                .execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(())
        }
    }
}
