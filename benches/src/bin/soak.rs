//! Changes at a steady rate to a thousand fake agents, for as long as you like: every one must be done, none twice, and the
//! hub must not grow.
//!
//! The load and the agents are other processes on the same cores; what the table calls the hub's are its processes alone.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use roadstead_benches::figures::{least_squares, percentile, verdict};
use roadstead_benches::fleets::Fleets;
use roadstead_benches::machine;
use roadstead_benches::operating::{Pour, Sample, cluster, descriptors, fleet, hub, judge, pour};
use roadstead_benches::process::{memory, processor_time};
use roadstead_mesh_tests::TestMesh;
use tokio::sync::watch;

/// Lines of the table, however long it ran.
const LINES: usize = 30;
/// The hub grows while it warms up; at most this part of the run counts as that, and five minutes.
const WARM_UP_PART: u32 = 4;
const WARM_UP: Duration = Duration::from_mins(5);
const MIB: f64 = 1024.0 * 1024.0;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Layout {
    /// `roadstead up`.
    OneProcess,
    /// Four services over RabbitMQ, PostgreSQL and Redis, which it starts.
    Mesh,
}

#[derive(Parser)]
struct Arguments {
    /// For so many minutes.
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// Fake agents, each with a cluster of its own.
    #[arg(long, default_value_t = 1_000)]
    agents: usize,
    /// Changes a second.
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// Objects of each.
    #[arg(long, default_value_t = 3)]
    objects: usize,
    /// How the hub is run.
    #[arg(long, value_enum, default_value_t = Layout::OneProcess)]
    layout: Layout,
}

/// What the hub's processes use at a moment.
#[derive(Debug, Clone, Copy)]
struct Reading {
    seconds: f64,
    resident: f64,
    anonymous: f64,
    descriptors: usize,
    applied: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(soak(&arguments))
}

async fn soak(arguments: &Arguments) -> Result<()> {
    println!("# A soak of operations\n\n{}", machine::describe());
    let layout = match arguments.layout {
        Layout::OneProcess => roadstead_mesh_tests::Layout::OneProcess,
        Layout::Mesh => roadstead_mesh_tests::Layout::Mesh,
    };
    let mesh = hub(layout).await?;
    let fleets = fleet(&mesh, 0, arguments.agents).await?;
    let time = Duration::from_secs_f64(arguments.minutes * 60.0);
    let plan = Pour {
        rate: arguments.rate,
        time,
        objects: arguments.objects,
        name: "soak".to_owned(),
        clusters: (0..arguments.agents).map(cluster).collect(),
        unwatched: HashSet::new(),
    };
    let (done, over) = watch::channel(false);
    let pouring = async {
        let samples = pour(&mesh.owner(0)?, &plan).await;
        let _ = done.send(true);
        samples
    };
    let (samples, readings) = tokio::join!(pouring, watch_hub(&mesh, &fleets, time, over));
    report(arguments, &mesh, &fleets, &samples?, &readings?)?;
    mesh.end();
    Ok(())
}

/// Reads the hub's memory over and over, to the end of the load.
async fn watch_hub(
    mesh: &TestMesh,
    fleets: &Fleets,
    time: Duration,
    mut over: watch::Receiver<bool>,
) -> Result<Vec<Reading>> {
    let every = (time / 240).clamp(Duration::from_secs(1), Duration::from_secs(10));
    let began = Instant::now();
    let mut readings: Vec<Reading> = Vec::new();
    let mut said = Instant::now();
    loop {
        let mut now = Reading {
            seconds: began.elapsed().as_secs_f64(),
            resident: 0.0,
            anonymous: 0.0,
            descriptors: 0,
            applied: fleets.state().applied,
        };
        for pid in mesh.pids() {
            let used = memory(pid)?;
            #[expect(clippy::cast_precision_loss, reason = "bytes of a process")]
            let (resident, anonymous) = (used.resident as f64, used.anonymous as f64);
            now.resident += resident / MIB;
            now.anonymous += anonymous / MIB;
            now.descriptors += descriptors(pid);
        }
        readings.push(now);
        if said.elapsed() >= Duration::from_mins(1) {
            said = Instant::now();
            eprintln!("{:.0} s: {:.1} MiB, {} objects applied", now.seconds, now.resident, now.applied);
        }
        tokio::select! {
            _ = over.wait_for(|over| *over) => return Ok(readings),
            () = tokio::time::sleep(every) => {}
        }
    }
}

fn report(
    arguments: &Arguments,
    mesh: &TestMesh,
    fleets: &Fleets,
    samples: &[Sample],
    readings: &[Reading],
) -> Result<()> {
    println!(
        "| minute | resident MiB | of it own MiB | descriptors | objects applied | slowest until the next line, ms: answer | end |\n\
         |---|---|---|---|---|---|---|"
    );
    let lines: Vec<&Reading> = readings.iter().step_by(readings.len().div_ceil(LINES).max(1)).collect();
    for (number, reading) in lines.iter().enumerate() {
        let Reading { seconds, resident, anonymous, descriptors, applied } = reading;
        let next = lines.get(number + 1).map_or(f64::INFINITY, |next| next.seconds);
        let slowest = |of: fn(&Sample) -> Duration| {
            let sent = samples.iter().filter(|sample| (*seconds..next).contains(&sample.sent.as_secs_f64()));
            sent.map(of).max().unwrap_or_default().as_secs_f64() * 1e3
        };
        let (answer, end) = (slowest(|sample| sample.answered), slowest(|sample| sample.ended));
        println!(
            "| {:.1} | {resident:.1} | {anonymous:.1} | {descriptors} | {applied} | {answer:.0} | {end:.0} |",
            seconds / 60.0
        );
    }
    let (faults, times) = judge(samples);
    let answers: Vec<f64> = samples.iter().map(|sample| sample.answered.as_secs_f64() * 1e3).collect();
    let quantiles = |times: &[f64]| [0.5, 0.99, 1.0].map(|part| percentile(times, part));
    let [half, tail, most] = quantiles(&times);
    let [answer_half, answer_tail, answer_most] = quantiles(&answers);
    println!("\n{} operations: {} done, {} not", samples.len(), times.len(), faults.len());
    for fault in faults.iter().take(5) {
        println!("  {fault}");
    }
    println!("- to the answer: p50 {answer_half:.1} ms, p99 {answer_tail:.1} ms, most {answer_most:.1} ms");
    println!("- to the end: p50 {half:.1} ms, p99 {tail:.1} ms, most {most:.1} ms");
    let used: Duration = mesh.pids().into_iter().map(processor_time).sum::<Result<_>>()?;
    println!("- processor time of the hub: {:.1} s", used.as_secs_f64());
    let warm = (arguments.minutes * 60.0 / f64::from(WARM_UP_PART)).min(WARM_UP.as_secs_f64());
    let steady: Vec<&Reading> = readings.iter().filter(|reading| reading.seconds >= warm).collect();
    let slope = |of: fn(&Reading) -> f64| {
        let points: Vec<(f64, f64)> = steady.iter().map(|reading| (reading.seconds / 3_600.0, of(reading))).collect();
        least_squares(&points).0
    };
    println!(
        "- growth after {warm:.0} s: resident {:.2} MiB an hour, own {:.2} MiB an hour",
        slope(|reading| reading.resident),
        slope(|reading| reading.anonymous)
    );
    let counts =
        |pick: fn(usize, usize) -> usize| steady.iter().map(|reading| reading.descriptors).reduce(pick).unwrap_or(0);
    println!("- descriptors after {warm:.0} s: {} to {}", counts(usize::min), counts(usize::max));
    let state = fleets.state();
    println!(
        "- agents: {} connected, {} sessions lost, {} objects applied, {} twice",
        state.connected, state.lost, state.applied, state.twice
    );
    #[expect(clippy::cast_precision_loss, reason = "counts")]
    let (done, twice, lost) = (times.len() as f64, state.twice as f64, state.lost as f64);
    println!("- {}", verdict("done", done, (arguments.minutes * 60.0 * arguments.rate).floor(), false));
    println!("- {}", verdict("applied twice", twice, 0.0, true));
    println!("- {}", verdict("sessions lost", lost, 0.0, true));
    println!("- {}", verdict("p99 to the end, ms", tail, 146.0, true));
    println!("- {}", verdict("growth, MiB an hour", slope(|reading| reading.resident), 1.0, true));
    ensure!(faults.is_empty() && state.twice == 0, "{} operations were not done", faults.len());
    Ok(())
}
