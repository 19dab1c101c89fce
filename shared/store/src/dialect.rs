//! How a store is written once for both databases.
//!
//! ```ignore
//! #[async_trait]
//! pub trait UserStore: Send + Sync {
//!     async fn find(&self, id: UserId) -> store::Result<Option<User>>;
//! }
//!
//! store::for_pools! {
//!     impl UserStore for [PgPool, SqlitePool] {
//!         async fn find(&self, id: UserId) -> store::Result<Option<User>> {
//!             // `UserRow` derives `sqlx::FromRow`, which works for both.
//!             let row: Option<UserRow> =
//!                 sqlx::query_as("SELECT * FROM users WHERE id = $1").bind(id.uuid()).fetch_optional(self).await?;
//!             Ok(row.map(User::from))
//!         }
//!     }
//! }
//!
//! let store: Arc<dyn UserStore> = store::share!(opened => dyn UserStore);
//! ```
//! Each body is an `async fn … -> Result<…>`. In it `self` is the pool, `self.begin_write()` begins a transaction (`&mut *tx` is its
//! executor), `let _turn = self.turn().await?;` goes before one statement that writes without a transaction, and
//! `Self::pick(POSTGRES_SQL, SQLITE_SQL)` chooses between two named constants.

use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Postgres, Sqlite, SqliteConnection, SqlitePool};
use tokio::time::timeout;

use crate::error::{Error, Result};
use crate::transaction::{Turn, WriteTransaction};

/// Longest that one method of a store takes on PostgreSQL. A connection is waited for 3 s and the server ends a statement after
/// 8; whoever takes much longer is on a connection that leads nowhere, and would be for ever.
pub const METHOD_MAX: Duration = Duration::from_secs(20);

/// What a method of a store answers: it can say that it took too long.
pub trait Late: Send {
    /// The answer of one that did.
    fn late() -> Self;
}

impl<T: Send, E: From<Error> + Send> Late for std::result::Result<T, E> {
    fn late() -> Self {
        Err(Error::from(sqlx::Error::PoolTimedOut).into())
    }
}

/// What differs between the two databases.
pub trait Dialect: Send + Sync + Sized {
    /// The driver.
    type Database: sqlx::Database;

    /// Chooses between two texts.
    fn pick(postgres: &'static str, sqlite: &'static str) -> &'static str;

    /// ` FOR UPDATE` where rows are locked one by one; nothing where a writer holds the whole file.
    fn for_update() -> &'static str {
        Self::pick(" FOR UPDATE", "")
    }

    /// Begins a transaction that will write. On SQLite the write lock is taken at once (a read that turns into a write
    /// may fail without waiting). Safe to cancel: a dropped call never leaves a transaction open on a pooled connection.
    fn begin_write(&self) -> impl Future<Output = Result<WriteTransaction<Self::Database>>> + Send;

    /// Waits for the turn to write, for a statement that is a transaction by itself: hold it around the statement.
    fn turn(&self) -> impl Future<Output = Result<Turn>> + Send;

    /// Does the work of one method, which ends after [`METHOD_MAX`] where it is a server's to answer. [`crate::for_pools!`] puts it
    /// around each body.
    fn bounded<R: Late>(work: impl Future<Output = R> + Send) -> impl Future<Output = R> + Send;

    /// The time by which replicas whose clocks differ agree: the server's; of a file, whose one process it is, `ours`.
    fn now(&self, ours: DateTime<Utc>) -> impl Future<Output = Result<DateTime<Utc>>> + Send;

    /// The same within a transaction.
    fn now_within(
        connection: &mut <Self::Database as sqlx::Database>::Connection,
        ours: DateTime<Utc>,
    ) -> impl Future<Output = Result<DateTime<Utc>>> + Send;

    /// Waits until no other transaction is in the turn of this number, and has it until the end of this one. On SQLite whoever
    /// writes has it.
    fn take_turn(
        connection: &mut <Self::Database as sqlx::Database>::Connection,
        number: i64,
    ) -> impl Future<Output = Result<()>> + Send;
}

impl Dialect for PgPool {
    type Database = Postgres;

    fn pick(postgres: &'static str, _sqlite: &'static str) -> &'static str {
        postgres
    }

    async fn begin_write(&self) -> Result<WriteTransaction<Postgres>> {
        WriteTransaction::begin(self.clone(), "BEGIN", Turn::nobodys(), METHOD_MAX).await
    }

    async fn turn(&self) -> Result<Turn> {
        Ok(Turn::nobodys())
    }

    async fn bounded<R: Late>(work: impl Future<Output = R> + Send) -> R {
        timeout(METHOD_MAX, work).await.unwrap_or_else(|_| R::late())
    }

    async fn now(&self, _ours: DateTime<Utc>) -> Result<DateTime<Utc>> {
        Ok(sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(self).await?)
    }

    async fn now_within(connection: &mut PgConnection, _ours: DateTime<Utc>) -> Result<DateTime<Utc>> {
        Ok(sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(connection).await?)
    }

    async fn take_turn(connection: &mut PgConnection, number: i64) -> Result<()> {
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(number).execute(connection).await?;
        Ok(())
    }
}

impl Dialect for SqlitePool {
    type Database = Sqlite;

    fn pick(_postgres: &'static str, sqlite: &'static str) -> &'static str {
        sqlite
    }

    async fn begin_write(&self) -> Result<WriteTransaction<Sqlite>> {
        // As long as SQLite waits for others, which ends by itself.
        WriteTransaction::begin(self.clone(), "BEGIN IMMEDIATE", Turn::of(self).await?, Duration::MAX).await
    }

    async fn turn(&self) -> Result<Turn> {
        Turn::of(self).await
    }

    async fn bounded<R: Late>(work: impl Future<Output = R> + Send) -> R {
        work.await
    }

    async fn now(&self, ours: DateTime<Utc>) -> Result<DateTime<Utc>> {
        Ok(ours)
    }

    async fn now_within(_connection: &mut SqliteConnection, ours: DateTime<Utc>) -> Result<DateTime<Utc>> {
        Ok(ours)
    }

    async fn take_turn(_connection: &mut SqliteConnection, _number: i64) -> Result<()> {
        Ok(())
    }
}

/// Stamps one implementation out for both pools. See [`crate::dialect`]. On PostgreSQL a method ends within
/// [`METHOD_MAX`]; those of an `unbounded impl` take what they take.
#[macro_export]
macro_rules! for_pools {
    ($(impl $trait:ident for [PgPool, SqlitePool] {
        $($(#[$meta:meta])* async fn $name:ident($($argument:tt)*) -> $answer:ty $body:block)*
    })+) => {
        $crate::for_pools! {$(
            unbounded impl $trait for [PgPool, SqlitePool] {$(
                $(#[$meta])*
                async fn $name($($argument)*) -> $answer {
                    <Self as $crate::Dialect>::bounded::<$answer>(async move {
                        let answer: $answer = $body;
                        answer
                    })
                    .await
                }
            )*}
        )+}
    };
    ($(unbounded impl $trait:ident for [PgPool, SqlitePool] $body:tt)+) => {$(
        #[$crate::async_trait]
        impl $trait for $crate::PgPool $body
        #[$crate::async_trait]
        impl $trait for $crate::SqlitePool $body
    )+};
}

/// An opened database as a shared trait object: `share!(opened => dyn UserStore)`. The one place that asks which it is.
#[macro_export]
macro_rules! share {
    ($opened:expr => $trait:ty) => {
        match &$opened {
            $crate::Opened::Postgres(pool) => {
                ::std::sync::Arc::new(::std::clone::Clone::clone(pool)) as ::std::sync::Arc<$trait>
            }
            $crate::Opened::Sqlite(pool) => {
                ::std::sync::Arc::new(::std::clone::Clone::clone(pool)) as ::std::sync::Arc<$trait>
            }
        }
    };
}
