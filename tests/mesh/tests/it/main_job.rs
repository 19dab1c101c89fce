//! The main job, told as a user would do it. The same steps on both layouts.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::{Answer, Api, Layout, TestMesh, Tuning, create_api_key, own_namespaces};
use roadstead_testkit::environment;
use roadstead_testkit::wait::eventually;
use serde_json::{Value, json};

/// How long an agent may take to join or to come back.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// A cluster shows `disconnected` within 20 s of losing its agent.
const OFFLINE_LIMIT: Duration = Duration::from_secs(20);
/// A revoked key is worth nothing after 5 s, at every door.
const REVOKED_LIMIT: Duration = Duration::from_secs(5);
/// "At once": the time of an event from one process to another, on a loaded machine.
const AT_ONCE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubernetes"]
async fn one_process_does_the_main_job() {
    main_job(Layout::OneProcess).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubernetes, rabbitmq, postgres, redis"]
async fn a_mesh_does_the_main_job() {
    main_job(Layout::Mesh).await.unwrap();
}

async fn main_job(layout: Layout) -> Result<()> {
    let _alone = crate::alone().await;
    let mut mesh = TestMesh::start(layout, Tuning::default().without_quotas()).await?;
    accounts(&mesh).await.context("accounts")?;
    an_agent_joins(&mut mesh).await.context("an agent joins")?;
    namespaces(&mesh, "harbour").await.context("namespaces")?;
    any_replica_for_any_agent(&mut mesh).await.context("any replica for any agent")?;
    a_lost_agent_comes_back(&mut mesh).await.context("a lost agent comes back")?;
    a_revoked_key_is_worth_nothing(&mesh).await.context("a revoked key")?;
    a_revoked_agent_is_cut_off(&mesh).await.context("a revoked agent")?;
    a_deleted_cluster_is_gone(&mut mesh).await.context("a deleted cluster")?;
    mesh.end();
    Ok(())
}

/// Login, profile, the same by every predecessor's path, refusal of what is wrong.
async fn accounts(mesh: &TestMesh) -> Result<()> {
    let token = mesh.login().await?;
    for door in 0..mesh.doors.len() {
        let owner = mesh.caller(door)?.token(&token);
        let profile = owner.get("/api/v1/auth/profile").await?.expect(200)?;
        ensure!(profile["username"] == mesh.admin.0.as_str(), "profile: {profile}");
        let profile = mesh.owner(door)?.get("/api/v1/auth/profile").await?.expect(200)?;
        ensure!(profile["username"] == mesh.admin.0.as_str(), "profile by API key: {profile}");
        let refused = mesh.caller(door)?.get("/api/v1/clusters").await?;
        ensure!(refused.status == 401 && refused.code() == "unauthenticated", "no credential: {refused:?}");
        let refused = mesh.caller(door)?.key("rsk_nonsense").get("/api/v1/clusters").await?;
        ensure!(refused.status == 401 && refused.code() == "invalid_credential", "bad credential: {refused:?}");
    }
    let wrong = json!({ "username": mesh.admin.0, "password": "not the password 1" });
    let refused = mesh.caller(0)?.post("/api/v1/auth/login", &wrong).await?;
    ensure!(refused.status == 401 && refused.code() == "invalid_login", "wrong password: {refused:?}");
    Ok(())
}

async fn an_agent_joins(mesh: &mut TestMesh) -> Result<()> {
    mesh.start_agent("harbour", None).await?;
    let time = mesh.status("harbour", "connected", CONNECT_LIMIT).await?;
    println!("an agent joined in {time:?}");
    Ok(())
}

/// The hub's answer is the cluster's own, by both predecessors' paths and at every door.
async fn namespaces(mesh: &TestMesh, cluster: &str) -> Result<()> {
    let own = own_namespaces(&environment::kubeconfig()?).await?;
    ensure!(own.contains("kube-system"), "this is no cluster: {own:?}");
    let agent = mesh.agent_id(cluster).await?;
    for door in 0..mesh.doors.len() {
        let owner = mesh.owner(door)?;
        let v3 = owner.get(&format!("/api/v3.0/cluster/namespaces?agent_id={agent}")).await?.expect(200)?;
        ensure!(names(&v3) == own, "v3 at door {door}: {v3}");
        let v1 = owner.get(&format!("/api/v1/clusters/{cluster}/namespaces")).await?.expect(200)?;
        ensure!(names(&v1) == own, "v1 at door {door}: {v1}");
        let connected = owner.get("/api/v3.0/cluster/agents/connected").await?.expect(200)?;
        ensure!(connected.to_string().contains(&agent), "agents/connected at door {door}: {connected}");
        let unknown = owner.get("/api/v3.0/cluster/namespaces?agent_id=00000000-0000-7000-8000-000000000000").await?;
        ensure!(unknown.status == 404, "an unknown agent: {unknown:?}");
    }
    Ok(())
}

fn names(body: &Value) -> BTreeSet<String> {
    let list = body["namespaces"].as_array().or_else(|| body.as_array());
    list.into_iter().flatten().filter_map(|item| item["name"].as_str()).map(str::to_owned).collect()
}

/// One agent at each replica's own door; every front door reaches each.
async fn any_replica_for_any_agent(mesh: &mut TestMesh) -> Result<()> {
    for number in 0..mesh.agent_doors.len() {
        let name = format!("pier-{number}");
        mesh.start_agent(&name, Some(number)).await?;
        mesh.status(&name, "connected", CONNECT_LIMIT).await?;
    }
    for number in 0..mesh.agent_doors.len() {
        namespaces(mesh, &format!("pier-{number}")).await?;
    }
    Ok(())
}

async fn a_lost_agent_comes_back(mesh: &mut TestMesh) -> Result<()> {
    let agent = mesh.agent_id("harbour").await?;
    mesh.kill("agent-harbour")?;
    let time = mesh.status("harbour", "disconnected", OFFLINE_LIMIT).await?;
    println!("a killed agent was noticed in {time:?}");
    let answer = mesh.owner(0)?.get(&format!("/api/v3.0/cluster/namespaces?agent_id={agent}")).await?;
    ensure!(answer.status == 503 && answer.code() == "agent_offline", "without its agent: {answer:?}");
    mesh.restart_agent("harbour")?;
    let time = mesh.status("harbour", "connected", CONNECT_LIMIT).await?;
    println!("a restarted agent was back in {time:?}");
    ensure!(mesh.agent_id("harbour").await? == agent, "it joined anew instead of coming back");
    namespaces(mesh, "harbour").await
}

async fn a_revoked_key_is_worth_nothing(mesh: &TestMesh) -> Result<()> {
    let owner = mesh.owner(0)?;
    let (id, key) = create_api_key(&owner, "short-lived").await?;
    let callers: Vec<Api> = mesh.doors.iter().map(|door| owner.key(&key).at(door)).collect();
    for caller in &callers {
        caller.get("/api/v1/clusters").await?.expect(200)?;
    }
    let removed = owner.delete(&format!("/api-keys/{}", plain(&id))).await?;
    ensure!(matches!(removed.status, 200 | 204), "revoking: {removed:?}");
    for (door, caller) in callers.iter().enumerate() {
        let ((), time) = eventually("the key is refused", REVOKED_LIMIT, || async {
            refused(&caller.get("/api/v1/clusters").await?, "invalid_credential")
        })
        .await?;
        println!("a revoked key was refused at door {door} in {time:?}");
    }
    Ok(())
}

/// Ids are numbers or texts, by route.
fn plain(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

fn refused(answer: &Answer, code: &str) -> Result<()> {
    ensure!(answer.status == 401 && answer.code() == code, "{answer:?}");
    Ok(())
}

async fn a_revoked_agent_is_cut_off(mesh: &TestMesh) -> Result<()> {
    let agent = mesh.agent_id("pier-0").await?;
    let removed = mesh.owner(0)?.delete(&format!("/api/v1/agents/{agent}")).await?;
    ensure!(matches!(removed.status, 200 | 204), "revoking: {removed:?}");
    for door in 0..mesh.doors.len() {
        let owner = mesh.owner(door)?;
        eventually("the agent is not reached", AT_ONCE, || async {
            let answer = owner.get(&format!("/api/v3.0/cluster/namespaces?agent_id={agent}")).await?;
            ensure!(matches!(answer.status, 404 | 503), "{answer:?}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
    }
    // It tries again by itself, and must not get in.
    let connected = mesh.owner(0)?.get("/api/v1/agents?connected=true&limit=1000").await?.expect(200)?;
    ensure!(!connected.to_string().contains(&agent), "it is connected: {connected}");
    Ok(())
}

async fn a_deleted_cluster_is_gone(mesh: &mut TestMesh) -> Result<()> {
    let removed = mesh.owner(0)?.delete("/api/v1/clusters/harbour").await?;
    ensure!(matches!(removed.status, 200 | 204), "deleting: {removed:?}");
    for door in 0..mesh.doors.len() {
        let owner = mesh.owner(door)?;
        eventually("the cluster is gone", AT_ONCE, || async {
            let answer = owner.get("/api/v1/clusters/harbour").await?;
            ensure!(answer.status == 404 && answer.code() == "not_found", "{answer:?}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
    }
    mesh.restart_agent("harbour")?;
    eventually("its agent is refused", CONNECT_LIMIT, || async {
        let log = mesh.tail("agent-harbour").to_lowercase();
        let said = ["revoked", "refused", "401", "403"].iter().any(|word| log.contains(word));
        ensure!(said, "its log:\n{log}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    Ok(())
}
