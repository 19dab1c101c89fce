//! Asks for an honest stop: what has not begun is cancelled at once, what runs is asked to stop between two objects.

use chrono::DateTime;
use roadstead_contracts::audit::{AuditRecord, Resource};
use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{CancelOperation, Cancellation, Operation};
use roadstead_contracts::operation::OperationState;
use roadstead_contracts::{Code, Error, Result};

use super::{App, conclude, not_found, require_of};
use crate::domain::life_cycle::{Input, Next};
use crate::domain::{Record, cut};
use crate::limits::REASON_MAX;
use crate::store::{Change, Effects};

pub(crate) async fn cancel_operation(
    app: &App,
    request: CancelOperation,
    change: Change,
    request_id: &str,
) -> Result<(Cancellation, Operation)> {
    let record = app.visible(&request.principal, request.id).await?;
    require_of(app, &request.principal, Action::OperationsCancel, &record)?;
    if request.reason.chars().count() > REASON_MAX {
        let message = format!("reason must be at most {REASON_MAX} characters");
        return Err(Error::field(&["body", "reason"], "string_too_long", message));
    }
    let why = if request.reason.is_empty() {
        format!("cancelled by {}", request.principal.username)
    } else {
        format!("cancelled by {}: {}", request.principal.username, cut(&request.reason, 4 * REASON_MAX))
    };
    let mut answer = Ok(Cancellation::Cancelling);
    let changed = app
        .store
        .change(request.id, &[], &change, &mut |record, _| {
            let entry = |resource| app.done(&request.principal, request_id, "operation.cancel", resource, &change);
            let (next, mut effects) = ask_to_stop(app, record, &why, entry, &change);
            match next {
                Next::To(state, _) => {
                    if state.is_terminal() {
                        answer = Ok(Cancellation::Cancelled);
                    }
                    effects.reply = serde_json::to_value((answer.as_ref().ok(), &record.doc.shown)).ok();
                }
                Next::Stay => {}
                Next::Late => answer = Err(terminal(record.state())),
            }
            effects
        })
        .await?;
    let record = changed.ok_or_else(not_found)?;
    let answer = answer?;
    app.committed();
    app.running.cancel(request.id);
    app.work.notify_one();
    if answer == Cancellation::Cancelled {
        app.ended(&record);
    }
    Ok((answer, record.doc.shown))
}

/// What a wish to stop does with an operation.
pub(super) fn ask_to_stop(
    app: &App,
    record: &mut Record,
    why: &str,
    entry: impl FnOnce(Resource) -> AuditRecord,
    change: &Change,
) -> (Next, Effects) {
    let mut effects = Effects::default();
    let before = record.state();
    let (next, step) = record.take(Input::CancelAsked, Some(why), change.at);
    if let Next::To(state, _) = next {
        effects.touched = true;
        effects.steps.extend(step);
        let shown = &record.doc.shown;
        let resource = Resource::id("operation", shown.id).in_cluster(shown.cluster_id);
        effects.audit.push(entry(resource).with("state", before.as_str()));
        if state.is_terminal() {
            conclude(app, record, &mut effects, change);
        } else {
            // Whoever carries it is told; if nobody does, somebody looks at it now.
            record.next_try_at = DateTime::UNIX_EPOCH;
        }
    }
    (next, effects)
}

fn terminal(state: OperationState) -> Error {
    Error::new(Code::OperationTerminal, format!("operation cannot be cancelled, current status: {}", state.seed_word()))
}
