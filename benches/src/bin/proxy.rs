//! Our tunnel beside those of others (goals: `benches/README.md`): same backend, same load, rounds in turn.
//!
//! Bytes in are bytes out for each: a connection to the hub is a connection to the backend. What the product does besides
//! (TLS, credentials, policy, limits) is measured by `door`. Programs of others are given by path: README.md says how they are
//! made. Without them, ours and the backend alone are measured.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use roadstead_benches::backend::{self, BULK_PATH};
use roadstead_benches::bare;
use roadstead_benches::contender::{Contender, WORKERS};
use roadstead_benches::figures::{Spread, microseconds, percentile, verdict};
use roadstead_benches::machine;
use roadstead_benches::process::Running;
use roadstead_benches::wire;
use roadstead_runtime::Tasks;
use tokio::net::TcpListener;

/// Connections of the small load.
const CONNECTIONS: usize = 32;
/// Connections of the large load.
const BULKS: usize = 4;
/// Connections beside a reader that has stopped.
const BESIDE: usize = 8;
/// Time for a stopped reader's answer to fill what there is to fill.
const FILL: Duration = Duration::from_millis(500);
/// What a stopped reader may cost the hub: one window at most, and a MiB.
const STALLED_COST: f64 = 5.0;

#[derive(Clone, Copy, ValueEnum)]
enum Role {
    Backend,
    Hub,
    Agent,
}

#[derive(Parser)]
struct Arguments {
    /// Rounds; the first is dropped.
    #[arg(long, default_value_t = 6)]
    rounds: usize,
    /// Seconds of each slice.
    #[arg(long, default_value_t = 4.0)]
    slice: f64,
    /// A program around remotedialer's library
    #[arg(long)]
    remotedialer: Option<PathBuf>,
    /// konnectivity's proxy-server
    #[arg(long, requires = "konnectivity_agent")]
    konnectivity_server: Option<PathBuf>,
    /// konnectivity's proxy-agent
    #[arg(long, requires = "konnectivity_server")]
    konnectivity_agent: Option<PathBuf>,
    /// Started by the program itself.
    #[arg(long, value_enum, hide = true)]
    serve: Option<Role>,
    #[arg(long, hide = true)]
    agents: Option<SocketAddr>,
    #[arg(long, hide = true)]
    clients: Option<SocketAddr>,
    #[arg(long, hide = true)]
    bulk_clients: Option<SocketAddr>,
    #[arg(long, hide = true)]
    backend: Option<SocketAddr>,
}

fn main() -> Result<()> {
    roadstead_runtime::install_crypto();
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let tasks = Tasks::new();
    let given = |address: Option<SocketAddr>| address.context("an address is missing");
    runtime.block_on(async {
        match arguments.serve {
            Some(Role::Backend) => backend::serve(TcpListener::bind(given(arguments.backend)?).await?, tasks).await,
            Some(Role::Hub) => {
                let [agents, clients, bulk] = [arguments.agents, arguments.clients, arguments.bulk_clients].map(given);
                bare::hub(agents?, clients?, bulk?, &tasks).await
            }
            Some(Role::Agent) => bare::agent(given(arguments.agents)?, given(arguments.backend)?, &tasks).await,
            None => measure(&arguments).await,
        }
    })
}

/// What one contender did in one round.
#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    /// Answers a second.
    rate: f64,
    /// Microseconds.
    half: f64,
    tail: f64,
    /// Processor time of hub and agent, microseconds an answer.
    each: f64,
    /// Large answers.
    megabytes: f64,
    /// Processor time of hub and agent, seconds a GB.
    gigabyte: f64,
    /// p99 of eight connections, microseconds; then beside a reader that has stopped.
    alone: f64,
    beside: f64,
    /// What that reader cost the hub, MB.
    cost: f64,
}

async fn measure(arguments: &Arguments) -> Result<()> {
    println!("# Tunnels side by side\n\n{}", machine::describe());
    let folder = tempfile::tempdir()?;
    let [port] = roadstead_testkit::ports::free::<1>()?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let own = std::env::current_exe()?;
    let _backend = Running::start(Command::new(&own).args(["--serve", "backend", "--backend", &address.to_string()]))?;
    let mut contenders = vec![Contender::direct(address)?, Contender::ours(&own, address)?];
    if let Some(program) = &arguments.remotedialer {
        contenders.push(Contender::remotedialer(program, address)?);
    }
    if let (Some(server), Some(agent)) = (&arguments.konnectivity_server, &arguments.konnectivity_agent) {
        contenders.push(Contender::konnectivity(server, agent, address, folder.path())?);
    }
    for contender in &contenders {
        contender.ready().await?;
    }
    let slice = Duration::from_secs_f64(arguments.slice);
    let mut rounds = Vec::new();
    for round in 0..arguments.rounds {
        let mut figures = vec![Figures::default(); contenders.len()];
        for turn in 0..contenders.len() {
            let index = (turn + round) % contenders.len();
            let (Some(contender), Some(place)) = (contenders.get_mut(index), figures.get_mut(index)) else { continue };
            let name = contender.name;
            *place = one(contender, slice).await.with_context(|| format!("{name} in round {round}"))?;
        }
        // The first round warms up.
        if round > 0 {
            rounds.push(figures);
        }
    }
    report(&contenders, &rounds);
    println!("- load average afterwards {}", machine::load_average());
    Ok(())
}

async fn one(contender: &mut Contender, slice: Duration) -> Result<Figures> {
    let mut figures = Figures::default();
    let small = |contender: &Contender| contender.asking.at("/small");
    let large = |contender: &Contender| contender.large.at(BULK_PATH);

    let before = contender.used()?;
    let load = wire::small(&small(contender), CONNECTIONS, slice).await?;
    let used = contender.used()?.saturating_sub(before);
    figures.rate = load.per_second()?;
    let times = microseconds(&load.times);
    (figures.half, figures.tail) = (percentile(&times, 0.5), percentile(&times, 0.99));
    figures.each = used.as_secs_f64() / (figures.rate * load.took.as_secs_f64()) * 1e6;

    contender.again().await?;
    let before = contender.used()?;
    let moved = wire::bulk(&large(contender), BULKS, slice).await?;
    let used = contender.used()?.saturating_sub(before);
    figures.megabytes = moved.megabytes_a_second();
    figures.gigabyte = used.as_secs_f64() / (figures.megabytes * moved.took.as_secs_f64()) * 1e3;

    contender.again().await?;
    let alone = wire::small(&small(contender), BESIDE, slice / 2).await?;
    figures.alone = percentile(&microseconds(&alone.times), 0.99);
    let memory = contender.hub_memory()?;
    let reader = wire::stalled(&large(contender)).await?;
    tokio::time::sleep(FILL).await;
    let beside = wire::small(&small(contender), BESIDE, slice / 2).await;
    figures.cost = megabytes(contender.hub_memory()?.resident) - megabytes(memory.resident);
    drop(reader);
    // Who answers nobody beside such a reader has no figure.
    figures.beside = match beside {
        Ok(beside) if beside.answers > 0 && beside.faults * 1000 <= beside.answers => {
            percentile(&microseconds(&beside.times), 0.99)
        }
        _ => f64::INFINITY,
    };
    contender.again().await?;
    Ok(figures)
}

#[expect(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn report(contenders: &[Contender], rounds: &[Vec<Figures>]) {
    let spread = |index: usize, figure: fn(&Figures) -> f64| {
        Spread::of(&rounds.iter().filter_map(|round| round.get(index)).map(figure).collect::<Vec<_>>())
    };
    println!(
        "| contender | small/s | p50 µs | p99 µs | processor µs each | MB/s | processor s/GB | p99 µs of 8 | beside a stopped reader | its cost MB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (index, contender) in contenders.iter().enumerate() {
        println!(
            "| {} | {:.0} | {:.0} | {:.0} | {:.1} | {:.0} | {:.2} | {:.0} | {:.0} | {:.1} |",
            contender.name,
            spread(index, |figures| figures.rate),
            spread(index, |figures| figures.half),
            spread(index, |figures| figures.tail),
            spread(index, |figures| figures.each),
            spread(index, |figures| figures.megabytes),
            spread(index, |figures| figures.gigabyte),
            spread(index, |figures| figures.alone),
            spread(index, |figures| figures.beside),
            spread(index, |figures| figures.cost),
        );
    }
    println!("\nratios, ours / theirs, per round, median (least to most):\n");
    let ours = |what: &str, theirs: usize, figure: fn(&Figures) -> f64, goal: f64, at_most: bool| {
        let ratios: Vec<f64> =
            rounds.iter().filter_map(|round| Some(figure(round.get(1)?) / figure(round.get(theirs)?))).collect();
        let ratio = Spread::of(&ratios);
        println!("- {what}: {ratio:.2}\n  {}", verdict(what, ratio.median, goal, at_most));
    };
    for (index, contender) in contenders.iter().enumerate() {
        let [rate, each, bulk] = match contender.name {
            "remotedialer" => [1.5, 0.6, 2.8],
            "konnectivity" => [1.8, 0.5, 4.0],
            _ => continue,
        };
        let name = contender.name;
        ours(&format!("requests a second / {name}"), index, |figures| figures.rate, rate, false);
        ours(&format!("processor time a request / {name}"), index, |figures| figures.each, each, true);
        ours(&format!("p50 / {name}"), index, |figures| figures.half, 0.7, true);
        ours(&format!("bulk MB/s / {name}"), index, |figures| figures.megabytes, bulk, false);
    }
    let gigabyte = spread(1, |figures| figures.gigabyte);
    println!("- {}", verdict("processor seconds a GB", gigabyte.median, 1.8, true));
    let beside = spread(1, |figures| figures.beside / figures.alone);
    println!("- p99 beside a stopped reader / without: {beside:.2}");
    println!("  {}", verdict("p99 beside a stopped reader / without", beside.median, 1.15, true));
    let cost = spread(1, |figures| figures.cost);
    println!("- {}", verdict("MB of hub memory for a stopped reader", cost.median, STALLED_COST, true));
}
