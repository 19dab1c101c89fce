//! Who the cluster sees, and what they may.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::{TestMesh, create_api_key};
use roadstead_testkit::environment;
use roadstead_testkit::wait::eventually;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{CUT_LIMIT, Person};

/// The cluster sees the person, its audit log has the hub's id of the request, and nobody acts as somebody else.
pub async fn identity(person: &Person) -> Result<()> {
    let kubectl = person.kubectl()?;
    let who = kubectl.ok(&["auth", "whoami", "-o", "json"]).await?;
    let who: Value = serde_json::from_str(&who)?;
    ensure!(who["status"]["userInfo"]["username"] == "roadstead:owner", "{who}");
    let groups = who["status"]["userInfo"]["groups"].to_string();
    ensure!(groups.contains("roadstead:admin") && !groups.contains("system:masters"), "{groups}");
    let refused = kubectl.fails(&["get", "namespaces", "--as", "system:admin"]).await?;
    ensure!(refused.contains("Impersonate"), "{refused}");
    for header in ["Impersonate-Group", "impersonate-uid", "Impersonate-Extra-scopes"] {
        let refused = person.get("/api/v1/namespaces").header(header, "system:masters").send().await?;
        ensure!(refused.status() == 403, "{header}: {}", refused.status());
        let body: Value = serde_json::from_slice(&refused.bytes().await?)?;
        ensure!(body["kind"] == "Status" && body["details"]["causes"][0]["reason"] == "impersonation_denied", "{body}");
    }
    let answer = person.get("/api/v1/namespaces/default").send().await?;
    ensure!(answer.status() == 200, "{}", answer.status());
    let id = answer.headers()["x-request-id"].to_str()?.to_owned();
    let audit = environment::kubeconfig()?.with_file_name("audit.log");
    if audit.exists() {
        let (line, _) = eventually("the audit log has the request", Duration::from_secs(5), || async {
            let log = std::fs::read_to_string(&audit)?;
            log.lines().find(|line| line.contains(&id)).map(str::to_owned).context("not there")
        })
        .await?;
        ensure!(line.contains("roadstead:owner"), "{line}");
    }
    Ok(())
}

/// A viewer reads what was granted and writes nothing; a stranger sees no cluster at all.
pub async fn viewer(mesh: &TestMesh) -> Result<()> {
    let owner = mesh.owner(0)?;
    let password = "a viewer's password 7";
    let account =
        json!({ "username": "lookout", "email": "lookout@example.com", "password": password, "roles": "viewer" });
    let made = owner.post("/users/", &account).await?;
    ensure!(matches!(made.status, 200 | 201), "making an account: {made:?}");
    let login = json!({ "username": "lookout", "password": password });
    let session = mesh.caller(0)?.post("/api/v1/auth/login", &login).await?.expect(200)?;
    let lookout = mesh.caller(0)?.token(session["access_token"].as_str().context("no token")?);
    let (_, key) = create_api_key(&lookout, "kubectl").await?;
    let doors = mesh.caller(0)?.get("/.well-known/roadstead").await?.expect(200)?;
    let url = doors["kubernetes_url"].as_str().context("no Kubernetes door")?;
    let owner_here = Person::of(mesh, 0, "quay", &mesh.api_key).await?;
    let stranger = owner_here.http.get(format!("{url}/k/quay/api")).bearer_auth(&key).send().await?;
    ensure!(stranger.status() == 404, "before the grant: {}", stranger.status());
    let granted = mesh.owner(0)?.put("/api/v1/clusters/quay/grants/lookout", &json!({})).await?;
    ensure!(granted.status < 300, "granting: {granted:?}");
    let (person, _) =
        eventually("the viewer sees the cluster", CUT_LIMIT, || Person::of(mesh, 0, "quay", &key)).await?;
    let kubectl = person.kubectl()?;
    kubectl.ok(&["get", "pods", "-A"]).await?;
    for words in [
        &["create", "namespace", "mutiny"][..],
        &["delete", "namespace", "default"],
        &["get", "secrets", "-A"],
        &["label", "namespace", "default", "a=b"],
    ] {
        let refused = kubectl.fails(words).await?;
        ensure!(refused.contains("Forbidden") && refused.contains("roadstead:lookout"), "{words:?}: {refused}");
    }
    Ok(())
}

pub async fn a_revoked_key_cuts_its_streams(mesh: &TestMesh) -> Result<()> {
    let owner = mesh.owner(0)?;
    let (id, key) = create_api_key(&owner, "to be revoked").await?;
    for front in 0..mesh.doors.len() {
        let person = Person::of(mesh, front, "quay", &key).await?;
        ensure!(person.get("/version").send().await?.status() == 200);
    }
    let person = Person::of(mesh, mesh.doors.len() - 1, "quay", &key).await?;
    let mut watch = person.get("/api/v1/namespaces?watch=true").send().await?;
    ensure!(watch.status() == 200, "{}", watch.status());
    watch.chunk().await?.context("a watch begins with what is there")?;
    let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
    let removed = owner.delete(&format!("/api-keys/{id}")).await?;
    ensure!(matches!(removed.status, 200 | 204), "revoking: {removed:?}");
    let began = Instant::now();
    let ended = timeout(CUT_LIMIT, async { while let Ok(Some(_)) = watch.chunk().await {} }).await;
    ensure!(ended.is_ok(), "the watch goes on");
    println!("a revoked key's watch ended after {:?}", began.elapsed());
    let refused = person.get("/version").send().await?;
    ensure!(refused.status() == 401, "after it: {}", refused.status());
    Ok(())
}
