//! `roadstead api-key …`

use anyhow::Result;
use chrono::{DateTime, Duration, SecondsFormat, Utc};
use comfy_table::Cell;
use reqwest::Method;
use roadstead_runtime::{Clock as _, SystemClock};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::hub::{Hub, segment};
use super::output::{Output, age, state, table};
use crate::args::ApiKeyCommand;

#[derive(Serialize, Deserialize)]
struct ApiKey {
    id: Value,
    key_name: String,
    #[serde(default)]
    api_key_preview: String,
    is_active: bool,
    expires_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

pub(super) async fn run(hub: &mut Hub, command: &ApiKeyCommand, output: Output) -> Result<()> {
    match command {
        ApiKeyCommand::Create { name, lifetime } => {
            let expires_at = lifetime.map(|seconds| {
                let end = SystemClock.now() + Duration::seconds(i64::from(seconds));
                end.to_rfc3339_opts(SecondsFormat::Secs, true)
            });
            let body = json!({ "key_name": name, "expires_at": expires_at });
            let made: Value = hub.exchange(Method::POST, "/api-keys/", &body).await?;
            output.print(&made, |made| {
                let text = |name: &str| made.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
                format!("{}\n\nShown once.", text("api_key"))
            })
        }
        ApiKeyCommand::Ls => {
            let keys: Vec<ApiKey> = hub.get("/api-keys/").await?;
            output.print(&keys, |keys| list(keys))
        }
        ApiKeyCommand::Revoke { id } => {
            hub.delete(&format!("/api-keys/{}", segment(id))).await?;
            output.print(&json!({ "id": id, "revoked": true }), |_| format!("API key {id} revoked"))
        }
    }
}

fn list(keys: &[ApiKey]) -> String {
    let now = SystemClock.now();
    let rows = keys
        .iter()
        .map(|key| {
            let word = match key.expires_at {
                _ if !key.is_active => state("revoked"),
                Some(end) if end <= now => state("expired"),
                Some(end) => Cell::new(age(Some(end), now)),
                None => Cell::new("never"),
            };
            let id = key.id.as_str().map_or_else(|| key.id.to_string(), str::to_owned);
            vec![
                Cell::new(id),
                Cell::new(&key.key_name),
                Cell::new(&key.api_key_preview),
                word,
                Cell::new(age(key.last_used_at, now)),
                Cell::new(age(Some(key.created_at), now)),
            ]
        })
        .collect();
    table(&["ID", "NAME", "KEY", "EXPIRES", "LAST USED", "AGE"], rows)
}
