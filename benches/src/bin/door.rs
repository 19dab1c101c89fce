//! The Kubernetes door against what it is made of: the product's whole path (TLS, API key, policy, quota, identity) against
//! our bare tunnel, and an API server through the hub against the same asked directly.
//!
//! `ROADSTEAD_TEST_KUBECONFIG` names the cluster; without it only the first is measured.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use roadstead_benches::contender::{Contender, WORKERS};
use roadstead_benches::figures::{Spread, microseconds, percentile, verdict};
use roadstead_benches::machine;
use roadstead_benches::process::{Running, processor_time, sibling};
use roadstead_benches::product::{Product, api_server};
use roadstead_benches::wire::{self, Asking};

/// Connections of the load.
const CONNECTIONS: usize = 32;
/// API keys, of the 100 that an account may have: enough that 200 requests a second for each are more than two cores give.
const KEYS: usize = 96;

#[derive(Parser)]
struct Arguments {
    /// The cluster.
    #[arg(long, env = "ROADSTEAD_TEST_KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// Rounds; the first is dropped.
    #[arg(long, default_value_t = 6)]
    rounds: usize,
    /// Seconds of each slice.
    #[arg(long, default_value_t = 4.0)]
    slice: f64,
}

fn main() -> Result<()> {
    roadstead_runtime::install_crypto();
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    runtime.block_on(measure(&arguments))
}

/// One way to ask, and the processes whose time it takes.
struct Row {
    name: &'static str,
    asking: Asking,
    processes: Vec<u32>,
    tunnel: Option<Contender>,
}

impl Row {
    fn used(&self) -> Result<Duration> {
        let own: Duration = self.processes.iter().map(|pid| processor_time(*pid)).sum::<Result<_>>()?;
        Ok(own + self.tunnel.as_ref().map_or(Ok(Duration::ZERO), Contender::used)?)
    }
}

async fn measure(arguments: &Arguments) -> Result<()> {
    println!("# The Kubernetes door\n\n{}", machine::describe());
    let [port] = roadstead_testkit::ports::free::<1>()?;
    let backend = SocketAddr::from(([127, 0, 0, 1], port));
    let proxy = sibling("proxy")?;
    let serving = Running::start(Command::new(&proxy).args(["--serve", "backend", "--backend", &backend.to_string()]))?;
    let tunnel = Contender::ours(&proxy, backend)?;
    tunnel.ready().await?;
    let product = Product::start(KEYS).await?;
    let bare = product.agent("bare", &product.kubeconfig(backend)?).await?;
    let hub = product.hub.pid()?;
    let mut rows = vec![
        Row { name: "bare tunnel", asking: tunnel.asking.at("/small"), processes: Vec::new(), tunnel: Some(tunnel) },
        Row {
            name: "product",
            asking: product.asking("bare")?.at("/api/v1/namespaces"),
            processes: vec![hub, bare.pid()],
            tunnel: None,
        },
    ];
    let mut real = None;
    if let Some(kubeconfig) = &arguments.kubeconfig {
        let agent = product.agent("real", kubeconfig).await?;
        let path = "/api/v1/namespaces";
        let directly = api_server(kubeconfig)?.at(path);
        rows.push(Row { name: "API server, directly", asking: directly, processes: Vec::new(), tunnel: None });
        rows.push(Row {
            name: "API server, through the hub",
            asking: product.asking("real")?.at(path),
            processes: vec![hub, agent.pid()],
            tunnel: None,
        });
        real = Some(agent);
    }
    let slice = Duration::from_secs_f64(arguments.slice);
    let mut rounds: Vec<Vec<[f64; 4]>> = Vec::new();
    for round in 0..arguments.rounds {
        let mut figures = vec![[0.0; 4]; rows.len()];
        for turn in 0..rows.len() {
            let index = (turn + round) % rows.len();
            let (Some(row), Some(place)) = (rows.get(index), figures.get_mut(index)) else { continue };
            let before = row.used()?;
            let load = wire::small(&row.asking, CONNECTIONS, slice).await.with_context(|| row.name)?;
            let used = row.used()?.saturating_sub(before);
            let times = microseconds(&load.times);
            let rate = load.per_second().with_context(|| row.name)?;
            let each = used.as_secs_f64() / (rate * load.took.as_secs_f64()) * 1e6;
            *place = [rate, percentile(&times, 0.5), percentile(&times, 0.99), each];
        }
        // The first round warms up.
        if round > 0 {
            rounds.push(figures);
        }
    }
    drop((real, bare, serving));
    report(&rows, &rounds);
    println!("- load average afterwards {}", machine::load_average());
    Ok(())
}

fn report(rows: &[Row], rounds: &[Vec<[f64; 4]>]) {
    let figure =
        |round: &Vec<[f64; 4]>, row: usize, number: usize| round.get(row).and_then(|row| row.get(number)).copied();
    let spread = |row: usize, number: usize| {
        Spread::of(&rounds.iter().filter_map(|round| figure(round, row, number)).collect::<Vec<_>>())
    };
    println!("| way | a second | p50 µs | p99 µs | processor µs each (hub and agent) |\n|---|---|---|---|---|");
    for (index, row) in rows.iter().enumerate() {
        let [rate, half, tail, each] = [0, 1, 2, 3].map(|number| spread(index, number));
        println!("| {} | {rate:.0} | {half:.0} | {tail:.0} | {each:.1} |", row.name);
    }
    println!();
    let ratio = |what: &str, one: usize, other: usize, goal: f64| {
        let ratios: Vec<f64> =
            rounds.iter().filter_map(|round| Some(figure(round, one, 0)? / figure(round, other, 0)?)).collect();
        if !ratios.is_empty() {
            let ratio = Spread::of(&ratios);
            println!("- {what}: {ratio:.2}\n  {}", verdict(what, ratio.median, goal, false));
        }
    };
    ratio("product / bare tunnel, requests a second", 1, 0, 0.75);
    ratio("through the hub / directly, namespaces a second", 3, 2, 0.85);
}
