//! `roadstead top`, by an aggregated API of the cluster: what the API server itself only passes on.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use roadstead_auth::authority::Authority;
use roadstead_mesh_tests::TestMesh;
use roadstead_runtime::{Clock as _, SystemClock};
use roadstead_testkit::environment;
use roadstead_testkit::wait::eventually;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::shell::Shell;
use super::{NAMESPACE, POD};

/// How soon an API server knows an API that was registered, and has it in its discovery.
const KNOWN: Duration = Duration::from_secs(60);
/// How soon a small program is there.
const STARTED: Duration = Duration::from_secs(20);

pub(super) async fn top(mesh: &TestMesh, shell: &Shell) -> Result<()> {
    if !environment::kubeconfig()?.with_file_name("audit.log").exists() {
        println!("top: left out, as a cluster of your own has a metrics API of its own, or cannot reach one here");
        return Ok(());
    }
    let node = shell.ok("kubectl --kubeconfig quay.yaml get nodes -o jsonpath={.items[0].metadata.name}").await?;
    let certificates = Certificates::make(mesh.folder())?;
    let (_server, port) = serve(&certificates, &node).await?;
    register(shell, &certificates, port).await.context("registering")?;
    let shown = figures(shell, &node).await;
    // Other tests would find an API whose server is gone.
    shell.ok("kubectl --kubeconfig quay.yaml delete apiservice v1beta1.metrics.k8s.io").await?;
    shown
}

async fn figures(shell: &Shell, node: &str) -> Result<()> {
    let raw = "kubectl --kubeconfig quay.yaml get --raw /apis/metrics.k8s.io/v1beta1/nodes";
    let ask = || async { shell.ok(raw).await };
    let (list, _) = eventually("the API server passes it on", KNOWN, ask).await?;
    let list: Value = serde_json::from_str(&list)?;
    let item = &list["items"][0];
    ensure!(list["kind"] == "NodeMetricsList" && item["usage"]["cpu"] == "250m", "{list}");
    // The person, not the agent, three servers away.
    ensure!(item["metadata"]["annotations"]["asked-by"] == "roadstead:owner", "{list}");

    let ask = || async { shell.ok("roadstead top quay nodes").await };
    let (nodes, _) = eventually("it is in the API server's discovery", KNOWN, ask).await?;
    let row = nodes.lines().find(|line| line.starts_with(node)).with_context(|| format!("no {node}: {nodes}"))?;
    ensure!(row.contains("250m") && row.contains("512Mi"), "{nodes}");
    let pods = shell.ok(&format!("roadstead top quay pods -n {NAMESPACE}")).await?;
    let row = pods.lines().find(|line| line.starts_with(POD)).with_context(|| format!("no {POD}: {pods}"))?;
    ensure!(row.split_whitespace().eq([POD, "7m", "21Mi"]), "{pods}");
    Ok(())
}

struct Certificates {
    chain: PathBuf,
    key: PathBuf,
    authority: PathBuf,
}

impl Certificates {
    fn make(folder: &Path) -> Result<Self> {
        let now = SystemClock.now();
        let authority = Authority::generate(now)?;
        // By this name the API server calls whoever serves an API, wherever the Service leads.
        let leaf = authority.issue(&[format!("metrics.{NAMESPACE}.svc")], now)?;
        let write = |name: &str, text: &str| {
            let file = folder.join(name);
            std::fs::write(&file, text).map(|()| file)
        };
        Ok(Self {
            chain: write("metrics.pem", &leaf.chain)?,
            key: write("metrics-key.pem", leaf.key.expose())?,
            authority: write("metrics-ca.pem", &authority.certificate)?,
        })
    }
}

/// Starts the server; answers its port.
async fn serve(certificates: &Certificates, node: &str) -> Result<(Child, u16)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/metrics_api.py");
    let mut command = Command::new("python3");
    command.arg(script).args([&certificates.chain, &certificates.key]).args([node, NAMESPACE, POD]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().context("failed to run python3")?;
    let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    let port = timeout(STARTED, lines.next_line()).await.context("the server does not start")??;
    Ok((child, port.context("the server ended")?.parse()?))
}

async fn register(shell: &Shell, certificates: &Certificates, port: u16) -> Result<()> {
    let bundle = shell.ok(&format!("base64 -w0 {}", certificates.authority.display())).await?;
    // This machine, as the API server sees it.
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "metrics", "namespace": NAMESPACE },
        "spec": { "type": "ExternalName", "externalName": "localhost" },
    });
    let api = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": { "name": "v1beta1.metrics.k8s.io" },
        "spec": {
            "group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "service": { "name": "metrics", "namespace": NAMESPACE, "port": port }, "caBundle": bundle,
        },
    });
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [service, api] });
    std::fs::write(shell.file("metrics.json"), list.to_string())?;
    shell.ok("kubectl --kubeconfig quay.yaml apply -f metrics.json").await?;
    let wait = "wait apiservice/v1beta1.metrics.k8s.io --for=condition=Available --timeout=50s";
    shell.ok(&format!("kubectl --kubeconfig quay.yaml {wait}")).await?;
    Ok(())
}
