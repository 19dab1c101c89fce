//! Row F23: a process that is killed while it brings a schema up. On PostgreSQL at each statement, which an event trigger
//! holds until the process is dead; on SQLite at instructions all over the steps, counted by SQLite itself.

use std::future::Future;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use roadstead_runtime::Secret;
use roadstead_store::{Migrator, Opened, Options, Result, async_trait, open, sqlx};
use sqlx::PgPool;
use sqlx::sqlite::SqlitePoolOptions;

/// Tell the process that is killed where its database is, whose schema it makes, and at which instruction it dies.
pub const PLACE: &str = "ROADSTEAD_TEST_MIGRATED_AT";
pub const SERVICE: &str = "ROADSTEAD_TEST_MIGRATED_SERVICE";
const DIES_AT: &str = "ROADSTEAD_TEST_MIGRATED_DIES_AT";
/// Kills of one run in each service's schema on SQLite, each somewhere else.
const KILLS: u64 = 25;
/// Longest wait for a process or a server: a machine may be busy with something else.
const LIMIT: Duration = Duration::from_secs(90);

#[async_trait]
trait Shape: Send + Sync {
    /// Every table, column, index and rule.
    async fn shape(&self) -> Result<Vec<String>>;
}

const SHAPE_POSTGRES: &str = "
    SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable || ' ' || COALESCE(column_default, '')
    FROM information_schema.columns WHERE table_schema = current_schema()
    UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema()
    UNION ALL SELECT conrelid::regclass::text || ' ' || pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = current_schema()::text::regnamespace
    ORDER BY 1";
const SHAPE_SQLITE: &str = "SELECT type || ' ' || name || ' ' || COALESCE(sql, '') FROM sqlite_master ORDER BY 1";

roadstead_store::for_pools! {
    impl Shape for [PgPool, SqlitePool] {
        async fn shape(&self) -> Result<Vec<String>> {
            use roadstead_store::Dialect as _;
            Ok(sqlx::query_scalar(Self::pick(SHAPE_POSTGRES, SHAPE_SQLITE)).fetch_all(self).await?)
        }
    }
}

async fn shape(opened: &Opened) -> Vec<String> {
    let shape: Arc<dyn Shape> = roadstead_store::share!(*opened => dyn Shape);
    shape.shape().await.unwrap()
}

/// Brings a schema up, counting SQLite's instructions, and dies at one of them.
#[tokio::test]
#[ignore = "is the process that the next tests kill"]
async fn f23_migrator() {
    let (Ok(place), Ok(service)) = (std::env::var(PLACE), std::env::var(SERVICE)) else { return };
    let opened = open(&Secret::new(place), &Options::new("suite")).await.unwrap();
    let (opened, passed) = mortal(opened).await;
    Migrator::of(&service).up(&opened).await.unwrap();
    println!("passed={}", passed.load(Ordering::Relaxed));
}

/// The same database by one connection that counts SQLite's instructions, and ends this process at the one that it is told.
pub async fn mortal(opened: Opened) -> (Opened, Arc<AtomicU64>) {
    let passed = Arc::new(AtomicU64::new(0));
    let Opened::Sqlite(pool) = &opened else { return (opened, passed) };
    let dies_at: u64 = std::env::var(DIES_AT).unwrap().parse().unwrap();
    let counted = Arc::clone(&passed);
    let counting = SqlitePoolOptions::new().max_connections(1).after_connect(move |connection, _| {
        let counted = Arc::clone(&counted);
        Box::pin(async move {
            let mut handle = connection.lock_handle().await?;
            handle.set_progress_handler(1, move || {
                if counted.fetch_add(1, Ordering::Relaxed) + 1 == dies_at {
                    std::process::abort();
                }
                true
            });
            Ok(())
        })
    });
    let options = (*pool.connect_options()).clone();
    pool.close().await;
    (Opened::Sqlite(counting.connect_with(options).await.unwrap()), passed)
}

fn migrator(place: &str, service: &str, dies_at: u64) -> Child {
    child("interrupted::f23_migrator", place, service, dies_at)
}

/// A test of this program as a process of its own.
pub fn child(test: &str, place: &str, service: &str, dies_at: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(PLACE, place)
        .env(SERVICE, service)
        .env(DIES_AT, dies_at.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// How a process ended, and how many instructions it counted.
pub fn ended(mut child: Child) -> (ExitStatus, Option<u64>) {
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let passed = said.lines().find_map(|line| line.split_once("passed=")?.1.trim().parse().ok());
    (child.wait().unwrap(), passed)
}

/// The schema is at one of its steps, whole; the next start brings it to the end, as one that nobody interrupted.
async fn goes_on(opened: &Opened, service: &str, whole: &[String], what: &str) -> usize {
    let migrator = Migrator::of(service);
    let steps = migrator.status(opened).await.unwrap();
    let applied = steps.iter().take_while(|step| step.applied_at.is_some()).count();
    assert!(steps[applied..].iter().all(|step| step.applied_at.is_none()), "{what}: a step was left out: {steps:?}");
    assert_eq!(migrator.up(opened).await.unwrap(), steps.len() - applied, "{what}");
    assert_eq!(shape(opened).await, whole, "{what}, at step {applied}");
    applied
}

#[tokio::test]
async fn f23_killed_at_any_instruction_of_a_step() {
    for service in ["onboarding", "operations", "user"] {
        let folder = tempfile::tempdir().unwrap();
        let place = |folder: &tempfile::TempDir| format!("sqlite:{}", folder.path().display());
        let (status, passed) = ended(migrator(&place(&folder), service, 0));
        let passed = passed.unwrap();
        assert!(status.success() && passed > KILLS, "{status} {passed}");
        let opened = crate::sqlite(&folder).await;
        let (whole, steps) = (shape(&opened).await, Migrator::of(service).status(&opened).await.unwrap().len());
        let mut seen = std::collections::BTreeSet::new();
        for kill in 1..=KILLS {
            let what = format!("{service}, kill {kill}");
            let folder = tempfile::tempdir().unwrap();
            let (status, said) = ended(migrator(&place(&folder), service, passed * kill / (KILLS + 1)));
            assert!(status.signal().is_some() && said.is_none(), "{what}: {status}");
            let opened = crate::sqlite(&folder).await;
            let Opened::Sqlite(pool) = &opened else { panic!() };
            let word: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(pool).await.unwrap();
            assert_eq!(word, "ok", "{what}");
            seen.insert(goes_on(&opened, service, &whole, &what).await);
            opened.close().await;
        }
        // Before the first step as well as behind one.
        assert!(seen.contains(&0) && seen.len() > 1 && !seen.contains(&steps), "{service}: {seen:?}");
    }
}

/// The lock that a statement waits for which is to be the last of its process.
const HOLD: i64 = 23;
/// Has the statement of a number wait for that lock, once it is done. A sequence counts, for it forgets nothing with a transaction.
const HOLDER: &str = "
    CREATE SCHEMA hold;
    CREATE TABLE hold.wanted (number bigint NOT NULL);
    INSERT INTO hold.wanted VALUES (0);
    CREATE SEQUENCE hold.passed;
    CREATE FUNCTION hold.hold() RETURNS event_trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('hold.passed') = (SELECT number FROM hold.wanted) THEN
            PERFORM pg_advisory_xact_lock(23);
        END IF;
    END $$;
    CREATE EVENT TRIGGER hold ON ddl_command_end EXECUTE FUNCTION hold.hold();";

async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < LIMIT, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How many of the processes that are killed there are, and how many of them wait for the lock.
async fn migrating(pool: &PgPool) -> (i64, i64) {
    sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE wait_event_type = 'Lock' AND wait_event = 'advisory')
         FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'roadstead-suite'",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

async fn run(pool: &PgPool, statements: &'static str) {
    sqlx::raw_sql(statements).execute(pool).await.unwrap();
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn f23_killed_at_each_statement() {
    const SERVICE: &str = "onboarding";
    let url = crate::postgres_url().await;
    let opened = open(&Secret::new(url.clone()), &Options::new("suite")).await.unwrap();
    Migrator::of(SERVICE).up(&opened).await.unwrap();
    let whole = shape(&opened).await;
    opened.close().await;
    let pool = PgPool::connect(&url).await.unwrap();
    run(&pool, HOLDER).await;
    let mut seen = std::collections::BTreeSet::new();
    let mut number: i64 = 0;
    loop {
        number += 1;
        let what = format!("statement {number}");
        run(&pool, "DROP SCHEMA suite CASCADE; CREATE SCHEMA suite; SELECT setval('hold.passed', 1, false)").await;
        let mut lock = pool.acquire().await.unwrap();
        sqlx::query("SELECT pg_advisory_lock($1)").bind(HOLD).execute(&mut *lock).await.unwrap();
        sqlx::query("UPDATE hold.wanted SET number = $1").bind(number).execute(&pool).await.unwrap();
        let mut child = migrator(&url, SERVICE, 0);
        let mut over = None;
        let began = Instant::now();
        while over.is_none() && migrating(&pool).await.1 == 0 {
            assert!(began.elapsed() < LIMIT, "{what}: neither held nor over");
            tokio::time::sleep(Duration::from_millis(20)).await;
            over = child.try_wait().unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        sqlx::query("UPDATE hold.wanted SET number = 0").execute(&pool).await.unwrap();
        sqlx::query("SELECT pg_advisory_unlock($1)").bind(HOLD).execute(&mut *lock).await.unwrap();
        drop(lock);
        if let Some(status) = over {
            assert!(status.success(), "{what}: {status}");
            break;
        }
        eventually("the server has noticed the death", || async { migrating(&pool).await.0 == 0 }).await;
        let opened = open(&Secret::new(url.clone()), &Options::new("suite")).await.unwrap();
        seen.insert(goes_on(&opened, SERVICE, &whole, &what).await);
        opened.close().await;
        eventually("this process has left", || async { migrating(&pool).await.0 == 0 }).await;
    }
    // Each step was the one at hand, the book-keeping before the first included.
    let steps = Migrator::of(SERVICE).status(&open(&Secret::new(url), &Options::new("suite")).await.unwrap()).await;
    assert_eq!(seen, (0..=steps.unwrap().len()).collect(), "{number} statements");
}
