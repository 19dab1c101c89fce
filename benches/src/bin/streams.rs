//! Many streams through one agent: what readers that have stopped cost the hub, and what the way through the hub adds to the
//! events of many open watches.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use roadstead_benches::contender::WORKERS;
use roadstead_benches::figures::{Spread, microseconds, percentile, verdict};
use roadstead_benches::machine;
use roadstead_benches::process::{Memory, Running, memory, sibling};
use roadstead_benches::product::Product;
use roadstead_benches::wire::{self, Asking, Way};

/// API keys that share the requests, below each one's burst.
const KEYS: usize = 96;
/// The largest window of a stream that nobody reads, bytes.
const WINDOW: f64 = 256.0 * 1024.0;
/// What a watch may add at p99, milliseconds.
const ADDED: f64 = 2.0;
/// A large answer that is a log to the hub, so that it knows what it carries.
const LOG: &str = "/api/v1/namespaces/default/pods/bulk/log?follow=true";
/// Connections that ask for small answers beside.
const BESIDE: usize = 8;

#[derive(Parser)]
struct Arguments {
    /// Readers that stop
    #[arg(long, default_value_t = 1_000)]
    readers: usize,
    /// Open watches, each with an event a second
    #[arg(long, default_value_t = 1_000)]
    watches: usize,
    /// Rounds of watches; the first is dropped.
    #[arg(long, default_value_t = 6)]
    rounds: usize,
    /// Seconds of each slice.
    #[arg(long, default_value_t = 10)]
    slice: u64,
}

fn main() -> Result<()> {
    roadstead_runtime::install_crypto();
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    runtime.block_on(measure(&arguments))
}

async fn measure(arguments: &Arguments) -> Result<()> {
    println!("# Many streams through one agent\n\n{}", machine::describe());
    let [port] = roadstead_testkit::ports::free::<1>()?;
    let backend = SocketAddr::from(([127, 0, 0, 1], port));
    let mut command = Command::new(sibling("proxy")?);
    let _serving = Running::start(command.args(["--serve", "backend", "--backend", &backend.to_string()]))?;
    let product = Product::start(KEYS).await?;
    let agent = product.agent("bare", &product.kubeconfig(backend)?).await?;
    let asking = product.asking("bare")?;
    watches(arguments, &Asking::new(Way::Tcp(backend), ""), &asking).await?;
    readers(arguments, &asking, product.hub.pid()?, agent.pid()).await?;
    println!("- load average afterwards {}", machine::load_average());
    Ok(())
}

async fn watches(arguments: &Arguments, directly: &Asking, through: &Asking) -> Result<()> {
    let slice = Duration::from_secs(arguments.slice);
    let number = arguments.watches;
    println!("## {number} watches with {number} events a second\n");
    println!(
        "| round | directly p50 µs | p99 µs | through the hub p50 µs | p99 µs | events |\n|---|---|---|---|---|---|"
    );
    let mut added = Vec::new();
    for round in 0..arguments.rounds {
        let mut figures = [[0.0; 2]; 2];
        let mut events = 0;
        for turn in 0..2 {
            let index = (turn + round) % 2;
            let asking = [directly, through][index].at("/api/v1/pods?watch=true");
            let ages = microseconds(&wire::watches(&asking, number, slice).await.context("watches")?);
            figures[index] = [percentile(&ages, 0.5), percentile(&ages, 0.99)];
            events = ages.len();
        }
        let [directly, through] = figures;
        println!(
            "| {round} | {:.0} | {:.0} | {:.0} | {:.0} | {events} |",
            directly[0], directly[1], through[0], through[1]
        );
        // The first round warms up.
        if round > 0 {
            added.push((through[1] - directly[1]) / 1e3);
        }
    }
    let added = Spread::of(&added);
    println!("\n- added at p99, ms: {added:.2}\n- {}\n", verdict("ms added at p99", added.median, ADDED, true));
    Ok(())
}

async fn readers(arguments: &Arguments, asking: &Asking, hub: u32, agent: u32) -> Result<()> {
    println!("## {} readers that never read\n", arguments.readers);
    println!(
        "| when | hub MB | of it own MB | agent MB | small answers a second | p99 µs |\n|---|---|---|---|---|---|"
    );
    // A page as kubectl asks for it: what somebody waits for, not a whole list.
    let small = asking.at("/api/v1/namespaces?limit=500");
    let beside = async || -> Result<[f64; 2]> {
        let load = wire::small(&small, BESIDE, Duration::from_secs(2)).await?;
        Ok([load.per_second()?, percentile(&microseconds(&load.times), 0.99)])
    };
    let row = async |when: &str| -> Result<Memory> {
        let [rate, tail] = beside().await.with_context(|| format!("beside the readers, {when}"))?;
        let (hub, agent) = (memory(hub)?, memory(agent)?);
        let [all, own, other] = [hub.resident, hub.anonymous, agent.resident].map(megabytes);
        println!("| {when} | {all:.1} | {own:.1} | {other:.1} | {rate:.0} | {tail:.0} |");
        Ok(hub)
    };
    let before = row("before").await?;
    let mut held = Vec::new();
    for number in 0..arguments.readers {
        held.push(wire::deaf(&asking.at(LOG), number).await.with_context(|| format!("reader {number}"))?);
    }
    let mut most = 0.0_f64;
    for when in ["all there", "2 s later", "4 s later"] {
        let now = row(when).await?;
        most = most.max(megabytes(now.resident) - megabytes(before.resident));
    }
    drop(held);
    row("they are gone").await?;
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let each = most * 1e6 / arguments.readers.max(1) as f64;
    println!("\n- {}", verdict("KB of hub memory for each", each / 1e3, WINDOW / 1e3, true));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
