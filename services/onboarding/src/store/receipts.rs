//! Answers to changes that were done, for messages that are delivered twice.

use std::future::Future;

use roadstead_contracts::ids::{MessageId, TypedId as _};
use roadstead_store::sqlx::types::Json;
use roadstead_store::sqlx::{self, Database, PgConnection, Postgres, Sqlite, SqliteConnection, Transaction};
use roadstead_store::{Result, outbox, relay};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Change, ReceiptStore};
use roadstead_contracts::event::Fact;

const KEEP: &str = "INSERT INTO handled (message_id, reply, at) VALUES ($1, $2, $3)";

pub(super) trait ReceiptDatabase: Database {
    fn keep(
        connection: &mut Self::Connection,
        message: Uuid,
        reply: Json<Value>,
        at: chrono::DateTime<chrono::Utc>,
    ) -> impl Future<Output = Result<()>> + Send;
}

impl ReceiptDatabase for Postgres {
    async fn keep(
        connection: &mut PgConnection,
        message: Uuid,
        reply: Json<Value>,
        at: chrono::DateTime<chrono::Utc>,
    ) -> Result<()> {
        sqlx::query(KEEP).bind(message).bind(reply).bind(at).execute(connection).await?;
        Ok(())
    }
}

impl ReceiptDatabase for Sqlite {
    async fn keep(
        connection: &mut SqliteConnection,
        message: Uuid,
        reply: Json<Value>,
        at: chrono::DateTime<chrono::Utc>,
    ) -> Result<()> {
        sqlx::query(KEEP).bind(message).bind(reply).bind(at).execute(connection).await?;
        Ok(())
    }
}

/// Keeps the answer with the change, and puts its events into the outbox.
pub(super) async fn finish<DB>(
    tx: &mut Transaction<'static, DB>,
    change: &Change,
    reply: &(impl Serialize + Sync),
    facts: Vec<Fact>,
) -> Result<()>
where
    DB: ReceiptDatabase + relay::PostDatabase,
{
    if let Some(message) = change.message {
        let reply = serde_json::to_value(reply).map_err(|fault| roadstead_store::Error::Corrupt(fault.to_string()))?;
        DB::keep(&mut **tx, message.uuid(), Json(reply), change.at).await?;
    }
    for fact in facts {
        outbox::push(tx, &change.event(fact)).await?;
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
