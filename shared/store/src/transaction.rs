//! Transactions that write.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use sqlx::{Database, SqlitePool};
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

use crate::error::Result;
use crate::open;

/// Longest that somebody waits for the turn to write a file. Each writer ahead has had its statements' own limits by then.
const TURN_MAX: Duration = Duration::from_secs(10);

/// The right to write next, until it is dropped; of a server, which takes many writers, it is nobody's.
///
/// A file has one writer. SQLite's own waiting is a sleep of up to a tenth of a second and another try, which a busy neighbour
/// wins every time. In line for a turn that lasts as long as the transaction everybody gets there in order, as soon as the one
/// before has ended.
#[derive(Debug)]
#[must_use = "it lasts until it is dropped"]
pub struct Turn {
    _held: Option<OwnedMutexGuard<()>>,
}

impl Turn {
    /// Of a server.
    pub(crate) fn nobodys() -> Self {
        Self { _held: None }
    }

    /// Of a file: the others of this process wait in line, those of other processes as SQLite has it.
    pub(crate) async fn of(pool: &SqlitePool) -> Result<Self> {
        let turn = timeout(TURN_MAX, turns_of(pool).lock_owned()).await.map_err(|_| sqlx::Error::PoolTimedOut)?;
        Ok(Self { _held: Some(turn) })
    }
}

fn turns_of(pool: &SqlitePool) -> Arc<tokio::sync::Mutex<()>> {
    /// One for each file that this process has opened.
    static TURNS: LazyLock<Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>> = LazyLock::new(Mutex::default);
    let options = pool.connect_options();
    let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(turn) = turns.get(options.get_filename()) {
        return Arc::clone(turn);
    }
    Arc::clone(turns.entry(options.get_filename().to_owned()).or_default())
}

/// A transaction that writes. Rolled back where it is dropped; `&mut *tx` is its executor.
#[derive(Debug)]
pub struct WriteTransaction<DB: Database> {
    // Ends before the turn does.
    inner: sqlx::Transaction<'static, DB>,
    turn: Turn,
}

impl<DB: Database> WriteTransaction<DB> {
    /// Begins in a task of its own: sqlx 0.9 gives a connection whose `begin` was cancelled back to the pool with the
    /// transaction open (transact-rs/sqlx#4385). The task finishes, and the transaction that nobody takes is rolled back; one
    /// that the `longest` ends is looked at as its connection comes back.
    pub(crate) async fn begin(
        pool: sqlx::Pool<DB>,
        statement: &'static str,
        turn: Turn,
        longest: Duration,
    ) -> Result<Self> {
        let work = async move {
            let mut begin = std::pin::pin!(pool.begin_with(statement));
            let begun = timeout(longest, &mut begin).await.unwrap_or_else(|_| {
                // Said before the connection comes back.
                open::doubt();
                Err(sqlx::Error::PoolTimedOut)
            });
            begun.map(|inner| Self { inner, turn })
        };
        #[expect(clippy::disallowed_methods, reason = "ends by itself, after the longest at the latest")]
        let begun = tokio::spawn(work);
        match begun.await {
            Ok(transaction) => Ok(transaction?),
            Err(_) => Err(sqlx::Error::WorkerCrashed.into()),
        }
    }

    /// Makes true what was written.
    pub async fn commit(self) -> Result<()> {
        self.inner.commit().await?;
        drop(self.turn);
        Ok(())
    }

    /// Undoes what was written.
    pub async fn rollback(self) -> Result<()> {
        self.inner.rollback().await?;
        drop(self.turn);
        Ok(())
    }
}

impl<DB: Database> Deref for WriteTransaction<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        &self.inner
    }
}

impl<DB: Database> DerefMut for WriteTransaction<DB> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        &mut self.inner
    }
}
