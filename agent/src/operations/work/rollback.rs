//! Rollout undo: an earlier template of a workload, from its replica sets or controller revisions. An annotation says which
//! operation put it in, so that a repeat goes no further back.

use roadstead_contracts::operation::{ObjectKey, ObjectOutcome, ObjectResult};
use roadstead_contracts::{Code, Error};
use roadstead_runtime::kill;
use serde_json::{Value, json};

use super::scale::{find, missing};
use super::{Halt, Job};
use crate::kubernetes::Failure;
use crate::kubernetes::objects::{At, Objects, version_of};

const REVISION: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";
const HASH_LABEL: &str = "pod-template-hash";
/// The annotation, on the workload itself: on its template it would be a revision of its own.
const ANNOTATION: &str = "roadstead.io/rolled-back-by";
/// Times the template is put in anew because a controller wrote meanwhile.
const ATTEMPTS: u32 = 6;

/// Takes a workload back to an earlier revision; without a number to the one before.
pub(super) async fn one(job: &mut Job, objects: &Objects, revision: Option<u64>) -> Result<ObjectResult, Halt> {
    let at = match find(job, objects).await {
        Ok(at) => at,
        Err(result) => return Ok(*result),
    };
    let id = job.plan.order.head.operation_id.to_string();
    for _ in 0..ATTEMPTS {
        let live = match objects.get(&at).await {
            Ok(Some(live)) => live,
            Ok(None) => return Ok(missing(job)),
            Err(failure) => return Ok(job.failed_by(0, &failure)),
        };
        let origin = job.origin(0, Some(&live)).await?;
        // An agent that died behind the patch must not go one revision further back.
        let own = live.pointer("/metadata/annotations").and_then(|all| all.get(ANNOTATION));
        if own.and_then(Value::as_str) == Some(&id) {
            return Ok(job.changed(0, &at, origin.object, &live));
        }
        // The revision before that of somebody else may be the one that is to go.
        if origin.object.as_ref().is_some_and(|object| template(object) != template(&roadstead_manifest::strip(&live)))
        {
            let changed = Error::new(Code::Conflict, "somebody else has put another template in meanwhile");
            return Ok(job.failed(0, changed));
        }
        let target = match target(objects, &at, &live, revision).await {
            Ok(Ok(target)) => target,
            Ok(Err(why)) => return Ok(job.failed(0, Error::new(Code::NotFound, why))),
            Err(failure) => return Ok(job.failed_by(0, &failure)),
        };
        let version = json!({ "op": "test", "path": "/metadata/resourceVersion", "value": version_of(&live) });
        let replaced = json!({ "op": "replace", "path": "/spec/template", "value": target });
        let patch = json!([version, replaced, annotate(&live, &id)]);
        match objects.patch(&at, "", "application/json-patch+json", &patch).await {
            Ok(after) => {
                kill::point("agent.applied");
                return Ok(job.changed(0, &at, origin.object, &after));
            }
            // The test failed, or the write did: another version is there now.
            Err(Failure::Conflict(_) | Failure::Invalid(_)) if changed_since(objects, &at, &live).await => {}
            Err(failure) => return Ok(job.failed_by(0, &failure)),
        }
    }
    Ok(ObjectResult {
        error: Some(Error::new(Code::Conflict, "the workload changes faster than it can be rolled back")),
        ..job.result(0, ObjectOutcome::Failed)
    })
}

fn template(object: &Value) -> Option<&Value> {
    object.pointer("/spec/template")
}

/// Says which operation puts the template in.
fn annotate(live: &Value, id: &str) -> Value {
    if live.pointer("/metadata/annotations").is_some() {
        let path = format!("/metadata/annotations/{}", ANNOTATION.replace('/', "~1"));
        return json!({ "op": "add", "path": path, "value": id });
    }
    json!({ "op": "add", "path": "/metadata/annotations", "value": { ANNOTATION: id } })
}

async fn changed_since(objects: &Objects, at: &At, live: &Value) -> bool {
    matches!(objects.get(at).await, Ok(Some(now)) if version_of(&now) != version_of(live))
}

/// The template to go back to, or why there is none.
async fn target(
    objects: &Objects,
    at: &At,
    live: &Value,
    revision: Option<u64>,
) -> Result<Result<Value, String>, Failure> {
    let kept = match at.key.kind.as_str() {
        "Deployment" => "ReplicaSet",
        "StatefulSet" | "DaemonSet" => "ControllerRevision",
        other => return Ok(Err(format!("a {other} has no revisions"))),
    };
    let key = ObjectKey {
        api_version: "apps/v1".to_owned(),
        kind: kept.to_owned(),
        namespace: at.key.namespace.clone(),
        name: String::new(),
    };
    let Some(history) = objects.find(&key).await? else { return Ok(Err("the cluster keeps no revisions".to_owned())) };
    let uid = live.pointer("/metadata/uid");
    let mut found: Vec<(u64, Value)> = Vec::new();
    for item in objects.list(&history, &selector(live)).await? {
        let owners = item.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        if !owners.is_some_and(|owners| owners.iter().any(|owner| owner.get("uid") == uid)) {
            continue;
        }
        if let Some(row) = row(&item, kept) {
            found.push(row);
        }
    }
    found.sort_by_key(|(number, _)| *number);
    let current = match kept {
        "ReplicaSet" => live.pointer(REVISION).and_then(Value::as_str).and_then(|text| text.parse().ok()),
        _ => found.last().map(|(number, _)| *number),
    };
    let wanted = match revision {
        Some(number) => found.into_iter().find(|(own, _)| *own == number),
        None => found.into_iter().rev().find(|(own, _)| Some(*own) < current),
    };
    Ok(wanted.map(|(_, template)| template).ok_or_else(|| match revision {
        Some(number) => format!("there is no revision {number}"),
        None => "there is no earlier revision".to_owned(),
    }))
}

/// Number and template of a revision.
fn row(item: &Value, kept: &str) -> Option<(u64, Value)> {
    if kept == "ReplicaSet" {
        let number = item.pointer(REVISION)?.as_str()?.parse().ok()?;
        let mut template = item.pointer("/spec/template")?.clone();
        if let Some(Value::Object(labels)) = template.pointer_mut("/metadata/labels") {
            labels.shift_remove(HASH_LABEL);
        }
        return Some((number, template));
    }
    let number = item.get("revision")?.as_u64()?;
    let mut template = item.pointer("/data/spec/template")?.clone();
    // The revision is kept as a strategic merge patch.
    if let Value::Object(map) = &mut template {
        map.shift_remove("$patch");
    }
    Some((number, template))
}

/// The workload's selector of labels. Expressions are left out: owners are compared anyway.
fn selector(live: &Value) -> String {
    let labels = live.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
    let pairs = labels.into_iter().flatten().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)));
    pairs.collect::<Vec<_>>().join(",")
}
