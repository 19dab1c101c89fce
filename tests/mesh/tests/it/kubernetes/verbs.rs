//! What kubectl does with objects.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::Kubectl;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::{sleep, timeout};

use super::{NAMESPACE, pods};

pub async fn all(kubectl: &Kubectl) -> Result<()> {
    let _ = kubectl.run(&["delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait"]).await?;
    kubectl.ok(&["create", "namespace", NAMESPACE]).await?;
    let within = |arguments: &[&str]| {
        let mut all = vec!["-n", NAMESPACE];
        all.extend(arguments);
        all.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()
    };
    macro_rules! ok {
        ($($word:expr),+) => {{
            let words = within(&[$($word),+]);
            kubectl.ok(&words.iter().map(String::as_str).collect::<Vec<_>>()).await?
        }};
    }
    ensure!(ok!("get", "nodes").contains("Ready"));
    ensure!(ok!("api-resources").contains("deployments"));
    ensure!(ok!("explain", "pods").contains("Pod"));
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "cargo", "namespace": NAMESPACE }, "data": { "a": "1" } });
    for arguments in [&["apply", "-f", "-"][..], &["apply", "--server-side", "--force-conflicts", "-f", "-"]] {
        let applied = kubectl.feed(arguments, map.to_string().as_bytes()).await?;
        ensure!(applied.code == 0, "apply: {}", applied.err);
    }
    ok!("patch", "configmap", "cargo", "-p", r#"{"data":{"b":"2"}}"#);
    ok!("patch", "configmap", "cargo", "--type=json", "-p", r#"[{"op":"add","path":"/data/c","value":"3"}]"#);
    ok!("label", "configmap", "cargo", "deck=lower");
    ensure!(ok!("describe", "configmap", "cargo").contains("deck=lower"));
    ensure!(ok!("get", "configmap", "-l", "deck=lower", "-o", "jsonpath={.items[*].data}").contains('3'));
    watch(kubectl).await.context("get -w")?;
    ok!("delete", "configmap", "cargo");
    pods::all(kubectl).await?;
    ok!("delete", "namespace", NAMESPACE, "--wait=false");
    Ok(())
}

async fn watch(kubectl: &Kubectl) -> Result<()> {
    let mut child = kubectl.start(&["get", "configmap", "-n", NAMESPACE, "-w", "-o", "name"])?;
    let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    let mut seen = Vec::new();
    let reading = async {
        while let Some(line) = lines.next_line().await? {
            seen.push(line);
            if seen.iter().any(|line| line.contains("late")) {
                break;
            }
        }
        Ok::<_, anyhow::Error>(())
    };
    let writing = async {
        sleep(Duration::from_secs(2)).await;
        kubectl.ok(&["create", "configmap", "late", "-n", NAMESPACE]).await
    };
    let (read, written) = tokio::join!(timeout(Duration::from_secs(20), reading), writing);
    written?;
    read.context("the event did not come")??;
    ensure!(seen.iter().any(|line| line.contains("cargo")), "{seen:?}");
    Ok(())
}
