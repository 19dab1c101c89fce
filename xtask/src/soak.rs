//! `soak`: changes at a steady rate to a thousand fake agents, for as long as you like (see `benches/src/bin/soak.rs`).

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::repository::root;
use crate::run;

#[derive(Args)]
pub(crate) struct Arguments {
    /// For so many minutes
    #[arg(long, default_value = "30")]
    minutes: String,
    /// Fake agents, each with a cluster of its own
    #[arg(long, default_value_t = 1_000)]
    agents: usize,
    /// Changes a second
    #[arg(long, default_value = "10")]
    rate: String,
    /// `one-process` or `mesh`
    #[arg(long, default_value = "one-process")]
    layout: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    run::visible(&mut run::cargo(&["build", "--release", "--workspace", "--bins"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
    let mut soak = Command::new(target.join("release/soak"));
    soak.args(["--minutes", &arguments.minutes, "--agents", &arguments.agents.to_string()]);
    soak.args(["--rate", &arguments.rate, "--layout", &arguments.layout]);
    run::visible(&mut soak)
}
