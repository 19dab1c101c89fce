//! The agent's memory at rest (goal: at most 15 MB): `roadstead-agent` joined to a hub, a minute after its last work.
//!
//! `ROADSTEAD_TEST_KUBECONFIG` names the cluster.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use roadstead_benches::figures::{Spread, verdict};
use roadstead_benches::hub::{Hub, Options};
use roadstead_benches::machine;
use roadstead_benches::process::{Running, memory, processor_time, sibling};

/// Goal, MB.
const GOAL: f64 = 15.0;

#[derive(Parser)]
struct Arguments {
    /// The cluster.
    #[arg(long, env = "ROADSTEAD_TEST_KUBECONFIG")]
    kubeconfig: PathBuf,
    /// Seconds of rest.
    #[arg(long, default_value_t = 60)]
    rest: u64,
    /// Agents, one after the other.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Over TLS.
    #[arg(long)]
    tls: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    roadstead_runtime::install_crypto();
    let arguments = Arguments::parse();
    println!("# The agent's memory at rest\n\n{}", machine::describe());
    let hub = Hub::start(Options { tls: arguments.tls, ..Options::default() }).await?;
    println!("| round | resident MB | of it own MB | processor ms a minute |\n|---|---|---|---|");
    let mut figures = Vec::new();
    for round in 1..=arguments.rounds {
        let state = tempfile::tempdir()?;
        let mut command = Command::new(sibling("roadstead-agent")?);
        command
            .args(["run", "--hub", &hub.first.agent_url, "--name", &format!("bench-{round}")])
            .args(["--join", &hub.join_token(1).await?])
            .arg("--kubeconfig")
            .arg(&arguments.kubeconfig)
            .arg("--state")
            .arg(state.path());
        if let Some(certificate) = hub.certificate() {
            command.env("SSL_CERT_FILE", certificate);
        }
        let agent = Running::start(&mut command)?;
        let mut looks = 0;
        while hub.connected_agents().await? == 0 {
            looks += 1;
            anyhow::ensure!(looks < 600, "the agent did not connect within a minute");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let before = processor_time(agent.pid())?;
        tokio::time::sleep(Duration::from_secs(arguments.rest)).await;
        let used = processor_time(agent.pid())?.saturating_sub(before).as_secs_f64() * 1e3;
        let memory = memory(agent.pid()).context("the agent ended")?;
        #[expect(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
        let (resident, own) = (memory.resident as f64 / 1e6, memory.anonymous as f64 / 1e6);
        #[expect(clippy::cast_precision_loss, reason = "seconds of a rest")]
        let minute = used * 60.0 / arguments.rest.max(1) as f64;
        println!("| {round} | {resident:.1} | {own:.1} | {minute:.0} |");
        figures.push(resident);
        agent.kill()?;
        while hub.connected_agents().await? > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let spread = Spread::of(&figures);
    println!("\nresident: {spread:.1} MB");
    println!("{}", verdict("MB at rest", spread.median, GOAL, true));
    Ok(())
}
