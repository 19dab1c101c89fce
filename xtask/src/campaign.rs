//! `campaign`: the long form of the tests that kill processes at random times. The short form is part of `test`.

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::test;

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    work: Work,
}

#[derive(Subcommand)]
enum Work {
    /// Changes to a real cluster: nothing accepted is lost, nothing happens twice, on both layouts
    Operations {
        /// So many changes for each layout
        #[arg(long, default_value_t = 100)]
        operations: usize,
        /// So many deaths for each layout: of the hub's processes and of the agent
        #[arg(long, default_value_t = 40)]
        deaths: usize,
        /// Play a run again: every run prints its seed
        #[arg(long)]
        seed: Option<u64>,
    },
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let Work::Operations { operations, deaths, seed } = arguments.work;
    let mut environment = vec![
        ("ROADSTEAD_CAMPAIGN_OPERATIONS", operations.to_string()),
        ("ROADSTEAD_CAMPAIGN_DEATHS", deaths.to_string()),
    ];
    environment.extend(seed.map(|seed| ("ROADSTEAD_CAMPAIGN_SEED", seed.to_string())));
    test::run(&test::Arguments::mesh("operations::campaign", environment))
}
