//! `model`: the life of an operation under a model checker (see `services/operations/examples/model`).

use anyhow::Result;
use clap::Args;

use crate::run;

#[derive(Args)]
pub(crate) struct Arguments {
    /// States to look at in each case
    #[arg(default_value_t = 2_000_000)]
    states: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let states = arguments.states.to_string();
    run::visible(&mut run::cargo(&["run", "-p", "roadstead-operations", "--example", "model", "--", &states]))
}
