//! Replicas of a workload, through its scale sub-resource.

use roadstead_contracts::Error;
use roadstead_contracts::operation::{ObjectOutcome, ObjectResult};
use roadstead_runtime::kill;
use serde_json::json;

use super::{Halt, Job};
use crate::kubernetes::objects::{At, Objects};

/// Sets the replicas.
pub(super) async fn one(job: &mut Job, objects: &Objects, replicas: u32) -> Result<ObjectResult, Halt> {
    let patch = json!({ "spec": { "replicas": replicas } });
    change(job, objects, "/scale", "application/merge-patch+json", &patch).await
}

/// Patches the one object of a work, or a sub-resource of it, and tells what came of it.
pub(super) async fn change(
    job: &mut Job,
    objects: &Objects,
    below: &str,
    form: &'static str,
    patch: &serde_json::Value,
) -> Result<ObjectResult, Halt> {
    let at = match find(job, objects).await {
        Ok(at) => at,
        Err(result) => return Ok(*result),
    };
    let live = match objects.get(&at).await {
        Ok(Some(live)) => live,
        Ok(None) => return Ok(missing(job)),
        Err(failure) => return Ok(job.failed_by(0, &failure)),
    };
    let origin = job.origin(0, Some(&live)).await?.object;
    if let Err(failure) = objects.patch(&at, below, form, patch).await {
        return Ok(ObjectResult { key: at.key.clone(), ..job.failed_by(0, &failure) });
    }
    kill::point("agent.applied");
    Ok(match objects.get(&at).await {
        Ok(Some(after)) => job.changed(0, &at, origin, &after),
        Ok(None) => missing(job),
        Err(failure) => job.failed_by(0, &failure),
    })
}

/// Nothing can be done to an object that is not there.
pub(super) fn missing(job: &Job) -> ObjectResult {
    job.failed(0, Error::not_found("there is no such object"))
}

/// Where the one object of a work is.
pub(super) async fn find(job: &Job, objects: &Objects) -> Result<At, Box<ObjectResult>> {
    match objects.find(job.key(0)).await {
        Ok(Some(at)) => Ok(at),
        Ok(None) => Err(Box::new(ObjectResult {
            error: Some(Error::not_found("the cluster has no such kind")),
            ..job.result(0, ObjectOutcome::Failed)
        })),
        Err(failure) => Err(Box::new(job.failed_by(0, &failure))),
    }
}
