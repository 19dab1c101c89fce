//! Clusters that the hub reaches by itself, with recorded sessions, terminals for browsers and the right to act as somebody
//! else: on a real API server, in one process and in a mesh.

use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::{JOIN_LIMIT, Kubectl, Layout, READY_LIMIT, TestMesh, Tuning};
use roadstead_testkit::environment;
use roadstead_testkit::wait::eventually;
use serde_json::{Value, json};

/// Another replica hosts within this time of the death of the first, and a loaded machine's share.
const TAKE_OVER_LIMIT: Duration = Duration::from_secs(20);
const POD: &str = "recorded-hold";
/// An operation ends within this time, a loaded machine included.
const OPERATION_LIMIT: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubernetes"]
async fn direct_in_one_process() {
    scenario(Layout::OneProcess).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubernetes, rabbitmq, postgres, redis"]
async fn direct_in_a_mesh() {
    scenario(Layout::Mesh).await.unwrap();
}

async fn scenario(layout: Layout) -> Result<()> {
    let _alone = crate::alone().await;
    let mut tuning = Tuning::default().without_quotas();
    for (name, value) in [("ROADSTEAD_RECORDING_ENABLED", "true"), ("ROADSTEAD_OUTGOING_ALLOW", "127.0.0.0/8")] {
        tuning.environment.push((name.to_owned(), value.to_owned()));
    }
    let mut mesh = TestMesh::start(layout, tuning).await?;
    let kubeconfig = environment::kubeconfig()?;
    let added = client(&mesh, &["clusters", "add", "far", "--kubeconfig", &kubeconfig.display().to_string()]).await?;
    ensure!(added.status.success(), "clusters add: {}", String::from_utf8_lossy(&added.stderr));
    mesh.status("far", "connected", JOIN_LIMIT).await?;
    let shown = mesh.cluster("far").await?;
    ensure!(
        shown["mode"] == "direct" && shown["endpoint"].as_str().is_some_and(|url| url.starts_with("https://")),
        "{shown}"
    );
    // What must not be dialled is refused at once.
    let connection =
        json!({ "auth_method": "token", "api_server_url": "https://169.254.169.254", "service_account_token": "t" });
    let body = json!({ "name": "evil", "mode": "direct", "connection": connection });
    let refused = mesh.owner(0)?.post("/api/v1/clusters", &body).await?;
    ensure!(refused.status == 400 && refused.code() == "address_not_allowed", "{refused:?}");

    let file = mesh.folder().join("far.kubeconfig");
    let made = client(&mesh, &["kubeconfig", "far", "--out", &file.display().to_string()]).await?;
    ensure!(made.status.success(), "kubeconfig: {}", String::from_utf8_lossy(&made.stderr));
    let kubectl = kubectl(&mesh, &file, &mesh.api_key)?;
    ensure!(kubectl.ok(&["get", "nodes"]).await?.contains("Ready"));
    recorded(&mesh, &kubectl).await.context("a recorded session")?;
    somebody_else(&mesh, &file).await.context("acting as somebody else")?;
    crate::kubeconfig::clients_of_seed_004(&mesh).await.context("clients of seed 004")?;
    let map = format!("direct-{}-{}", std::process::id(), mesh.doors.len());
    operations(&mesh, &kubectl, &map).await.context("operations")?;
    take_over(&mut mesh, layout, &kubectl, &file).await.context("another host")?;

    mesh.owner(0)?.delete("/api/v1/clusters/far").await?.expect(204)?;
    let gone = mesh.owner(0)?.get("/api/v1/clusters/far").await?;
    ensure!(gone.status == 404, "{gone:?}");
    mesh.end();
    Ok(())
}

async fn client(mesh: &TestMesh, arguments: &[&str]) -> Result<Output> {
    let mut command = mesh.client(0, &mesh.api_key)?;
    command.args(arguments);
    Ok(tokio::task::spawn_blocking(move || command.output()).await??)
}

fn kubectl(mesh: &TestMesh, file: &std::path::Path, key: &str) -> Result<Kubectl> {
    let profile = mesh.folder().join("no-profile.json").display().to_string();
    let hub = mesh.doors.first().context("no door")?;
    let environment =
        [("ROADSTEAD_URL", hub.as_str()), ("ROADSTEAD_API_KEY", key), ("ROADSTEAD_CONFIG", profile.as_str())];
    Kubectl::all(file, &environment)?.into_iter().next().context("no kubectl")
}

/// What a shell shows is kept, over both protocols, and can be played.
async fn recorded(mesh: &TestMesh, kubectl: &Kubectl) -> Result<()> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": POD, "namespace": "default" },
        "spec": { "containers": [{ "name": "main", "image": "roadstead.dev/simulated:1" }] },
    });
    let applied = kubectl.feed(&["apply", "-f", "-"], pod.to_string().as_bytes()).await?;
    ensure!(applied.code == 0, "apply a pod: {}", applied.err);
    kubectl.ok(&["wait", &format!("pod/{POD}"), "--for=condition=Ready", "--timeout=30s"]).await?;
    for (word, web_sockets) in [("ahoy-websocket", "true"), ("ahoy-spdy", "false")] {
        let kubectl = kubectl.clone().with("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", web_sockets);
        ensure!(kubectl.ok(&["exec", POD, "--", "echo", word]).await?.trim() == word);
        let owner = mesh.owner(0)?;
        let (id, _) = eventually("the session is listed as ended", Duration::from_secs(10), || async {
            let list = owner.get("/api/v1/recordings?limit=10").await?.expect(200)?;
            let of_word = |one: &&Value| one["command"].to_string().contains(word) && !one["ended_at"].is_null();
            let found = list.as_array().and_then(|list| list.iter().find(of_word)).context("not there")?;
            found["id"].as_str().map(str::to_owned).context("no id")
        })
        .await?;
        let played = client(mesh, &["sessions", "play", &id, "--speed", "1000"]).await?;
        let shown = String::from_utf8_lossy(&played.stdout).into_owned();
        ensure!(played.status.success() && shown.contains(word) && shown.contains("[exit 0]"), "{shown}");
    }
    kubectl.ok(&["delete", "pod", POD, "--wait=false"]).await?;
    Ok(())
}

/// What is applied is done and undone as with an agent, last first.
async fn operations(mesh: &TestMesh, kubectl: &Kubectl, map: &str) -> Result<()> {
    let ask = ["get", "configmap", map, "-o", "jsonpath={.data.value}"];
    let first = apply(mesh, map, "1").await?;
    ensure!(kubectl.ok(&ask).await? == "1");
    let second = apply(mesh, map, "2").await?;
    ensure!(kubectl.ok(&ask).await? == "2");
    undo(mesh, &second).await?;
    ensure!(kubectl.ok(&ask).await? == "1");
    undo(mesh, &first).await?;
    ensure!(kubectl.fails(&ask).await?.contains("NotFound"));
    Ok(())
}

async fn apply(mesh: &TestMesh, map: &str, value: &str) -> Result<String> {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": map, "namespace": "default" },
        "data": { "value": value },
    });
    let path = "/api/v1/clusters/far/manifests";
    let sent = mesh.owner(0)?.post_as(path, "application/yaml", object.to_string()).await?.expect(202)?;
    ended(mesh, &sent).await
}

async fn undo(mesh: &TestMesh, operation: &str) -> Result<String> {
    let path = format!("/api/v1/operations/{operation}/undo");
    let sent = mesh.owner(0)?.post(&path, &json!({})).await?.expect(202)?;
    ended(mesh, &sent).await
}

/// Waits for the success of an operation.
async fn ended(mesh: &TestMesh, sent: &Value) -> Result<String> {
    let id = sent["operation_id"].as_str().context("no operation")?.to_owned();
    let (path, owner) = (format!("/api/v1/operations/{id}"), mesh.owner(0)?);
    let (operation, _) = eventually("the operation has ended", OPERATION_LIMIT, || async {
        let operation = owner.get(&path).await?.expect(200)?;
        ensure!(!operation["finished_at"].is_null(), "it is {}: {}", operation["state"], operation["reason"]);
        Ok::<_, anyhow::Error>(operation)
    })
    .await?;
    ensure!(operation["state"] == "succeeded", "{operation}");
    Ok(id)
}

/// Only with the right that was given by name, only in the hub's names.
async fn somebody_else(mesh: &TestMesh, file: &std::path::Path) -> Result<()> {
    let plain = kubectl(mesh, file, &mesh.api_key)?;
    ensure!(plain.fails(&["get", "namespaces", "--as", "bob"]).await?.contains("clusters:impersonate"));
    let body = json!({ "key_name": "impersonator", "permissions": ["*:*", "clusters:impersonate"] });
    let made = mesh.owner(0)?.post("/api-keys/", &body).await?;
    let key = made.body["api_key"].as_str().with_context(|| format!("no key: {made:?}"))?;
    let acting = kubectl(mesh, file, key)?;
    let who = acting.ok(&["auth", "whoami", "-o", "json", "--as", "bob", "--as-group", "viewer"]).await?;
    let who: Value = serde_json::from_str(&who)?;
    ensure!(who["status"]["userInfo"]["username"] == "roadstead:bob", "{who}");
    ensure!(who["status"]["userInfo"]["groups"].to_string().contains("roadstead:viewer"), "{who}");
    // Without a group nobody has rights; users and groups of Kubernetes itself are never acted as.
    ensure!(acting.fails(&["get", "namespaces", "--as", "bob"]).await?.contains("roadstead:bob"));
    for odd in [&["--as", "system:admin"][..], &["--as", "bob", "--as-group", "system:masters"]] {
        let arguments = [&["get", "namespaces"], odd].concat();
        ensure!(acting.fails(&arguments).await?.contains("roadstead: Impersonate"), "{odd:?}");
    }
    Ok(())
}

/// The host dies: another replica takes over; in one process it takes the cluster up again.
async fn take_over(mesh: &mut TestMesh, layout: Layout, kubectl: &Kubectl, file: &std::path::Path) -> Result<()> {
    if layout == Layout::OneProcess {
        mesh.kill("up")?;
        mesh.start_part("up")?;
        mesh.ready("up", READY_LIMIT).await?;
        mesh.status("far", "connected", JOIN_LIMIT).await?;
        // The door listens on any free port: on another one now.
        let made = client(mesh, &["kubeconfig", "far", "--out", &file.display().to_string()]).await?;
        ensure!(made.status.success(), "kubeconfig: {}", String::from_utf8_lossy(&made.stderr));
    } else {
        // Both in turn, so that the one that hosts is among them.
        for (name, other) in [("onboarding-1", "onboarding-2"), ("onboarding-2", "onboarding-1")] {
            mesh.kill(name)?;
            let began = Instant::now();
            eventually(&format!("{other} hosts"), TAKE_OVER_LIMIT, || async {
                let answer = kubectl.run(&["get", "--raw", "/version"]).await?;
                ensure!(answer.code == 0, "{}", answer.err);
                Ok::<_, anyhow::Error>(())
            })
            .await?;
            println!("{other} answers {:?} after the death of {name}", began.elapsed());
            mesh.start_part(name)?;
            mesh.ready(name, READY_LIMIT).await?;
        }
    }
    ensure!(kubectl.ok(&["get", "nodes"]).await?.contains("Ready"));
    Ok(())
}
