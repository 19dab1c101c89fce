//! Compares one object with what was applied, and corrects it when asked to.

use roadstead_contracts::operation::{ObjectOutcome, ObjectResult};

use super::apply::{self, Located};
use super::{Halt, Job};
use crate::kubernetes::objects::Objects;

/// Compares; corrects what differs by applying it over whoever changed it.
pub(super) async fn one(
    job: &mut Job,
    objects: &Objects,
    position: usize,
    correct: bool,
) -> Result<ObjectResult, Halt> {
    let at = match apply::locate(job, objects, position, !correct).await? {
        Located::At(at) => at,
        Located::Done(result) => return Ok(drifted(*result, correct)),
    };
    let body = apply::body(job.document(position), &at);
    let asked = apply::ask(job, objects, position, &at, &body, true).await;
    let differs = matches!(asked.outcome, ObjectOutcome::Created | ObjectOutcome::Configured);
    if !correct || !differs {
        return Ok(drifted(asked, correct));
    }
    let corrected = apply::one(job, objects, position, false, true).await?;
    Ok(ObjectResult { diff: asked.diff, ..corrected })
}

/// What would be made or changed has drifted.
fn drifted(result: ObjectResult, correct: bool) -> ObjectResult {
    match result.outcome {
        ObjectOutcome::Created | ObjectOutcome::Configured if !correct => {
            ObjectResult { outcome: ObjectOutcome::Drifted, ..result }
        }
        _ => result,
    }
}
