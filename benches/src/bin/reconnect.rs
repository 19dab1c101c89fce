//! Agents back after `kill -9` of the hub (goal: 10,000 within 20 s, none lost, health answered within 250 ms).
//!
//! The clock starts when the hub's process is started again. The agents come back as the real one does: exponential
//! back-off from 1 s to 30 s with full jitter, or when the hub says (`Retry-After`).

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use roadstead_benches::figures::{Spread, percentile, verdict};
use roadstead_benches::fleets::Fleets;
use roadstead_benches::hub::{Hub, Options};
use roadstead_benches::machine;

/// Goal for all agents, seconds.
const GOAL: f64 = 20.0;
/// Goal for `/healthz` meanwhile, milliseconds.
const HEALTH_GOAL: f64 = 250.0;

#[derive(Parser)]
struct Arguments {
    /// Agents.
    #[arg(long, default_value_t = 10_000)]
    agents: usize,
    /// Over TLS.
    #[arg(long)]
    tls: bool,
    /// How often.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds between the kill and the start.
    #[arg(long, default_value_t = 1)]
    down: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    roadstead_runtime::install_crypto();
    let arguments = Arguments::parse();
    println!("# {} agents back after kill -9 of the hub\n", arguments.agents);
    println!("{}", machine::describe());
    let mut hub = Hub::start(Options { tls: arguments.tls, ..Options::default() }).await?;
    let mut fleets = Fleets::start(&hub, arguments.agents).await?;
    let first = fleets.grow(arguments.agents, Duration::from_mins(10)).await?;
    println!("- first enrolment and connect of all: {:.1} s", first.as_secs_f64());
    println!("\n| round | all back s | half back s | health p99 ms | dials refused |\n|---|---|---|---|---|");
    let mut times = Vec::new();
    let mut health = Vec::new();
    for round in 1..=arguments.rounds {
        let refused = fleets.state().refused;
        hub.kill()?;
        tokio::time::sleep(Duration::from_secs(arguments.down)).await;
        let began = Instant::now();
        hub.launch().await?;
        let (half, all, answers) = watch(&hub, &fleets, arguments.agents, began).await?;
        let p99 = percentile(&answers, 0.99);
        let refused = fleets.state().refused - refused;
        println!("| {round} | {all:.1} | {half:.1} | {p99:.0} | {refused} |");
        times.push(all);
        health.push(p99);
        // What came back must be what the hub itself counts.
        let counted = hub.connected_agents().await?;
        if counted != arguments.agents {
            println!("| | the hub counts {counted} agents | | | |");
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let spread = Spread::of(&times);
    println!("\nall back: {spread:.1} s");
    println!("{}", verdict("seconds until all are back", spread.median, GOAL, true));
    println!("{}", verdict("health p99 meanwhile, ms", Spread::of(&health).median, HEALTH_GOAL, true));
    Ok(())
}

/// Seconds until half and until all are back, and the times of `/healthz` meanwhile.
async fn watch(hub: &Hub, fleets: &Fleets, agents: usize, began: Instant) -> Result<(f64, f64, Vec<f64>)> {
    let mut health = Vec::new();
    let mut half = None;
    loop {
        let connected = fleets.state().connected;
        if connected * 2 >= agents && half.is_none() {
            half = Some(began.elapsed().as_secs_f64());
        }
        if connected >= agents {
            let all = began.elapsed().as_secs_f64();
            return Ok((half.unwrap_or(all), all, health));
        }
        if began.elapsed() > Duration::from_mins(5) {
            anyhow::bail!("after 5 minutes: {:?}", fleets.state());
        }
        health.push(hub.health_time().await?.as_secs_f64() * 1e3);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
