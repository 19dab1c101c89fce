//! Row F06: a database that is gone without a word. Its connections stand, and nothing comes over them any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use roadstead_runtime::{Readiness, Secret, Tasks};
use roadstead_store::dialect::{Dialect as _, METHOD_MAX};
use roadstead_store::{Error, Opened, Options, Result, async_trait, open, sqlx};
use sqlx::PgPool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Connections of the pool: all of them are in use when the database goes.
const CONNECTIONS: u32 = 4;
/// What a busy machine may add to any limit.
const SLACK: Duration = Duration::from_secs(15);

#[async_trait]
trait Asked: Send + Sync {
    async fn sleep(&self, seconds: f64) -> Result<()>;
    async fn answer(&self) -> Result<i32>;
}

roadstead_store::for_pools! {
    impl Asked for [PgPool, SqlitePool] {
        async fn sleep(&self, seconds: f64) -> Result<()> {
            sqlx::query("SELECT pg_sleep($1)").bind(seconds).execute(self).await?;
            Ok(())
        }

        async fn answer(&self) -> Result<i32> {
            Ok(sqlx::query_scalar("SELECT 1").fetch_one(self).await?)
        }
    }
}

/// What becomes of what is sent over a way to the server. Neither side is ever told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// As if those who are connected were not; new connections pass.
    Forgets,
    /// Nothing passes from the moment at which a transaction is begun.
    HoldsFromBegin,
}

#[expect(clippy::disallowed_methods, reason = "the way to a server is no part of the store")]
async fn way(target: String) -> (u16, watch::Sender<Way>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (set, now) = watch::channel(Way::Open);
    tokio::spawn(async move {
        loop {
            let (outside, _) = listener.accept().await.unwrap();
            let inside = TcpStream::connect(&target).await.unwrap();
            let (mut forgotten, now) = (now.clone(), now.clone());
            forgotten.mark_unchanged();
            tokio::spawn(async move {
                let (mut from_outside, mut to_outside) = outside.into_split();
                let (mut from_inside, mut to_inside) = inside.into_split();
                let forgets = async {
                    while forgotten.changed().await.is_ok() {
                        if *forgotten.borrow_and_update() == Way::Forgets {
                            return;
                        }
                    }
                };
                tokio::select! {
                    () = forgets => std::future::pending().await,
                    () = copy(&mut from_outside, &mut to_inside, now) => {}
                    _ = tokio::io::copy(&mut from_inside, &mut to_outside) => {}
                }
            });
        }
    });
    (port, set)
}

async fn copy(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mut now: watch::Receiver<Way>,
) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        if bytes[..read].windows(5).any(|word| word == b"BEGIN") {
            now.wait_for(|way| *way != Way::HoldsFromBegin).await.unwrap();
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

/// A database behind such a way, and its address without it.
async fn behind(connections: u32) -> (Opened, watch::Sender<Way>, String) {
    let url = crate::postgres_url().await;
    let (rest, name) = url.rsplit_once('/').unwrap();
    let (login, server) = rest.rsplit_once('@').unwrap();
    let (port, way) = way(server.to_owned()).await;
    let options = Options { max_connections: connections, ..Options::new("suite") };
    let opened = open(&Secret::new(format!("{login}@127.0.0.1:{port}/{name}")), &options).await.unwrap();
    (opened, way, url)
}

/// All connections of the pool are asked something that takes so long.
async fn all_busy(asked: &Arc<dyn Asked>, url: &str, seconds: f64) -> JoinSet<Result<()>> {
    let mut under_way = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let asked = Arc::clone(asked);
        under_way.spawn(async move { asked.sleep(seconds).await });
    }
    let direct = PgPool::connect(url).await.unwrap();
    let sleeping = || async {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
        sqlx::query_scalar::<_, i64>(sql).fetch_one(&direct).await.unwrap()
    };
    let began = Instant::now();
    while sleeping().await < i64::from(CONNECTIONS) {
        assert!(began.elapsed() < Duration::from_secs(5), "they are not all under way");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    under_way
}

/// Every connection answers again.
async fn all_answer(opened: &Opened, asked: &Arc<dyn Asked>) {
    let began = Instant::now();
    let mut answers = 0;
    while answers < CONNECTIONS * 3 {
        match asked.answer().await {
            Ok(_) => answers += 1,
            Err(fault) => assert!(began.elapsed() < SLACK, "{fault:?}: {:?}", opened.connections()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn regression_f06_connections_that_lead_nowhere_are_left() {
    let (opened, way, url) = behind(CONNECTIONS).await;
    let (readiness, tasks) = (Readiness::new(), Tasks::new());
    opened.watch(readiness.register("database"), &tasks);
    let asked: Arc<dyn Asked> = roadstead_store::share!(opened => dyn Asked);
    let under_way = all_busy(&asked, &url, 6.0).await;
    way.send_replace(Way::Forgets);
    let began = Instant::now();
    let all = tokio::time::timeout(METHOD_MAX + SLACK, under_way.join_all()).await.expect("somebody waits for ever");
    assert!(all.iter().all(|ended| matches!(ended, Err(Error::Unavailable(_)))), "{all:?}");
    assert!(began.elapsed() > METHOD_MAX / 2, "somebody was told");
    // Their places are free again.
    let began = Instant::now();
    all_answer(&opened, &asked).await;
    while !readiness.is_ready() {
        assert!(began.elapsed() < SLACK, "{:?}", readiness.snapshot());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tasks.finish(Duration::from_secs(5)).await;
}

/// Whoever asked has left before anything knew that the database is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn regression_f06_a_question_that_is_given_up_leaves_no_dead_connection_in_the_pool() {
    let (opened, way, url) = behind(CONNECTIONS).await;
    let asked: Arc<dyn Asked> = roadstead_store::share!(opened => dyn Asked);
    let mut under_way = all_busy(&asked, &url, 60.0).await;
    way.send_replace(Way::Forgets);
    under_way.shutdown().await;
    all_answer(&opened, &asked).await;
}

/// A `BEGIN` that reaches the server after it was given up begins nothing that others write into.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn regression_f06_a_begin_that_is_given_up_begins_nothing() {
    let (opened, way, url) = behind(1).await;
    let Opened::Postgres(pool) = &opened else { panic!("{opened:?}") };
    sqlx::raw_sql("CREATE TABLE kept (n BIGINT)").execute(pool).await.unwrap();
    way.send_replace(Way::HoldsFromBegin);
    let began = Instant::now();
    pool.begin_write().await.unwrap_err();
    assert!(began.elapsed() < METHOD_MAX + SLACK, "{:?}", began.elapsed());
    way.send_replace(Way::Open);
    sqlx::raw_sql("INSERT INTO kept VALUES (1)").execute(pool).await.unwrap();
    let direct = PgPool::connect(&url).await.unwrap();
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM suite.kept").fetch_one(&direct).await.unwrap();
    assert_eq!(kept, 1, "it is part of a transaction that nobody commits");
}
