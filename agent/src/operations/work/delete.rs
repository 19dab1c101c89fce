//! Removal of one object.

use roadstead_contracts::operation::{ObjectOutcome, ObjectResult};
use roadstead_runtime::kill;
use serde_json::Value;

use super::{Halt, Job};
use crate::kubernetes::objects::{Dependents, Objects};
use crate::operations::ready;
use crate::operations::wait;

/// Kinds whose objects own others; for the rest waiting for the garbage collector would only take time.
const OWNERS: [&str; 8] = [
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "ReplicaSet",
    "ReplicationController",
    "Job",
    "CronJob",
    "CustomResourceDefinition",
];

/// Removes one object; its owned ones go first where it has any.
pub(super) async fn one(
    job: &mut Job,
    objects: &Objects,
    position: usize,
    dry_run: bool,
    waits: bool,
) -> Result<ObjectResult, Halt> {
    let key = job.key(position).clone();
    let at = match objects.find(&key).await {
        Ok(Some(at)) => at,
        // Without its kind it cannot be there.
        Ok(None) => return Ok(job.result(position, ObjectOutcome::Absent)),
        Err(failure) => return Ok(job.failed_by(position, &failure)),
    };
    let live = match objects.get(&at).await {
        Ok(live) => live,
        Err(failure) => return Ok(job.failed_by(position, &failure)),
    };
    let keyed = |result: ObjectResult| ObjectResult { key: at.key.clone(), ..result };
    if dry_run {
        let Some(live) = live else { return Ok(keyed(job.result(position, ObjectOutcome::Absent))) };
        return Ok(keyed(match objects.delete(&at, &live, Dependents::Later, true).await {
            Ok(_) => ObjectResult {
                diff: roadstead_manifest::diff(Some(&live), None),
                ..job.result(position, ObjectOutcome::Deleted)
            },
            Err(failure) => job.failed_by(position, &failure),
        }));
    }
    let origin = job.origin(position, live.as_ref()).await?;
    let removed = match &live {
        Some(live) if live.pointer("/metadata/deletionTimestamp").is_none() => {
            let removed = objects.delete(&at, live, dependents(live), false).await;
            kill::point("agent.applied");
            removed
        }
        // On its way out already, or gone: this operation's own work when it was there before.
        _ => Ok(origin.object.is_some()),
    };
    let result = match removed {
        Ok(_) if origin.object.is_some() => {
            ObjectResult { before: origin.object, undoable: true, ..job.result(position, ObjectOutcome::Deleted) }
        }
        Ok(_) => job.result(position, ObjectOutcome::Absent),
        Err(failure) => job.failed_by(position, &failure),
    };
    // What a custom resource's operator still has to clean up needs the operator, which comes next.
    if waits && result.outcome == ObjectOutcome::Deleted && !at.is_built_in() {
        let _ = wait::until(job, objects, &at, job.step_limit(), ready::gone).await;
    }
    Ok(keyed(result))
}

/// What becomes of the objects that this one owns.
pub(super) fn dependents(live: &Value) -> Dependents {
    let kind = live.get("kind").and_then(Value::as_str).unwrap_or_default();
    if OWNERS.contains(&kind) { Dependents::First } else { Dependents::Later }
}
