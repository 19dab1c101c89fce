//! Many that write one SQLite file: through the store, where they take turns, against the same transactions begun through the
//! same pool of the library with nothing but SQLite's own waiting (goal: at least 0.9 times as many a second, and no longer p99).
//!
//! Slices of the contenders alternate, in another order each round; each has a file of its own with the product's settings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use roadstead_benches::figures::{Spread, microseconds, percentile, verdict};
use roadstead_benches::machine;
use roadstead_runtime::Secret;
use roadstead_store::{Dialect as _, Opened, Options, SqlitePool, open, sqlx};
use tokio::task::JoinSet;

/// What is written: two rows of this size and a change of one.
const BODY: usize = 512;

#[derive(Parser)]
struct Arguments {
    /// Rounds; the first is dropped.
    #[arg(long, default_value_t = 6)]
    rounds: usize,
    /// Seconds of each slice.
    #[arg(long, default_value_t = 4.0)]
    slice: f64,
    /// Writers at once.
    #[arg(long, default_values_t = [4, 32])]
    writers: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq)]
enum Contender {
    Bare,
    Store,
}

/// What a slice came to.
struct Slice {
    rate: f64,
    p50: f64,
    p99: f64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    println!("{}", machine::describe());
    for writers in &arguments.writers {
        let folder = tempfile::tempdir()?;
        let bare = file(&folder.path().join("bare.db")).await?;
        let store = file(&folder.path().join("store.db")).await?;
        let (mut bares, mut stores) = (Vec::new(), Vec::new());
        for round in 0..arguments.rounds {
            let mut order = [Contender::Bare, Contender::Store];
            order.rotate_left(round % 2);
            for contender in order {
                let pool = if contender == Contender::Bare { &bare } else { &store };
                let slice = run(pool, contender, *writers, Duration::from_secs_f64(arguments.slice)).await?;
                if round > 0 {
                    if contender == Contender::Bare { bares.push(slice) } else { stores.push(slice) }
                }
            }
        }
        tell(*writers, &bares, &stores);
        for pool in [bare, store] {
            pool.close().await;
        }
    }
    Ok(())
}

async fn file(path: &std::path::Path) -> Result<SqlitePool> {
    let url = Secret::new(format!("sqlite:{}", path.display()));
    let Opened::Sqlite(pool) = open(&url, &Options::new("bench")).await? else { bail!("no SQLite") };
    sqlx::raw_sql("CREATE TABLE berths (n INTEGER PRIMARY KEY, body BLOB NOT NULL, taken INTEGER NOT NULL)")
        .execute(&pool)
        .await?;
    Ok(pool)
}

async fn run(pool: &SqlitePool, contender: Contender, writers: usize, length: Duration) -> Result<Slice> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for _ in 0..writers {
        let (pool, stop) = (pool.clone(), Arc::clone(&stop));
        tasks.spawn(async move {
            let mut times = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                match contender {
                    Contender::Bare => {
                        let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
                        write(&mut tx).await?;
                        tx.commit().await?;
                    }
                    Contender::Store => {
                        let mut tx = pool.begin_write().await?;
                        write(&mut tx).await?;
                        tx.commit().await?;
                    }
                }
                times.push(began.elapsed());
            }
            Ok::<_, anyhow::Error>(times)
        });
    }
    tokio::time::sleep(length).await;
    stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    while let Some(done) = tasks.join_next().await {
        times.extend(done?.context("a writer")?);
    }
    let took = began.elapsed().as_secs_f64();
    let times = microseconds(&times);
    #[expect(clippy::cast_precision_loss, reason = "far below")]
    let rate = times.len() as f64 / took;
    Ok(Slice { rate, p50: percentile(&times, 0.5) / 1e3, p99: percentile(&times, 0.99) / 1e3 })
}

async fn write(connection: &mut sqlx::SqliteConnection) -> Result<()> {
    for _ in 0..2 {
        sqlx::query("INSERT INTO berths (body, taken) VALUES ($1, 0)")
            .bind(vec![7; BODY])
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query("UPDATE berths SET taken = taken + 1 WHERE n = 1").execute(&mut *connection).await?;
    Ok(())
}

fn tell(writers: usize, bares: &[Slice], stores: &[Slice]) {
    let spread = |slices: &[Slice], of: fn(&Slice) -> f64| Spread::of(&slices.iter().map(of).collect::<Vec<_>>());
    println!("| {writers} writers | transactions a second | p50 ms | p99 ms |\n|---|---|---|---|");
    for (name, slices) in [("SQLite's own waiting", bares), ("the store", stores)] {
        let (rate, p50, p99) = (spread(slices, |s| s.rate), spread(slices, |s| s.p50), spread(slices, |s| s.p99));
        println!("| {name} | {rate:.0} | {p50:.1} | {p99:.1} |");
    }
    let ratio = |of: fn(&Slice) -> f64| {
        Spread::of(&bares.iter().zip(stores).map(|(bare, store)| of(store) / of(bare)).collect::<Vec<_>>())
    };
    let (rate, p99) = (ratio(|s| s.rate), ratio(|s| s.p99));
    println!("\nrate {rate}, p99 {p99} times");
    println!("{}", verdict("rate", rate.median, 0.9, false));
    println!("{}\n", verdict("p99", p99.median, 1.0, true));
}
