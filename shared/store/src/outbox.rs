//! Events that leave with the transaction that made them true: the row is written with the state, and a relay publishes
//! it afterwards, at least once (the event's id is the same every time).
//!
//! Several replicas may relay at once, so events may overtake each other: subscribers look the state up.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use roadstead_contracts::event::Event;
use roadstead_runtime::{OnFailure, SharedClock, Tasks};
use sqlx::types::Json;
use sqlx::{PgConnection, Postgres, Sqlite, SqliteConnection, Transaction};
use tokio::sync::Notify;

use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::open::Opened;

/// Events published together: one confirm round trip of the broker for all.
const BATCH: i64 = 128;
/// A relay that died leaves its batch to others after this long.
const CLAIM: TimeDelta = TimeDelta::seconds(30);
/// How long an event may wait when nobody nudged the relay (another replica wrote it and died).
const POLL: Duration = Duration::from_millis(500);
/// Wait after the broker refused.
const RETRY: Duration = Duration::from_secs(1);

/// A driver whose transactions take events.
pub trait EventDatabase: sqlx::Database {
    /// Writes one row.
    fn insert(
        connection: &mut Self::Connection,
        event: Json<Event>,
        at: DateTime<Utc>,
    ) -> impl Future<Output = Result<()>> + Send;
}

const INSERT: &str = "INSERT INTO outbox (event, created_at) VALUES ($1, $2)";

impl EventDatabase for Postgres {
    async fn insert(connection: &mut PgConnection, event: Json<Event>, at: DateTime<Utc>) -> Result<()> {
        sqlx::query(INSERT).bind(event).bind(at).execute(connection).await?;
        Ok(())
    }
}

impl EventDatabase for Sqlite {
    async fn insert(connection: &mut SqliteConnection, event: Json<Event>, at: DateTime<Utc>) -> Result<()> {
        sqlx::query(INSERT).bind(event).bind(at).execute(connection).await?;
        Ok(())
    }
}

/// Puts an event into the transaction.
pub async fn push<DB: EventDatabase>(tx: &mut Transaction<'static, DB>, event: &Event) -> Result<()> {
    DB::insert(&mut **tx, Json(event.clone()), event.at).await
}

/// Publishes what the outbox holds. Cheap to clone.
#[derive(Debug, Clone)]
pub struct OutboxRelay {
    opened: Opened,
    clock: SharedClock,
    wake: Arc<Notify>,
}

impl OutboxRelay {
    /// A relay for a database.
    pub fn new(opened: Opened, clock: SharedClock) -> Self {
        Self { opened, clock, wake: Arc::new(Notify::new()) }
    }

    /// Says that an event was just committed, so that it leaves at once.
    pub fn nudge(&self) {
        self.wake.notify_one();
    }

    /// How many wait, and since when the oldest does.
    pub async fn backlog(&self) -> Result<(u64, Option<DateTime<Utc>>)> {
        let (count, oldest) = match &self.opened {
            Opened::Postgres(pool) => pool.backlog().await?,
            Opened::Sqlite(pool) => pool.backlog().await?,
        };
        Ok((u64::try_from(count).unwrap_or(0), oldest))
    }

    /// Relays until the process stops. `publish` answers once the broker has the event.
    pub fn start<P, F, E>(&self, tasks: &Tasks, publish: P)
    where
        P: Fn(Event) -> F + Send + Sync + Clone + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        let (relay, stopping) = (self.clone(), tasks.stopping());
        tasks.run("outbox", OnFailure::Restart, move || {
            let (relay, stopping, publish) = (relay.clone(), stopping.clone(), publish.clone());
            async move {
                loop {
                    let wait = relay.pass(&publish).await?;
                    tokio::select! {
                        () = stopping.cancelled() => {
                            // What was committed while we waited may still leave; the rest leaves after the next start.
                            relay.pass(&publish).await?;
                            return Ok(());
                        }
                        () = relay.wake.notified() => {}
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        });
    }

    /// Publishes everything there is; answers how long to wait for more.
    async fn pass<P, F, E>(&self, publish: &P) -> Result<Duration>
    where
        P: Fn(Event) -> F + Sync,
        F: Future<Output = Result<(), E>> + Send,
        E: std::fmt::Display + Send,
    {
        loop {
            let now = self.clock.now();
            let batch = match &self.opened {
                Opened::Postgres(pool) => pool.claim(now).await?,
                Opened::Sqlite(pool) => pool.claim(now).await?,
            };
            if batch.is_empty() {
                return Ok(POLL);
            }
            let mut sent = Vec::with_capacity(batch.len());
            let mut kept = Vec::new();
            let mut publishing = Vec::with_capacity(batch.len());
            for (seq, value) in batch {
                match serde_json::from_value::<Event>(value) {
                    Ok(event) => publishing.push(async move { (seq, publish(event).await) }),
                    // It stays claimed for ever, for somebody to look at; the others go on.
                    Err(fault) => tracing::error!("event {seq} of the outbox cannot be read, it is parked: {fault}"),
                }
            }
            for (seq, result) in join_all(publishing).await {
                match result {
                    Ok(()) => sent.push(seq),
                    Err(fault) => {
                        tracing::debug!("event {seq} was not published: {fault}");
                        kept.push(seq);
                    }
                }
            }
            match &self.opened {
                Opened::Postgres(pool) => pool.settle(&sent, &kept).await?,
                Opened::Sqlite(pool) => pool.settle(&sent, &kept).await?,
            }
            if !kept.is_empty() {
                tracing::warn!("{} events wait for the broker", kept.len());
                return Ok(RETRY);
            }
        }
    }
}

#[async_trait::async_trait]
trait Rows {
    async fn claim(&self, now: DateTime<Utc>) -> Result<Vec<(i64, serde_json::Value)>>;
    async fn settle(&self, sent: &[i64], kept: &[i64]) -> Result<()>;
    async fn backlog(&self) -> Result<(i64, Option<DateTime<Utc>>)>;
}

const WAITING: &str = "SELECT EXISTS (SELECT 1 FROM outbox WHERE claimed_until IS NULL OR claimed_until < $1)";
const CLAIM_POSTGRES: &str = "UPDATE outbox SET claimed_until = $2 WHERE seq IN (
    SELECT seq FROM outbox WHERE claimed_until IS NULL OR claimed_until < $1 ORDER BY seq LIMIT $3 FOR UPDATE SKIP LOCKED
) RETURNING seq, event";
const CLAIM_SQLITE: &str = "UPDATE outbox SET claimed_until = $2 WHERE seq IN (
    SELECT seq FROM outbox WHERE claimed_until IS NULL OR claimed_until < $1 ORDER BY seq LIMIT $3
) RETURNING seq, event";
const SENT_POSTGRES: &str = "DELETE FROM outbox WHERE seq IN (SELECT value::bigint FROM jsonb_array_elements_text($1))";
const SENT_SQLITE: &str = "DELETE FROM outbox WHERE seq IN (SELECT value FROM json_each($1))";
const KEPT_POSTGRES: &str =
    "UPDATE outbox SET claimed_until = NULL WHERE seq IN (SELECT value::bigint FROM jsonb_array_elements_text($1))";
const KEPT_SQLITE: &str = "UPDATE outbox SET claimed_until = NULL WHERE seq IN (SELECT value FROM json_each($1))";

crate::for_pools! {
    impl Rows for [PgPool, SqlitePool] {
        async fn claim(&self, now: DateTime<Utc>) -> Result<Vec<(i64, serde_json::Value)>> {
            // Asked first, because the claim takes SQLite's write lock.
            let waiting: bool = sqlx::query_scalar(WAITING).bind(now).fetch_one(self).await?;
            if !waiting {
                return Ok(Vec::new());
            }
            // As a transaction, so that on SQLite it waits for its turn like every other writer.
            let mut tx = self.begin_write().await?;
            let mut rows: Vec<(i64, Json<serde_json::Value>)> = sqlx::query_as(Self::pick(CLAIM_POSTGRES, CLAIM_SQLITE))
                .bind(now)
                .bind(now + CLAIM)
                .bind(BATCH)
                .fetch_all(&mut *tx)
                .await?;
            tx.commit().await?;
            rows.sort_by_key(|(seq, _)| *seq);
            Ok(rows.into_iter().map(|(seq, Json(value))| (seq, value)).collect())
        }

        async fn settle(&self, sent: &[i64], kept: &[i64]) -> Result<()> {
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

        async fn backlog(&self) -> Result<(i64, Option<DateTime<Utc>>)> {
            Ok(sqlx::query_as("SELECT count(*), min(created_at) FROM outbox").fetch_one(self).await.map_err(Error::from)?)
        }
    }
}
