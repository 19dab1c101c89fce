//! What kubectl does in and before a pod: logs, attach, exec, cp, port-forward, over both protocols.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::Kubectl;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::NAMESPACE;

/// Bytes through one port-forward, each way.
const FORWARDED: usize = 8 << 20;

pub async fn all(kubectl: &Kubectl) -> Result<()> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "hold", "namespace": NAMESPACE },
        "spec": { "containers": [{ "name": "main", "image": "roadstead.dev/simulated:1" }] },
    });
    let applied = kubectl.feed(&["apply", "-f", "-"], pod.to_string().as_bytes()).await?;
    ensure!(applied.code == 0, "apply a pod: {}", applied.err);
    kubectl.ok(&["wait", "-n", NAMESPACE, "pod/hold", "--for=condition=Ready", "--timeout=30s"]).await?;
    let tls = "--insecure-skip-tls-verify-backend";
    ensure!(kubectl.ok(&["logs", "-n", NAMESPACE, "hold", tls, "--tail=2"]).await?.contains("roadstead: tick"));
    follow(kubectl, &["logs", "-n", NAMESPACE, "hold", tls, "-f", "--tail=1"]).await.context("logs -f")?;
    follow(kubectl, &["attach", "-n", NAMESPACE, "hold"]).await.context("attach")?;
    for (protocol, web_sockets) in [("websocket", "true"), ("spdy", "false")] {
        let kubectl = kubectl
            .clone()
            .with("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", web_sockets)
            .with("KUBECTL_PORT_FORWARD_WEBSOCKETS", web_sockets);
        let said = kubectl.ok(&["exec", "-n", NAMESPACE, "hold", "--", "echo", "ahoy"]).await;
        ensure!(said.as_deref().is_ok_and(|said| said.trim() == "ahoy"), "exec over {protocol}: {said:?}");
        // A million bytes and a half out of a command, byte for byte.
        let many = kubectl.run(&["exec", "-n", NAMESPACE, "hold", "--", "head", "-c", "1500000", "/dev/zero"]).await?;
        ensure!(many.code == 0 && many.out.len() == 1_500_000, "exec over {protocol}: {} bytes", many.out.len());
        let file = std::env::temp_dir().join(format!("roadstead-cp-{}-{protocol}", std::process::id()));
        let target = file.display().to_string();
        let copied = kubectl.run(&["cp", &format!("{NAMESPACE}/hold:/etc/hostname"), &target]).await?;
        ensure!(copied.code == 0 && file.exists(), "cp over {protocol}: {}", copied.err);
        std::fs::remove_file(&file)?;
        port_forward(&kubectl).await.with_context(|| format!("port-forward over {protocol}"))?;
    }
    Ok(())
}

/// A command that goes on: three lines, then it is ended.
async fn follow(kubectl: &Kubectl, arguments: &[&str]) -> Result<()> {
    let mut child = kubectl.start(arguments)?;
    let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    let three = async {
        for _ in 0..3 {
            lines.next_line().await?.context("it ended")?;
        }
        Ok::<_, anyhow::Error>(())
    };
    timeout(Duration::from_secs(20), three).await.context("nothing came")??;
    child.kill().await?;
    Ok(())
}

async fn port_forward(kubectl: &Kubectl) -> Result<()> {
    let mut child = kubectl.start(&["port-forward", "-n", NAMESPACE, "pod/hold", ":7"])?;
    let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    let line = timeout(Duration::from_secs(20), lines.next_line()).await??.context("it ended")?;
    // "Forwarding from 127.0.0.1:40123 -> 7"
    let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next()).context("no port")?;
    let address = format!("127.0.0.1:{port}");
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..4_u8 {
        let address = address.clone();
        tasks.spawn(async move { echo(&address, number).await });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    child.kill().await?;
    Ok(())
}

async fn echo(address: &str, number: u8) -> Result<()> {
    let sent: Vec<u8> = (0..FORWARDED / 4).map(|at| u8::try_from(at % 251).unwrap_or(0) ^ number).collect();
    let (mut read, mut write) = TcpStream::connect(address).await?.into_split();
    let writing = async {
        write.write_all(&sent).await?;
        Ok::<_, anyhow::Error>(())
    };
    let mut received = vec![0; sent.len()];
    let reading = async {
        read.read_exact(&mut received).await?;
        Ok::<_, anyhow::Error>(())
    };
    let (written, read) = timeout(Duration::from_secs(30), async { tokio::join!(writing, reading) }).await?;
    written?;
    read?;
    ensure!(received == sent, "the bytes came back changed");
    Ok(())
}
