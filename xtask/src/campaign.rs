//! `campaign`: the long form of the tests in which everything goes wrong. The short form is part of `test`.

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};

use crate::rig::Rig;
use crate::{run as command, test};

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    work: Work,
}

#[derive(Subcommand)]
enum Work {
    /// Changes of every kind to a real cluster: nothing accepted is lost, nothing happens twice, on both layouts
    Operations(Operations),
    /// A watch through the hub: every event once, in order
    Watch(Watch),
    /// A long log through the hub whose reader stops in the middle: every byte, and no memory for it
    Logs(Logs),
    /// Many bytes through a command in a pod and back, over each protocol: the same bytes
    Exec(Exec),
    /// The network falls apart between three brokers: what was confirmed comes out
    Partitions(Partitions),
}

#[derive(Args)]
struct Logs {
    /// How long the log is
    #[arg(long, default_value_t = 1_024)]
    mebibytes: u64,
    /// For so many seconds its reader stops
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

#[derive(Args)]
struct Exec {
    /// Millions of bytes, each way
    #[arg(long, default_value_t = 100)]
    megabytes: u64,
}

#[derive(Args)]
struct Partitions {
    /// So many runs, over every shape and length of a partition
    #[arg(long, default_value_t = 14)]
    runs: u64,
    /// Seconds of one run
    #[arg(long, default_value_t = 180)]
    seconds: u64,
}

#[derive(Args)]
struct Watch {
    /// Minutes for which it is held
    #[arg(long, default_value_t = 60)]
    minutes: u64,
}

#[derive(Args)]
struct Operations {
    /// So many changes under random deaths, at each named point, and under unruly messages, for each layout
    #[arg(long, default_value_t = 100)]
    operations: usize,
    /// So many random deaths for each layout: of the hub's processes and servers, and of the agent
    #[arg(long, default_value_t = 40)]
    deaths: usize,
    /// So many of the named points, drawn by lot, instead of all
    #[arg(long)]
    points: Option<usize>,
    /// A named point alone, as `runtime::kill` calls it; several may be given
    #[arg(long)]
    point: Vec<String>,
    /// So many of the places at which the agent's WebSocket can be cut, drawn by lot, instead of all
    #[arg(long)]
    cuts: Option<usize>,
    /// Rounds of cancellations at every step
    #[arg(long, default_value_t = 10)]
    races: usize,
    /// One scenario alone
    #[arg(long)]
    only: Option<Scenario>,
    /// One layout alone
    #[arg(long)]
    layout: Option<Layout>,
    /// Play a run again: every run prints its seed
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Scenario {
    /// A cancellation meets its operation at every step
    Races,
    /// The agent's WebSocket is cut behind every frame
    Frames,
    /// `kill -9` at random times
    Deaths,
    /// Death at each named point of each process
    Points,
    /// Messages come again and out of turn
    Messages,
}

#[derive(Clone, Copy, ValueEnum)]
enum Layout {
    /// `roadstead up`
    OneProcess,
    /// Four services over RabbitMQ, PostgreSQL and Redis
    Mesh,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let wanted = match &arguments.work {
        Work::Operations(wanted) => wanted,
        Work::Watch(watch) => {
            let seconds = ("ROADSTEAD_TEST_WATCH_SECONDS", (watch.minutes * 60).to_string());
            return test::run(&test::Arguments::mesh("kubernetes::long_watch", vec![seconds]));
        }
        Work::Logs(logs) => {
            let length = ("ROADSTEAD_TEST_LOG_MEBIBYTES", logs.mebibytes.to_string());
            let stop = ("ROADSTEAD_TEST_LOG_SECONDS", logs.seconds.to_string());
            return test::run(&test::Arguments::mesh("kubernetes::logs::long_log", vec![length, stop]));
        }
        Work::Exec(exec) => {
            let bytes = ("ROADSTEAD_TEST_EXEC_BYTES", (exec.megabytes * 1_000_000).to_string());
            return test::run(&test::Arguments::mesh("clients::long_exec", vec![bytes]));
        }
        Work::Partitions(partitions) => return apart(partitions),
    };
    let mut environment = vec![
        ("ROADSTEAD_CAMPAIGN_OPERATIONS", wanted.operations.to_string()),
        ("ROADSTEAD_CAMPAIGN_DEATHS", wanted.deaths.to_string()),
        ("ROADSTEAD_CAMPAIGN_RACES", wanted.races.to_string()),
    ];
    environment.extend(wanted.points.map(|points| ("ROADSTEAD_CAMPAIGN_POINTS", points.to_string())));
    if !wanted.point.is_empty() {
        environment.push(("ROADSTEAD_CAMPAIGN_POINT", wanted.point.join(",")));
    }
    environment.extend(wanted.cuts.map(|cuts| ("ROADSTEAD_CAMPAIGN_CUTS", cuts.to_string())));
    environment.extend(wanted.seed.map(|seed| ("ROADSTEAD_CAMPAIGN_SEED", seed.to_string())));
    let name = |scenario: Scenario| scenario.to_possible_value().map(|value| value.get_name().to_owned());
    environment.extend(wanted.only.and_then(name).map(|only| ("ROADSTEAD_CAMPAIGN_ONLY", only)));
    let filter = match wanted.layout {
        None => "operations::campaign",
        Some(Layout::OneProcess) => "operations::campaign::campaign_in_one_process",
        Some(Layout::Mesh) => "operations::campaign::campaign_over_a_mesh",
    };
    test::run(&test::Arguments::mesh(filter, environment))
}

/// Its brokers are its own: nothing else is started.
fn apart(partitions: &Partitions) -> Result<()> {
    let rig = Rig::new("partitions")?;
    let mut tests = command::cargo(&["test", "--package", "roadstead-bus", "--test", "it", "--"]);
    tests.args(["--include-ignored", "--nocapture", "partition::f04_a_network_that_falls_apart_between_brokers"]);
    tests.env("ROADSTEAD_TEST_PARTITION_RUNS", partitions.runs.to_string());
    tests.env("ROADSTEAD_TEST_PARTITION_SECONDS", partitions.seconds.to_string());
    command::visible(tests.env("ROADSTEAD_TEST_FOLDER", rig.folder()))
}
