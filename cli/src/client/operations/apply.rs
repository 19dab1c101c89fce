//! `roadstead apply`, `diff`, `delete`.

use anyhow::Result;
use serde_json::json;

use super::super::ended::Ended;
use super::super::hub::{Hub, segment};
use super::confirm::{objects, several};
use super::files::{form, read, texts};
use super::submit::{Request, Stay, begin, clusters, finish};
use crate::args::OutputFormat;
use crate::args::operations::{ApplyArgs, DeleteArgs, DiffArgs, DryRun};

/// Runs `apply`.
pub(in crate::client) async fn apply(hub: &mut Hub, args: &ApplyArgs, format: OutputFormat) -> Result<()> {
    let files = read(&args.manifests.files)?;
    let clusters = clusters(hub, &args.target).await?;
    let (kind, body) = form(&files);
    let dry_run = args.dry_run == DryRun::Server;
    if let Some(inventory) = &args.inventory
        && args.prune
        && !dry_run
        && !args.yes
        && clusters.len() > 1
    {
        let what = format!("Apply {} and remove what else the inventory {inventory} lists,", objects(&files)?);
        several(&what, &clusters, false)?;
    }
    let mut query = Query::default();
    query.add("dry_run", dry_run.then_some("server"));
    query.add("namespace", args.manifests.namespace.as_deref());
    query.add("inventory", args.inventory.as_deref());
    query.add("prune", args.prune.then_some("true"));
    query.add("force", args.force_conflicts.then_some("true"));
    query.add("wait", args.wait.wait.then_some("true"));
    query.add("deadline_seconds", args.wait.timeout.map(|seconds| seconds.to_string()).as_deref());
    let begun = begin(hub, clusters, &Request::Manifests { query: query.text(), kind: &kind, body: &body }).await;
    let stay = match (dry_run, args.wait.wait) {
        (true, _) => Stay::ShowDiffs,
        (false, true) => Stay::UntilEnd,
        (false, false) => Stay::No,
    };
    finish(hub, begun, stay, format).await
}

/// Runs `diff`: what a dry run says, and with `--exit-code` whether it says anything.
pub(in crate::client) async fn diff(hub: &mut Hub, args: &DiffArgs, format: OutputFormat) -> Result<()> {
    let files = read(&args.manifests.files)?;
    let (kind, body) = form(&files);
    let mut query = Query::default();
    query.add("dry_run", Some("server"));
    query.add("namespace", args.manifests.namespace.as_deref());
    let request = Request::Manifests { query: query.text(), kind: &kind, body: &body };
    let begun = begin(hub, vec![args.cluster.clone()], &request).await;
    let id = begun.first().and_then(|one| Some(one.answer.as_ref().ok()?.operation_id.clone()));
    let url = hub.profile().clone();
    finish(hub, begun, Stay::ShowDiffs, format).await?;
    if args.exit_code
        && let Some(id) = id
    {
        let mut hub = Hub::new(url, None)?;
        let operation: super::model::Operation = hub.get(&format!("/api/v1/operations/{}", segment(&id))).await?;
        if operation.counts.created + operation.counts.configured + operation.counts.deleted + operation.counts.drifted
            > 0
        {
            return Err(Ended::silently(1).into());
        }
    }
    Ok(())
}

/// Runs `delete`.
pub(in crate::client) async fn delete(hub: &mut Hub, args: &DeleteArgs, format: OutputFormat) -> Result<()> {
    let files = read(&args.manifests.files)?;
    let clusters = clusters(hub, &args.target).await?;
    let dry_run = args.dry_run == DryRun::Server;
    if !dry_run && !args.yes && clusters.len() > 1 {
        several(&format!("Remove {}", objects(&files)?), &clusters, false)?;
    }
    let work = json!({
        "kind": "delete",
        "manifests": texts(&files)?,
        "namespace": args.manifests.namespace,
        "dry_run": dry_run,
        "wait": args.wait.wait,
        "deadline_seconds": args.wait.timeout,
    });
    let begun = begin(hub, clusters, &Request::Work(&work)).await;
    let stay = match (dry_run, args.wait.wait) {
        (true, _) => Stay::ShowDiffs,
        (false, true) => Stay::UntilEnd,
        (false, false) => Stay::No,
    };
    finish(hub, begun, stay, format).await
}

/// A query, pair by pair.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<String>);

impl Query {
    pub(super) fn add(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.0.push(format!("{name}={}", segment(value)));
        }
    }

    pub(super) fn text(&self) -> String {
        if self.0.is_empty() { String::new() } else { format!("?{}", self.0.join("&")) }
    }
}
