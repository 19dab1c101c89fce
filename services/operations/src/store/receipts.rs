//! Answers to changes that were done, for messages that are delivered twice.

use std::future::Future;

use chrono::{DateTime, Utc};
use roadstead_contracts::ids::{MessageId, TypedId as _};
use roadstead_store::Result;
use roadstead_store::sqlx::types::Json;
use roadstead_store::sqlx::{self, Database, PgConnection, Postgres, Sqlite, SqliteConnection, Transaction};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::rows::json;
use super::{Change, ReceiptStore};

const KEEP: &str = "INSERT INTO handled (message_id, reply, at) VALUES ($1, $2, $3)";

pub(super) trait ReceiptDatabase: Database {
    fn keep(
        connection: &mut Self::Connection,
        message: Uuid,
        reply: Json<Value>,
        at: DateTime<Utc>,
    ) -> impl Future<Output = Result<()>> + Send;
}

impl ReceiptDatabase for Postgres {
    async fn keep(connection: &mut PgConnection, message: Uuid, reply: Json<Value>, at: DateTime<Utc>) -> Result<()> {
        sqlx::query(KEEP).bind(message).bind(reply).bind(at).execute(connection).await?;
        Ok(())
    }
}

impl ReceiptDatabase for Sqlite {
    async fn keep(
        connection: &mut SqliteConnection,
        message: Uuid,
        reply: Json<Value>,
        at: DateTime<Utc>,
    ) -> Result<()> {
        sqlx::query(KEEP).bind(message).bind(reply).bind(at).execute(connection).await?;
        Ok(())
    }
}

/// Keeps the answer with the change.
pub(super) async fn keep<DB: ReceiptDatabase>(
    tx: &mut Transaction<'static, DB>,
    change: &Change,
    reply: &(impl Serialize + Sync),
) -> Result<()> {
    if let Some(message) = change.message {
        DB::keep(&mut **tx, message.uuid(), json(reply)?, change.at).await?;
    }
    Ok(())
}

roadstead_store::for_pools! {
    impl ReceiptStore for [PgPool, SqlitePool] {
        async fn reply_of(&self, message: MessageId) -> Result<Option<Value>> {
            let reply: Option<Json<Value>> = sqlx::query_scalar("SELECT reply FROM handled WHERE message_id = $1")
                .bind(message.uuid())
                .fetch_optional(self)
                .await?;
            Ok(reply.map(|Json(value)| value))
        }
    }
}
