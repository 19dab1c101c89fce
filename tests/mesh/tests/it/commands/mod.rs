//! The commands of `roadstead` that lead to a cluster, as people type them, against a real API server: kubeconfigs, kubectl's verbs,
//! tables over many clusters, kubectl's plugin, the credential that kubectl asks for. One hub and two clusters for all of them.

mod fleet;
mod kubeconfigs;
mod metrics;
mod session;
mod shell;
mod verbs;

use anyhow::{Context, Result};
use roadstead_mesh_tests::{JOIN_LIMIT, Layout, TestMesh, Tuning};
use serde_json::json;

use self::shell::Shell;

/// Where this happens.
const NAMESPACE: &str = "commands";
/// A pod there.
const POD: &str = "hold";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubernetes, python3"]
async fn commands_through_one_process() {
    Box::pin(every_command()).await.unwrap();
}

/// In one layout: what is the hub's of it is tried in both by the scenarios with kubectl.
async fn every_command() -> Result<()> {
    let _alone = crate::alone().await;
    let mut mesh = TestMesh::start(Layout::OneProcess, Tuning::default().without_quotas()).await?;
    for cluster in ["quay", "ferry"] {
        mesh.start_agent(cluster, None).await?;
        mesh.status(cluster, "connected", JOIN_LIMIT).await?;
    }
    let shell = Shell::with_key(&mesh, &mesh.api_key)?;
    shell.ok("roadstead kubeconfig quay --out quay.yaml").await?;
    a_pod(&shell).await.context("a pod")?;
    verbs::through_kubectl(&shell).await.context("kubectl's verbs")?;
    verbs::a_plugin_of_kubectl(&shell).await.context("kubectl's plugin")?;
    kubeconfigs::one_terminal(&shell).await.context("env")?;
    kubeconfigs::merged(&shell).await.context("kubeconfig --merge")?;
    kubeconfigs::fixed(&shell).await.context("kubeconfig --static")?;
    session::a_session(&mesh).await.context("a session")?;
    metrics::top(&mesh, &shell).await.context("top")?;
    fleet::over_many_clusters(&mesh, &shell).await.context("get over many clusters")?;
    mesh.end();
    Ok(())
}

/// A simulated one, whose log and whose commands `tests/kube` describes.
async fn a_pod(shell: &Shell) -> Result<()> {
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": POD, "namespace": NAMESPACE },
        "spec": { "containers": [{ "name": "main", "image": "roadstead.dev/simulated:1" }] },
    });
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [namespace, pod] });
    std::fs::write(shell.file("pod.json"), list.to_string())?;
    shell.ok("kubectl --kubeconfig quay.yaml apply -f pod.json").await?;
    let wait = format!("wait -n {NAMESPACE} pod/{POD} --for=condition=Ready --timeout=30s");
    shell.ok(&format!("kubectl --kubeconfig quay.yaml {wait}")).await?;
    Ok(())
}
