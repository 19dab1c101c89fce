//! The clients of seed 004 against a real cluster: its document's Python client with the calls of its frontends, unchanged. Part
//! of the scenario of clusters that the hub reaches by itself.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::{JOIN_LIMIT, Kubectl, TestMesh, own_namespaces, python_with};
use roadstead_testkit::environment;
use serde_json::{Value, json};

/// The account as which the hub reaches the cluster.
const ACCOUNT: &str = "roadstead-seed-four";

/// What a person puts into the seed's form: address, token, authority.
struct Form {
    server: String,
    token: String,
    authority: String,
}

impl Form {
    async fn make(kubectl: &Kubectl) -> Result<Self> {
        kubectl.run(&["create", "serviceaccount", ACCOUNT, "-n", "default"]).await?;
        let subject = format!("--serviceaccount=default:{ACCOUNT}");
        kubectl.run(&["create", "clusterrolebinding", ACCOUNT, "--clusterrole=cluster-admin", &subject]).await?;
        let token = kubectl.ok(&["create", "token", ACCOUNT, "-n", "default"]).await?.trim().to_owned();
        let view = kubectl.ok(&["config", "view", "--raw", "--minify", "-o", "json"]).await?;
        let view: Value = serde_json::from_str(&view)?;
        let cluster = &view["clusters"][0]["cluster"];
        let text = |field: &str| cluster[field].as_str().map(str::to_owned);
        let server = text("server").context("the kubeconfig names no server")?;
        let authority = match (text("certificate-authority-data"), text("certificate-authority")) {
            (Some(data), _) => data,
            (None, Some(file)) => std::fs::read_to_string(file)?,
            (None, None) => String::new(),
        };
        Ok(Self { server, token, authority })
    }

    async fn forget(kubectl: &Kubectl) -> Result<()> {
        kubectl.run(&["delete", "clusterrolebinding", ACCOUNT, "--wait=false"]).await?;
        kubectl.run(&["delete", "serviceaccount", ACCOUNT, "-n", "default", "--wait=false"]).await?;
        Ok(())
    }
}

/// Runs the clients.
pub async fn clients_of_seed_004(mesh: &TestMesh) -> Result<()> {
    let kubeconfig = environment::kubeconfig()?;
    let kubectl = Kubectl::all(&kubeconfig, &[])?.into_iter().next().context("no kubectl")?;
    let form = Form::make(&kubectl).await?;
    let told = run(mesh, &form).await;
    namespaced(mesh, &form).await.context("the profile namespaced")?;
    Form::forget(&kubectl).await?;
    let steps = told?;
    let body = |name: &str| &steps[name]["body"];
    for (name, status) in [
        ("form", 200),
        ("json", 200),
        ("onboard", 201),
        ("clusters", 200),
        ("select", 200),
        ("namespaces", 200),
        ("credentials", 200),
        ("pods", 200),
        ("workloads", 200),
        ("yaml", 200),
        ("put", 200),
        ("all_nodes", 200),
        ("remove", 200),
        ("after", 404),
    ] {
        ensure!(steps[name]["status"] == status, "{name}: {}", steps[name]);
    }
    ensure!(body("json")["expires_in"].is_u64() && body("json")["token_type"] == "bearer", "{}", steps["json"]);
    ensure!(body("onboard")["message"] == "Cluster onboarded successfully", "{}", steps["onboard"]);
    ensure!(body("clusters")["clusters"][0]["server_url"] == form.server.as_str(), "{}", steps["clusters"]);
    ensure!(body("select")["success"] == true, "{}", steps["select"]);
    let own = own_namespaces(&kubeconfig).await?;
    let named = body("namespaces")["namespaces"].as_array().into_iter().flatten().filter_map(Value::as_str);
    ensure!(named.map(str::to_owned).collect::<BTreeSet<_>>() == own, "{}", steps["namespaces"]);
    ensure!(body("credentials")["cluster"]["token"] == "***", "{}", steps["credentials"]);
    for name in ["pods", "nodes", "list", "events", "describe"] {
        ensure!(body(name)["success"] == true && body(name)["return_code"] == 0, "{name}: {}", steps[name]);
    }
    let output = |name: &str| body(name)["output"].as_str().unwrap_or_default().to_owned();
    ensure!(output("nodes").contains("KERNEL-VERSION") && output("nodes").contains("Ready"), "{}", steps["nodes"]);
    for name in ["list", "events"] {
        let list: Value = serde_json::from_str(&output(name)).with_context(|| format!("{name} is no JSON"))?;
        ensure!(list["kind"] == "List" && list["items"].is_array(), "{name}: {list}");
    }
    ensure!(output("describe").contains("Name:         default"), "{}", steps["describe"]);
    ensure!(body("missing")["error"].as_str().is_some_and(|text| text.contains("NotFound")), "{}", steps["missing"]);
    ensure!(body("shell")["success"] == false, "{}", steps["shell"]);
    ensure!(body("workloads")["workloads"]["pods"].is_array(), "{}", steps["workloads"]);
    ensure!(body("put")["success"] == true, "{}", steps["put"]);
    ensure!(!steps.to_string().contains(&form.token), "the cluster's token came back");
    Ok(())
}

async fn run(mesh: &TestMesh, form: &Form) -> Result<Value> {
    // A package that is there for another test brings `requests` along.
    let python = tokio::task::spawn_blocking(|| python_with("kubernetes==37.0.2")).await??;
    let mut command = Command::new(python);
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/kubeconfig_client.py"))
        .env("HUB_URL", mesh.doors.first().context("no door")?)
        .env("HUB_USER", &mesh.admin.0)
        .env("HUB_PASSWORD", &mesh.admin.1)
        .env("CLUSTER_SERVER", &form.server)
        .env("CLUSTER_TOKEN", &form.token)
        .env("CLUSTER_CA", &form.authority)
        .env("NO_PROXY", "*");
    let output = tokio::task::spawn_blocking(move || command.output()).await?.context("failed to run python")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("the client printed no JSON")
}

/// A cluster whose roles reach one namespace only: who may not list them all is given that one.
async fn namespaced(mesh: &TestMesh, form: &Form) -> Result<()> {
    let connection = json!({
        "auth_method": "token", "api_server_url": form.server, "service_account_token": form.token,
        "tls_config": { "ca_data": form.authority },
    });
    let body = json!({ "name": "narrow", "mode": "direct", "profile": "namespaced", "connection": connection });
    let owner = mesh.owner(0)?;
    let refused = owner.post("/api/v1/clusters", &body).await?;
    ensure!(refused.status == 400, "a profile without its namespaces: {refused:?}");
    let mut body = body;
    body["namespaces"] = json!(["kube-public"]);
    owner.post("/api/v1/clusters", &body).await?.expect(201)?;
    mesh.status("narrow", "connected", JOIN_LIMIT).await?;
    let listed = owner.get("/api/v1/clusters/narrow/namespaces").await?.expect(200)?;
    owner.delete("/api/v1/clusters/narrow").await?.expect(204)?;
    let names: Vec<&str> =
        listed["namespaces"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect();
    // Where another hub has bound the roles in the whole cluster before, as the first part of this scenario does, all are seen.
    ensure!(names.contains(&"kube-public"), "{listed}");
    Ok(())
}
