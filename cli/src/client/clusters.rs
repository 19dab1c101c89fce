//! `roadstead clusters …`

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};

use anyhow::{Context as _, Result, bail};
use chrono::{DateTime, Utc};
use comfy_table::Cell;
use reqwest::Method;
use roadstead_runtime::{Clock as _, SystemClock};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::hub::{Hub, ROWS_MAX, segment};
use super::output::{Output, age, labels, or_dash, state, table};
use crate::args::ClustersCommand;

#[derive(Serialize, Deserialize)]
struct Cluster {
    id: String,
    #[serde(default)]
    seq: i64,
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    mode: String,
    status: String,
    #[serde(default)]
    kubernetes_version: Option<String>,
    #[serde(default)]
    agent_version: Option<String>,
    #[serde(default)]
    node_count: Option<u32>,
    #[serde(default)]
    ready_nodes: Option<u32>,
    #[serde(default)]
    health: Option<String>,
    #[serde(default)]
    issues: Vec<String>,
    last_seen_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

pub(super) async fn run(hub: &mut Hub, command: &ClustersCommand, output: Output) -> Result<()> {
    match command {
        ClustersCommand::Ls { selector } => ls(hub, selector.as_deref(), output).await,
        ClustersCommand::Add(args) => super::add_cluster::add(hub, args, output).await,
        ClustersCommand::Connection(args) => super::add_cluster::reconnect(hub, args, output).await,
        ClustersCommand::Get { cluster } => {
            let cluster: Cluster = hub.get(&path(cluster)).await?;
            output.print(&cluster, card)
        }
        ClustersCommand::Label { cluster, labels } => label(hub, cluster, labels, output).await,
        ClustersCommand::Rm { cluster, yes } => rm(hub, cluster, *yes, output).await,
    }
}

fn path(cluster: &str) -> String {
    format!("/api/v1/clusters/{}", segment(cluster))
}

async fn ls(hub: &mut Hub, selector: Option<&str>, output: Output) -> Result<()> {
    let filter = selector.map_or_else(String::new, |selector| format!("&labels={}", segment(selector)));
    let clusters: Vec<Cluster> = hub.all("/api/v1/clusters", &filter, ROWS_MAX).await?;
    let now = SystemClock.now();
    output.print(&clusters, |clusters| {
        let rows = clusters
            .iter()
            .map(|cluster| {
                vec![
                    Cell::new(cluster.seq),
                    Cell::new(&cluster.name),
                    state(&cluster.status),
                    or_dash(cluster.kubernetes_version.as_ref()),
                    Cell::new(nodes(cluster)),
                    Cell::new(age(cluster.last_seen_at, now)),
                    Cell::new(labels(&cluster.labels)),
                ]
            })
            .collect();
        table(&["#", "NAME", "STATUS", "KUBERNETES", "NODES", "LAST SEEN", "LABELS"], rows)
    })
}

fn nodes(cluster: &Cluster) -> String {
    match (cluster.ready_nodes, cluster.node_count) {
        (Some(ready), Some(all)) => format!("{ready}/{all}"),
        (None, Some(all)) => all.to_string(),
        _ => "-".to_owned(),
    }
}

fn card(cluster: &Cluster) -> String {
    let now = SystemClock.now();
    let mut lines = vec![
        ("Name", cluster.name.clone()),
        ("Id", cluster.id.clone()),
        ("Number", cluster.seq.to_string()),
        ("Status", cluster.status.clone()),
        ("Health", cluster.health.clone().unwrap_or_else(|| "-".to_owned())),
        ("Mode", cluster.mode.clone()),
        ("Kubernetes", cluster.kubernetes_version.clone().unwrap_or_else(|| "-".to_owned())),
        ("Agent", cluster.agent_version.clone().unwrap_or_else(|| "-".to_owned())),
        ("Nodes ready", nodes(cluster)),
        ("Last seen", age(cluster.last_seen_at, now)),
        ("Age", age(Some(cluster.created_at), now)),
        ("Labels", labels(&cluster.labels)),
    ];
    if !cluster.description.is_empty() {
        lines.push(("Description", cluster.description.clone()));
    }
    lines.extend(cluster.issues.iter().map(|issue| ("Issue", issue.clone())));
    lines.into_iter().map(|(name, value)| format!("{:<13}{value}", format!("{name}:"))).collect::<Vec<_>>().join("\n")
}

async fn label(hub: &mut Hub, cluster: &str, changes: &[String], output: Output) -> Result<()> {
    let current: Cluster = hub.get(&path(cluster)).await?;
    let mut wanted = current.labels;
    for change in changes {
        if let Some(key) = change.strip_suffix('-').filter(|key| !key.contains('=')) {
            wanted.remove(key);
        } else if let Some((key, value)) = change.split_once('=') {
            wanted.insert(key.to_owned(), value.to_owned());
        } else {
            bail!("'{change}' is neither key=value nor key-");
        }
    }
    let changed: Cluster = hub.exchange(Method::PUT, &path(&current.id), &json!({ "labels": wanted })).await?;
    output.print(&changed, |cluster| format!("{}: {}", cluster.name, labels(&cluster.labels)))
}

async fn rm(hub: &mut Hub, cluster: &str, yes: bool, output: Output) -> Result<()> {
    let current: Cluster = hub.get(&path(cluster)).await?;
    if !yes {
        if !std::io::stdin().is_terminal() {
            bail!("say --yes to remove cluster {} without being asked", current.name);
        }
        print!("Remove cluster {} and cut its agent off? [y/N] ", current.name);
        std::io::stdout().flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).context("no answer")?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            bail!("cluster {} was left as it is", current.name);
        }
    }
    hub.delete(&path(&current.id)).await?;
    let removed: Value = json!({ "id": current.id, "name": current.name, "removed": true });
    output.print(&removed, |_| format!("cluster {} removed", current.name))
}
