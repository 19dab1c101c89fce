//! kubectl with the session of somebody who logged in by password, and that session's refresh. Other tests use an API key.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use roadstead_mesh_tests::TestMesh;
use roadstead_runtime::{Clock as _, SystemClock};
use serde_json::Value;

use super::shell::Shell;

/// An access token that ended in 1970: its claims are `{"exp":1}`. Whoever reads them exchanges it, and a hub refuses it.
const ENDED: &str = "x.eyJleHAiOjF9.x";
/// kubectls that ask for a credential at the same time, each by a process of its own.
const AT_ONCE: usize = 4;

pub(super) async fn a_session(mesh: &TestMesh) -> Result<()> {
    let hub = mesh.doors.first().context("no front door")?;
    let shell = Shell::without_credential(mesh, "session")?;
    let profile = shell.file("profile.json");
    let shell = shell.with("ROADSTEAD_CONFIG", &profile.display().to_string()).with("PASSWORD", &mesh.admin.1);
    let login = format!(r#"printf %s "$PASSWORD" | roadstead login --url {hub} --username {}"#, mesh.admin.0);
    let told = shell.ok(&login).await?;
    ensure!(told.contains(&format!("as {}", mesh.admin.0)), "{told}");
    shell.ok("roadstead kubeconfig quay --out quay.yaml").await?;
    let text = std::fs::read_to_string(shell.file("quay.yaml"))?;
    let kept = read(&profile)?;
    for secret in ["access_token", "refresh_token"] {
        ensure!(!text.contains(kept[secret].as_str().context("no session")?), "the {secret} is in the kubeconfig");
    }
    // The kubeconfig says where the session is; whoever uses it needs no variable for that.
    let ask =
        "env -u ROADSTEAD_CONFIG kubectl --kubeconfig quay.yaml auth whoami -o jsonpath={.status.userInfo.username}";
    ensure!(shell.ok(ask).await? == "roadstead:owner");
    let credential = format!("roadstead kube-credential --url {hub}");
    ensure!(token(&shell.ok(&credential).await?)? == kept["access_token"], "a token that is good was exchanged");

    // About to end: the plugin exchanges it, once however many ask, or the hub would take the second for a thief.
    end_access(&profile)?;
    let several = format!(
        "for _ in $(seq {AT_ONCE}); do {ask} & all=\"$all $!\"; done; for one in $all; do wait $one || exit 1; done"
    );
    let said = shell.ok(&several).await?;
    ensure!(said == "roadstead:owner".repeat(AT_ONCE), "{said}");
    let after = read(&profile)?;
    ensure!(after["access_token"] != ENDED && after["refresh_token"] != kept["refresh_token"], "nothing was exchanged");
    ensure!(token(&shell.ok(&credential).await?)? == after["access_token"], "it was exchanged again");

    // What asks the hub first and the cluster after that does the same.
    for line in
        ["roadstead get nodes --cluster quay", "roadstead exec quay -n commands hold -- echo ahoy", "roadstead whoami"]
    {
        end_access(&profile)?;
        shell.ok(line).await.with_context(|| format!("after the token's end: {line}"))?;
        ensure!(read(&profile)?["access_token"] != ENDED, "{line} exchanged nothing");
    }

    let elsewhere = shell.fails("roadstead kube-credential --url http://127.0.0.1:1").await?;
    ensure!(elsewhere.contains("this kubeconfig is for http://127.0.0.1:1"), "{elsewhere}");
    let last = std::fs::read(&profile)?;
    shell.ok("roadstead logout").await?;
    let refused = shell.fails(ask).await?;
    ensure!(refused.contains("roadstead login"), "after logout: {refused}");
    // Somebody who kept a copy has nothing: the session is over, not only forgotten.
    std::fs::write(&profile, last)?;
    end_access(&profile)?;
    shell.fails(ask).await.context("with a copy of the profile")?;
    Ok(())
}

fn read(profile: &Path) -> Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(profile)?)?)
}

fn end_access(profile: &Path) -> Result<()> {
    let mut kept = read(profile)?;
    kept["access_token"] = ENDED.into();
    Ok(std::fs::write(profile, kept.to_string())?)
}

/// The token of a credential for kubectl, which says until when it is good.
fn token(credential: &str) -> Result<Value> {
    let credential: Value = serde_json::from_str(credential)?;
    ensure!(credential["kind"] == "ExecCredential", "{}", credential["kind"]);
    let end = credential["status"]["expirationTimestamp"].as_str().context("no end")?;
    let end: DateTime<Utc> = end.parse()?;
    ensure!(end > SystemClock.now(), "it ended at {end}");
    Ok(credential["status"]["token"].clone())
}
