//! Webhooks that are still to be told.

use chrono::{DateTime, Utc};
use roadstead_contracts::ids::{OperationId, TypedId as _};
use roadstead_store::sqlx;
use roadstead_store::sqlx::types::Json;
use roadstead_store::{Dialect as _, Result};
use serde_json::Value;
use uuid::Uuid;

use super::WebhookStore;
use super::rows::hex;
use crate::limits::{WEBHOOK_TRIES, WEBHOOKS_AT_ONCE};

/// Somebody to tell now.
#[derive(Debug, Clone)]
pub(crate) struct DueWebhook {
    pub id: Uuid,
    pub operation: OperationId,
    pub sealed_url: String,
    pub body: Value,
    /// How often it was tried.
    pub attempts: i64,
}

macro_rules! due {
    () => {
        "SELECT w.id, w.operation_id, o.sealed_webhook, w.body, w.attempts FROM webhooks w
            JOIN operations o ON o.id = w.operation_id
            WHERE w.next_at <= $1 AND o.sealed_webhook IS NOT NULL ORDER BY w.next_at LIMIT $2"
    };
}
const DUE_POSTGRES: &str = concat!(due!(), " FOR UPDATE OF w SKIP LOCKED");
const DUE_SQLITE: &str = due!();
const WAITING: &str = "SELECT EXISTS (SELECT 1 FROM webhooks WHERE next_at <= $1)";
const LATER_POSTGRES: &str = "UPDATE webhooks SET next_at = $1
    WHERE id IN (SELECT value::uuid FROM jsonb_array_elements_text($2))";
const LATER_SQLITE: &str = "UPDATE webhooks SET next_at = $1 WHERE id IN (SELECT unhex(value) FROM json_each($2))";
const TOLD: &str = "DELETE FROM webhooks WHERE id = $1";
const FAILED: &str = "UPDATE webhooks SET attempts = attempts + 1, next_at = $2 WHERE id = $1";
const GIVE_UP: &str = "DELETE FROM webhooks WHERE id = $1 AND attempts >= $2";

roadstead_store::for_pools! {
    impl WebhookStore for [PgPool, SqlitePool] {
        async fn claim_webhooks(&self, at: DateTime<Utc>, again: DateTime<Utc>) -> Result<Vec<DueWebhook>> {
            let waiting: bool = sqlx::query_scalar(WAITING).bind(at).fetch_one(self).await?;
            if !waiting {
                return Ok(Vec::new());
            }
            let mut tx = self.begin_write().await?;
            let rows: Vec<(Uuid, Uuid, String, Json<Value>, i64)> = sqlx::query_as(Self::pick(DUE_POSTGRES, DUE_SQLITE))
                .bind(at)
                .bind(WEBHOOKS_AT_ONCE)
                .fetch_all(&mut *tx)
                .await?;
            let ids: Vec<String> = rows.iter().map(|row| hex(row.0)).collect();
            sqlx::query(Self::pick(LATER_POSTGRES, LATER_SQLITE))
                .bind(again)
                .bind(Json(&ids))
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            Ok(rows
                .into_iter()
                .map(|(id, operation, sealed_url, Json(body), attempts)| DueWebhook {
                    id,
                    operation: OperationId::from_uuid(operation),
                    sealed_url,
                    body,
                    attempts,
                })
                .collect())
        }

        async fn webhook_told(&self, id: Uuid) -> Result<()> {
            let mut tx = self.begin_write().await?;
            sqlx::query(TOLD).bind(id).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(())
        }

        async fn webhook_failed(&self, id: Uuid, next_at: DateTime<Utc>) -> Result<()> {
            let mut tx = self.begin_write().await?;
            sqlx::query(FAILED).bind(id).bind(next_at).execute(&mut *tx).await?;
            sqlx::query(GIVE_UP).bind(id).bind(WEBHOOK_TRIES).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(())
        }
    }
}
