//! Fleets of fake agents as processes of their own: what they use must not count as the hub's.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;

use crate::hub::Hub;
use crate::process::sibling;

/// Agents of one process: a join token has at most 10,000 uses, and a process some 20,000 descriptors.
const EACH: usize = 10_000;
/// How often the count is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What the fleets say of themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct State {
    /// Agents that the hub welcomed and has not lost since.
    pub connected: usize,
    /// Sessions lost so far.
    pub lost: usize,
    /// Dials refused or failed so far.
    pub refused: usize,
}

/// Some fleets, ended with this value.
#[derive(Debug)]
pub struct Fleets {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    _child: Child,
    input: ChildStdin,
    state: watch::Receiver<State>,
}

impl Fleets {
    /// As many processes as so many agents need; no agent runs yet.
    pub async fn start(hub: &Hub, agents: usize) -> Result<Self> {
        let mut parts = Vec::new();
        for first in (0..agents).step_by(EACH) {
            let token = hub.join_token(EACH.min(agents - first)).await?;
            parts.push(Part::start(hub, first, &token)?);
        }
        Ok(Self { parts })
    }

    /// Adds agents up to this number, and waits until all are connected.
    pub async fn grow(&mut self, agents: usize, limit: Duration) -> Result<Duration> {
        let began = Instant::now();
        for (index, part) in self.parts.iter_mut().enumerate() {
            let own = agents.saturating_sub(index * EACH).min(EACH);
            part.input.write_all(format!("grow {own}\n").as_bytes()).await.context("a fleet is gone")?;
        }
        self.wait(agents, limit).await?;
        Ok(began.elapsed())
    }

    /// Waits until so many are connected.
    pub async fn wait(&self, agents: usize, limit: Duration) -> Result<Duration> {
        let began = Instant::now();
        while self.state().connected < agents {
            if began.elapsed() > limit {
                bail!("after {limit:?}: {:?} of {agents}", self.state());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(began.elapsed())
    }

    /// What they say now.
    pub fn state(&self) -> State {
        self.parts.iter().map(|part| *part.state.borrow()).fold(State::default(), |sum, part| State {
            connected: sum.connected + part.connected,
            lost: sum.lost + part.lost,
            refused: sum.refused + part.refused,
        })
    }
}

impl Part {
    fn start(hub: &Hub, first: usize, token: &str) -> Result<Self> {
        let mut command = Command::new(sibling("fleet")?);
        command
            .args(["--agent-url", &hub.first.agent_url, "--first", &first.to_string()])
            .env("FLEET_JOIN_TOKEN", token)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        if let Some(certificate) = hub.certificate() {
            command.arg("--certificate").arg(certificate);
        }
        let mut child = command.spawn().context("failed to start a fleet")?;
        let input = child.stdin.take().context("no input")?;
        let output = child.stdout.take().context("no output")?;
        let (sender, state) = watch::channel(State::default());
        roadstead_runtime::Tasks::new().spawn("fleet-output", async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let numbers: Vec<usize> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
                if let [connected, lost, refused] = numbers[..] {
                    sender.send_replace(State { connected, lost, refused });
                }
            }
        });
        Ok(Self { _child: child, input, state })
    }
}
