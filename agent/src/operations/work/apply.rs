//! Server-side apply of one object.

use std::collections::BTreeSet;

use roadstead_contracts::operation::{ObjectKey, ObjectOutcome, ObjectResult};
use roadstead_contracts::{Code, Error};
use roadstead_manifest::Document;
use roadstead_runtime::kill;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Halt, Job, number};
use crate::kubernetes::Failure;
use crate::kubernetes::objects::{ASK_AGAIN, Applying, At, Objects, version_of};
use crate::operations::ready;
use crate::operations::wait::{self, Waited};

const DEFINITION: &str = "CustomResourceDefinition";
/// Times an object is applied anew because somebody changed it meanwhile; the last time onto whatever is there.
const ATTEMPTS: u32 = 6;

/// Groups and kinds that definitions in the body make.
pub(super) fn defined(documents: &[Document]) -> BTreeSet<(String, String)> {
    let text = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    documents
        .iter()
        .filter(|document| document.value.get("kind").is_some_and(|kind| kind == DEFINITION))
        .filter_map(|document| {
            Some((text(&document.value, "/spec/group")?, text(&document.value, "/spec/names/kind")?))
        })
        .collect()
}

/// Applies one object.
pub(super) async fn one(
    job: &mut Job,
    objects: &Objects,
    position: usize,
    dry_run: bool,
    force: bool,
) -> Result<ObjectResult, Halt> {
    let at = match locate(job, objects, position, dry_run).await? {
        Located::At(at) => at,
        Located::Done(result) => return Ok(*result),
    };
    let body = body(job.document(position), &at);
    if dry_run {
        return Ok(ask(job, objects, position, &at, &body, force).await);
    }
    let mut live = match job.read_ahead(position, objects, &at).await {
        Ok(live) => live,
        Err(failure) => return Ok(job.failed_by(position, &failure)),
    };
    let mut origin = job.origin(position, live.as_ref()).await?;
    let mut how = Applying { dry_run: false, force };
    for attempt in 1..=ATTEMPTS {
        let mut sent = body.clone();
        // Onto the very state that was written down as the earlier one. The last attempt takes what is there.
        if let Some(live) = live.as_ref().filter(|_| attempt < ATTEMPTS) {
            sent["metadata"]["resourceVersion"] = json!(version_of(live));
        }
        match objects.apply(&at, &sent, how).await {
            Ok(after) => {
                kill::point("agent.applied");
                if at.key.kind == DEFINITION
                    && let Some(error) = establish(job, objects, &at).await
                {
                    let changed = job.changed(position, &at, origin.object, &after);
                    return Ok(ObjectResult { outcome: ObjectOutcome::Failed, error: Some(error), ..changed });
                }
                return Ok(job.changed(position, &at, origin.object, &after));
            }
            // Fields that an earlier undo, scale or restart of ours left under the same name.
            Err(Failure::Owned { ours: true, .. }) if !how.force => how.force = true,
            Err(Failure::Conflict(_)) if attempt < ATTEMPTS => {
                live = match objects.get(&at).await {
                    Ok(live) => live,
                    Err(failure) => return Ok(job.failed_by(position, &failure)),
                };
                if !origin.earlier {
                    origin = job.write_origin(number(position), live.as_ref()).await?;
                }
            }
            Err(failure) => {
                return Ok(ObjectResult { key: at.key.clone(), ..job.failed_by(position, &failure) });
            }
        }
    }
    Ok(job.failed(position, Error::new(Code::Conflict, "the object changes faster than it can be applied")))
}

/// Where an object is, or what became of it without that.
pub(super) enum Located {
    At(At),
    Done(Box<ObjectResult>),
}

/// Finds an object's place. A kind that the body itself defines may take a moment to be served.
pub(super) async fn locate(job: &mut Job, objects: &Objects, position: usize, dry_run: bool) -> Result<Located, Halt> {
    let key = job.key(position).clone();
    let group = key.api_version.split_once('/').map_or("", |(group, _)| group).to_owned();
    let own = job.defined.contains(&(group, key.kind.clone()));
    let limit = job.step_limit();
    loop {
        match objects.find(&key).await {
            Ok(Some(at)) => return Ok(Located::At(at)),
            Ok(None) if own && dry_run => return Ok(Located::Done(Box::new(assumed(job, position)))),
            Ok(None) if own && Instant::now() < limit && !*job.run.cancel.borrow() => {
                job.leave()?;
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Ok(None) => {
                let why = format!("the cluster has no kind {} in {}", key.kind, key.api_version);
                return Ok(Located::Done(Box::new(job.failed(position, Error::not_found(why)))));
            }
            Err(failure) => return Ok(Located::Done(Box::new(job.failed_by(position, &failure)))),
        }
    }
}

/// The object as it is sent.
pub(super) fn body(document: Value, at: &At) -> Value {
    let mut body = roadstead_manifest::prepare(document);
    if let Some(Value::Object(metadata)) = body.get_mut("metadata") {
        match &at.key.namespace {
            Some(namespace) => drop(metadata.insert("namespace".to_owned(), json!(namespace))),
            None => drop(metadata.shift_remove("namespace")),
        }
    }
    body
}

/// Asks the API server what an apply would do.
pub(super) async fn ask(
    job: &Job,
    objects: &Objects,
    position: usize,
    at: &At,
    body: &Value,
    force: bool,
) -> ObjectResult {
    let live = match objects.get(at).await {
        Ok(live) => live,
        Err(failure) => return job.failed_by(position, &failure),
    };
    let mut how = Applying { dry_run: true, force };
    let mut asked = objects.apply(at, body, how).await;
    if matches!(asked, Err(Failure::Owned { ours: true, .. })) && !force {
        how.force = true;
        asked = objects.apply(at, body, how).await;
    }
    match asked {
        Ok(after) => {
            let changed = job.changed(position, at, live.as_ref().map(roadstead_manifest::strip), &after);
            let diff = roadstead_manifest::diff(live.as_ref(), Some(&after));
            ObjectResult { diff, before: None, undoable: false, left_version: None, ..changed }
        }
        // Its namespace is made by this body, too.
        Err(Failure::NotFound) if makes_namespace(job, &at.key) => {
            ObjectResult { key: at.key.clone(), ..assumed(job, position) }
        }
        Err(failure) => ObjectResult { key: at.key.clone(), ..job.failed_by(position, &failure) },
    }
}

/// What cannot be asked, because the body itself makes its kind or its namespace first: it would be made as it is written.
fn assumed(job: &Job, position: usize) -> ObjectResult {
    let document = job.document(position);
    ObjectResult {
        diff: roadstead_manifest::diff(None, Some(&document)),
        ..job.result(position, ObjectOutcome::Created)
    }
}

fn makes_namespace(job: &Job, key: &ObjectKey) -> bool {
    job.plan.keys.iter().any(|other| {
        other.kind == "Namespace" && other.api_version == "v1" && Some(&other.name) == key.namespace.as_ref()
    })
}

/// Waits until a definition is served; says why not.
async fn establish(job: &Job, objects: &Objects, at: &At) -> Option<Error> {
    let waited = wait::until(job, objects, at, job.step_limit(), ready::judge).await;
    objects.forget_kinds();
    match waited {
        Waited::Done | Waited::Stopped => None,
        Waited::Failed(why) | Waited::Late(why) => Some(Error::new(Code::AgentError, why)),
    }
}
