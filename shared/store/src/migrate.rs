//! Schemas: files `migrations/{postgres,sqlite}/<service>/NNNNNN_what.{up,down}.sql`, carried in the binary.
//!
//! Each step runs in one transaction together with its row in `schema_migrations`, under a lock, so that a kill leaves
//! the schema at N or N+1 and two starters take turns. The tables of the outboxes and of the master keys' check
//! values belong to this crate and are made with the book-keeping.

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};

use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::open::Opened;

/// One step of one service's schema.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Migration {
    pub(crate) dialect: &'static str,
    pub(crate) service: &'static str,
    pub(crate) version: i64,
    pub(crate) name: &'static str,
    pub(crate) up: &'static str,
    pub(crate) down: &'static str,
}

const FILES: &[Migration] = include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

/// Any number that other users of the same database will not take; the lock is per database.
const LOCK_POSTGRES: &str = "SET LOCAL statement_timeout = 0; SELECT pg_advisory_xact_lock(6077135413112)";
const LOCK_SQLITE: &str = "SELECT 1";

const TABLES_POSTGRES: &str = "
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    bigint      PRIMARY KEY,
    name       text        NOT NULL,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS outbox (
    seq           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event         jsonb       NOT NULL,
    created_at    timestamptz NOT NULL,
    claimed_until timestamptz
);
CREATE TABLE IF NOT EXISTS audit_outbox (
    seq           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    record        jsonb       NOT NULL,
    created_at    timestamptz NOT NULL,
    claimed_until timestamptz
);
CREATE TABLE IF NOT EXISTS seal_checks (
    version       bigint      PRIMARY KEY,
    value         text        NOT NULL
);";
const TABLES_SQLITE: &str = "
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL,
    checksum   TEXT    NOT NULL,
    applied_at TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now'))
) STRICT;
CREATE TABLE IF NOT EXISTS outbox (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    event         TEXT    NOT NULL,
    created_at    TEXT    NOT NULL,
    claimed_until TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS audit_outbox (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    record        TEXT    NOT NULL,
    created_at    TEXT    NOT NULL,
    claimed_until TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS seal_checks (
    version       INTEGER PRIMARY KEY,
    value         TEXT    NOT NULL
) STRICT;";

/// One step and whether the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Number.
    pub version: i64,
    /// What it does.
    pub name: String,
    /// When it was applied.
    pub applied_at: Option<DateTime<Utc>>,
}

/// Brings a service's schema up or down.
#[derive(Debug, Clone)]
pub struct Migrator {
    postgres: Vec<Migration>,
    sqlite: Vec<Migration>,
}

/// The migrations of a service: `migrations!("user")`.
#[macro_export]
macro_rules! migrations {
    ($service:literal) => {
        $crate::Migrator::of($service)
    };
}

impl Migrator {
    /// The steps of a service.
    pub fn of(service: &str) -> Self {
        let steps = |dialect: &str| {
            FILES.iter().filter(|step| step.dialect == dialect && step.service == service).copied().collect::<Vec<_>>()
        };
        Self { postgres: steps("postgres"), sqlite: steps("sqlite") }
    }

    /// Applies every step that is missing; answers how many. Refuses a schema that is newer than this build and a step
    /// whose file has changed since it was applied.
    pub async fn up(&self, opened: &Opened) -> Result<usize> {
        let mut count = 0;
        while match opened {
            Opened::Postgres(pool) => pool.up_one(&self.postgres).await?,
            Opened::Sqlite(pool) => pool.up_one(&self.sqlite).await?,
        } {
            count += 1;
        }
        Ok(count)
    }

    /// Undoes the last steps; answers how many.
    pub async fn down(&self, opened: &Opened, steps: usize) -> Result<usize> {
        for done in 0..steps {
            let undone = match opened {
                Opened::Postgres(pool) => pool.down_one(&self.postgres).await?,
                Opened::Sqlite(pool) => pool.down_one(&self.sqlite).await?,
            };
            if !undone {
                return Ok(done);
            }
        }
        Ok(steps)
    }

    /// Every step that this build or the database knows.
    pub async fn status(&self, opened: &Opened) -> Result<Vec<State>> {
        let (known, applied) = match opened {
            Opened::Postgres(pool) => (&self.postgres, pool.applied().await?),
            Opened::Sqlite(pool) => (&self.sqlite, pool.applied().await?),
        };
        let mut states: Vec<State> = applied
            .into_iter()
            .map(|row| State { version: row.version, name: row.name, applied_at: Some(row.applied_at) })
            .collect();
        for step in known {
            if !states.iter().any(|state| state.version == step.version) {
                states.push(State { version: step.version, name: step.name.to_owned(), applied_at: None });
            }
        }
        states.sort_by_key(|state| state.version);
        Ok(states)
    }
}

#[derive(Debug, sqlx::FromRow)]
struct Applied {
    version: i64,
    name: String,
    checksum: String,
    applied_at: DateTime<Utc>,
}

#[async_trait::async_trait]
trait Schema {
    async fn up_one(&self, known: &[Migration]) -> Result<bool>;
    async fn down_one(&self, known: &[Migration]) -> Result<bool>;
    async fn applied(&self) -> Result<Vec<Applied>>;
}

const SELECT_APPLIED: &str = "SELECT version, name, checksum, applied_at FROM schema_migrations ORDER BY version";

crate::for_pools! {
    // Others may be waited for, and a step may write every row.
    unbounded impl Schema for [PgPool, SqlitePool] {
        async fn up_one(&self, known: &[Migration]) -> Result<bool> {
            let mut tx = self.begin_write().await?;
            sqlx::raw_sql(Self::pick(LOCK_POSTGRES, LOCK_SQLITE)).execute(&mut *tx).await?;
            sqlx::raw_sql(Self::pick(TABLES_POSTGRES, TABLES_SQLITE)).execute(&mut *tx).await?;
            let applied: Vec<Applied> = sqlx::query_as(SELECT_APPLIED).fetch_all(&mut *tx).await?;
            check(known, &applied)?;
            let next = known.iter().find(|step| !applied.iter().any(|row| row.version == step.version));
            if let Some(step) = next {
                sqlx::raw_sql(step.up).execute(&mut *tx).await?;
                sqlx::query("INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)")
                    .bind(step.version)
                    .bind(step.name)
                    .bind(checksum(step.up))
                    .execute(&mut *tx)
                    .await?;
            }
            tx.commit().await?;
            Ok(next.is_some())
        }

        async fn down_one(&self, known: &[Migration]) -> Result<bool> {
            let mut tx = self.begin_write().await?;
            sqlx::raw_sql(Self::pick(LOCK_POSTGRES, LOCK_SQLITE)).execute(&mut *tx).await?;
            sqlx::raw_sql(Self::pick(TABLES_POSTGRES, TABLES_SQLITE)).execute(&mut *tx).await?;
            let applied: Vec<Applied> = sqlx::query_as(SELECT_APPLIED).fetch_all(&mut *tx).await?;
            check(known, &applied)?;
            let Some(last) = applied.last().and_then(|row| known.iter().find(|step| step.version == row.version)) else {
                return Ok(false);
            };
            sqlx::raw_sql(last.down).execute(&mut *tx).await?;
            sqlx::query("DELETE FROM schema_migrations WHERE version = $1").bind(last.version).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(true)
        }

        async fn applied(&self) -> Result<Vec<Applied>> {
            let mut tx = self.begin_write().await?;
            sqlx::raw_sql(Self::pick(LOCK_POSTGRES, LOCK_SQLITE)).execute(&mut *tx).await?;
            sqlx::raw_sql(Self::pick(TABLES_POSTGRES, TABLES_SQLITE)).execute(&mut *tx).await?;
            let applied = sqlx::query_as(SELECT_APPLIED).fetch_all(&mut *tx).await?;
            tx.commit().await?;
            Ok(applied)
        }
    }
}

/// Line ends do not count: a checkout on another system must not look like a changed file.
fn checksum(text: &str) -> String {
    use std::fmt::Write as _;
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.replace("\r\n", "\n").as_bytes()) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

fn check(known: &[Migration], applied: &[Applied]) -> Result<()> {
    for row in applied {
        let Some(step) = known.iter().find(|step| step.version == row.version) else {
            return Err(Error::Schema(format!(
                "the database has schema step {:06} ({}), which this version of roadstead does not know: it was used by a \
                 newer version; start that one, or go back with its `roadstead migrate down`",
                row.version, row.name
            )));
        };
        if checksum(step.up) != row.checksum {
            return Err(Error::Schema(format!(
                "schema step {:06} ({}) was applied with another content than this version carries",
                row.version, row.name
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_databases_have_the_same_steps() {
        let names = |dialect: &str| {
            FILES
                .iter()
                .filter(|step| step.dialect == dialect)
                .map(|step| (step.service, step.version, step.name))
                .collect::<Vec<_>>()
        };
        assert_eq!(names("postgres"), names("sqlite"));
        assert!(FILES.iter().all(|step| !step.down.trim().is_empty()));
    }
}
