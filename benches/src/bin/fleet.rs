//! Fake agents in a process of their own. Reads `grow N` lines, writes `CONNECTED LOST REFUSED APPLIED TWICE` lines.
//!
//! Started by the other programs; the join token comes in the environment, out of sight of `ps`.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use roadstead_benches::fleet::{Fleet, Hub};
use roadstead_runtime::{Secret, Tasks};

#[derive(Parser)]
struct Arguments {
    /// Address of the agents' door.
    #[arg(long)]
    agent_url: http::Uri,
    /// Certificate to trust.
    #[arg(long)]
    certificate: Option<PathBuf>,
    /// Number of the first agent.
    #[arg(long, default_value_t = 0)]
    first: usize,
    /// Join token.
    #[arg(long, env = "FLEET_JOIN_TOKEN", hide_env_values = true)]
    join_token: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    roadstead_runtime::install_crypto();
    let arguments = Arguments::parse();
    let tasks = Tasks::new();
    let token = Secret::new(arguments.join_token);
    let hub = Hub { agent_url: arguments.agent_url, certificate: arguments.certificate, first: arguments.first };
    let mut fleet = Fleet::new(hub, &tasks)?;
    let (sender, mut lines) = tokio::sync::mpsc::channel(16);
    // A thread of its own: reading standard input blocks.
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            if line.map(|line| sender.blocking_send(line)).is_err() {
                return;
            }
        }
    });
    let mut said = [0; 5];
    loop {
        tokio::select! {
            line = lines.recv() => {
                // The end of the input is the end of the fleet.
                let Some(line) = line else { return Ok(()) };
                let Some(("grow", number)) = line.split_once(' ') else { bail!("unknown command {line}") };
                fleet.grow(number.trim().parse().context("not a number")?, &token);
            }
            () = tokio::time::sleep(Duration::from_millis(50)) => {
                let deeds = [&fleet.deeds().applied, &fleet.deeds().twice].map(|count| count.load(Ordering::Relaxed));
                let now = [fleet.connected(), fleet.lost(), fleet.refused(), deeds[0], deeds[1]];
                if now != said {
                    said = now;
                    println!("{}", now.map(|count| count.to_string()).join(" "));
                    std::io::stdout().flush()?;
                }
            }
        }
    }
}
