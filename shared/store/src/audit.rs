//! The audit trail's way out of a service: a record is written with the change it tells of, in the same transaction, and a
//! relay hands it on afterwards, at least once (its id is the same every time).
//!
//! A verb that changes something calls [`fn@write`] before it commits. Where a change is made and stored in one transaction one
//! outcome is enough; where something happens outside the database, an intent is committed first and an outcome after.
//! What cannot be written fails the transaction, so nothing is done that is not recorded.

mod trail;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use roadstead_contracts::audit::{AuditRecord, BATCH_MAX};
use roadstead_runtime::{OnFailure, SharedClock, Tasks};
use sqlx::types::Json;
use sqlx::{PgConnection, Postgres, Sqlite, SqliteConnection, Transaction};
use tokio::sync::Notify;

pub use trail::{Deed, Trail};

use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::open::Opened;

/// Records handed on together.
const BATCH: u32 = BATCH_MAX;
/// A relay that died leaves its batch to others after this long.
const CLAIM: TimeDelta = TimeDelta::seconds(30);
/// How long a record may wait when nobody nudged the relay.
const POLL: Duration = Duration::from_millis(500);
/// Wait after the other side refused.
const RETRY: Duration = Duration::from_secs(1);

/// How long a stop waits for the other side.
const LAST_PASS: Duration = Duration::from_secs(1);

/// A driver whose transactions take records.
pub trait AuditDatabase: sqlx::Database {
    /// Writes one row.
    fn insert(
        connection: &mut Self::Connection,
        record: Json<AuditRecord>,
        at: DateTime<Utc>,
    ) -> impl Future<Output = Result<()>> + Send;
}

const INSERT: &str = "INSERT INTO audit_outbox (record, created_at) VALUES ($1, $2)";

impl AuditDatabase for Postgres {
    async fn insert(connection: &mut PgConnection, record: Json<AuditRecord>, at: DateTime<Utc>) -> Result<()> {
        sqlx::query(INSERT).bind(record).bind(at).execute(connection).await?;
        Ok(())
    }
}

impl AuditDatabase for Sqlite {
    async fn insert(connection: &mut SqliteConnection, record: Json<AuditRecord>, at: DateTime<Utc>) -> Result<()> {
        sqlx::query(INSERT).bind(record).bind(at).execute(connection).await?;
        Ok(())
    }
}

/// Puts a record into the transaction.
pub async fn write<DB: AuditDatabase>(tx: &mut Transaction<'static, DB>, record: &AuditRecord) -> Result<()> {
    DB::insert(&mut **tx, Json(record.clone()), record.at).await
}

/// Writes a record by itself: an intent, or the outcome of something that changed nothing here (a refusal).
pub async fn write_alone(opened: &Opened, record: &AuditRecord) -> Result<()> {
    match opened {
        Opened::Postgres(pool) => pool.write_alone(record).await,
        Opened::Sqlite(pool) => pool.write_alone(record).await,
    }
}

/// Hands on what the outbox holds. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AuditRelay {
    opened: Opened,
    clock: SharedClock,
    wake: Arc<Notify>,
}

impl AuditRelay {
    /// A relay for a database.
    pub fn new(opened: Opened, clock: SharedClock) -> Self {
        Self { opened, clock, wake: Arc::new(Notify::new()) }
    }

    /// Says that a record was just committed.
    pub fn nudge(&self) {
        self.wake.notify_one();
    }

    /// How many wait, and since when the oldest does.
    pub async fn backlog(&self) -> Result<(u64, Option<DateTime<Utc>>)> {
        let (count, oldest) = match &self.opened {
            Opened::Postgres(pool) => pool.audit_backlog().await?,
            Opened::Sqlite(pool) => pool.audit_backlog().await?,
        };
        Ok((u64::try_from(count).unwrap_or(0), oldest))
    }

    /// Relays until the process stops. `deliver` answers once the records are in the chain.
    pub fn start<P, F, E>(&self, tasks: &Tasks, deliver: P)
    where
        P: Fn(Vec<AuditRecord>) -> F + Send + Sync + Clone + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        let (relay, stopping) = (self.clone(), tasks.stopping());
        tasks.run("audit-relay", OnFailure::Restart, move || {
            let (relay, stopping, deliver) = (relay.clone(), stopping.clone(), deliver.clone());
            async move {
                let work = async {
                    loop {
                        let wait = relay.pass(&deliver).await?;
                        tokio::select! {
                            () = stopping.cancelled() => return relay.pass(&deliver).await.map(drop),
                            () = relay.wake.notified() => {}
                            () = tokio::time::sleep(wait) => {}
                        }
                    }
                };
                // What does not leave in time leaves after the next start.
                let late = async {
                    stopping.cancelled().await;
                    tokio::time::sleep(LAST_PASS).await;
                };
                tokio::select! {
                    done = work => Ok(done?),
                    () = late => Ok(()),
                }
            }
        });
    }

    /// Hands on everything there is; answers how long to wait for more.
    async fn pass<P, F, E>(&self, deliver: &P) -> Result<Duration>
    where
        P: Fn(Vec<AuditRecord>) -> F + Sync,
        F: Future<Output = Result<(), E>> + Send,
        E: std::fmt::Display + Send,
    {
        loop {
            let now = self.clock.now();
            let batch = match &self.opened {
                Opened::Postgres(pool) => pool.claim_audit(now).await?,
                Opened::Sqlite(pool) => pool.claim_audit(now).await?,
            };
            if batch.is_empty() {
                return Ok(POLL);
            }
            let (mut records, mut claimed) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
            for (seq, value) in batch {
                match serde_json::from_value::<AuditRecord>(value) {
                    Ok(record) => {
                        claimed.push(seq);
                        records.push(record);
                    }
                    // It stays claimed until somebody looks at it, and is never lost.
                    Err(fault) => tracing::error!("audit record {seq} cannot be read, it is parked: {fault}"),
                }
            }
            if claimed.is_empty() {
                return Ok(POLL);
            }
            let delivered = deliver(records).await;
            let (sent, kept) = if delivered.is_ok() { (claimed, Vec::new()) } else { (Vec::new(), claimed) };
            match &self.opened {
                Opened::Postgres(pool) => pool.settle_audit(&sent, &kept).await?,
                Opened::Sqlite(pool) => pool.settle_audit(&sent, &kept).await?,
            }
            if let Err(fault) = delivered {
                tracing::warn!("{} audit records wait: {fault}", kept.len());
                return Ok(RETRY);
            }
        }
    }
}

#[async_trait::async_trait]
trait Rows {
    async fn write_alone(&self, record: &AuditRecord) -> Result<()>;
    async fn claim_audit(&self, now: DateTime<Utc>) -> Result<Vec<(i64, serde_json::Value)>>;
    async fn settle_audit(&self, sent: &[i64], kept: &[i64]) -> Result<()>;
    async fn audit_backlog(&self) -> Result<(i64, Option<DateTime<Utc>>)>;
}

const WAITING: &str = "SELECT EXISTS (SELECT 1 FROM audit_outbox WHERE claimed_until IS NULL OR claimed_until < $1)";
const CLAIM_POSTGRES: &str = "UPDATE audit_outbox SET claimed_until = $2 WHERE seq IN (
    SELECT seq FROM audit_outbox WHERE claimed_until IS NULL OR claimed_until < $1 ORDER BY seq LIMIT $3 FOR UPDATE SKIP LOCKED
) RETURNING seq, record";
const CLAIM_SQLITE: &str = "UPDATE audit_outbox SET claimed_until = $2 WHERE seq IN (
    SELECT seq FROM audit_outbox WHERE claimed_until IS NULL OR claimed_until < $1 ORDER BY seq LIMIT $3
) RETURNING seq, record";
const SENT_POSTGRES: &str =
    "DELETE FROM audit_outbox WHERE seq IN (SELECT value::bigint FROM jsonb_array_elements_text($1))";
const SENT_SQLITE: &str = "DELETE FROM audit_outbox WHERE seq IN (SELECT value FROM json_each($1))";
const KEPT_POSTGRES: &str = "UPDATE audit_outbox SET claimed_until = NULL WHERE seq IN (SELECT value::bigint FROM jsonb_array_elements_text($1))";
const KEPT_SQLITE: &str = "UPDATE audit_outbox SET claimed_until = NULL WHERE seq IN (SELECT value FROM json_each($1))";

crate::for_pools! {
    impl Rows for [PgPool, SqlitePool] {
        async fn write_alone(&self, record: &AuditRecord) -> Result<()> {
            let mut tx = self.begin_write().await?;
            write(&mut tx, record).await?;
            tx.commit().await?;
            Ok(())
        }

        async fn claim_audit(&self, now: DateTime<Utc>) -> Result<Vec<(i64, serde_json::Value)>> {
            // Asked first, because the claim takes SQLite's write lock.
            let waiting: bool = sqlx::query_scalar(WAITING).bind(now).fetch_one(self).await?;
            if !waiting {
                return Ok(Vec::new());
            }
            let mut tx = self.begin_write().await?;
            let mut rows: Vec<(i64, Json<serde_json::Value>)> = sqlx::query_as(Self::pick(CLAIM_POSTGRES, CLAIM_SQLITE))
                .bind(now)
                .bind(now + CLAIM)
                .bind(i64::from(BATCH))
                .fetch_all(&mut *tx)
                .await?;
            tx.commit().await?;
            rows.sort_by_key(|(seq, _)| *seq);
            Ok(rows.into_iter().map(|(seq, Json(value))| (seq, value)).collect())
        }

        async fn settle_audit(&self, sent: &[i64], kept: &[i64]) -> Result<()> {
            let mut tx = self.begin_write().await?;
            if !sent.is_empty() {
                sqlx::query(Self::pick(SENT_POSTGRES, SENT_SQLITE)).bind(Json(sent)).execute(&mut *tx).await?;
            }
            if !kept.is_empty() {
                sqlx::query(Self::pick(KEPT_POSTGRES, KEPT_SQLITE)).bind(Json(kept)).execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(())
        }

        async fn audit_backlog(&self) -> Result<(i64, Option<DateTime<Utc>>)> {
            let found = sqlx::query_as("SELECT count(*), min(created_at) FROM audit_outbox").fetch_one(self).await;
            Ok(found.map_err(Error::from)?)
        }
    }
}
