//! Answers to changes that were done, kept with them in the table `handled`: a message that is delivered twice is answered
//! as it was the first time.

use std::future::Future;

use chrono::{DateTime, Utc};
use roadstead_contracts::ids::{MessageId, TypedId as _};
use serde::Serialize;
use serde_json::Value;
use sqlx::types::{Json, Uuid};
use sqlx::{PgConnection, Postgres, Sqlite, SqliteConnection};

use crate::error::{Error, Result};
use crate::transaction::WriteTransaction;

const KEEP: &str = "INSERT INTO handled (message_id, reply, at) VALUES ($1, $2, $3)";
const FIND: &str = "SELECT reply FROM handled WHERE message_id = $1";

/// A driver whose transactions take receipts.
pub trait ReceiptDatabase: sqlx::Database {
    /// Writes one.
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

/// Keeps the answer to a message in the transaction of its change. What no message asked for has no receipt.
pub async fn keep<DB: ReceiptDatabase>(
    tx: &mut WriteTransaction<DB>,
    message: Option<MessageId>,
    reply: &(impl Serialize + Sync),
    at: DateTime<Utc>,
) -> Result<()> {
    let Some(message) = message else { return Ok(()) };
    let reply = serde_json::to_value(reply).map_err(|fault| Error::Corrupt(fault.to_string()))?;
    DB::keep(&mut **tx, message.uuid(), Json(reply), at).await
}

/// A database that keeps receipts.
#[async_trait::async_trait]
pub trait Receipts: Send + Sync {
    /// The answer to a change that was done already.
    async fn reply_of(&self, message: MessageId) -> Result<Option<Value>>;
}

crate::for_pools! {
    impl Receipts for [PgPool, SqlitePool] {
        async fn reply_of(&self, message: MessageId) -> Result<Option<Value>> {
            let reply: Option<Json<Value>> =
                sqlx::query_scalar(FIND).bind(message.uuid()).fetch_optional(self).await?;
            Ok(reply.map(|Json(value)| value))
        }
    }
}
