//! Rollout restart: an annotation on the pods' template. Its value is the operation's id, so that a repeat changes nothing.

use roadstead_contracts::operation::ObjectResult;
use roadstead_contracts::{Code, Error};
use serde_json::json;

use super::scale::change;
use super::{Halt, Job};
use crate::kubernetes::objects::Objects;

/// The annotation.
pub(super) const ANNOTATION: &str = "roadstead.io/restarted-by";
/// Kinds that replace their pods when the template changes.
const KINDS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];

/// Restarts a workload.
pub(super) async fn one(job: &mut Job, objects: &Objects) -> Result<ObjectResult, Halt> {
    if !KINDS.contains(&job.key(0).kind.as_str()) {
        let why = format!("a {} cannot be restarted", job.key(0).kind);
        return Ok(job.failed(0, Error::new(Code::Validation, why)));
    }
    let id = job.plan.order.head.operation_id.to_string();
    let patch = json!({ "spec": { "template": { "metadata": { "annotations": { ANNOTATION: id } } } } });
    change(job, objects, "", "application/merge-patch+json", &patch).await
}
