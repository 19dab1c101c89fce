//! Rules of the policy against a real API server: what a rule gives beyond a role, what a rule takes away from one, by kubectl
//! and over REST, and how soon it counts.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::{Api, JOIN_LIMIT, Layout, TestMesh, Tuning, create_api_key};
use roadstead_testkit::wait::eventually;
use serde_json::{Value, json};

use crate::kubernetes::Person;

/// A change of the policy counts within this time (5 s, and a loaded machine).
const EFFECT_LIMIT: Duration = Duration::from_secs(6);
/// How long an operation may take.
const OPERATION_LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubernetes"]
async fn rules_reach_down_to_the_namespace() {
    scenario().await.unwrap();
}

async fn scenario() -> Result<()> {
    let _alone = crate::alone().await;
    let mut mesh = TestMesh::start(Layout::OneProcess, Tuning::default().without_quotas()).await?;
    let door = mesh.agent_doors.len() - 1;
    mesh.start_agent("quay", Some(door)).await?;
    mesh.status("quay", "connected", JOIN_LIMIT).await?;
    let owner = Person::of(&mesh, 0, "quay", &mesh.api_key).await?.kubectl()?;
    for namespace in ["team-a", "team-b"] {
        let _ = owner.run(&["delete", "namespace", namespace, "--ignore-not-found", "--wait"]).await?;
        owner.ok(&["create", "namespace", namespace]).await?;
    }
    a_viewer_with_a_rule(&mesh).await.context("a viewer with a rule")?;
    an_operator_without_secrets(&mesh).await.context("an operator without secrets")?;
    for namespace in ["team-a", "team-b"] {
        owner.ok(&["delete", "namespace", namespace, "--wait=false"]).await?;
    }
    mesh.end();
    Ok(())
}

/// An account with a role, a grant of the cluster and an API key.
async fn account(mesh: &TestMesh, name: &str, role: &str) -> Result<String> {
    let owner = mesh.owner(0)?;
    let password = format!("the password of {name} 7");
    let email = format!("{name}@example.com");
    let account = json!({ "username": name, "email": email, "password": password, "roles": role });
    let made = owner.post("/users/", &account).await?;
    ensure!(matches!(made.status, 200 | 201), "making an account: {made:?}");
    let login = json!({ "username": name, "password": password });
    let session = mesh.caller(0)?.post("/api/v1/auth/login", &login).await?.expect(200)?;
    let caller = mesh.caller(0)?.token(session["access_token"].as_str().context("no token")?);
    let (_, key) = create_api_key(&caller, "kubectl").await?;
    let granted = owner.put(&format!("/api/v1/clusters/quay/grants/{name}"), &json!({})).await?;
    ensure!(granted.status < 300, "granting: {granted:?}");
    Ok(key)
}

fn config_map(name: &str, namespace: &str) -> String {
    format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}, namespace: {namespace}}}, data: {{k: v}}}}\n")
}

/// Applies over REST and waits for the end; answers the state, or the refusal's code.
async fn rest(api: &Api, name: &str, namespace: &str) -> Result<String> {
    let path = "/api/v1/clusters/quay/manifests";
    let begun = api.post_as(path, "application/yaml", config_map(name, namespace)).await?;
    if begun.status != 202 {
        return Ok(begun.code().to_owned());
    }
    let id = begun.body["operation_id"].as_str().context("no operation")?.to_owned();
    let (ended, _) = eventually("the operation ends", OPERATION_LIMIT, || async {
        let operation = api.get(&format!("/api/v1/operations/{id}")).await?.expect(200)?;
        ensure!(operation["finished_at"].is_string(), "{operation}");
        Ok::<Value, anyhow::Error>(operation)
    })
    .await?;
    Ok(ended["state"].as_str().unwrap_or_default().to_owned())
}

async fn a_viewer_with_a_rule(mesh: &TestMesh) -> Result<()> {
    let (owner, key) = (mesh.owner(0)?, account(mesh, "lookout-a", "viewer").await?);
    let api = mesh.caller(0)?.key(&key);
    let (person, _) = eventually("the grant counts", EFFECT_LIMIT, || Person::of(mesh, 0, "quay", &key)).await?;
    let kubectl = person.kubectl()?;
    let apply = async |name: &str, namespace: &str| {
        kubectl.feed(&["apply", "-f", "-"], config_map(name, namespace).as_bytes()).await
    };
    ensure!(apply("before", "team-a").await?.code != 0, "a viewer without a rule applied");
    ensure!(rest(&api, "before", "team-a").await? == "forbidden");
    let rule = json!({
        "name": "lookout-in-team-a", "effect": "allow", "subjects": ["user:lookout-a"],
        "permissions": ["clusters:*", "operations:*"], "clusters": {"names": ["quay"]}, "namespaces": ["team-a"],
    });
    let made = owner.post("/api/v1/policies", &rule).await?;
    ensure!(made.status == 201, "making a rule: {made:?}");
    let began = Instant::now();
    eventually("the rule counts", EFFECT_LIMIT, || async {
        let done = apply("by-kubectl", "team-a").await?;
        ensure!(done.code == 0, "{}", done.err);
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    println!("a new rule counted after {:?}", began.elapsed());
    ensure!(rest(&api, "by-rest", "team-a").await? == "succeeded", "over REST in team-a");
    kubectl.ok(&["get", "configmap", "by-rest", "-n", "team-a"]).await?;
    // The cluster sees the person, in the role that the rule is worth, for that one request.
    let refused = apply("elsewhere", "team-b").await?;
    ensure!(refused.code != 0 && refused.err.contains("orbidden"), "in team-b: {}", refused.err);
    let refused = kubectl.fails(&["create", "namespace", "team-c"]).await?;
    ensure!(refused.contains("orbidden"), "a namespace: {refused}");
    ensure!(rest(&api, "elsewhere", "team-b").await? == "forbidden", "over REST in team-b");
    let can = async |namespace: &str| {
        let asked =
            format!("cluster=quay&kind=configmaps&verb=patch&permission=operations:write&namespace={namespace}");
        api.get(&format!("/api/v1/auth/can?{asked}")).await?.expect(200)
    };
    let (here, there) = (can("team-a").await?, can("team-b").await?);
    ensure!(here["allowed"] == true && here["rule"]["name"] == "lookout-in-team-a", "{here}");
    ensure!(there["allowed"] == false, "{there}");
    let gone = owner.delete("/api/v1/policies/lookout-in-team-a").await?;
    ensure!(gone.status == 204, "removing the rule: {gone:?}");
    let began = Instant::now();
    eventually("the rule is gone", EFFECT_LIMIT, || async {
        ensure!(apply("after", "team-a").await?.code != 0, "it still counts for kubectl");
        ensure!(rest(&api, "after", "team-a").await? == "forbidden", "it still counts over REST");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    println!("a rule that was removed had no effect any more after {:?}", began.elapsed());
    kubectl.ok(&["get", "configmaps", "-n", "team-a"]).await?;
    Ok(())
}

async fn an_operator_without_secrets(mesh: &TestMesh) -> Result<()> {
    let (owner, key) = (mesh.owner(0)?, account(mesh, "stoker", "operator").await?);
    let (person, _) = eventually("the grant counts", EFFECT_LIMIT, || Person::of(mesh, 0, "quay", &key)).await?;
    let kubectl = person.kubectl()?;
    kubectl.ok(&["create", "secret", "generic", "plain", "-n", "team-a", "--from-literal=a=b"]).await?;
    kubectl.ok(&["get", "secrets", "-n", "team-a"]).await?;
    let rule = json!({
        "name": "no-secrets", "effect": "deny", "subjects": ["role:operator"], "permissions": ["*:*"],
        "kinds": ["secrets"], "verbs": ["get", "list", "watch"], "reason": "secrets are for the vault",
    });
    let made = owner.post("/api/v1/policies", &rule).await?;
    ensure!(made.status == 201, "making a rule: {made:?}");
    let (refused, _) =
        eventually("the rule counts", EFFECT_LIMIT, || kubectl.fails(&["get", "secrets", "-n", "team-a"])).await?;
    ensure!(refused.contains("the rule no-secrets denies") && refused.contains("ask an admin"), "{refused}");
    kubectl.fails(&["get", "--raw", "/api/v1/namespaces/team-a/%73ecrets/plain"]).await?;
    kubectl.fails(&["get", "secrets", "-A"]).await?;
    kubectl.ok(&["get", "configmaps", "-n", "team-a"]).await?;
    let gone = owner.delete("/api/v1/policies/no-secrets").await?;
    ensure!(gone.status == 204, "removing the rule: {gone:?}");
    eventually("the rule is gone", EFFECT_LIMIT, || kubectl.ok(&["get", "secrets", "-n", "team-a"])).await?;
    Ok(())
}
