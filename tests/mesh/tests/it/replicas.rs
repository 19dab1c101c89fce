//! Two replicas of the front door never take each other's answers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::{JOIN_LIMIT, Layout, TestMesh, Tuning, own_namespaces};
use roadstead_testkit::environment;
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

/// Requests under way at the same time.
const REQUESTS: usize = 10_000;
/// As long as the door waits for a head.
const PATIENCE: Duration = Duration::from_secs(180);
/// One in a hundred.
const REFUSALS_MAX: usize = REQUESTS / 100;
/// Clusters that are asked for: an answer that went astray is one about another of them.
const CLUSTERS: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubernetes, rabbitmq, postgres, redis"]
async fn ten_thousand_concurrent_requests_get_their_own_answers() {
    let _alone = crate::alone().await;
    // One program on the same machine takes half a minute to send so many heads, and so long they wait for each other.
    let patient = Tuning::default().without_quotas().with("ROADSTEAD_SERVER_READ_TIMEOUT", "3m");
    let mut mesh = TestMesh::start(Layout::Mesh, patient).await.unwrap();
    registry(&mesh).await.unwrap();
    agents(&mut mesh).await.unwrap();
    mesh.end();
}

/// Each request asks for one of a hundred clusters; the answers ride the reply queues of two replicas.
async fn registry(mesh: &TestMesh) -> Result<()> {
    let owner = mesh.owner(0)?.within(PATIENCE)?;
    for number in 0..CLUSTERS {
        owner.post("/api/v1/clusters", &json!({ "name": format!("berth-{number}") })).await?.expect(201)?;
    }
    let together = Arc::new(Barrier::new(REQUESTS));
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for number in 0..REQUESTS {
        let api = owner.at(&mesh.doors[number % mesh.doors.len()]);
        let together = Arc::clone(&together);
        tasks.spawn(async move {
            let name = format!("berth-{}", number % CLUSTERS);
            together.wait().await;
            let path = format!("/api/v1/clusters/{name}");
            let (mut answer, mut refused) = (api.get(&path).await?, 0);
            // A hub with too much to do says so, and whoever is told asks again: few are.
            while answer.status == 503 && began.elapsed() < PATIENCE {
                (answer, refused) = (api.get(&path).await?, refused + 1);
            }
            let right = answer.status == 200 && answer.body["name"] == name.as_str();
            Ok::<_, anyhow::Error>((right, answer, refused))
        });
    }
    let (mut right, mut other, mut wrong, mut refusals) = (0, Vec::new(), Vec::new(), 0);
    while let Some(done) = tasks.join_next().await {
        let done = done?;
        refusals += done.as_ref().map_or(0, |(_, _, refused)| *refused);
        match done {
            Ok((true, ..)) => right += 1,
            Ok((false, answer, _)) if answer.status == 200 => wrong.push(answer),
            Ok((false, answer, _)) => other.push(format!("{answer:?}")),
            Err(error) => other.push(format!("{error:#}")),
        }
    }
    println!(
        "{right} right, {} misdelivered, {} failed, {refusals} refused at first, in {:?}",
        wrong.len(),
        other.len(),
        began.elapsed()
    );
    ensure!(wrong.is_empty(), "misdelivered: {:?}", wrong.first());
    ensure!(other.is_empty(), "{} failed, the first: {}", other.len(), other[0]);
    ensure!(right == REQUESTS && refusals <= REFUSALS_MAX, "{refusals} refusals");
    Ok(())
}

/// The same through to two agents, as many at a time as an agent takes.
async fn agents(mesh: &mut TestMesh) -> Result<()> {
    const ROUNDS: usize = 40;
    const AT_A_TIME: usize = 32;
    let own = own_namespaces(&environment::kubeconfig()?).await?;
    let mut ids = Vec::new();
    for name in ["port", "starboard"] {
        mesh.start_agent(name, None).await?;
        mesh.status(name, "connected", JOIN_LIMIT).await?;
        ids.push(mesh.agent_id(name).await?);
    }
    for round in 0..ROUNDS {
        let mut tasks = JoinSet::new();
        for number in 0..AT_A_TIME {
            let api = mesh.owner(number % mesh.doors.len())?;
            let agent = ids[(round + number / 2) % ids.len()].clone();
            tasks.spawn(async move {
                let answer = api.get(&format!("/api/v3.0/cluster/namespaces?agent_id={agent}")).await?;
                Ok::<_, anyhow::Error>((agent, answer.expect(200)?))
            });
        }
        while let Some(done) = tasks.join_next().await {
            let (agent, body) = done??;
            let names: BTreeSet<String> = body["namespaces"]
                .as_array()
                .context("no namespaces")?
                .iter()
                .filter_map(|item| item["name"].as_str().map(str::to_owned))
                .collect();
            ensure!(names == own, "{body}");
            ensure!(body.to_string().contains(&agent), "the answer of another agent than {agent}: {body}");
        }
    }
    Ok(())
}
