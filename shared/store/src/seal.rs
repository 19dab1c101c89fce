//! What a database knows about the master keys it is sealed with, and how its sealed columns are rewrapped.
//!
//! Columns that hold sealed values are named `sealed`, `sealed_<what>` or `<what>_sealed` and have the type TEXT: that is
//! how they are found, so that none can be forgotten.

use roadstead_seal::{Check, KeyVersion, Sealed, Sealer};

use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::open::Opened;
use crate::{PgPool, SqlitePool};

/// Values of one pass: about a megabyte of text, and a transaction of some ten milliseconds.
const BATCH: i64 = 1000;
/// Passes over one column. The second one finds what was moved under the first; more are for those who move a row at just that
/// moment again.
const PASSES_MAX: u32 = 10;

/// Compares the keys with those that the database was sealed with, and notes those it did not know. A service calls it
/// before it opens its doors: a wrong or missing key refuses to start.
pub async fn guard(opened: &Opened, sealer: &Sealer) -> Result<()> {
    let kept = match opened {
        Opened::Postgres(pool) => pool.checks().await?,
        Opened::Sqlite(pool) => pool.checks().await?,
    };
    for check in &kept {
        sealer.verify(check).map_err(|fault| Error::Sealed(fault.to_string()))?;
    }
    let fresh: Vec<Check> = sealer
        .checks()
        .map_err(|fault| Error::Sealed(fault.to_string()))?
        .into_iter()
        .filter(|check| !kept.contains(check))
        .collect();
    if fresh.is_empty() {
        return Ok(());
    }
    let stored = match opened {
        Opened::Postgres(pool) => pool.keep_checks(&fresh).await?,
        Opened::Sqlite(pool) => pool.keep_checks(&fresh).await?,
    };
    // Another replica may have been first, with other keys.
    for check in &stored {
        sealer.verify(check).map_err(|fault| Error::Sealed(fault.to_string()))?;
    }
    Ok(())
}

/// What a rewrap did with one column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewrapped {
    /// Table.
    pub table: String,
    /// Column.
    pub column: String,
    /// Values that were under an older key, but for those that somebody who uses the newest one changed meanwhile.
    pub processed: u64,
    /// Those that are under the newest one now.
    pub succeeded: u64,
    /// Those that did not open.
    pub failed: u64,
    /// Values that are not sealed at all.
    pub plain: u64,
    /// Values of which some other process writes more under an older key than can be followed: what the last look still found.
    pub left: u64,
}

/// Puts every sealed value of a database under the newest master key, while it is in use: a value that changes meanwhile is
/// left to whoever changes it. Afterwards keys that nothing is sealed with are forgotten, so that they may be removed.
pub async fn rewrap(opened: &Opened, sealer: &Sealer) -> Result<Vec<Rewrapped>> {
    match opened {
        Opened::Postgres(pool) => rewrap_on(pool, sealer).await,
        Opened::Sqlite(pool) => rewrap_on(pool, sealer).await,
    }
}

async fn rewrap_on<P: Rows>(pool: &P, sealer: &Sealer) -> Result<Vec<Rewrapped>> {
    let (mut done, mut all) = (Vec::new(), true);
    for (table, column) in pool.sealed_columns().await? {
        let mut counts = Rewrapped { table, column, ..Rewrapped::default() };
        counts.plain = pool.count_plain(&counts.table, &counts.column).await?;
        // PostgreSQL puts a changed row elsewhere, whichever column was changed: out of the hand that would replace its value, and
        // perhaps to where this pass has been already.
        let mut fault = None;
        for _ in 0..PASSES_MAX {
            let pass = pass(pool, sealer, &counts.table, &counts.column).await?;
            counts.succeeded += pass.succeeded;
            counts.failed = pass.failed;
            counts.left = pass.succeeded + pass.moved;
            fault = pass.fault;
            if counts.left == 0 {
                break;
            }
        }
        // Once for all passes: each of them meets the same values.
        if let Some(fault) = fault {
            let Rewrapped { table, column, failed, .. } = &counts;
            tracing::error!("{failed} values of {table}.{column} are not rewrapped, the last because: {fault}");
        }
        counts.processed = counts.succeeded + counts.failed;
        all = all && counts.left == 0 && counts.failed == 0;
        done.push(counts);
    }
    if all {
        pool.forget_checks(sealer.newest()).await?;
    }
    Ok(done)
}

/// What one look at every row of a column did.
#[derive(Default)]
struct Pass {
    succeeded: u64,
    failed: u64,
    /// Why the last of them.
    fault: Option<roadstead_seal::Error>,
    /// Values that were no longer where they had been seen, or no longer what they had been.
    moved: u64,
}

async fn pass<P: Rows>(pool: &P, sealer: &Sealer, table: &str, column: &str) -> Result<Pass> {
    let (mut pass, mut after) = (Pass::default(), P::FIRST.to_owned());
    loop {
        let batch = pool.older(table, column, sealer.newest(), &after).await?;
        let Some((last, _)) = batch.last() else { return Ok(pass) };
        after.clone_from(last);
        let mut changes = Vec::with_capacity(batch.len());
        for (place, text) in batch {
            match Sealed::parse(&text).and_then(|sealed| sealer.rewrap(&sealed)) {
                Ok(Some(fresh)) => changes.push((place, text, fresh.to_string())),
                Ok(None) => {}
                Err(fault) => {
                    tracing::debug!("a value of {table}.{column} is not rewrapped: {fault}");
                    pass.failed += 1;
                    pass.fault = Some(fault);
                }
            }
        }
        let replaced = pool.replace(table, column, &changes).await?;
        pass.succeeded += replaced;
        pass.moved += (changes.len() as u64).saturating_sub(replaced);
    }
}

/// Where a row lies, as text: tables have keys of different kinds, and every row has a place.
trait Place: Send + Sync {
    /// Before every row.
    const FIRST: &'static str;
}

impl Place for PgPool {
    const FIRST: &'static str = "(0,0)";
}

impl Place for SqlitePool {
    const FIRST: &'static str = "0";
}

#[async_trait::async_trait]
trait Rows: Place {
    async fn checks(&self) -> Result<Vec<Check>>;
    async fn keep_checks(&self, fresh: &[Check]) -> Result<Vec<Check>>;
    async fn forget_checks(&self, newest: KeyVersion) -> Result<()>;
    async fn sealed_columns(&self) -> Result<Vec<(String, String)>>;
    async fn count_plain(&self, table: &str, column: &str) -> Result<u64>;
    async fn older(&self, table: &str, column: &str, newest: KeyVersion, after: &str) -> Result<Vec<(String, String)>>;
    /// Answers how many there were to replace.
    async fn replace(&self, table: &str, column: &str, changes: &[(String, String, String)]) -> Result<u64>;
}

const CHECKS: &str = "SELECT version, value FROM seal_checks ORDER BY version";
const COLUMNS_POSTGRES: &str = "SELECT table_name::text, column_name::text FROM information_schema.columns
    WHERE table_schema = current_schema()
    AND (column_name = 'sealed' OR column_name LIKE 'sealed\\_%' OR column_name LIKE '%\\_sealed')
    ORDER BY 1, 2";
const COLUMNS_SQLITE: &str = "SELECT m.name, p.name FROM sqlite_master m, pragma_table_info(m.name) p
    WHERE m.type = 'table'
    AND (p.name = 'sealed' OR p.name LIKE 'sealed\\_%' ESCAPE '\\' OR p.name LIKE '%\\_sealed' ESCAPE '\\')
    ORDER BY 1, 2";

// Named, because `ORDER BY ctid` would mean the column of the answer, which is text.
const OLDER_POSTGRES: &str = "SELECT ctid::text AS place, {column} FROM {table}
    WHERE {column} LIKE 's1.%' AND {column} NOT LIKE $1 AND ctid > $2::tid ORDER BY ctid LIMIT $3";
const OLDER_SQLITE: &str = "SELECT CAST(rowid AS TEXT), {column} FROM {table}
    WHERE {column} LIKE 's1.%' AND {column} NOT LIKE $1 AND rowid > CAST($2 AS INTEGER) ORDER BY rowid LIMIT $3";
// The old text is compared too: who changed the value meanwhile is right.
const REPLACE_POSTGRES: &str = "UPDATE {table} SET {column} = $3 WHERE ctid = $1::tid AND {column} = $2";
const REPLACE_SQLITE: &str = "UPDATE {table} SET {column} = $3 WHERE rowid = CAST($1 AS INTEGER) AND {column} = $2";

/// SQL with the names of a column. They come from the catalogue of the database and are of our own migrations; a name with
/// anything but letters, digits and `_` is refused all the same.
fn named(sql: &str, table: &str, column: &str) -> Result<sqlx::AssertSqlSafe<String>> {
    let good = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !good(table) || !good(column) {
        return Err(Error::Schema(format!("the column {table}.{column} has an odd name")));
    }
    Ok(sqlx::AssertSqlSafe(sql.replace("{table}", table).replace("{column}", column)))
}

fn check((version, value): (i64, String)) -> Check {
    Check { version: KeyVersion(u32::try_from(version).unwrap_or(0)), value }
}

crate::for_pools! {
    // A thousand statements a time, while the database is used.
    unbounded impl Rows for [PgPool, SqlitePool] {
        async fn checks(&self) -> Result<Vec<Check>> {
            let rows: Vec<(i64, String)> = sqlx::query_as(CHECKS).fetch_all(self).await?;
            Ok(rows.into_iter().map(check).collect())
        }

        async fn keep_checks(&self, fresh: &[Check]) -> Result<Vec<Check>> {
            let mut tx = self.begin_write().await?;
            for check in fresh {
                sqlx::query("INSERT INTO seal_checks (version, value) VALUES ($1, $2) ON CONFLICT (version) DO NOTHING")
                    .bind(i64::from(check.version.0)).bind(&check.value)
                    .execute(&mut *tx).await?;
            }
            let rows: Vec<(i64, String)> = sqlx::query_as(CHECKS).fetch_all(&mut *tx).await?;
            tx.commit().await?;
            Ok(rows.into_iter().map(check).collect())
        }

        async fn forget_checks(&self, newest: KeyVersion) -> Result<()> {
            let _turn = self.turn().await?;
            sqlx::query("DELETE FROM seal_checks WHERE version < $1").bind(i64::from(newest.0)).execute(self).await?;
            Ok(())
        }

        async fn sealed_columns(&self) -> Result<Vec<(String, String)>> {
            Ok(sqlx::query_as(Self::pick(COLUMNS_POSTGRES, COLUMNS_SQLITE)).fetch_all(self).await?)
        }

        async fn count_plain(&self, table: &str, column: &str) -> Result<u64> {
            let sql = "SELECT count(*) FROM {table} WHERE {column} IS NOT NULL AND {column} NOT LIKE 's1.%'";
            let count: i64 = sqlx::query_scalar(named(sql, table, column)?).fetch_one(self).await?;
            Ok(u64::try_from(count).unwrap_or(0))
        }

        async fn older(&self, table: &str, column: &str, newest: KeyVersion, after: &str)
            -> Result<Vec<(String, String)>>
        {
            Ok(sqlx::query_as(named(Self::pick(OLDER_POSTGRES, OLDER_SQLITE), table, column)?)
                .bind(format!("s1.{newest}.%")).bind(after).bind(BATCH)
                .fetch_all(self).await?)
        }

        async fn replace(&self, table: &str, column: &str, changes: &[(String, String, String)]) -> Result<u64> {
            let mut tx = self.begin_write().await?;
            let mut replaced = 0;
            for (place, old, fresh) in changes {
                let done = sqlx::query(named(Self::pick(REPLACE_POSTGRES, REPLACE_SQLITE), table, column)?)
                    .bind(place).bind(old).bind(fresh)
                    .execute(&mut *tx).await?;
                replaced += done.rows_affected();
            }
            tx.commit().await?;
            Ok(replaced)
        }
    }
}
