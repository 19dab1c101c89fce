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
//! In a body `self` is the pool, `self.begin_write()` begins a transaction (`&mut *tx` is its executor), and
//! `Self::pick(POSTGRES_SQL, SQLITE_SQL)` chooses between two named constants.

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use sqlx::{PgPool, Postgres, Sqlite, SqlitePool, Transaction};

use crate::error::Result;

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
    fn begin_write(&self) -> impl Future<Output = Result<Transaction<'static, Self::Database>>> + Send;
}

impl Dialect for PgPool {
    type Database = Postgres;

    fn pick(postgres: &'static str, _sqlite: &'static str) -> &'static str {
        postgres
    }

    async fn begin_write(&self) -> Result<Transaction<'static, Postgres>> {
        begin(self.clone(), "BEGIN").await
    }
}

impl Dialect for SqlitePool {
    type Database = Sqlite;

    fn pick(_postgres: &'static str, sqlite: &'static str) -> &'static str {
        sqlite
    }

    async fn begin_write(&self) -> Result<Transaction<'static, Sqlite>> {
        let turn = turns_of(self);
        let _turn = turn.lock().await;
        begin(self.clone(), "BEGIN IMMEDIATE").await
    }
}

/// Who may ask a file for its write lock next. SQLite's own waiting is a sleep and another try, which a busy neighbour wins
/// every time: with one that waits and the others in line behind it, everybody gets there in order.
type Turn = Arc<tokio::sync::Mutex<()>>;

fn turns_of(pool: &SqlitePool) -> Turn {
    /// One for each file that this process has opened.
    static TURNS: LazyLock<Mutex<HashMap<PathBuf, Turn>>> = LazyLock::new(Mutex::default);
    let options = pool.connect_options();
    let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(turn) = turns.get(options.get_filename()) {
        return Arc::clone(turn);
    }
    Arc::clone(turns.entry(options.get_filename().to_owned()).or_default())
}

/// Begins in a task of its own: sqlx 0.9 gives a connection whose `begin` was cancelled back to the pool with the
/// transaction open (transact-rs/sqlx#4385). The task finishes, and the transaction that nobody takes is rolled back.
async fn begin<DB: sqlx::Database>(pool: sqlx::Pool<DB>, statement: &'static str) -> Result<Transaction<'static, DB>> {
    #[expect(clippy::disallowed_methods, reason = "ends by itself within the pool's acquire time-out")]
    let begun = tokio::spawn(async move { pool.begin_with(statement).await });
    match begun.await {
        Ok(transaction) => Ok(transaction?),
        Err(_) => Err(sqlx::Error::WorkerCrashed.into()),
    }
}

/// Stamps one implementation out for both pools. See [`crate::dialect`].
#[macro_export]
macro_rules! for_pools {
    ($(impl $trait:ident for [PgPool, SqlitePool] $body:tt)+) => {$(
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
