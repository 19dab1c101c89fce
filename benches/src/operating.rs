//! Callers who send changes and follow them to their end, and a whole hub with fake agents for them.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use roadstead_mesh_tests::{Api, Layout, TestMesh, Tuning};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::fleets::Fleets;

/// Agents join within this time, however many.
const JOIN_LIMIT: Duration = Duration::from_mins(10);
/// An operation that nobody told the end of is asked for again this often.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// Longest wait for the end of one: longer than anything the hub does about a fault.
const END_LIMIT: Duration = Duration::from_mins(3);

/// A hub in this layout that says nothing but warnings and whose quotas nobody meets.
pub async fn hub(layout: Layout) -> Result<TestMesh> {
    roadstead_runtime::install_crypto();
    TestMesh::start(layout, Tuning::default().without_quotas().with("ROADSTEAD_LOGGING_LEVEL", "warn")).await
}

/// Fake agents from this number on, spread over the agents' doors, connected.
pub async fn fleet(mesh: &TestMesh, first: usize, agents: usize) -> Result<Fleets> {
    let doors = mesh.agent_doors.len();
    let mut parts = Vec::new();
    let mut begin = first;
    for (number, door) in mesh.agent_doors.iter().enumerate() {
        let own = agents / doors + usize::from(number < agents % doors);
        if own == 0 {
            continue;
        }
        let body = json!({ "uses": own, "lifetime_seconds": 86_400 });
        let made = mesh.owner(0)?.post("/api/v1/join-tokens", &body).await?.expect(201)?;
        let token = made["token"].as_str().context("no token")?.to_owned();
        parts.push((door.clone(), begin, own, token));
        begin += own;
    }
    let mut fleets = Fleets::at(&parts)?;
    fleets.grow(agents, JOIN_LIMIT).await?;
    Ok(fleets)
}

/// The cluster of a fake agent.
pub fn cluster(number: usize) -> String {
    format!("bench-{number:06}")
}

/// ConfigMaps of these names.
pub fn manifest(namespace: &str, names: &[String]) -> String {
    let one = |name: &String| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: {namespace}\ndata:\n  value: \"1\"\n"
        )
    };
    names.iter().map(one).collect::<Vec<_>>().join("---\n")
}

/// Sends a change; answers its operation once the hub has it.
pub async fn begin(api: &Api, cluster: &str, manifest: &str) -> Result<String> {
    let path = format!("/api/v1/clusters/{cluster}/manifests");
    let answer = api.post_as(&path, "application/yaml", manifest).await?.expect(202)?;
    Ok(answer["operation_id"].as_str().context("no operation")?.to_owned())
}

/// Follows an operation to its end; answers the state.
pub async fn follow(api: &Api, operation: &str) -> Result<String> {
    let events = async {
        let stream = api.stream(&format!("/api/v1/operations/{operation}/events")).await?;
        let text = stream.text().await.context("the events broke off")?;
        let last = text.lines().rev().find_map(|line| line.strip_prefix("data: ")).context("no event")?;
        let last: Value = serde_json::from_str(last)?;
        let ended = last["event"] == "end";
        last["operation"]["state"].as_str().filter(|_| ended).map(str::to_owned).context("the events have no end")
    };
    if let Ok(state) = events.await {
        return Ok(state);
    }
    let began = Instant::now();
    while began.elapsed() < END_LIMIT {
        let operation = api.get(&format!("/api/v1/operations/{operation}")).await?;
        if operation.body["finished_at"].is_string() {
            return Ok(operation.body["state"].as_str().unwrap_or_default().to_owned());
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
    bail!("operation {operation} has not ended")
}

/// What became of one change.
#[derive(Debug, Clone)]
pub struct Sample {
    /// From the first request of all to this one.
    pub sent: Duration,
    /// From the request to its answer.
    pub answered: Duration,
    /// From the request to its end.
    pub ended: Duration,
    /// How it ended, or what went wrong.
    pub state: Result<String, String>,
}

/// What is poured.
#[derive(Debug, Clone)]
pub struct Pour {
    /// Changes a second, whatever became of those before.
    pub rate: f64,
    /// For so long.
    pub time: Duration,
    /// Objects of each.
    pub objects: usize,
    /// Names of objects begin so.
    pub name: String,
    /// Clusters in turn.
    pub clusters: Vec<String>,
    /// Of them those whose changes are not followed.
    pub unwatched: HashSet<String>,
}

/// Sends changes at a steady rate, and follows each to its end.
pub async fn pour(api: &Api, pour: &Pour) -> Result<Vec<Sample>> {
    let mut ticks = interval(Duration::from_secs_f64(1.0 / pour.rate));
    // A late generator makes up for it: what is promised is the rate.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut tasks, mut samples) = (JoinSet::new(), Vec::new());
    let began = Instant::now();
    let mut number = 0_usize;
    let names = Arc::new(pour.name.clone());
    while began.elapsed() < pour.time {
        ticks.tick().await;
        let cluster = pour.clusters.get(number % pour.clusters.len()).context("no clusters")?.clone();
        let watched = !pour.unwatched.contains(&cluster);
        let (api, names, objects) = (api.clone(), Arc::clone(&names), pour.objects);
        tasks.spawn(async move {
            let names: Vec<String> = (0..objects).map(|object| format!("{names}-{number}-{object}")).collect();
            let sent = Instant::now();
            let begun = begin(&api, &cluster, &manifest("default", &names)).await;
            let answered = sent.elapsed();
            let state = match begun {
                Ok(operation) if watched => follow(&api, &operation).await,
                other => other,
            };
            let state = state.map_err(|fault| format!("{cluster}: {fault:#}"));
            watched.then(|| Sample { sent: sent - began, answered, ended: sent.elapsed(), state })
        });
        number += 1;
        while let Some(done) = tasks.try_join_next() {
            samples.extend(done?);
        }
    }
    while let Some(done) = tasks.join_next().await {
        samples.extend(done?);
    }
    Ok(samples)
}

/// Those that did not end well, and the times of the others in milliseconds.
pub fn judge(samples: &[Sample]) -> (Vec<String>, Vec<f64>) {
    let mut faults = Vec::new();
    let mut times = Vec::new();
    for sample in samples {
        match &sample.state {
            Ok(state) if state == "succeeded" => times.push(sample.ended.as_secs_f64() * 1e3),
            Ok(state) => faults.push(format!("an operation is {state}")),
            Err(fault) => faults.push(fault.clone()),
        }
    }
    (faults, times)
}

/// Open file descriptors of a process.
pub fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")).map_or(0, Iterator::count)
}
