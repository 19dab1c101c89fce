//! `roadstead access …`: rights for a while.

use anyhow::Result;
use chrono::{DateTime, Utc};
use comfy_table::Cell;
use reqwest::Method;
use roadstead_runtime::{Clock as _, SystemClock};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::hub::{Hub, segment};
use super::output::{Output, age, or_dash, state, table};
use crate::args::access::{AccessCommand, AskArgs};

#[derive(Serialize, Deserialize)]
struct AccessRequest {
    id: String,
    state: String,
    username: String,
    role: Option<String>,
    permissions: Vec<String>,
    clusters: Vec<String>,
    labels: Option<String>,
    namespaces: Vec<String>,
    duration_seconds: u32,
    reason: String,
    created_at: DateTime<Utc>,
    lapses_at: DateTime<Utc>,
    decided_by: Option<String>,
    note: Option<String>,
    until: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
    ended_by: Option<String>,
}

const ALL: &str = "/api/v1/access-requests";

pub(super) async fn run(hub: &mut Hub, command: &AccessCommand, output: Output) -> Result<()> {
    let (id, verb, body) = match command {
        AccessCommand::Request(asked) => return ask(hub, asked, output).await,
        AccessCommand::Ls { state, mine } => {
            let mut path = format!("{ALL}?limit=1000");
            if let Some(state) = state {
                path = format!("{path}&state={}", state.as_str());
            }
            if *mine {
                path.push_str("&mine=true");
            }
            let requests: Vec<AccessRequest> = hub.get(&path).await?;
            return output.print(&requests, |requests| list(requests));
        }
        AccessCommand::Show { id } => {
            let request: AccessRequest = hub.get(&format!("{ALL}/{}", segment(id))).await?;
            return output.print(&request, one);
        }
        AccessCommand::Approve { id, time, note } => (id, "approve", json!({ "duration_seconds": time, "note": note })),
        AccessCommand::Deny { id, note } => (id, "deny", json!({ "note": note })),
        AccessCommand::Withdraw { id } => (id, "withdraw", json!({})),
        AccessCommand::End { id } => (id, "end", json!({})),
    };
    let path = format!("{ALL}/{}/{verb}", segment(id));
    let request: AccessRequest = hub.exchange(Method::POST, &path, &body).await?;
    output.print(&request, one)
}

async fn ask(hub: &mut Hub, asked: &AskArgs, output: Output) -> Result<()> {
    let body = json!({
        "role": asked.role.map(super::super::args::access::AskedRole::as_str),
        "permissions": asked.permissions,
        "clusters": asked.clusters,
        "labels": asked.selector,
        "namespaces": asked.namespaces,
        "duration_seconds": asked.time,
        "reason": asked.reason,
    });
    let request: AccessRequest = hub.exchange(Method::POST, ALL, &body).await?;
    output.print(&request, |request| {
        format!("{}\n\nWhoever decides runs: roadstead access approve {}", one(request), request.id)
    })
}

/// What is asked for.
fn what(request: &AccessRequest) -> String {
    request.role.clone().unwrap_or_else(|| request.permissions.join(","))
}

/// Where.
fn place(request: &AccessRequest) -> String {
    let clusters = if request.clusters.is_empty() { "*".to_owned() } else { request.clusters.join(",") };
    let labels = request.labels.as_ref().map_or_else(String::new, |labels| format!(" ({labels})"));
    let namespaces = if request.namespaces.is_empty() { "*".to_owned() } else { request.namespaces.join(",") };
    format!("{clusters}{labels}/{namespaces}")
}

fn shown(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn one(request: &AccessRequest) -> String {
    let mut lines = vec![
        format!("id:      {}", request.id),
        format!("state:   {}", request.state),
        format!("who:     {}", shown(&request.username)),
        format!("what:    {}", what(request)),
        format!("where:   {}", place(request)),
        format!("time:    {} min", request.duration_seconds.div_ceil(60)),
        format!("reason:  {}", shown(&request.reason)),
    ];
    for (name, value) in [
        ("decided", request.decided_by.clone()),
        ("note", request.note.clone()),
        ("until", request.until.map(|until| until.to_rfc3339())),
        ("ended", request.ended_at.map(|ended| ended.to_rfc3339())),
        ("by", request.ended_by.clone()),
    ] {
        if let Some(value) = value {
            lines.push(format!("{:<9}{}", format!("{name}:"), shown(&value)));
        }
    }
    lines.join("\n")
}

fn list(requests: &[AccessRequest]) -> String {
    let now = SystemClock.now();
    let rows = requests
        .iter()
        .map(|request| {
            let left = request.until.filter(|until| request.state == "approved" && *until > now);
            vec![
                Cell::new(&request.id),
                Cell::new(shown(&request.username)),
                state(&request.state),
                Cell::new(what(request)),
                Cell::new(place(request)),
                or_dash(left.map(|until| age(Some(until), now))),
                Cell::new(age(Some(request.created_at), now)),
                Cell::new(shown(&request.reason)),
            ]
        })
        .collect();
    table(&["ID", "WHO", "STATE", "WHAT", "WHERE", "LEFT", "AGE", "REASON"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_request_moves_the_cursor() {
        let request: AccessRequest = serde_json::from_value(json!({
            "id": "0198c5b0-0000-7000-8000-000000000001", "state": "pending", "username": "ada", "role": "operator",
            "permissions": [], "clusters": ["prod"], "labels": null, "namespaces": ["shop"], "duration_seconds": 90,
            "reason": "a\u{1b}[2Jb", "created_at": "2027-01-15T08:00:00Z", "lapses_at": "2027-01-16T08:00:00Z",
            "decided_by": null, "note": "x\u{7}", "until": null, "ended_at": null, "ended_by": null,
        }))
        .unwrap();
        let text = one(&request);
        assert!(!text.contains(['\u{1b}', '\u{7}']) && text.contains("prod/shop") && text.contains("2 min"), "{text}");
        assert!(!list(&[request]).contains("\u{1b}[2J"));
    }
}
