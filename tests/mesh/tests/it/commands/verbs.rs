//! kubectl's verbs for one cluster, and `roadstead` as kubectl's plugin.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use roadstead_testkit::wait::eventually;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::shell::Shell;
use super::{NAMESPACE, POD};

/// What is done at once, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

pub(super) async fn through_kubectl(shell: &Shell) -> Result<()> {
    let line = format!("roadstead logs quay -n {NAMESPACE} {POD} --insecure-skip-tls-verify-backend --tail=2");
    let logs = shell.ok(&line).await?;
    ensure!(logs.lines().count() == 2, "{logs}");
    let refused = shell.fails(&format!("roadstead logs quay -n {NAMESPACE} nobody")).await?;
    ensure!(refused.contains("NotFound"), "{refused}");

    let exec = format!("roadstead exec quay -n {NAMESPACE} {POD}");
    ensure!(shell.ok(&format!("{exec} -- echo ahoy there")).await? == "ahoy there");
    ensure!(shell.ok(&format!("printf ahoy | {exec} -i -- head -c 4")).await? == "ahoy");
    shell.fails(&format!("{exec} -- sh -c 'exit 1'")).await?;
    let unknown = shell.fails("roadstead exec nowhere nobody -- true").await?;
    ensure!(unknown.contains("not found"), "{unknown}");
    port_forward(shell).await.context("port-forward")
}

async fn port_forward(shell: &Shell) -> Result<()> {
    let pod = format!("pod/{POD}");
    let mut child = shell.start("roadstead", &["port-forward", "quay", "-n", NAMESPACE, &pod, ":7"])?;
    let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    let line = timeout(SOON, lines.next_line()).await??.context("it ended")?;
    // "Forwarding from 127.0.0.1:40123 -> 7"
    let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next()).context("no port")?;
    let address = format!("127.0.0.1:{port}");
    let mut socket = TcpStream::connect(&address).await?;
    socket.write_all(b"ahoy").await?;
    let mut echo = [0; 4];
    timeout(SOON, socket.read_exact(&mut echo)).await??;
    ensure!(&echo == b"ahoy", "{echo:?}");
    // Whoever ends it has ended all of it: nothing is left that holds the port.
    child.kill().await?;
    eventually("the port is closed", SOON, || async {
        ensure!(TcpStream::connect(&address).await.is_err(), "somebody listens");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    Ok(())
}

pub(super) async fn a_plugin_of_kubectl(shell: &Shell) -> Result<()> {
    let clusters = shell.ok("kubectl roadstead clusters ls -o json").await?;
    ensure!(clusters.contains("\"quay\"") && clusters.contains("\"ferry\""), "{clusters}");
    let nodes = shell.ok("kubectl roadstead get nodes --cluster quay").await?;
    ensure!(nodes.starts_with("CLUSTER") && nodes.contains("Ready"), "{nodes}");
    let help = shell.ok("kubectl roadstead kubeconfig --help").await?;
    ensure!(help.contains("kubectl roadstead kubeconfig"), "{help}");
    let whole = shell.ok(&format!("kubectl roadstead exec quay -n {NAMESPACE} {POD} -- echo ahoy")).await?;
    ensure!(whole == "ahoy", "{whole}");
    // What a plugin ends with is what kubectl ends with.
    shell.fails("kubectl roadstead namespaces nowhere").await?;
    Ok(())
}
