//! Row F06: PostgreSQL answers late, or the way to it swallows everything, or leads to another server now; and no connection
//! breaks.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use roadstead_mesh_tests::{Api, Layout, Passage, TestMesh, Tuning};
use roadstead_testkit::wait::eventually;
use serde_json::json;
use tokio::task::JoinSet;

use crate::load::{Load, Sample};

/// Who has a database.
const OWNERS: [&str; 4] = ["user", "onboarding-1", "onboarding-2", "operations"];
/// What is asked meanwhile: each is somebody else's to answer, from the database.
const PATHS: [&str; 3] = ["/api/v1/clusters", "/api/v1/auth/profile", "/api/v1/operations"];
/// What an answer may take to a question that was asked meanwhile: the row's 10 s, and half as much again where the machine
/// does something else.
const DEADLINE: Duration = Duration::from_secs(15);
/// The same to one that was under way: a method of a store ends after 20 s.
const UNDER_WAY: Duration = Duration::from_secs(30);
/// How soon `/readyz` says so: the row's 5 s, and a second to ask.
const READYZ: Duration = Duration::from_secs(6);
/// How soon who is alive says that.
const HEALTHZ: Duration = Duration::from_secs(2);
/// How long it lasts: longer than what was under way.
const LASTS: Duration = Duration::from_secs(25);
/// How soon everything is as before.
const RECOVERY: Duration = Duration::from_secs(20);
/// Requests at once, at each door.
const BURST: usize = 200;
/// 2 s there and back.
const LATE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs rabbitmq, postgres, redis"]
async fn f06_a_database_that_is_late_or_silent() {
    let _alone = crate::alone().await;
    let tuning = Tuning::default().without_quotas().with_strait();
    let mesh = TestMesh::start(Layout::Mesh, tuning).await.unwrap();
    for passage in [Passage::Shut, Passage::Slow(LATE)] {
        endures(&mesh, passage).await.unwrap();
    }
    finds_another(&mesh).await.unwrap();
    mesh.end();
}

/// Asks all the time; answers once everybody has got good answers.
async fn asking(mesh: &TestMesh) -> Result<Load> {
    let doors = (0..mesh.doors.len()).map(|door| Ok((door, mesh.owner(door)?))).collect::<Result<Vec<_>>>()?;
    let load = Load::start(doors, &PATHS.map(str::to_owned));
    load.runs(RECOVERY).await?;
    Ok(load)
}

/// What was asked is answered, well or with a refusal that says to come again.
fn judge(samples: &[Sample]) -> Result<()> {
    for sample in samples {
        ensure!(sample.took <= UNDER_WAY && matches!(sample.status, Some(200 | 503 | 504)), "{sample:?}");
    }
    Ok(())
}

/// The connections that there are lead nowhere from one moment to the next, and nobody ever says so.
async fn finds_another(mesh: &TestMesh) -> Result<()> {
    let load = asking(mesh).await?;
    mesh.strait()?.lose();
    let lost = Instant::now();
    load.steady(lost, UNDER_WAY + RECOVERY).await.context("everybody has another connection")?;
    for name in mesh.parts() {
        mesh.ready(&name, RECOVERY).await?;
    }
    judge(&load.end().await)?;
    mesh.owner(0)?.post("/api/v1/clusters", &json!({ "name": "found-another" })).await?.expect(201)?;
    Ok(())
}

async fn endures(mesh: &TestMesh, passage: Passage) -> Result<()> {
    let load = asking(mesh).await?;
    let owners = OWNERS.map(|name| mesh.places(name).and_then(|places| Ok((name, Api::new(&places.0)?))));
    let owners: Vec<(&str, Api)> = owners.into_iter().collect::<Result<_>>()?;
    mesh.strait()?.set(passage);
    let began = Instant::now();
    let mut said = JoinSet::new();
    for number in 0..mesh.doors.len() {
        let api = mesh.owner(number)?;
        let (name, changing) = (format!("berth-{number}-{}", passage == Passage::Shut), api.clone());
        said.spawn(async move { timed(changing.post("/api/v1/clusters", &json!({ "name": name }))).await });
        for call in 0..BURST {
            let (api, path) = (api.clone(), PATHS[call % PATHS.len()]);
            said.spawn(async move { timed(api.get(path)).await });
        }
    }
    let told = owners.iter().map(|(name, own)| async move {
        let says = || async {
            let answer = own.get("/readyz").await?;
            ensure!(answer.status == 503 && answer.body.to_string().contains("database"), "{name}: {answer:?}");
            Ok::<_, anyhow::Error>(())
        };
        eventually(&format!("{name} says so"), READYZ.saturating_sub(began.elapsed()), says).await?;
        let (status, took) = timed(own.get("/healthz")).await?;
        ensure!(status == 200 && took <= HEALTHZ, "{name} is alive: {status} after {took:?}");
        Ok::<_, anyhow::Error>(())
    });
    try_join_all(told).await?;
    let mut slowest = Duration::ZERO;
    while let Some(done) = said.join_next().await {
        let (status, took) = done??;
        ensure!(matches!(status, 200 | 201 | 503 | 504), "{passage:?}: {status} after {took:?}");
        ensure!(took <= DEADLINE, "{passage:?}: {status} after {took:?}");
        slowest = slowest.max(took);
    }
    tokio::time::sleep(LASTS.saturating_sub(began.elapsed())).await;

    mesh.strait()?.set(Passage::Open);
    let opened = Instant::now();
    for name in mesh.parts() {
        mesh.ready(&name, RECOVERY.saturating_sub(opened.elapsed())).await.context("/readyz afterwards")?;
    }
    // What was under way has ended by then: the next fault meets a hub that is as it was before this one.
    load.steady(opened + RECOVERY, RECOVERY * 2).await.context("everything is as before")?;
    let samples = load.end().await;
    judge(&samples).with_context(|| format!("{passage:?}"))?;
    let good = samples.iter().filter(|sample| sample.status == Some(200)).count();
    println!("{passage:?}: {good} of {} good, the slowest of the burst {slowest:?}", samples.len());
    Ok(())
}

async fn timed(asked: impl Future<Output = Result<roadstead_mesh_tests::Answer>>) -> Result<(u16, Duration)> {
    let began = Instant::now();
    let answer = asked.await?;
    Ok((answer.status, began.elapsed()))
}
