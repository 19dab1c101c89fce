//! Fleets of fake agents as processes of their own: what they use must not count as the hub's.

use std::path::Path;
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
    /// Objects that were applied by order.
    pub applied: usize,
    /// Of them those that one operation applied again.
    pub twice: usize,
}

/// Some fleets, ended with this value.
#[derive(Debug)]
pub struct Fleets {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    child: Child,
    /// As many as it may be asked for.
    agents: usize,
    input: ChildStdin,
    state: watch::Receiver<State>,
}

impl Fleets {
    /// As many processes as so many agents need; no agent runs yet.
    pub async fn start(hub: &Hub, agents: usize) -> Result<Self> {
        let mut parts = Vec::new();
        for first in (0..agents).step_by(EACH) {
            let own = EACH.min(agents - first);
            let token = hub.join_token(own).await?;
            let certificate = hub.certificate();
            parts.push(Part::start(&hub.first.agent_url, certificate.as_deref(), first, own, &token)?);
        }
        Ok(Self { parts })
    }

    /// Processes at agents' doors of any hub: where, the first number, how many, and a join token for so many.
    pub fn at(doors: &[(String, usize, usize, String)]) -> Result<Self> {
        let start = |(url, first, agents, token): &(String, usize, usize, String)| {
            Part::start(url, None, *first, *agents, token)
        };
        Ok(Self { parts: doors.iter().map(start).collect::<Result<_>>()? })
    }

    /// Their process ids.
    pub fn pids(&self) -> Vec<u32> {
        self.parts.iter().filter_map(|part| part.child.id()).collect()
    }

    /// Adds agents up to this number, and waits until all are connected.
    pub async fn grow(&mut self, agents: usize, limit: Duration) -> Result<Duration> {
        let began = Instant::now();
        let mut left = agents;
        for part in &mut self.parts {
            let own = left.min(part.agents);
            left -= own;
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
            applied: sum.applied + part.applied,
            twice: sum.twice + part.twice,
        })
    }
}

impl Part {
    fn start(agent_url: &str, certificate: Option<&Path>, first: usize, agents: usize, token: &str) -> Result<Self> {
        let mut command = Command::new(sibling("fleet")?);
        command
            .args(["--agent-url", agent_url, "--first", &first.to_string()])
            .env("FLEET_JOIN_TOKEN", token)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        if let Some(certificate) = certificate {
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
                if let [connected, lost, refused, applied, twice] = numbers[..] {
                    sender.send_replace(State { connected, lost, refused, applied, twice });
                }
            }
        });
        Ok(Self { child, agents, input, state })
    }
}
