//! `campaign`: the long form of the tests in which everything goes wrong. The short form is part of `test`.

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};

use crate::test;

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    work: Work,
}

#[derive(Subcommand)]
enum Work {
    /// Changes to a real cluster: nothing accepted is lost, nothing happens twice, on both layouts
    Operations(Operations),
    /// A watch through the hub: every event once, in order
    Watch(Watch),
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
    };
    let mut environment = vec![
        ("ROADSTEAD_CAMPAIGN_OPERATIONS", wanted.operations.to_string()),
        ("ROADSTEAD_CAMPAIGN_DEATHS", wanted.deaths.to_string()),
        ("ROADSTEAD_CAMPAIGN_RACES", wanted.races.to_string()),
    ];
    environment.extend(wanted.points.map(|points| ("ROADSTEAD_CAMPAIGN_POINTS", points.to_string())));
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
