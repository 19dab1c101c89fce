//! How the cluster is: what a heartbeat says.

use std::time::Duration;

use roadstead_contracts::agent::{FACT_TEXT_MAX, ISSUES_MAX};
use roadstead_contracts::message::ClusterFacts;
use roadstead_contracts::percent::escape;
use serde::Deserialize;
use tokio::time::Instant;

use super::namespaces::ListMeta;
use super::{Cluster, Failure, PAGE};

/// Rows as `kubectl get nodes` shows them, without the objects: a node is 200 bytes instead of 10,000.
const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";
/// Each page of nodes is asked for at most this often.
const PAGE_EVERY: Duration = Duration::from_secs(10);
/// Time for all questions of one heartbeat: it must not be late because the API server is slow.
const LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    git_version: String,
    platform: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Table {
    metadata: ListMeta,
    #[serde(default)]
    column_definitions: Vec<Column>,
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Column {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Row {
    cells: Vec<serde_json::Value>,
}

/// Nodes, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Nodes {
    /// All of them.
    pub total: u32,
    /// Those that are ready.
    pub ready: u32,
}

/// Looks at the cluster again and again.
#[derive(Debug)]
pub struct Watcher {
    cluster: Cluster,
    nodes: Option<(Result<Nodes, Failure>, Instant, Duration)>,
}

impl Watcher {
    /// Nothing seen yet.
    pub fn new(cluster: Cluster) -> Self {
        Self { cluster, nodes: None }
    }

    /// The state of the cluster now. Never fails: what cannot be seen is an issue.
    pub async fn look(&mut self) -> ClusterFacts {
        let mut facts = ClusterFacts { agent_version: Some(crate::VERSION.to_owned()), ..ClusterFacts::default() };
        let Ok((version, nodes)) = tokio::time::timeout(LIMIT, self.ask()).await else {
            facts.health = Some("unhealthy".to_owned());
            facts.issues.push(format!("the API server did not answer within {} s", LIMIT.as_secs()));
            return facts;
        };
        let mut degraded = false;
        match version {
            Ok(version) => {
                facts.kubernetes_version = Some(short(&version.git_version));
                facts.platform = Some(short(&version.platform));
            }
            Err(failure) => {
                degraded = true;
                facts.issues.push(short(&format!("version: {failure}")));
            }
        }
        let mut unhealthy = false;
        match nodes {
            Ok(nodes) => {
                facts.node_count = Some(nodes.total);
                facts.ready_nodes = Some(nodes.ready);
                if nodes.ready < nodes.total {
                    degraded = true;
                    facts.issues.push(format!("{} of {} nodes are not ready", nodes.total - nodes.ready, nodes.total));
                }
            }
            // The agent's rights may leave nodes out; that says nothing about the cluster.
            Err(Failure::Forbidden(_)) => facts.issues.push("the agent may not list nodes".to_owned()),
            Err(failure) => {
                unhealthy = true;
                facts.issues.push(short(&format!("nodes: {failure}")));
            }
        }
        facts.issues.truncate(ISSUES_MAX);
        let health = if unhealthy {
            "unhealthy"
        } else if degraded {
            "degraded"
        } else {
            "healthy"
        };
        facts.health = Some(health.to_owned());
        facts
    }

    async fn ask(&mut self) -> (Result<Version, Failure>, Result<Nodes, Failure>) {
        let version = self.cluster.get("/version", None).await;
        let fresh = self.nodes.as_ref().filter(|(_, at, every)| at.elapsed() < *every);
        if let Some((nodes, ..)) = fresh {
            return (version, nodes.clone());
        }
        let began = Instant::now();
        let (nodes, pages) = match self.cluster.nodes().await {
            Ok((nodes, pages)) => (Ok(nodes), pages),
            Err(failure) => (Err(failure), 1),
        };
        // The first page rides every heartbeat; a large cluster is counted as many times less often as it has pages.
        let every = PAGE_EVERY.saturating_mul(pages.saturating_sub(1));
        self.nodes = Some((nodes.clone(), began, every));
        (version, nodes)
    }
}

impl Cluster {
    /// Counts the nodes; says over how many pages.
    async fn nodes(&self) -> Result<(Nodes, u32), Failure> {
        let mut nodes = Nodes::default();
        let (mut next, mut pages) = (String::new(), 0);
        let mut status_column = 1;
        loop {
            let path = format!("/api/v1/nodes?limit={PAGE}&includeObject=None{next}");
            let table: Table = self.get_as(&path, None, TABLE).await?;
            pages += 1;
            if let Some(place) = table.column_definitions.iter().position(|column| column.name == "Status") {
                status_column = place;
            }
            for row in &table.rows {
                nodes.total += 1;
                let status = row.cells.get(status_column).and_then(serde_json::Value::as_str).unwrap_or_default();
                nodes.ready += u32::from(status.split(',').any(|word| word == "Ready"));
            }
            next = match table.metadata.next.filter(|next| !next.is_empty()) {
                Some(token) => format!("&continue={}", escape(&token)),
                None => return Ok((nodes, pages)),
            };
        }
    }
}

/// Cuts a text for the hub's rows (reliability row W10).
fn short(text: &str) -> String {
    let mut out: String = text.chars().filter(|character| !character.is_control()).collect();
    let mut end = out.len().min(FACT_TEXT_MAX);
    while !out.is_char_boundary(end) {
        end -= 1;
    }
    out.truncate(end);
    out
}
