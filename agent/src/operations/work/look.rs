//! A look at what an earlier operation applied and waited for: whether it is ready still. It changes nothing.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use roadstead_contracts::operation::ObjectOutcome;
use serde_json::Value;
use tokio::time::Instant;

use super::{Halt, Job, number};
use crate::kubernetes::objects::{At, Objects};
use crate::operations::ready::{self, Ready};
use crate::operations::wait::{self, Waited};

/// How long something may take to become ready again: a node that is drained, a replica more.
const LIMIT: Duration = Duration::from_secs(30);
/// What is ready must be so a moment later as well: a container that ends as soon as it has started is ready in between.
const STEADY: Duration = Duration::from_secs(3);
/// Objects that are asked for at once.
const ASKED_MAX: usize = 16;

/// Looks at all objects of the run.
pub(super) async fn at_all(job: &mut Job, objects: &Objects) -> Result<Waited, Halt> {
    let mut looked_at = Vec::new();
    for position in job.plan.positions() {
        let outcome = job.ledger.story.finished.get(&number(position)).copied();
        // What could not be asked about has failed by itself.
        let asked =
            matches!(outcome, Some(ObjectOutcome::Created | ObjectOutcome::Configured | ObjectOutcome::Unchanged));
        if !asked || (outcome == Some(ObjectOutcome::Created) && goes_by_itself(&job.document(position))) {
            continue;
        }
        match objects.find(job.key(position)).await {
            Ok(Some(at)) => looked_at.push(at),
            // Assumed of a kind that the body itself defines: there is none of it.
            Ok(None) => return Ok(Waited::Failed(wait::named(job.key(position), "is not there"))),
            Err(failure) => return Ok(Waited::Failed(wait::named(job.key(position), &failure.to_string()))),
        }
    }
    job.deadline = job.deadline.min(Instant::now() + LIMIT);
    loop {
        match wait::for_all(job, objects, looked_at.clone(), ready::judge).await {
            Waited::Done => {}
            Waited::Late(why) => return Ok(Waited::Failed(why)),
            ended => return Ok(ended),
        }
        tokio::select! {
            () = job.told_to_stop() => return Ok(Waited::Stopped),
            () = tokio::time::sleep(STEADY) => {}
        }
        match lacks(objects, &looked_at).await {
            None => return Ok(Waited::Done),
            Some(why) if Instant::now() >= job.deadline => return Ok(Waited::Failed(why)),
            Some(_) => {}
        }
    }
}

/// What the first object lacks that is not ready now.
async fn lacks(objects: &Objects, looked_at: &[At]) -> Option<String> {
    let each = looked_at.iter().map(|at| async move {
        let why = match objects.get(at).await {
            Ok(state) => match ready::judge(state.as_ref()) {
                Ready::Yes => return None,
                Ready::No(why) | Ready::Failed(why) => why,
            },
            Err(failure) => failure.to_string(),
        };
        Some(wait::named(&at.key, &why))
    });
    // Gathered first: a stream that maps references is not `Send` for the compiler.
    let mut each = std::pin::pin!(stream::iter(each.collect::<Vec<_>>()).buffer_unordered(ASKED_MAX));
    while let Some(lacks) = each.next().await {
        if lacks.is_some() {
            return lacks;
        }
    }
    None
}

/// A job that its cluster removes once it is done.
fn goes_by_itself(document: &Value) -> bool {
    document.get("kind").is_some_and(|kind| kind == "Job")
        && document.pointer("/spec/ttlSecondsAfterFinished").is_some_and(Value::is_number)
}
