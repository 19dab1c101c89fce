//! `roadstead get KIND`: one table over many clusters, of which one is away.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use roadstead_mesh_tests::TestMesh;
use serde_json::{Value, json};

use super::NAMESPACE;
use super::shell::Shell;

/// A cluster that is away holds the others' rows up for so long at most: its own patience, and a busy machine.
const HELD_UP: Duration = Duration::from_secs(15);

pub(super) async fn over_many_clusters(mesh: &TestMesh, shell: &Shell) -> Result<()> {
    for cluster in ["quay", "ferry"] {
        shell.ok(&format!("roadstead clusters label {cluster} fleet=north")).await?;
    }
    // One that nobody ever joined, and that the selector leaves out.
    mesh.owner(0)?.post("/api/v1/clusters", &json!({ "name": "berth" })).await?.expect(201)?;
    let table = shell.ok(&format!("roadstead get pods -n {NAMESPACE} --clusters fleet=north")).await?;
    let mut lines = table.lines();
    let head: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    ensure!(head.starts_with(&["CLUSTER", "NAMESPACE", "NAME", "READY", "STATUS"]), "{table}");
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split_whitespace().take(3).collect()).collect();
    ensure!(rows == [["ferry", NAMESPACE, "hold"], ["quay", NAMESPACE, "hold"]], "{table}");

    mesh.kill("agent-ferry")?;
    let began = Instant::now();
    let partly = shell.run(&format!("roadstead get pods -n {NAMESPACE} --clusters fleet=north")).await?;
    ensure!(began.elapsed() < HELD_UP, "it took {:?}", began.elapsed());
    let table = partly.text();
    ensure!(partly.code == 1 && table.starts_with("CLUSTER"), "{}: {table}{}", partly.code, partly.err);
    ensure!(table.contains("quay") && !table.contains("ferry"), "{table}");
    let named: Vec<&str> = partly.err.lines().filter(|line| line.starts_with("missing ")).collect();
    ensure!(
        named.len() == 1 && named[0].starts_with("missing ferry: ") && !partly.err.contains("berth"),
        "{}",
        partly.err
    );

    let partly = shell.run("roadstead get nodes --clusters fleet=north -o json").await?;
    let list: Value = serde_json::from_slice(&partly.out)?;
    ensure!(partly.code == 1 && list["missing"].as_array().is_some_and(|missing| missing.len() == 1), "{list}");
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    ensure!(!items.is_empty() && items.iter().all(|item| item["cluster"] == "quay"), "{list}");

    let alone = shell.fails("roadstead get nodes --cluster ferry").await?;
    ensure!(alone.contains("ferry: "), "{alone}");
    let nobody = shell.fails("roadstead get nodes --clusters fleet=south").await?;
    ensure!(nobody.contains("no cluster that you can see matches"), "{nobody}");
    let unknown = shell.fails("roadstead get lighthouses --cluster quay").await?;
    ensure!(unknown.contains("no kind lighthouses"), "{unknown}");
    Ok(())
}
