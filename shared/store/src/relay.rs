//! Rows that leave with the transaction that made them true: written with the state, handed on by a relay afterwards, at
//! least once (each carries an id that is the same every time). [`crate::outbox`] sends events by it, [`crate::audit`]
//! records.
//!
//! Several replicas may relay at once, so rows may overtake each other.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use roadstead_runtime::{OnFailure, SharedClock, Tasks, kill};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool, Postgres, Sqlite, SqliteConnection, SqlitePool};
use tokio::sync::Notify;

use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::open::Opened;
use crate::transaction::WriteTransaction;

/// A relay that died leaves its batch to others after this long: longer than the other side may take (10 s). A file has no
/// others: there the next start takes it up at once.
const CLAIM: TimeDelta = TimeDelta::seconds(15);
/// How long a row may wait when nobody nudged the relay (another replica wrote it and died).
const POLL: Duration = Duration::from_millis(500);
/// Wait after the other side refused.
const RETRY: Duration = Duration::from_secs(1);
/// How long a stop waits for the other side. What does not leave in time leaves after the next start.
const LAST_PASS: Duration = Duration::from_secs(1);

/// What is written into a table of its own and handed on from there.
pub trait Posted: Serialize + DeserializeOwned + Clone + fmt::Debug + Send + Sync + Unpin + 'static {
    /// The statements for its table ([`statements`]).
    const SQL: &'static Statements;
    /// One of it, for people.
    const NAME: &'static str;
    /// Name of the relay's task.
    const TASK: &'static str;
    /// Rows handed on together.
    const BATCH: u32;
    /// How long the first of a batch waits for others: what nobody waits for costs less together.
    const GATHER: Duration;

    /// When it came to be.
    fn at(&self) -> DateTime<Utc>;
}

/// The statements for one table.
#[derive(Debug)]
pub struct Statements {
    pub(crate) insert: &'static str,
    /// SQLite's: what to hand on.
    pub(crate) look: &'static str,
    /// SQLite's: what cannot be read is laid aside.
    pub(crate) park: &'static str,
    /// PostgreSQL's: whether there is something to claim.
    pub(crate) waiting: &'static str,
    pub(crate) free: &'static str,
    /// PostgreSQL's.
    pub(crate) claim: &'static str,
    /// PostgreSQL's, SQLite's.
    pub(crate) sent: [&'static str; 2],
    pub(crate) kept: [&'static str; 2],
    pub(crate) backlog: &'static str,
}

/// The statements for a table with this column of JSON.
macro_rules! statements {
    ($table:literal, $column:literal) => {
        &$crate::relay::Statements {
            insert: concat!("INSERT INTO ", $table, " (", $column, ", created_at) VALUES ($1, $2)"),
            waiting: concat!("SELECT EXISTS (SELECT 1 FROM ", $table, " WHERE claimed_until IS NULL OR claimed_until < $1)"),
            free: concat!("UPDATE ", $table, " SET claimed_until = NULL WHERE claimed_until IS NOT NULL"),
            look: concat!(
                "SELECT seq, ", $column, " FROM ", $table,
                " WHERE claimed_until IS NULL OR claimed_until < $1 ORDER BY seq LIMIT $2"
            ),
            park: concat!("UPDATE ", $table, " SET claimed_until = $1 WHERE seq IN (SELECT value FROM json_each($2))"),
            claim: concat!(
                "UPDATE ", $table, " SET claimed_until = $2 WHERE seq IN (SELECT seq FROM ", $table,
                " WHERE claimed_until IS NULL OR claimed_until < $1 ORDER BY seq LIMIT $3 FOR UPDATE SKIP LOCKED) RETURNING seq, ", $column
            ),
            sent: [
                concat!("DELETE FROM ", $table, " WHERE seq IN (SELECT value::bigint FROM jsonb_array_elements_text($1))"),
                concat!("DELETE FROM ", $table, " WHERE seq IN (SELECT value FROM json_each($1))"),
            ],
            kept: [
                concat!(
                    "UPDATE ", $table, " SET claimed_until = NULL WHERE seq IN ",
                    "(SELECT value::bigint FROM jsonb_array_elements_text($1))"
                ),
                concat!("UPDATE ", $table, " SET claimed_until = NULL WHERE seq IN (SELECT value FROM json_each($1))"),
            ],
            backlog: concat!("SELECT count(*), min(created_at) FROM ", $table),
        }
    };
}
pub(crate) use statements;

/// A driver whose transactions take such rows.
pub trait PostDatabase: sqlx::Database {
    /// Writes one row.
    fn insert<T: Posted>(
        connection: &mut Self::Connection,
        row: Json<T>,
        at: DateTime<Utc>,
    ) -> impl Future<Output = Result<()>> + Send;
}

impl PostDatabase for Postgres {
    async fn insert<T: Posted>(connection: &mut PgConnection, row: Json<T>, at: DateTime<Utc>) -> Result<()> {
        sqlx::query(T::SQL.insert).bind(row).bind(at).execute(connection).await?;
        Ok(())
    }
}

impl PostDatabase for Sqlite {
    async fn insert<T: Posted>(connection: &mut SqliteConnection, row: Json<T>, at: DateTime<Utc>) -> Result<()> {
        sqlx::query(T::SQL.insert).bind(row).bind(at).execute(connection).await?;
        Ok(())
    }
}

/// Puts a row into the transaction.
pub(crate) async fn post<DB: PostDatabase, T: Posted>(tx: &mut WriteTransaction<DB>, row: &T) -> Result<()> {
    DB::insert(&mut **tx, Json(row.clone()), row.at()).await
}

/// Puts a row into a transaction of its own.
pub(crate) async fn post_alone<T: Posted>(opened: &Opened, row: &T) -> Result<()> {
    match opened {
        // One statement is one.
        Opened::Postgres(pool) => PgPool::bounded(insert_alone(pool, row)).await,
        Opened::Sqlite(pool) => {
            let mut tx = pool.begin_write().await?;
            post(&mut tx, row).await?;
            tx.commit().await?;
            Ok(())
        }
    }
}

async fn insert_alone<T: Posted>(pool: &PgPool, row: &T) -> Result<()> {
    sqlx::query(T::SQL.insert).bind(Json(row)).bind(row.at()).execute(pool).await?;
    Ok(())
}

/// Hands on what a table holds. Cheap to clone.
#[derive(Debug)]
pub struct Relay<T> {
    opened: Opened,
    clock: SharedClock,
    wake: Arc<Notify>,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Relay<T> {
    fn clone(&self) -> Self {
        let (opened, clock, wake) = (self.opened.clone(), SharedClock::clone(&self.clock), Arc::clone(&self.wake));
        Self { opened, clock, wake, of: PhantomData }
    }
}

impl<T: Posted> Relay<T> {
    /// A relay for a database.
    pub fn new(opened: Opened, clock: SharedClock) -> Self {
        Self { opened, clock, wake: Arc::new(Notify::new()), of: PhantomData }
    }

    /// Says that a row was just committed, so that it leaves at once.
    pub fn nudge(&self) {
        self.wake.notify_one();
    }

    /// How many wait, and since when the oldest does.
    pub async fn backlog(&self) -> Result<(u64, Option<DateTime<Utc>>)> {
        let (count, oldest) = match &self.opened {
            Opened::Postgres(pool) => pool.backlog(T::SQL).await?,
            Opened::Sqlite(pool) => pool.backlog(T::SQL).await?,
        };
        Ok((u64::try_from(count).unwrap_or(0), oldest))
    }

    /// Relays until the process stops. `hand_on` answers, once the other side has them, which of the rows it took.
    pub(crate) fn relay<P, F>(&self, tasks: &Tasks, hand_on: P)
    where
        P: Fn(Vec<T>) -> F + Send + Sync + Clone + 'static,
        F: Future<Output = Vec<bool>> + Send + 'static,
    {
        let (relay, stopping) = (self.clone(), tasks.stopping());
        tasks.run(T::TASK, OnFailure::Restart, move || {
            let (relay, stopping, hand_on) = (relay.clone(), stopping.clone(), hand_on.clone());
            async move {
                let work = async {
                    // Whoever had claimed something there is gone.
                    if let Opened::Sqlite(pool) = &relay.opened {
                        free(pool, T::SQL).await?;
                    }
                    loop {
                        let wait = relay.pass(&hand_on).await?;
                        let asked = async {
                            tokio::select! {
                                () = relay.wake.notified() => tokio::time::sleep(T::GATHER).await,
                                () = tokio::time::sleep(wait) => {}
                            }
                        };
                        tokio::select! {
                            // What was committed while we waited may still leave.
                            () = stopping.cancelled() => return relay.pass(&hand_on).await.map(drop),
                            () = asked => {}
                        }
                    }
                };
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
    async fn pass<P, F>(&self, hand_on: &P) -> Result<Duration>
    where
        P: Fn(Vec<T>) -> F + Sync,
        F: Future<Output = Vec<bool>> + Send,
    {
        loop {
            let now = self.clock.now();
            let batch = match &self.opened {
                Opened::Postgres(pool) => PgPool::bounded(claim(pool, T::SQL, T::BATCH, now)).await?,
                Opened::Sqlite(pool) => look(pool, T::SQL, T::BATCH, now).await?,
            };
            if batch.is_empty() {
                return Ok(POLL);
            }
            // What is committed from here on is nudged for, or waits for the next look.
            let last = batch.len() < usize::try_from(T::BATCH).unwrap_or(usize::MAX);
            let (mut rows, mut numbers, mut torn) =
                (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()), Vec::new());
            for (seq, Json(value)) in batch {
                match serde_json::from_value::<T>(value) {
                    Ok(row) => {
                        numbers.push(seq);
                        rows.push(row);
                    }
                    // It stays until somebody looks at it, and is never lost; the others go on.
                    Err(fault) => {
                        tracing::error!("{} {seq} cannot be read, it is parked: {fault}", T::NAME);
                        torn.push(seq);
                    }
                }
            }
            // On PostgreSQL they are claimed already.
            if let Opened::Sqlite(pool) = &self.opened
                && !torn.is_empty()
            {
                park(pool, T::SQL, &torn, now).await?;
            }
            kill::point("relay.claimed");
            if rows.is_empty() {
                continue;
            }
            let taken = hand_on(rows).await;
            kill::point("relay.handed_on");
            let taken = taken.into_iter().chain(std::iter::repeat(false));
            let (sent, kept): (Vec<_>, Vec<_>) = numbers.into_iter().zip(taken).partition(|(_, taken)| *taken);
            let numbers = |rows: Vec<(i64, bool)>| rows.into_iter().map(|(seq, _)| seq).collect::<Vec<_>>();
            let (sent, kept) = (numbers(sent), numbers(kept));
            match &self.opened {
                Opened::Postgres(pool) => pool.settle(T::SQL, &sent, &kept).await?,
                Opened::Sqlite(pool) => pool.settle(T::SQL, &sent, &kept).await?,
            }
            kill::point("relay.settled");
            if !kept.is_empty() {
                tracing::warn!("{} of kind {} wait for the other side", kept.len(), T::NAME);
                return Ok(RETRY);
            }
            if last {
                return Ok(POLL);
            }
        }
    }
}

/// Numbers of rows, and what is in them.
type Read = Vec<(i64, Json<serde_json::Value>)>;

/// The oldest rows, which are this replica's for a while: another gets others.
async fn claim(pool: &PgPool, sql: &Statements, batch: u32, now: DateTime<Utc>) -> Result<Read> {
    // Asked first: a claim writes, and most looks find nothing.
    let waiting: bool = sqlx::query_scalar(sql.waiting).bind(now).fetch_one(pool).await?;
    if !waiting {
        return Ok(Vec::new());
    }
    let mut rows: Read =
        sqlx::query_as(sql.claim).bind(now).bind(now + CLAIM).bind(i64::from(batch)).fetch_all(pool).await?;
    rows.sort_by_key(|(seq, _)| *seq);
    Ok(rows)
}

/// The oldest rows. A file has one relay: nothing is claimed, so nothing is written before it is handed on.
async fn look(pool: &SqlitePool, sql: &Statements, batch: u32, now: DateTime<Utc>) -> Result<Read> {
    Ok(sqlx::query_as(sql.look).bind(now).bind(i64::from(batch)).fetch_all(pool).await?)
}

/// Lays aside what cannot be read.
async fn park(pool: &SqlitePool, sql: &Statements, torn: &[i64], now: DateTime<Utc>) -> Result<()> {
    let mut tx = pool.begin_write().await?;
    sqlx::query(sql.park).bind(now + CLAIM).bind(Json(torn)).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

/// Takes back what a relay that is gone had laid aside.
async fn free(pool: &SqlitePool, sql: &Statements) -> Result<()> {
    let mut tx = pool.begin_write().await?;
    sqlx::query(sql.free).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

/// What became of rows, and how many there are.
#[async_trait::async_trait]
trait Rows {
    async fn settle(&self, sql: &Statements, sent: &[i64], kept: &[i64]) -> Result<()>;
    async fn backlog(&self, sql: &Statements) -> Result<(i64, Option<DateTime<Utc>>)>;
}

crate::for_pools! {
    impl Rows for [PgPool, SqlitePool] {
        async fn settle(&self, sql: &Statements, sent: &[i64], kept: &[i64]) -> Result<()> {
            let mut tx = self.begin_write().await?;
            for ([postgres, sqlite], numbers) in [(sql.sent, sent), (sql.kept, kept)] {
                if !numbers.is_empty() {
                    sqlx::query(Self::pick(postgres, sqlite)).bind(Json(numbers)).execute(&mut *tx).await?;
                }
            }
            tx.commit().await?;
            Ok(())
        }

        async fn backlog(&self, sql: &Statements) -> Result<(i64, Option<DateTime<Utc>>)> {
            Ok(sqlx::query_as(sql.backlog).fetch_one(self).await.map_err(Error::from)?)
        }
    }
}
