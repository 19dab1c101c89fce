//! `roadstead audit …`

mod export;
mod verify;

use anyhow::Result;
use comfy_table::Cell;
use roadstead_contracts::audit::{AuditRecord, AuditRow};
use serde::Serialize;

use super::hub::{Hub, segment};
use super::output::{Output, or_dash, state, table};
use crate::args::audit::{AuditCommand, AuditFilters};

/// Runs `audit …`; the hub is needed by what asks it.
pub(super) async fn run(command: &AuditCommand, output: Output) -> Result<()> {
    match command {
        AuditCommand::Ls(filters) => list(&mut Hub::remembered()?, filters, output).await,
        AuditCommand::Export { file, after, csv } => {
            export::run(&mut Hub::remembered()?, file.as_deref(), *after, *csv).await
        }
        AuditCommand::Verify { file, key, checkpoints } => {
            verify::run(file.as_deref(), key.as_deref(), checkpoints.as_deref(), output).await
        }
    }
}

#[derive(Serialize)]
struct Shown {
    seq: i64,
    record: AuditRecord,
}

async fn list(hub: &mut Hub, filters: &AuditFilters, output: Output) -> Result<()> {
    let AuditFilters { action, actor, kind, resource, cluster, namespace, outcome, request, since, until, limit } =
        filters;
    let mut query = vec![format!("limit={limit}")];
    for (name, value) in [
        ("action", action),
        ("actor", actor),
        ("resource_kind", kind),
        ("resource", resource),
        ("cluster_id", cluster),
        ("namespace", namespace),
        ("outcome", outcome),
        ("request_id", request),
        ("since", since),
        ("until", until),
    ] {
        if let Some(value) = value {
            query.push(format!("{name}={}", segment(value)));
        }
    }
    let rows: Vec<AuditRow> = hub.get(&format!("/api/v1/audit?{}", query.join("&"))).await?;
    let shown = rows
        .into_iter()
        .map(|row| Ok(Shown { seq: row.seq, record: serde_json::from_str(row.record.get())? }))
        .collect::<Result<Vec<_>>>()?;
    output.print(&shown, |shown| lines(shown))
}

fn lines(shown: &[Shown]) -> String {
    let rows = shown
        .iter()
        .map(|Shown { seq, record }| {
            let word = record.outcome.map_or_else(
                || "intent".to_owned(),
                |outcome| {
                    serde_json::to_value(outcome.result)
                        .ok()
                        .and_then(|word| word.as_str().map(str::to_owned))
                        .unwrap_or_default()
                },
            );
            let what = record
                .resource
                .name
                .as_ref()
                .map_or_else(|| record.resource.kind.to_string(), |name| format!("{} {name}", record.resource.kind));
            vec![
                Cell::new(seq),
                Cell::new(record.at.format("%Y-%m-%d %H:%M:%S")),
                or_dash(record.actor.name.as_ref()),
                Cell::new(&record.action),
                Cell::new(what),
                or_dash(record.resource.namespace.as_ref()),
                state(&word),
                or_dash(record.origin.source),
            ]
        })
        .collect();
    table(&["ROW", "TIME", "ACTOR", "ACTION", "RESOURCE", "NAMESPACE", "RESULT", "FROM"], rows)
}
