//! Agents and replicas that go, and what their callers hear.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::{JOIN_LIMIT, TestMesh};
use roadstead_testkit::wait::eventually;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::Person;

/// A cluster that is away is answered for within this time: the wait for one that is coming back, and a little.
const AWAY_LIMIT: Duration = Duration::from_secs(8);

/// Where an agent goes away, a watch ends as if the API server had ended it, and a client that resumes misses nothing.
pub async fn a_watch_ends_cleanly(mesh: &mut TestMesh) -> Result<()> {
    for kill in [false, true] {
        let person = Person::of(mesh, 0, "quay", &mesh.api_key).await?;
        let kubectl = person.kubectl()?;
        let name = format!("resume-{kill}");
        let listed: Value = serde_json::from_str(
            &kubectl.ok(&["get", "namespaces", "-o", "json", "--raw", "/api/v1/namespaces"]).await.or(
                // Older ones take no -o beside --raw.
                kubectl.ok(&["get", "--raw", "/api/v1/namespaces"]).await,
            )?,
        )?;
        let version = listed["metadata"]["resourceVersion"].as_str().context("no version")?.to_owned();
        let path = format!("/api/v1/namespaces?watch=true&resourceVersion={version}");
        let mut watch = person.get(&path).send().await?;
        ensure!(watch.status() == 200, "{}", watch.status());
        if kill {
            mesh.kill("agent-quay")?;
        } else {
            mesh.terminate("agent-quay")?;
        }
        let ended = timeout(Duration::from_secs(22), async {
            loop {
                match watch.chunk().await {
                    Ok(Some(_)) => {}
                    other => break other,
                }
            }
        });
        let ended = ended.await.context("the watch goes on in silence")?;
        ensure!(matches!(ended, Ok(None)), "not a clean end: {ended:?}");
        is_gone(mesh, "agent-quay").await?;
        mesh.restart_agent("quay")?;
        mesh.status("quay", "connected", JOIN_LIMIT).await?;
        kubectl.ok(&["create", "namespace", &name]).await?;
        let mut resumed = person.get(&path).send().await?;
        let mut text = String::new();
        timeout(Duration::from_secs(10), async {
            while !text.contains(&name) {
                let chunk = resumed.chunk().await?.context("it ended")?;
                text.push_str(&String::from_utf8_lossy(&chunk));
            }
            Ok::<_, anyhow::Error>(())
        })
        .await
        .context("the event did not come")??;
        kubectl.ok(&["delete", "namespace", &name, "--wait=false"]).await?;
    }
    Ok(())
}

/// Two processes of one part would share a folder and a port. It takes its own grace, and a little.
async fn is_gone(mesh: &TestMesh, name: &str) -> Result<()> {
    let gone = || async {
        ensure!(!mesh.is_alive(name), "it runs");
        Ok::<_, anyhow::Error>(())
    };
    eventually(&format!("{name} has ended"), Duration::from_secs(30), gone).await?;
    Ok(())
}

/// One cluster that is away: its callers hear it soon and in Kubernetes' words.
pub async fn a_cluster_that_is_away(mesh: &mut TestMesh) -> Result<()> {
    mesh.kill("agent-quay")?;
    let person = Person::of(mesh, 0, "quay", &mesh.api_key).await?;
    let mut slowest = Duration::ZERO;
    for _ in 0..6 {
        let began = Instant::now();
        let answer = person.get("/version").send().await?;
        slowest = slowest.max(began.elapsed());
        ensure!(answer.status() == 503, "{}", answer.status());
        let body: Value = serde_json::from_slice(&answer.bytes().await?)?;
        ensure!(body["kind"] == "Status" && body["reason"] == "ServiceUnavailable", "{body}");
    }
    ensure!(slowest < AWAY_LIMIT, "it took {slowest:?}");
    mesh.restart_agent("quay")?;
    mesh.status("quay", "connected", JOIN_LIMIT).await?;
    let back = || async {
        let status = person.get("/version").send().await?.status();
        ensure!(status == 200, "{status}");
        Ok::<_, anyhow::Error>(())
    };
    eventually("the cluster answers again", Duration::from_secs(10), back).await?;
    Ok(())
}

/// The replica that holds an agent stops in order: nobody's request fails. It is killed: the agent is elsewhere within seconds.
pub async fn replicas_that_go(mesh: &mut TestMesh) -> Result<()> {
    mesh.start_agent("ferry", None).await?;
    mesh.status("ferry", "connected", JOIN_LIMIT).await?;
    for replica in ["onboarding-1", "onboarding-2"] {
        let person = Person::of(mesh, 0, "ferry", &mesh.api_key).await?;
        let asking = tokio::spawn(async move {
            let (mut asked, mut failed, mut slowest) = (0, Vec::new(), Duration::ZERO);
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(10) {
                let at = Instant::now();
                match person.get("/api/v1/namespaces/default").send().await {
                    Ok(answer) if answer.status() == 200 => {
                        let _ = answer.bytes().await;
                    }
                    Ok(answer) => {
                        failed.push(format!("{} {}", answer.status(), answer.text().await.unwrap_or_default()));
                    }
                    Err(fault) => failed.push(format!("{fault:?}")),
                }
                (asked, slowest) = (asked + 1, slowest.max(at.elapsed()));
                sleep(Duration::from_millis(10)).await;
            }
            (asked, failed, slowest)
        });
        sleep(Duration::from_secs(1)).await;
        mesh.terminate(replica)?;
        let (asked, failed, slowest) = asking.await?;
        println!("{replica} stopped under {asked} requests, {} failed, the slowest took {slowest:?}", failed.len());
        ensure!(failed.is_empty(), "{} of {asked} failed: {:?}", failed.len(), failed.first());
        is_gone(mesh, replica).await?;
        mesh.start_part(replica)?;
        mesh.ready(replica, Duration::from_secs(60)).await?;
    }
    for replica in ["onboarding-1", "onboarding-2"] {
        mesh.kill(replica)?;
        let person = Person::of(mesh, 1, "ferry", &mesh.api_key).await?;
        let back = || async {
            let status = person.get("/version").send().await?.status();
            ensure!(status == 200, "{status}");
            Ok::<_, anyhow::Error>(())
        };
        let ((), time) = eventually("the cluster answers again", Duration::from_secs(25), back).await?;
        println!("{replica} was killed: the cluster answered after {time:?}");
        mesh.start_part(replica)?;
        mesh.ready(replica, Duration::from_secs(60)).await?;
    }
    Ok(())
}
