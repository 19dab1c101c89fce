//! Bytes of hub memory per idle agent (goal: at most 8 KB over plain WebSocket).
//!
//! The hub is `roadstead up` in a process of its own; the agents are in others. Memory is read at some numbers of agents
//! after a rest, and the slope by least squares is the figure. `--tls` does the same over TLS.

use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use roadstead_benches::figures::{least_squares, verdict};
use roadstead_benches::fleets::Fleets;
use roadstead_benches::hub::{Hub, Options};
use roadstead_benches::{machine, process};

/// Goal over plain WebSocket, bytes.
const GOAL: f64 = 8_000.0;

#[derive(Parser)]
struct Arguments {
    /// Agents at the end.
    #[arg(long, default_value_t = 10_000)]
    agents: usize,
    /// Over TLS.
    #[arg(long)]
    tls: bool,
    /// Seconds of rest before each reading.
    #[arg(long, default_value_t = 60)]
    rest: u64,
    /// Seconds of rest before the last reading, which shows growth.
    #[arg(long, default_value_t = 600)]
    long_rest: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    roadstead_runtime::install_crypto();
    let arguments = Arguments::parse();
    println!("# Hub memory per idle agent, {}\n", if arguments.tls { "TLS" } else { "plain WebSocket" });
    println!("{}", machine::describe());
    let hub = Hub::start(Options { tls: arguments.tls, ..Options::default() }).await?;
    let pid = hub.pid()?;
    let mut fleets = Fleets::start(&hub, arguments.agents).await?;
    println!("| agents | resident MB | of it own MB | slab MB (whole machine) |\n|---|---|---|---|");
    let (mut resident, mut own) = (Vec::new(), Vec::new());
    // A tenth first: the pools, caches and stacks that one agent needs as ten thousand do are there by then.
    for part in [1, 2, 5, 10] {
        let agents = arguments.agents * part / 10;
        fleets.grow(agents, Duration::from_mins(10)).await?;
        tokio::time::sleep(Duration::from_secs(arguments.rest)).await;
        let memory = process::memory(pid)?;
        row(agents, memory);
        resident.push((count(agents), bytes(memory.resident)));
        own.push((count(agents), bytes(memory.anonymous)));
    }
    let (slope, start) = least_squares(&resident);
    println!(
        "\n{slope:.0} bytes an agent resident ({:.0} of it own), {:.1} MB without agents",
        least_squares(&own).0,
        start / 1e6
    );
    if arguments.tls {
        println!("no goal over TLS");
    } else {
        println!("{}", verdict("bytes an agent", slope, GOAL, true));
    }
    tokio::time::sleep(Duration::from_secs(arguments.long_rest)).await;
    let last = process::memory(pid)?;
    row(arguments.agents, last);
    let before = resident.last().map_or(1.0, |point| point.1);
    println!("{}", verdict("growth after the long rest", bytes(last.resident) / before, 1.02, true));
    let state = fleets.state();
    println!("sessions lost meanwhile: {}; connected at the end: {}", state.lost, hub.connected_agents().await?);
    Ok(())
}

fn row(agents: usize, memory: process::Memory) {
    let megabytes = |value: u64| bytes(value) / 1e6;
    println!(
        "| {agents} | {:.1} | {:.1} | {:.0} |",
        megabytes(memory.resident),
        megabytes(memory.anonymous),
        megabytes(process::slab())
    );
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn count(value: usize) -> f64 {
    value as f64
}

#[expect(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
fn bytes(value: u64) -> f64 {
    value as f64
}
