//! Opens a database: the one place that asks which one it is.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use roadstead_runtime::{ReadyPart, Secret, Tasks};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, Row as _, SqlitePool};
use tokio::time::{Instant, timeout};

use crate::dialect::{Dialect as _, METHOD_MAX};
use crate::error::{Error, Result};

/// How long a caller waits for a connection: the database is "away" after that, well inside a request's 10 s.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest statement on PostgreSQL: answers come within 10 s or not at all.
const STATEMENT_TIMEOUT: &str = "8000";
/// Longest wait for SQLite's write lock (reliability row F07).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections go after this long; one stays.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Longest probe: `/readyz` must say 503 within 5 s of the database going away.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two probes.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// Longest that a connection may take to answer as it comes back to the pool; one that does not is left.
const RETURN_TIMEOUT: Duration = Duration::from_secs(5);
/// For so long after a `BEGIN` was given up, connections that come back are asked whether they are in a transaction: the one
/// concerned has been asked by then, or left.
const DOUBT: Duration = RETURN_TIMEOUT.saturating_mul(2);
/// Whether the connection is in a transaction that an earlier statement began. Asked as one message, before which none begins.
const IN_TRANSACTION: &str = "SELECT transaction_timestamp() < statement_timestamp()";
/// Connections when the settings do not say: SQLite has one writer, more readers than cores gain nothing.
const SQLITE_CONNECTIONS: u32 = 4;
/// Pages that a connection keeps, as SQLite counts them: 512 KiB instead of 2 MiB. What it does not keep the kernel does, once
/// for all connections; four of them in each of four services made steps in the memory of a hub whenever one was opened.
const SQLITE_CACHE: &str = "-512";
/// The same for PostgreSQL: 3 services × 2 replicas stay under its default of 100.
const POSTGRES_CONNECTIONS: u32 = 12;

/// How to open.
#[derive(Debug, Clone)]
pub struct Options {
    /// The service: name of the schema in PostgreSQL, of the file in SQLite.
    pub service: &'static str,
    /// Most connections; the default when 0.
    pub max_connections: u32,
    /// Connections kept open (PostgreSQL).
    pub min_connections: u32,
    /// Longest life of a connection (PostgreSQL); the library's default when left out.
    pub max_lifetime: Option<Duration>,
    /// How long an unused connection is kept (PostgreSQL); the default when left out.
    pub max_idle: Option<Duration>,
    /// How long a caller waits for a connection (PostgreSQL); the default when left out.
    pub acquire_timeout: Option<Duration>,
}

impl Options {
    /// Defaults for a service.
    pub fn new(service: &'static str) -> Self {
        Self {
            service,
            max_connections: 0,
            min_connections: 0,
            max_lifetime: None,
            max_idle: None,
            acquire_timeout: None,
        }
    }
}

/// An open database.
#[derive(Debug, Clone)]
pub enum Opened {
    /// PostgreSQL; `search_path` is the service's schema.
    Postgres(PgPool),
    /// SQLite: WAL, foreign keys on.
    Sqlite(SqlitePool),
}

/// Opens `postgres://…` (a schema per service), `sqlite:FOLDER` (a file per service), `sqlite:FILE.db` or
/// `sqlite::memory:`. Makes the schema or file when it is not there; tables come from [`crate::Migrator`].
pub async fn open(url: &Secret, options: &Options) -> Result<Opened> {
    let text = url.expose();
    if text.starts_with("postgres:") || text.starts_with("postgresql:") {
        let opened =
            timeout(METHOD_MAX, postgres(text, options)).await.unwrap_or(Err(sqlx::Error::PoolTimedOut.into()));
        return opened.map(Opened::Postgres);
    }
    match text.strip_prefix("sqlite:") {
        Some(place) => sqlite(place, options).await.map(Opened::Sqlite),
        None => Err(Error::Schema("the database URL must begin with postgres: or sqlite:".to_owned())),
    }
}

async fn postgres(url: &str, options: &Options) -> Result<PgPool> {
    // The parser's own message may quote the URL, password and all.
    let connect = PgConnectOptions::from_str(url)
        .map_err(|_| Error::Schema("the database URL is not a valid postgres: URL".to_owned()))?
        .application_name(&format!("roadstead-{}", options.service));
    let schema = options.service;
    let create = AssertSqlSafe(format!("CREATE SCHEMA IF NOT EXISTS \"{schema}\""));
    let mut first = timeout(ACQUIRE_TIMEOUT, PgConnection::connect_with(&connect))
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)")
        .bind(schema)
        .fetch_one(&mut first)
        .await?;
    if !exists {
        // Two replicas that start at once may both get here; the loser's unique violation means the schema is there.
        match sqlx::raw_sql(create).execute(&mut first).await.map_err(Error::from) {
            Ok(_) | Err(Error::Conflict { .. }) => {}
            Err(fault) => return Err(fault),
        }
    }
    first.close().await?;
    let connect = connect.options([("search_path", schema), ("statement_timeout", STATEMENT_TIMEOUT)]);
    let most = if options.max_connections == 0 { POSTGRES_CONNECTIONS } else { options.max_connections };
    let mut pool = PgPoolOptions::new()
        .max_connections(most)
        .min_connections(options.min_connections)
        .acquire_timeout(options.acquire_timeout.unwrap_or(ACQUIRE_TIMEOUT))
        .idle_timeout(options.max_idle.unwrap_or(IDLE_TIMEOUT))
        // The pool itself asks each connection that comes back, and waits for its answer as long as it takes: one that leads
        // nowhere would keep its place until the kernel gives it up.
        .after_release(|connection, _| {
            Box::pin(async move {
                timeout(RETURN_TIMEOUT, is_usable(connection)).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
            })
        });
    if let Some(lifetime) = options.max_lifetime {
        pool = pool.max_lifetime(lifetime);
    }
    // One is waited for, the others open behind it: all of them at once, each with a handshake of TLS, may take longer than a
    // caller would wait for one.
    let pool = pool.connect_lazy_with(connect);
    drop(pool.acquire().await?);
    Ok(pool)
}

/// Whether a connection may be given to somebody else.
async fn is_usable(connection: &mut PgConnection) -> sqlx::Result<bool> {
    if !is_doubted() {
        return connection.ping().await.map(|()| true);
    }
    let in_transaction: bool = sqlx::raw_sql(IN_TRANSACTION).fetch_one(connection).await?.try_get(0)?;
    Ok(!in_transaction)
}

/// Until when connections are doubted, of whichever pool: to ask one more than needed costs little.
static DOUBTED: Mutex<Option<Instant>> = Mutex::new(None);

/// A `BEGIN` is given up that the server may have heard, or may hear yet. The library takes it for one that never was, so that
/// what is written next over its connection would be part of a transaction that nobody commits.
pub(crate) fn doubt() {
    *DOUBTED.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + DOUBT);
}

fn is_doubted() -> bool {
    DOUBTED.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| Instant::now() < until)
}

async fn sqlite(place: &str, options: &Options) -> Result<SqlitePool> {
    let connect = SqliteConnectOptions::new()
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .pragma("cache_size", SQLITE_CACHE)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT);
    let pool = SqlitePoolOptions::new().acquire_timeout(BUSY_TIMEOUT);
    if place == ":memory:" || place == "//:memory:" {
        // Every connection would have a database of its own: one, and it never goes.
        let pool = pool.max_connections(1).idle_timeout(None).max_lifetime(None);
        return Ok(pool.connect_with(connect.in_memory(true)).await?);
    }
    let file = sqlite_file(place, options.service);
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(sqlx::Error::Io)?;
    }
    let most = if options.max_connections == 0 { SQLITE_CONNECTIONS } else { options.max_connections };
    // Once there they stay: no server has a place less for it, and each that is opened anew is a thread whose memory is not all
    // given back when it goes, so that a hub at steady work grew in steps.
    let pool = pool.max_connections(most).idle_timeout(None).max_lifetime(None);
    let opened = pool.connect_with(connect.filename(&file)).await?;
    keep_private(&file)?;
    Ok(opened)
}

/// The database for people: the file where it is one, so that whoever reads of a fault knows what to look at. Of a server's
/// address nothing is said: it may hold a password.
pub fn place(url: &Secret, service: &str) -> String {
    match url.expose().strip_prefix("sqlite:") {
        Some(place) if !place.contains(":memory:") => format!("database {}", sqlite_file(place, service).display()),
        _ => format!("database of {service}"),
    }
}

/// A path that ends in `.db` is the file; any other is a folder with a file per service.
fn sqlite_file(place: &str, service: &str) -> PathBuf {
    // `sqlite://relative`, `sqlite:///absolute` and `sqlite:path` are all in use; what follows `?` is for other libraries.
    let path = place.split('?').next().unwrap_or(place);
    let path = Path::new(path.strip_prefix("//").unwrap_or(path));
    if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("db")) {
        path.to_owned()
    } else {
        path.join(format!("{service}.db"))
    }
}

/// Digests and e-mail addresses are nobody else's business on a shared machine. What its owner may do stays as it is: a file
/// that was made read-only on purpose is not made writable behind a connection that has found it read-only.
fn keep_private(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(file).map_err(sqlx::Error::Io)?.permissions().mode();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode & 0o700)).map_err(sqlx::Error::Io)?;
    Ok(())
}

impl Opened {
    /// Answers, or says why not.
    pub async fn probe(&self) -> Result<()> {
        let asked = async {
            match self {
                Self::Postgres(pool) => sqlx::query("SELECT 1").execute(pool).await.map(drop),
                Self::Sqlite(pool) => sqlx::query("SELECT 1").execute(pool).await.map(drop),
            }
        };
        Ok(timeout(PROBE_TIMEOUT, asked).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))?)
    }

    /// Whether it can be written: a file may be somebody else's, a server may only follow another. Changes nothing.
    pub async fn writable(&self) -> Result<()> {
        match self {
            Self::Postgres(pool) => {
                let only_reads: String = sqlx::query_scalar("SHOW transaction_read_only").fetch_one(pool).await?;
                if only_reads == "on" {
                    return Err(Error::Schema("the database can only be read".to_owned()));
                }
            }
            // To begin takes the right to write.
            Self::Sqlite(pool) => pool.begin_write().await?.rollback().await?,
        }
        Ok(())
    }

    /// Keeps a part of the readiness up to date until the process stops.
    pub fn watch(&self, part: ReadyPart, tasks: &Tasks) {
        let (opened, stopping) = (self.clone(), tasks.stopping());
        tasks.spawn("database-probe", async move {
            loop {
                match opened.probe().await {
                    Ok(()) => part.set(true, "ok"),
                    Err(_) => part.set(false, "the database does not answer"),
                }
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = tokio::time::sleep(PROBE_INTERVAL) => {}
                }
            }
        });
    }

    /// Whether other processes may use it too: a server yes, a file no.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Connections: `(in all, idle)`.
    pub fn connections(&self) -> (u32, usize) {
        match self {
            Self::Postgres(pool) => (pool.size(), pool.num_idle()),
            Self::Sqlite(pool) => (pool.size(), pool.num_idle()),
        }
    }

    /// Closes every connection, waiting for those in use.
    pub async fn close(&self) {
        match self {
            Self::Postgres(pool) => pool.close().await,
            Self::Sqlite(pool) => pool.close().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regression_a_file_is_hidden_from_others_and_stays_read_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("user.db");
        std::fs::write(&file, b"").unwrap();
        for (before, after) in [(0o444, 0o400), (0o644, 0o600), (0o400, 0o400), (0o600, 0o600)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(before)).unwrap();
            keep_private(&file).unwrap();
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, after, "{before:o}");
        }
    }

    #[test]
    fn sqlite_urls_name_a_file_or_a_folder() {
        for (place, file) in [
            ("/data/x.db", "/data/x.db"),
            ("///data", "/data/user.db"),
            ("//data", "data/user.db"),
            ("data?mode=rwc", "data/user.db"),
        ] {
            assert_eq!(sqlite_file(place, "user"), Path::new(file), "{place}");
        }
    }
}
