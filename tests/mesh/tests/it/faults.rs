//! `kill -9` of each process and each server under load.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::{JOIN_LIMIT, Layout, READY_LIMIT, TestMesh, Tuning};
use roadstead_testkit::servers::Server;
use roadstead_testkit::wait::eventually;

use crate::load::{Load, STEADY, Sample};

/// What a request may take at most: the hub's 30 s to an agent and its own overhead.
const DEADLINE: Duration = Duration::from_secs(32);
/// Everything answers again this long after the return.
const RECOVERY: Duration = Duration::from_secs(10);
/// How long the broken thing stays away: longer than any cache of a credential, shorter than the agents' silence.
const AWAY: Duration = Duration::from_secs(4);
/// How soon `/readyz` must say so.
const READYZ: Duration = Duration::from_secs(6);

/// What is killed.
#[derive(Debug, Clone, PartialEq)]
enum Fault {
    Part(String),
    Server(Server),
    Agent(String),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubernetes"]
async fn one_process_survives_its_death() {
    let _alone = crate::alone().await;
    let mut mesh = TestMesh::start(Layout::OneProcess, Tuning::default().without_quotas()).await.unwrap();
    agents(&mut mesh).await.unwrap();
    for fault in [Fault::Part("up".into()), Fault::Agent("agent-quay".into())] {
        survives(&mut mesh, fault).await.unwrap();
    }
    mesh.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubernetes, rabbitmq, postgres, redis"]
async fn a_mesh_survives_the_death_of_each_part() {
    let _alone = crate::alone().await;
    let mut mesh = TestMesh::start(Layout::Mesh, Tuning::default().without_quotas()).await.unwrap();
    agents(&mut mesh).await.unwrap();
    let mut faults: Vec<Fault> = mesh.parts().into_iter().map(Fault::Part).collect();
    faults.extend(Server::ALL.map(Fault::Server));
    faults.push(Fault::Agent("agent-quay".into()));
    let mut failures = Vec::new();
    for fault in faults {
        let name = format!("{fault:?}");
        if let Err(error) = survives(&mut mesh, fault).await {
            eprintln!("{name}: {error:#}");
            failures.push(format!("{name}: {error:#}"));
        }
    }
    if failures.is_empty() {
        mesh.end();
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

async fn agents(mesh: &mut TestMesh) -> Result<()> {
    for name in ["quay", "pier"] {
        mesh.start_agent(name, None).await?;
        mesh.status(name, "connected", JOIN_LIMIT).await?;
    }
    Ok(())
}

async fn survives(mesh: &mut TestMesh, fault: Fault) -> Result<()> {
    let mut paths = Vec::new();
    for cluster in ["quay", "pier"] {
        paths.push(format!("/api/v3.0/cluster/namespaces?agent_id={}", mesh.agent_id(cluster).await?));
    }
    let doors = (0..mesh.doors.len()).map(|door| Ok((door, mesh.owner(door)?))).collect::<Result<Vec<_>>>()?;
    let load = Load::start(doors, &paths);
    load.runs(RECOVERY).await?;

    let killed = Instant::now();
    match &fault {
        Fault::Part(name) | Fault::Agent(name) => mesh.kill(name)?,
        Fault::Server(server) => mesh.kill_server(*server)?,
    }
    let told = match fault {
        Fault::Server(server) => readiness_tells(mesh, server).await,
        _ => Ok(()),
    };
    tokio::time::sleep(AWAY.saturating_sub(killed.elapsed())).await;
    match &fault {
        Fault::Part(name) => {
            mesh.start_part(name)?;
            mesh.ready(name, READY_LIMIT).await?;
        }
        Fault::Agent(name) => mesh.restart_agent(name.trim_start_matches("agent-"))?,
        Fault::Server(server) => {
            let server = *server;
            tokio::task::block_in_place(|| mesh.servers()?.start(server))?;
        }
    }
    let returned = Instant::now();
    for name in mesh.parts() {
        mesh.ready(&name, RECOVERY.saturating_sub(returned.elapsed())).await.context("/readyz after the return")?;
    }
    let steady = load.steady(returned, RECOVERY + STEADY).await;
    let last_bad = load.last_bad();
    let samples = load.end().await;
    let recovered = last_bad.map_or(Duration::ZERO, |moment| moment.saturating_duration_since(returned));
    println!("{fault:?}: {}", summary(&samples, recovered));
    told?;
    judge(mesh, &fault, &samples)?;
    ensure!(recovered <= RECOVERY, "a bad answer {recovered:?} after the return");
    steady?;
    for name in ["quay", "pier"] {
        mesh.status(name, "connected", Duration::from_secs(1)).await?;
    }
    Ok(())
}

/// Whoever needs a server says that it is away: not ready without broker or database; ready without Redis, for quotas are
/// counted per process meanwhile, which it says too.
async fn readiness_tells(mesh: &TestMesh, server: Server) -> Result<()> {
    let (needs, status, word): (&[&str], u16, &str) = match server {
        Server::Rabbitmq => {
            (&["user", "cluster-1", "cluster-2", "onboarding-1", "onboarding-2", "operations"], 503, "broker")
        }
        Server::Postgres => (&["user", "onboarding-1", "onboarding-2", "operations"], 503, "database"),
        Server::Redis => (&["cluster-1", "cluster-2"], 200, "away"),
    };
    for name in needs {
        eventually(&format!("{name} says so"), READYZ, || async {
            let answer = mesh.readiness(name).await?;
            let said = answer.body.to_string().contains(word);
            ensure!(answer.status == status && said, "{name} says {} {}", answer.status, answer.body);
            Ok::<_, anyhow::Error>(())
        })
        .await
        .with_context(|| format!("without {}", server.name()))?;
    }
    Ok(())
}

/// Nobody waits beyond the deadline, and nobody hears anything but a good answer, 503 or 504; a connection breaks only
/// where the process behind it was killed.
fn judge(mesh: &TestMesh, fault: &Fault, samples: &[Sample]) -> Result<()> {
    for sample in samples {
        ensure!(sample.took <= DEADLINE, "an answer took {:?}: {sample:?}", sample.took);
        match sample.status {
            Some(200 | 503 | 504) => {}
            Some(status) => anyhow::bail!("a wrong answer, {status}: {}", sample.body),
            None => {
                let own = match fault {
                    Fault::Part(name) => name == "up" || *name == format!("cluster-{}", sample.door + 1),
                    _ => false,
                };
                ensure!(own, "a broken connection at {}: {}", mesh.doors[sample.door], sample.body);
            }
        }
    }
    Ok(())
}

fn summary(samples: &[Sample], recovered: Duration) -> String {
    let count = |wanted: Option<u16>| samples.iter().filter(|sample| sample.status == wanted).count();
    let slowest = samples.iter().map(|sample| sample.took).max().unwrap_or_default();
    format!(
        "{} good, {} 503, {} 504, {} broken; slowest {slowest:?}; last bad answer {recovered:?} after the return",
        count(Some(200)),
        count(Some(503)),
        count(Some(504)),
        count(None)
    )
}
