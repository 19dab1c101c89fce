//! `roadstead agents …`

use anyhow::Result;
use chrono::{DateTime, Utc};
use comfy_table::Cell;
use roadstead_runtime::{Clock as _, SystemClock};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::hub::{Hub, ROWS_MAX, segment};
use super::output::{Output, age, or_dash, state, table};
use crate::args::AgentsCommand;

#[derive(Serialize, Deserialize)]
struct Agent {
    agent_id: String,
    cluster_id: Option<String>,
    cluster_name: Option<String>,
    connected: bool,
    revoked: bool,
    version: Option<String>,
    last_seen_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

pub(super) async fn run(hub: &mut Hub, command: &AgentsCommand, output: Output) -> Result<()> {
    match command {
        AgentsCommand::Ls { connected } => {
            let filter = format!("&connected={connected}");
            let agents: Vec<Agent> = hub.all("/api/v1/agents", &filter, ROWS_MAX).await?;
            output.print(&agents, |agents| list(agents))
        }
        AgentsCommand::Revoke { agent } => {
            hub.delete(&format!("/api/v1/agents/{}", segment(agent))).await?;
            output.print(&json!({ "agent_id": agent, "revoked": true }), |_| format!("agent {agent} revoked"))
        }
    }
}

fn list(agents: &[Agent]) -> String {
    let now = SystemClock.now();
    let rows = agents
        .iter()
        .map(|agent| {
            let word = match (agent.revoked, agent.connected) {
                (true, _) => "revoked",
                (false, true) => "connected",
                (false, false) => "disconnected",
            };
            vec![
                Cell::new(&agent.agent_id),
                or_dash(agent.cluster_name.as_ref()),
                state(word),
                or_dash(agent.version.as_ref()),
                Cell::new(age(agent.last_seen_at, now)),
                Cell::new(age(Some(agent.created_at), now)),
            ]
        })
        .collect();
    table(&["AGENT", "CLUSTER", "STATUS", "VERSION", "LAST SEEN", "AGE"], rows)
}
