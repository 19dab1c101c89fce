//! A peer of the predecessors, in Python with `pika`, asks over the queues and gets their answers.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::{JOIN_LIMIT, Layout, TestMesh, Tuning, create_api_key, own_namespaces, python_with};
use roadstead_testkit::environment;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubernetes, rabbitmq, postgres, redis, python3"]
async fn a_pika_peer_gets_the_seeds_answers() {
    let _alone = crate::alone().await;
    peer().await.unwrap();
}

async fn peer() -> Result<()> {
    let python = tokio::task::spawn_blocking(|| python_with("pika==1.3.2")).await??;
    let tuning = Tuning::default().without_quotas().with("ROADSTEAD_COMPAT_QUEUE_PEERS", "peer=owner");
    let mut mesh = TestMesh::start(Layout::Mesh, tuning).await?;
    mesh.start_agent("quay", None).await?;
    mesh.status("quay", "connected", JOIN_LIMIT).await?;
    let agent = mesh.agent_id("quay").await?;
    let own = own_namespaces(&environment::kubeconfig()?).await?;
    let (_, key) = create_api_key(&mesh.owner(0)?, "peer").await?;
    let state = mesh.servers()?.state();
    let url = state.amqp_url("peer", &state.secrets.peer);

    // An authentication, good and bad.
    let request = json!({ "request_id": "r-1", "api_key": key, "service": "cluster_service", "timestamp": 12.5 });
    let answer = ask(&python, &url, "cluster_auth", &request).await?;
    ensure!(answer["request_id"] == "r-1" && answer["valid"] == true, "{answer}");
    ensure!(answer["message"] == "Authentication successful", "{answer}");
    let user = &answer["user_data"];
    ensure!(user["username"] == "owner" && user["is_active"] == true && user["id"].is_i64(), "{answer}");
    let request =
        json!({ "request_id": "r-2", "api_key": "ks_unknown", "service": "cluster_service", "timestamp": 13 });
    let answer = ask(&python, &url, "cluster_auth", &request).await?;
    ensure!(answer == json!({ "request_id": "r-2", "valid": false, "error": "Invalid API key" }), "{answer}");

    // Namespaces, of a connected agent and of one that is not there.
    let request = json!({
        "request_id": "r-3", "agent_id": agent, "command": "get-namespaces", "cluster_config": {}, "timestamp": 14.0,
    });
    let answer = ask(&python, &url, "cluster_namespace", &request).await?;
    ensure!(answer["request_id"] == "r-3" && answer["error"].is_null(), "{answer}");
    let result: Value = serde_json::from_str(answer["result"].as_str().context("the result is a JSON text")?)?;
    let names =
        result["namespaces"].as_array().context("no namespaces")?.iter().filter_map(|item| item["name"].as_str());
    ensure!(names.map(str::to_owned).collect::<std::collections::BTreeSet<_>>() == own, "{result}");
    let request = json!({
        "request_id": "r-4", "agent_id": "nobody", "command": "get-namespaces", "cluster_config": {}, "timestamp": 15.0,
    });
    let answer = ask(&python, &url, "cluster_namespace", &request).await?;
    let error = answer["error"].as_str().unwrap_or_default();
    ensure!(answer["request_id"] == "r-4" && error.starts_with("Failed to communicate with agent"), "{answer}");
    mesh.end();
    Ok(())
}

async fn ask(python: &Path, url: &str, queue: &str, request: &Value) -> Result<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/pika_peer.py");
    let mut command = Command::new(python);
    // The URL has a password: by environment, not as an argument.
    command.arg(script).arg(queue).arg(request.to_string()).env("PEER_URL", url);
    let output = tokio::task::spawn_blocking(move || command.output()).await?.context("failed to run python")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("the peer printed no JSON")
}
