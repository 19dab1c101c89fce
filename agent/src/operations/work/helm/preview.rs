//! What an install would change: Helm renders it against the cluster, and the API server is asked about each object.

use std::collections::BTreeSet;

use roadstead_contracts::operation::{BODY_MAX, ObjectKey, ObjectOutcome, ObjectResult, RunEnding};
use roadstead_contracts::{Code, Error};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use super::super::apply;
use super::super::{Halt, Job, failed};
use super::door::Door;
use super::program::Program;
use super::{Wish, release};
use crate::kubernetes::objects::Objects;

/// Longest words of Helm that are kept for the reason.
const WORDS_MAX: u64 = 64 * 1024;

pub(super) async fn run(job: &mut Job, objects: &Objects, wish: &Wish, program: &Program) -> Result<RunEnding, Halt> {
    let door = Door::open(objects, &job.tasks).await?;
    // Nothing but questions goes through.
    let rendered = match render(job, wish, program, door).await? {
        Ok(rendered) => rendered,
        Err(error) => return Ok(failed(error)),
    };
    let documents = match roadstead_manifest::parse_named("chart", rendered.as_bytes()) {
        Ok(documents) => documents,
        Err(error) => return Ok(failed(error)),
    };
    // Not `keys`: a chart may name other namespaces than its release's.
    let mut keys = Vec::with_capacity(documents.len());
    for document in &documents {
        let Some(mut key) = roadstead_manifest::key(&document.value) else {
            return Ok(failed(Error::new(Code::Validation, "the chart renders to something that is no object")));
        };
        key.namespace.get_or_insert_with(|| wish.namespace.clone());
        keys.push(key);
    }
    job.plan.documents = documents;
    job.plan.keys = keys;
    for position in 0..job.plan.keys.len() {
        if let Some(stop) = job.stop()? {
            return Ok(job.ending(Some(stop), true, None));
        }
        let result = ask(job, objects, position).await?;
        job.finish(vec![result]).await?;
    }
    forgotten(job, objects, wish).await?;
    Ok(job.ending(None, false, None))
}

/// The manifest that Helm would apply, or why there is none.
async fn render(job: &Job, wish: &Wish, program: &Program, door: Door) -> Result<Result<String, Error>, Halt> {
    let mut child = program.start(&program.arguments(wish, job.deadline), door.url()).await?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let read = async {
        let (mut text, mut words) = (Vec::new(), Vec::new());
        // Rendered with notes, values and the chart around it.
        let limit = 4 * BODY_MAX as u64;
        let (one, two) = tokio::join!(
            async { if let Some(out) = out { out.take(limit).read_to_end(&mut text).await.map(drop) } else { Ok(()) } },
            async {
                if let Some(err) = err { err.take(WORDS_MAX).read_to_end(&mut words).await.map(drop) } else { Ok(()) }
            },
        );
        one.and(two).map(|()| (text, words))
    };
    let (text, words) = tokio::select! {
        read = read => read?,
        () = job.told_to_stop() => {
            job.leave()?;
            return Ok(Err(Error::new(Code::Timeout, "stopped while the chart was rendered")));
        }
        () = tokio::time::sleep_until(job.deadline) => return Ok(Err(Error::of(Code::Timeout))),
    };
    let status = child.wait().await?;
    drop(door);
    if !status.success() {
        let words = String::from_utf8_lossy(&words);
        let line = words.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("helm failed");
        let line: String = line.chars().filter(|character| !character.is_control()).take(super::REASON_MAX).collect();
        return Ok(Err(Error::new(Code::AgentError, line)));
    }
    let value: Value = serde_json::from_slice(&text).unwrap_or_default();
    let manifest = value.get("manifest").and_then(Value::as_str).map(str::to_owned);
    Ok(manifest.ok_or_else(|| Error::new(Code::AgentError, "helm did not say what it would apply")))
}

async fn ask(job: &mut Job, objects: &Objects, position: usize) -> Result<ObjectResult, Halt> {
    let at = match apply::locate(job, objects, position, true).await? {
        apply::Located::At(at) => at,
        apply::Located::Done(result) => return Ok(*result),
    };
    let body = apply::body(job.document(position), &at);
    Ok(apply::ask(job, objects, position, &at, &body, true).await)
}

/// What the release has and the chart has not any more.
async fn forgotten(job: &mut Job, objects: &Objects, wish: &Wish) -> Result<(), Halt> {
    let known: BTreeSet<(String, ObjectKey)> = job.plan.keys.iter().map(grouped).collect();
    let newest = release::newest(objects, &wish.namespace, &wish.release).await;
    let Some(manifest) = newest.ok().flatten().and_then(|newest| newest.manifest()) else { return Ok(()) };
    let Ok(documents) = roadstead_manifest::parse(manifest.as_bytes()) else { return Ok(()) };
    for document in documents {
        let Some(mut key) = roadstead_manifest::key(&document.value) else { continue };
        key.namespace.get_or_insert_with(|| wish.namespace.clone());
        if known.contains(&grouped(&key)) {
            continue;
        }
        let position = job.plan.keys.len();
        job.plan.keys.push(key);
        let live = match objects.find(job.key(position)).await {
            Ok(Some(at)) => objects.get(&at).await.ok().flatten(),
            _ => None,
        };
        if let Some(live) = live {
            let result = ObjectResult {
                diff: roadstead_manifest::diff(Some(&live), None),
                ..job.result(position, ObjectOutcome::Deleted)
            };
            job.finish(vec![result]).await?;
        }
    }
    Ok(())
}

/// A key whatever version it is written in.
fn grouped(key: &ObjectKey) -> (String, ObjectKey) {
    let group = key.api_version.split_once('/').map_or("", |(group, _)| group).to_owned();
    (group, ObjectKey { api_version: String::new(), ..key.clone() })
}
