//! Row F07: a process that is killed in the middle of its writes, and a file that somebody else has locked.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use roadstead_contracts::Code;
use roadstead_contracts::event::{Event, Fact};
use roadstead_runtime::{Clock as _, Ids, Secret, SystemClock, Tasks};
use roadstead_store::{Dialect as _, Migrator, Opened, Options, OutboxRelay, open, outbox, sqlx};
use sqlx::SqlitePool;

/// Tells the process that is killed where to write.
const PLACE: &str = "ROADSTEAD_TEST_KILLED_AT";
/// Kills of one run, each somewhere else in a write.
const KILLS: i64 = 40;

async fn pool(place: &str) -> SqlitePool {
    let Opened::Sqlite(pool) = open(&Secret::new(place), &Options::new("suite")).await.unwrap() else { panic!() };
    pool
}

/// Writes until it is killed, and says what was committed.
#[tokio::test]
#[ignore = "is the process that the next test kills"]
async fn f07_writer() {
    let Ok(place) = std::env::var(PLACE) else { return };
    let pool = pool(&place).await;
    loop {
        let mut tx = pool.begin_write().await.unwrap();
        let number: i64 = sqlx::query_scalar("INSERT INTO wholes (text) VALUES ($1) RETURNING number")
            .bind("x".repeat(20_000))
            .fetch_one(&mut *tx)
            .await
            .unwrap();
        sqlx::query("INSERT INTO halves (number) VALUES ($1)").bind(number).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        println!("{number}");
    }
}

#[tokio::test]
async fn f07_killed_in_the_middle_of_writes() {
    let folder = tempfile::tempdir().unwrap();
    let place = format!("sqlite:{}", folder.path().display());
    let made = pool(&place).await;
    let tables = "CREATE TABLE wholes (number INTEGER PRIMARY KEY, text TEXT NOT NULL);
        CREATE TABLE halves (number INTEGER PRIMARY KEY)";
    sqlx::raw_sql(tables).execute(&made).await.unwrap();
    made.close().await;
    let mut told = 0;
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::f07_writer", "--ignored", "--nocapture"])
            .env(PLACE, &place)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut writes = round % 5;
        for number in lines.by_ref().filter_map(|line| line.parse::<i64>().ok()) {
            told = number;
            if writes == 0 {
                break;
            }
            writes -= 1;
        }
        // Nobody knows where it is now: that is the point.
        std::thread::sleep(Duration::from_micros(200 * (round.unsigned_abs() % 17)));
        child.kill().unwrap();
        child.wait().unwrap();
        told = lines.filter_map(|line| line.parse().ok()).last().unwrap_or(told);

        let pool = pool(&place).await;
        let word: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&pool).await.unwrap();
        let wholes: (i64, i64) =
            sqlx::query_as("SELECT count(*), COALESCE(max(number), 0) FROM wholes").fetch_one(&pool).await.unwrap();
        let halves: i64 = sqlx::query_scalar("SELECT count(*) FROM halves").fetch_one(&pool).await.unwrap();
        pool.close().await;
        assert_eq!(word, "ok", "after {round} kills");
        assert!(wholes.1 >= told, "{} is the last, {told} was told", wholes.1);
        assert_eq!((wholes.0, halves), (wholes.1, wholes.0), "a half of a write");
    }
    assert!(told >= KILLS, "{told} writes");
}

#[tokio::test]
async fn f07_a_locked_file_is_waited_for_and_then_said() {
    let folder = tempfile::tempdir().unwrap();
    let place = format!("sqlite:{}", folder.path().display());
    let (one, other) = (pool(&place).await, pool(&place).await);
    let held = one.begin_write().await.unwrap();
    let began = Instant::now();
    let refused = other.begin_write().await.unwrap_err();
    assert_eq!(roadstead_contracts::Error::from(refused).code, Code::StorageUnavailable);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    held.rollback().await.unwrap();
    // By another process, which knows nothing of this one's turns.
    let mut stranger = one.acquire().await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *stranger).await.unwrap();
    let began = Instant::now();
    let refused = other.begin_write().await.unwrap_err();
    assert_eq!(roadstead_contracts::Error::from(refused).code, Code::StorageUnavailable);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    sqlx::raw_sql("ROLLBACK").execute(&mut *stranger).await.unwrap();
    other.begin_write().await.unwrap().commit().await.unwrap();
}

/// What the relay of a killed process was just handing on stayed for half a minute.
#[tokio::test]
async fn regression_what_a_dead_relay_had_claimed_leaves_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let opened = crate::sqlite(&folder).await;
    Migrator::of("onboarding").up(&opened).await.unwrap();
    let Opened::Sqlite(pool) = &opened else { panic!() };
    let ids = Ids::system(SystemClock::shared());
    let fact = Fact::AgentRevoked { agent_id: "a".to_owned() };
    let event = Event { id: ids.next(), at: SystemClock.now(), fact };
    let mut tx = pool.begin_write().await.unwrap();
    outbox::push(&mut tx, &event).await.unwrap();
    tx.commit().await.unwrap();
    let until = SystemClock.now() + chrono::TimeDelta::hours(1);
    sqlx::query("UPDATE outbox SET claimed_until = $1").bind(until).execute(pool).await.unwrap();
    let (tasks, relay) = (Tasks::new(), OutboxRelay::new(opened.clone(), SystemClock::shared()));
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    relay.start(&tasks, move |event: Event| {
        let sender = sender.clone();
        async move { sender.send(event).map_err(|_| "gone") }
    });
    let came = tokio::time::timeout(Duration::from_secs(20), receiver.recv()).await.unwrap().unwrap();
    assert_eq!(came.id, event.id);
    tasks.finish(Duration::from_secs(5)).await;
}
