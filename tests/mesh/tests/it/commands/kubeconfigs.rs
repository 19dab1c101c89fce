//! `env` and the kinds of kubeconfig, used by a stock kubectl.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Result, ensure};
use roadstead_testkit::wait::eventually;
use serde_json::{Value, json};

use super::NAMESPACE;
use super::shell::Shell;

/// How soon a key that has ended is refused: doors ask again after five seconds at most.
const ENDED: Duration = Duration::from_secs(40);

pub(super) async fn one_terminal(shell: &Shell) -> Result<()> {
    let used = r#"eval "$(roadstead env quay)"; kubectl config current-context; kubectl get namespace default -o name"#;
    let said = shell.ok(used).await?;
    ensure!(said == "roadstead-quay\nnamespace/default", "{said}");
    let unknown = shell.fails("roadstead env nowhere").await?;
    ensure!(unknown.contains("not found"), "{unknown}");
    Ok(())
}

/// Added to what somebody has: their context stays, and so does what they set on ours.
pub(super) async fn merged(shell: &Shell) -> Result<()> {
    let mine = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "mine",
        "clusters": [{ "name": "mine", "cluster": { "server": "https://127.0.0.1:1" } }],
        "contexts": [{ "name": "mine", "context": { "cluster": "mine", "user": "mine" } }],
        "users": [{ "name": "mine", "user": { "token": "mine" } }],
    });
    let file = shell.file("merged.yaml");
    std::fs::write(&file, mine.to_string())?;
    let shell = shell.with("KUBECONFIG", &file.display().to_string());
    shell.ok("roadstead kubeconfig quay --merge").await?;
    ensure!(shell.ok("kubectl config current-context").await? == "mine");
    let here = shell.ok("kubectl --context roadstead-quay get namespace default -o name").await?;
    ensure!(here == "namespace/default", "{here}");
    shell.ok(&format!("kubectl config set-context roadstead-quay --namespace={NAMESPACE}")).await?;

    shell.ok("roadstead kubeconfig --all --merge").await?;
    ensure!(shell.ok("kubectl config current-context").await? == "mine");
    let contexts = shell.ok("kubectl config get-contexts -o name").await?;
    ensure!(contexts.lines().eq(["mine", "roadstead-ferry", "roadstead-quay"]), "{contexts}");
    ensure!(shell.ok("kubectl --context roadstead-quay get pods -o name").await? == "pod/hold");
    ensure!(shell.ok("kubectl --context roadstead-ferry get nodes -o name").await?.contains("node/"));

    shell.ok("roadstead kubeconfig quay --merge --use-context").await?;
    ensure!(shell.ok("kubectl config current-context").await? == "roadstead-quay");
    ensure!(shell.ok("kubectl get pods -o name").await? == "pod/hold");
    let mode = std::fs::metadata(&file)?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "{mode:o}");
    Ok(())
}

/// For a machine without `roadstead`: it works without the program and without a variable, until its time is over.
pub(super) async fn fixed(shell: &Shell) -> Result<()> {
    let bare = |line: &str| format!("env -u ROADSTEAD_URL -u ROADSTEAD_API_KEY {line}");
    shell.ok("roadstead kubeconfig --all --static --lifetime 1h --out static.yaml").await?;
    let text = std::fs::read_to_string(shell.file("static.yaml"))?;
    ensure!(text.contains("rsk_") && !text.contains("exec:") && !text.contains("insecure"), "{text}");
    for cluster in ["quay", "ferry"] {
        let context = format!("kubectl --kubeconfig static.yaml --context roadstead-{cluster}");
        let who = shell.ok(&bare(&format!("{context} auth whoami -o json"))).await?;
        let who: Value = serde_json::from_str(&who)?;
        ensure!(who["status"]["userInfo"]["username"] == "roadstead:owner", "{who}");
    }
    shell.ok("roadstead kubeconfig quay --static --lifetime 6s --out brief.yaml").await?;
    let ask = bare("kubectl --kubeconfig brief.yaml get namespace default");
    shell.ok(&ask).await?;
    eventually("a key that has ended is refused", ENDED, || async {
        let refused = shell.fails(&ask).await?;
        ensure!(refused.contains("Unauthorized") || refused.contains("logged in"), "{refused}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    Ok(())
}
