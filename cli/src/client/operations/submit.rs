//! Operations on one cluster or many: started, shown, and, when asked, followed to their ends.

use anyhow::{Context as _, Result};
use comfy_table::Cell;
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::super::ended::Ended;
use super::super::hub::{Hub, segment};
use super::super::kube::names;
use super::super::output::{Output, state, table, write_line};
use super::colour;
use super::follow::{Told, follow};
use super::model::{Operation, plain};
use super::progress::Progress;
use crate::args::OutputFormat;
use crate::args::operations::TargetArgs;

/// Operations that are followed at once: the hub lets an account follow 64.
const AT_ONCE: usize = 32;
/// Exit code of a command that was interrupted, as shells have it.
const INTERRUPTED: u8 = 130;

/// What the hub answers to a change.
#[derive(Debug, Deserialize)]
pub(super) struct Queued {
    pub(super) operation_id: String,
    #[serde(default)]
    pub(super) state: String,
    #[serde(default)]
    pub(super) cluster_name: String,
}

/// One cluster's change: begun, or why not.
pub(super) struct Begun {
    pub(super) cluster: String,
    pub(super) answer: Result<Queued>,
}

/// What a body is sent as.
pub(super) enum Request<'a> {
    /// Manifests as a form, with a query.
    Manifests { query: String, kind: &'a str, body: &'a [u8] },
    /// A chart as a form, with a query.
    Chart { query: String, kind: &'a str, body: &'a [u8] },
    /// Work as JSON.
    Work(&'a Value),
}

/// The clusters that are meant.
pub(super) async fn clusters(hub: &mut Hub, target: &TargetArgs) -> Result<Vec<String>> {
    let Some(selector) = &target.clusters else { return Ok(target.cluster.clone()) };
    let found = names(hub, Some(selector)).await?;
    if found.is_empty() {
        return Err(Ended::usage("no cluster that you can see matches").into());
    }
    Ok(found)
}

/// Sends the same change to each cluster. One that refuses holds nobody up.
pub(super) async fn begin(hub: &mut Hub, clusters: Vec<String>, request: &Request<'_>) -> Vec<Begun> {
    let mut begun = Vec::new();
    for cluster in clusters {
        let answer = send(hub, &cluster, request).await;
        let cluster = match &answer {
            Ok(queued) if !queued.cluster_name.is_empty() => queued.cluster_name.clone(),
            _ => cluster,
        };
        begun.push(Begun { cluster, answer });
    }
    begun
}

async fn send(hub: &mut Hub, cluster: &str, request: &Request<'_>) -> Result<Queued> {
    let place = format!("/api/v1/clusters/{}", segment(cluster));
    // The same body twice is the same operation: what was accepted just before a connection broke is found again.
    let key = super::fresh_key();
    let headers = [("idempotency-key", key.as_str()), ("prefer", "respond-async")];
    let mut last = None;
    for _ in 0..2 {
        let answer = match request {
            Request::Manifests { query, kind, body } => {
                let headers = [headers[0], headers[1], ("content-type", kind)];
                hub.post_bytes(&format!("{place}/manifests{query}"), &headers, body).await
            }
            Request::Chart { query, kind, body } => {
                let headers = [headers[0], headers[1], ("content-type", kind)];
                hub.post_bytes(&format!("{place}/charts{query}"), &headers, body).await
            }
            Request::Work(work) => {
                let headers = [headers[0], headers[1], ("content-type", "application/json")];
                hub.post_bytes(&format!("{place}/operations"), &headers, work.to_string().as_bytes()).await
            }
        };
        match answer {
            Ok(body) => return serde_json::from_slice(&body).context("the hub's answer was not understood"),
            Err(fault) if fault.is::<super::super::Refused>() => return Err(fault),
            Err(fault) => last = Some(fault),
        }
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("no answer")))
}

/// What is to be done with begun operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stay {
    /// Say what was begun.
    No,
    /// Follow them to their ends.
    UntilEnd,
    /// The same, and show what would change.
    ShowDiffs,
}

/// Shows what was begun, follows it when asked, and ends with the code that fits.
pub(super) async fn finish(hub: &mut Hub, begun: Vec<Begun>, stay: Stay, format: OutputFormat) -> Result<()> {
    if stay == Stay::No {
        return show(&begun, Output::new(format));
    }
    let hub = &Mutex::new(std::mem::replace(hub, Hub::new(hub.profile().clone(), None)?));
    let progress = &if stay == Stay::UntilEnd { Progress::new(format) } else { Progress::Silent };
    let alone = begun.len() == 1;
    let followed = begun.iter().enumerate().map(|(number, one)| async move {
        let queued = match &one.answer {
            Ok(queued) => queued,
            Err(fault) => return (one, Err(format!("{fault:#}")), Vec::new()),
        };
        let mut shown = progress.one(&one.cluster, number, alone);
        let mut diffs = Vec::new();
        let ended = follow(hub, &queued.operation_id, |told| {
            if let Told::Step { step } = told {
                diffs.extend(step.diff.clone().filter(|diff| !diff.is_empty()));
            }
            shown.told(told);
        });
        let ended = ended.await.map_err(|fault| format!("{fault:#}"));
        if ended.is_err() {
            shown.lost();
        }
        (one, ended, diffs)
    });
    let all = stream::iter(followed).buffered(AT_ONCE).collect::<Vec<_>>();
    let ended = tokio::select! {
        ended = all => ended,
        _ = tokio::signal::ctrl_c() => return Err(left_alone(&begun).into()),
    };
    report(&ended, stay, format)
}

type Outcome<'a> = (&'a Begun, Result<Operation, String>, Vec<String>);

fn report(ended: &[Outcome<'_>], stay: Stay, format: OutputFormat) -> Result<()> {
    let output = Output::new(format);
    let missing: Vec<Value> = ended
        .iter()
        .filter_map(|(one, outcome, _)| Some(json!({ "cluster": one.cluster, "error": outcome.as_ref().err()? })))
        .collect();
    if format == OutputFormat::Table {
        for (one, _, diffs) in ended.iter().filter(|_| stay == Stay::ShowDiffs) {
            if ended.len() > 1 {
                write_line(&format!("# {}", one.cluster))?;
            }
            for diff in diffs {
                write_line(&colour::diff(diff))?;
            }
        }
        let summaries = ended.iter().filter_map(|(_, outcome, _)| outcome.as_ref().ok());
        for operation in summaries.filter(|_| stay == Stay::ShowDiffs) {
            eprintln!("{}", plain(&operation.summary()));
        }
    } else {
        let operations: Vec<Value> = ended
            .iter()
            .filter_map(|(_, outcome, diffs)| {
                let mut value = serde_json::to_value(outcome.as_ref().ok()?).ok()?;
                if stay == Stay::ShowDiffs {
                    value["diffs"] = json!(diffs);
                }
                Some(value)
            })
            .collect();
        output.print(&json!({ "operations": operations, "missing": missing }), |_| String::new())?;
    }
    for one in &missing {
        eprintln!(
            "missing {}: {}",
            one["cluster"].as_str().unwrap_or_default(),
            plain(one["error"].as_str().unwrap_or_default())
        );
    }
    let worst = ended.iter().map(|(_, outcome, _)| outcome.as_ref().map_or(1, Operation::exit_code));
    // What failed outweighs what was stopped.
    match worst.min_by_key(|code| match code {
        1 => 0,
        0 => 2,
        _ => 1,
    }) {
        None | Some(0) => Ok(()),
        Some(code) => Err(Ended::silently(code).into()),
    }
}

fn show(begun: &[Begun], output: Output) -> Result<()> {
    let good: Vec<(&Begun, &Queued)> = begun.iter().filter_map(|one| Some((one, one.answer.as_ref().ok()?))).collect();
    let bad: Vec<(&Begun, String)> =
        begun.iter().filter_map(|one| Some((one, format!("{:#}", one.answer.as_ref().err()?)))).collect();
    let whole = json!({
        "operations": good.iter().map(|(one, queued)| json!({
            "cluster": one.cluster, "operation_id": queued.operation_id, "state": queued.state,
        })).collect::<Vec<_>>(),
        "missing": bad.iter().map(|(one, why)| json!({ "cluster": one.cluster, "error": why })).collect::<Vec<_>>(),
    });
    if !good.is_empty() || bad.len() != 1 {
        output.print(&whole, |_| {
            let row = |(one, queued): &(&Begun, &Queued)| {
                vec![Cell::new(&one.cluster), Cell::new(&queued.operation_id), state(&queued.state)]
            };
            table(&["CLUSTER", "OPERATION", "STATE"], good.iter().map(row).collect())
        })?;
    }
    if let ([], [(_, why)]) = (good.as_slice(), bad.as_slice()) {
        anyhow::bail!("{why}");
    }
    for (one, why) in &bad {
        eprintln!("missing {}: {}", one.cluster, plain(why));
    }
    if bad.is_empty() { Ok(()) } else { Err(Ended::silently(1).into()) }
}

/// Nobody was asked to stop: says how to go on, and how to stop it.
fn left_alone(begun: &[Begun]) -> Ended {
    let ids: Vec<&str> = begun.iter().filter_map(|one| Some(one.answer.as_ref().ok()?.operation_id.as_str())).collect();
    Ended { code: INTERRUPTED, said: going_on(&ids) }
}

/// How to go on with operations that this program no longer looks at.
pub(super) fn going_on(ids: &[&str]) -> String {
    let lines = ids.iter().map(|id| {
        format!("  roadstead ops watch {id}      # go on watching\n  roadstead ops cancel {id}     # ask it to stop")
    });
    format!("not watched any more; the work goes on:\n{}", lines.collect::<Vec<_>>().join("\n"))
}
