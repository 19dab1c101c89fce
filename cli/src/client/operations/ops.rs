//! `roadstead ops …`

use anyhow::Result;
use comfy_table::Cell;
use reqwest::Method;
use roadstead_runtime::{Clock as _, SystemClock};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::hub::{Hub, segment};
use super::super::output::{Output, age, state, table};
use super::apply::Query;
use super::model::{Operation, Step, plain};
use super::submit::{Begun, Queued, Stay, finish};
use crate::args::OutputFormat;
use crate::args::operations::OpsCommand;

/// Steps asked for at a time, and in all: what happened to 5,000 objects.
const STEPS: usize = 1_000;
const STEPS_MAX: usize = 20_000;

#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    operation: Operation,
    steps: Vec<Value>,
}

/// Runs `ops …`.
pub(in crate::client) async fn run(hub: &mut Hub, command: &OpsCommand, format: OutputFormat) -> Result<()> {
    let output = Output::new(format);
    match command {
        OpsCommand::Ls { cluster, state, kind, limit } => {
            let mut query = Query::default();
            query.add("limit", Some(&limit.to_string()));
            query.add("cluster", cluster.as_deref());
            query.add("state", state.as_deref());
            query.add("kind", kind.as_deref());
            let operations: Vec<Operation> = hub.get(&format!("/api/v1/operations{}", query.text())).await?;
            output.print(&operations, |operations| list(operations))
        }
        OpsCommand::Get { id, short } => {
            let operation: Operation = hub.get(&path(id, "")).await?;
            let steps = if *short { Vec::new() } else { steps(hub, id).await? };
            output.print(&Whole { operation, steps }, card)
        }
        OpsCommand::Watch { id } => {
            let operation: Operation = hub.get(&path(id, "")).await?;
            let queued = Queued {
                operation_id: operation.id,
                state: operation.state,
                cluster_name: operation.cluster_name.clone(),
            };
            let begun = Begun { cluster: operation.cluster_name, answer: Ok(queued) };
            finish(hub, vec![begun], Stay::UntilEnd, format).await
        }
        OpsCommand::Cancel { id, reason } => {
            let done: Value = hub.exchange(Method::POST, &path(id, "/cancel"), &json!({ "reason": reason })).await?;
            output.print(&done, |done| match done["status"].as_str() {
                Some("cancelled") => format!("operation {id} is cancelled; nothing was changed"),
                _ => format!("operation {id} stops after the object at hand: roadstead ops watch {id}"),
            })
        }
        OpsCommand::Retry { id, all, wait } => {
            again(hub, &path(id, "/retry"), &json!({ "all": all }), *wait, format).await
        }
        OpsCommand::Sync { id, wait } => again(hub, &path(id, "/retry"), &json!({ "sync": true }), *wait, format).await,
        OpsCommand::Undo { id, force, wait } => {
            again(hub, &path(id, "/undo"), &json!({ "force": force }), *wait, format).await
        }
        OpsCommand::Rm { id } => {
            hub.delete(&path(id, "")).await?;
            output.print(&json!({ "id": id, "removed": true }), |_| format!("operation {id} is forgotten"))
        }
    }
}

fn path(id: &str, tail: &str) -> String {
    format!("/api/v1/operations/{}{tail}", segment(id))
}

async fn again(hub: &mut Hub, path: &str, body: &Value, wait: bool, format: OutputFormat) -> Result<()> {
    let queued: Queued = hub.exchange(Method::POST, path, body).await?;
    let begun = Begun { cluster: queued.cluster_name.clone(), answer: Ok(queued) };
    finish(hub, vec![begun], if wait { Stay::UntilEnd } else { Stay::No }, format).await
}

async fn steps(hub: &mut Hub, id: &str) -> Result<Vec<Value>> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let after = all.last().and_then(|step| step["number"].as_i64()).unwrap_or(0);
        let read: Vec<Value> = hub.get(&path(id, &format!("/steps?after={after}&limit={STEPS}"))).await?;
        if read.is_empty() || all.len() + read.len() > STEPS_MAX {
            return Ok(all);
        }
        all.extend(read);
    }
}

fn list(operations: &[Operation]) -> String {
    let now = SystemClock.now();
    let row = |operation: &Operation| {
        vec![
            Cell::new(&operation.id),
            Cell::new(&operation.cluster_name),
            Cell::new(&operation.kind),
            state(&operation.state),
            Cell::new(operation.counts.words()),
            Cell::new(&operation.created_by),
            Cell::new(age(operation.created_at, now)),
        ]
    };
    table(&["OPERATION", "CLUSTER", "KIND", "STATE", "OBJECTS", "BY", "AGE"], operations.iter().map(row).collect())
}

fn card(whole: &Whole) -> String {
    let operation = &whole.operation;
    let now = SystemClock.now();
    let mut lines = vec![
        format!("{:<13}{}", "Id:", operation.id),
        format!("{:<13}{}", "Cluster:", operation.cluster_name),
        format!("{:<13}{}", "Kind:", operation.kind),
        format!("{:<13}{}", "State:", operation.state.replace('_', " ")),
        format!("{:<13}{}", "By:", operation.created_by),
        format!("{:<13}{}", "Age:", age(operation.created_at, now)),
        format!("{:<13}{} of {}: {}", "Objects:", operation.counts.done(), operation.objects, operation.counts.words()),
        format!("{:<13}{}", "Can be undone:", if operation.undoable { " yes" } else { " no" }),
    ];
    if !operation.reason.is_empty() {
        lines.push(format!("{:<13}{}", "Reason:", operation.reason));
    }
    if let Some(error) = &operation.error {
        lines.push(format!("{:<13}{} ({})", "Error:", error.detail, error.code));
    }
    if !whole.steps.is_empty() {
        lines.push(String::new());
    }
    for step in &whole.steps {
        if let Some(line) = serde_json::from_value::<Step>(step.clone()).ok().and_then(|step| step.line()) {
            let time = step["at"].as_str().and_then(|at| at.get(11..19)).unwrap_or("--:--:--");
            lines.push(format!("{time}  {line}"));
        }
    }
    plain(&lines.join("\n"))
}
