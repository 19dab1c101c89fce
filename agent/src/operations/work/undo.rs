//! Puts one object back as it was before an operation.

use roadstead_contracts::operation::{ObjectOutcome, ObjectResult, Restore};
use roadstead_contracts::{Code, Error};
use serde_json::{Value, json};

use super::delete::dependents;
use super::outcome::is_changed;
use super::{Halt, Job};
use crate::kubernetes::Failure;
use crate::kubernetes::objects::{At, Objects, version_of};

/// Times an object is put back anew because a controller wrote to it meanwhile.
const ATTEMPTS: u32 = 6;

/// Puts one object back, unless somebody changed it since.
pub(super) async fn one(job: &mut Job, objects: &Objects, position: usize, force: bool) -> Result<ObjectResult, Halt> {
    let Some(restore) = job.plan.restores.get(position).cloned() else {
        return Ok(job.result(position, ObjectOutcome::Skipped));
    };
    let at = match objects.find(&restore.key).await {
        Ok(Some(at)) => at,
        Ok(None) if restore.before.is_none() => return Ok(job.result(position, ObjectOutcome::Absent)),
        Ok(None) => {
            let why = format!("the cluster has no kind {} any more", restore.key.kind);
            return Ok(job.failed(position, Error::not_found(why)));
        }
        Err(failure) => return Ok(job.failed_by(position, &failure)),
    };
    for _ in 0..ATTEMPTS {
        let live = match objects.get(&at).await {
            Ok(live) => live,
            Err(failure) => return Ok(job.failed_by(position, &failure)),
        };
        if !force && !is_back(&restore, live.as_ref()) && has_drifted(&restore, live.as_ref()) {
            let result = job.result(position, ObjectOutcome::Drifted);
            return Ok(ObjectResult { key: at.key.clone(), diff: drift(&restore, live.as_ref()), ..result });
        }
        let origin = job.origin(position, live.as_ref()).await?.object;
        match put_back(objects, &at, &restore, live.as_ref()).await {
            Ok(Put::Back(after)) => return Ok(job.changed(position, &at, origin, &after)),
            Ok(Put::Removed) => {
                let outcome = if origin.is_some() { ObjectOutcome::Deleted } else { ObjectOutcome::Absent };
                let result = job.result(position, outcome);
                return Ok(ObjectResult { key: at.key.clone(), undoable: origin.is_some(), before: origin, ..result });
            }
            // Somebody was faster: look again whether that was a person or a controller.
            Err(Failure::Conflict(_)) => {}
            Err(failure) => return Ok(ObjectResult { key: at.key.clone(), ..job.failed_by(position, &failure) }),
        }
    }
    Ok(job.failed(position, Error::new(Code::Conflict, "the object changes faster than it can be put back")))
}

enum Put {
    Back(Value),
    Removed,
}

async fn put_back(objects: &Objects, at: &At, restore: &Restore, live: Option<&Value>) -> Result<Put, Failure> {
    match (&restore.before, live) {
        (None, None) => Ok(Put::Removed),
        (None, Some(live)) if live.pointer("/metadata/deletionTimestamp").is_some() => Ok(Put::Removed),
        (None, Some(live)) => objects.delete(at, live, dependents(live), false).await.map(|_| Put::Removed),
        (Some(before), None) => objects.create(at, before).await.map(Put::Back),
        (Some(_), Some(live)) if is_back(restore, Some(live)) => Ok(Put::Back(live.clone())),
        // Whole, so that fields which the operation had added are gone again.
        (Some(before), Some(live)) => {
            let mut whole = before.clone();
            whole["metadata"]["resourceVersion"] = json!(version_of(live));
            objects.replace(at, &whole).await.map(Put::Back)
        }
    }
}

/// Whether it is as it was before the operation: an undo that was cut off did it, or somebody by hand.
fn is_back(restore: &Restore, live: Option<&Value>) -> bool {
    match (&restore.before, live) {
        (None, None) => true,
        (Some(before), Some(live)) => roadstead_manifest::strip(live) == *before,
        _ => false,
    }
}

/// Whether the object is another one than the operation left.
fn has_drifted(restore: &Restore, live: Option<&Value>) -> bool {
    match (&restore.left_version, live) {
        (Some(left), Some(live)) => is_changed(live, left),
        // The operation removed it, and somebody made it again.
        (None, Some(_)) => restore.before.is_some(),
        (_, None) => false,
    }
}

/// What putting it back would change, for whoever decides about force.
fn drift(restore: &Restore, live: Option<&Value>) -> Option<String> {
    roadstead_manifest::diff(live, restore.before.as_ref())
}
