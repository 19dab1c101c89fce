//! `roadstead join-token …`

use std::collections::BTreeMap;

use anyhow::Result;
use chrono::{DateTime, Utc};
use comfy_table::Cell;
use reqwest::Method;
use roadstead_runtime::{Clock as _, SystemClock};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::hub::{Hub, segment};
use super::output::{Output, age, labels, or_dash, state, table};
use crate::args::JoinTokenCommand;

#[derive(Serialize, Deserialize)]
struct JoinToken {
    id: String,
    cluster_name: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    profile: String,
    uses_left: u32,
    expires_at: DateTime<Utc>,
    #[serde(default)]
    revoked_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

pub(super) async fn run(hub: &mut Hub, command: &JoinTokenCommand, output: Output) -> Result<()> {
    match command {
        JoinTokenCommand::Create { cluster, lifetime, uses, labels, profile, namespaces } => {
            let labels: BTreeMap<_, _> = labels.iter().cloned().collect();
            let body = json!({
                "cluster": cluster,
                "lifetime_seconds": lifetime,
                "uses": uses,
                "labels": labels,
                "profile": profile.as_str(),
                "namespaces": namespaces,
            });
            let made: Value = hub.exchange(Method::POST, "/api/v1/join-tokens", &body).await?;
            output.print(&made, created)
        }
        JoinTokenCommand::Ls => {
            let tokens: Vec<JoinToken> = hub.get("/api/v1/join-tokens?limit=1000").await?;
            output.print(&tokens, |tokens| list(tokens))
        }
        JoinTokenCommand::Revoke { id } => {
            hub.delete(&format!("/api/v1/join-tokens/{}", segment(id))).await?;
            output.print(&json!({ "id": id, "revoked": true }), |_| format!("join token {id} revoked"))
        }
    }
}

fn created(made: &Value) -> String {
    let text = |pointer: &str| made.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned();
    format!(
        "{}\n\nShown once. Valid until {}.\n\nFrom a machine with a kubeconfig:\n  {}\n\nInto the cluster:\n  {}",
        text("/token"),
        text("/expires_at"),
        text("/join/command"),
        text("/join/kubectl"),
    )
}

fn list(tokens: &[JoinToken]) -> String {
    let now = SystemClock.now();
    let rows = tokens
        .iter()
        .map(|token| {
            let word = if token.revoked_at.is_some() {
                state("revoked")
            } else if token.expires_at <= now {
                state("expired")
            } else {
                Cell::new(age(Some(token.expires_at), now))
            };
            vec![
                Cell::new(&token.id),
                or_dash(token.cluster_name.as_ref()),
                Cell::new(token.uses_left),
                word,
                Cell::new(&token.profile),
                Cell::new(labels(&token.labels)),
            ]
        })
        .collect();
    table(&["ID", "CLUSTER", "USES LEFT", "EXPIRES", "PROFILE", "LABELS"], rows)
}
