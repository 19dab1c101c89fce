//! What failed, or was not reached, once more: as a new operation with the same body.

use std::collections::BTreeSet;

use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{Operation, RetryOperation};
use roadstead_contracts::operation::{ObjectOutcome, OperationState, Work};
use roadstead_contracts::{Code, Error, Result};
use serde_json::json;

use super::create::key_of;
use super::{App, Draft, require_of};
use crate::domain::Record;
use crate::store::{Change, StoredObject};

pub(crate) async fn retry_operation(
    app: &App,
    request: RetryOperation,
    change: Change,
    request_id: &str,
) -> Result<Operation> {
    let record = app.visible(&request.principal, request.id).await?;
    require_of(app, &request.principal, Action::OperationsWrite, &record)?;
    let key = request.idempotency_key.as_deref().map(|key| {
        let asked = json!(["retry", request.id, request.all, request.sync]);
        key_of(&request.principal, "operation", key, &asked)
    });
    let shown = &record.doc.shown;
    if !shown.state.is_terminal() {
        return Err(Error::new(Code::Conflict, "the operation has not ended"));
    }
    if shown.state == OperationState::Succeeded && !request.all && !request.sync {
        return Err(Error::new(Code::Conflict, "nothing of the operation failed"));
    }
    let objects = app.store.objects(request.id, shown.epoch).await?;
    let only = if request.all || request.sync { record.doc.only.clone() } else { left(&record, &objects) };
    let mut draft = Draft { only, webhook_url: app.webhook_of(&record)?, ..again(&record, request.id) };
    if request.sync {
        draft.work = sync(&draft.work)?;
    }
    let sha256 = record.doc.body.as_ref().map(|body| body.sha256.clone());
    let draft = app.checked(draft, &request.principal, sha256.as_deref(), request_id).await?;
    app.make(draft, &request.principal, key.transpose()?, change, request_id).await
}

/// The work that corrects what differs from what another one applied.
fn sync(work: &Work) -> Result<Work> {
    match work {
        Work::Apply { namespace, dry_run: false, .. } | Work::Sync { namespace, .. } => {
            Ok(Work::Sync { namespace: namespace.clone(), correct: true })
        }
        _ => Err(Error::new(Code::Conflict, "the operation applied no manifests that could be compared")),
    }
}

/// The same once more.
pub(super) fn again(record: &Record, origin: roadstead_contracts::ids::OperationId) -> Draft {
    let shown = &record.doc.shown;
    Draft {
        cluster_id: shown.cluster_id,
        cluster_name: shown.cluster_name.clone(),
        cluster_owner: record.doc.cluster_owner,
        cluster: None,
        changes: Vec::new(),
        work: shown.work.clone(),
        body: None,
        only: None,
        source: shown.source.clone(),
        description: shown.description.clone(),
        priority: Some(shown.priority),
        deadline_seconds: u32::try_from((shown.deadline - shown.created_at).num_seconds().max(1)).ok(),
        webhook_url: None,
        rollout_id: None,
        origin_id: Some(origin),
    }
}

/// Positions that are not done; all that were asked for where each is done and the operation failed all the same (it waited
/// in vain for them to become ready). `None` when nothing was counted: then it is everything.
fn left(record: &Record, objects: &[StoredObject]) -> Option<Vec<u32>> {
    // An undo leaves alone what somebody changed since; a look has then seen what it was to see.
    let undoes = matches!(record.doc.shown.work, Work::Undo { .. });
    let is_left = |outcome: ObjectOutcome| match outcome {
        ObjectOutcome::Failed | ObjectOutcome::Skipped => true,
        ObjectOutcome::Drifted => undoes,
        _ => false,
    };
    let done: BTreeSet<u32> =
        objects.iter().filter(|object| !is_left(object.outcome)).map(|object| object.position).collect();
    let asked: Vec<u32> = match &record.doc.only {
        Some(only) => only.clone(),
        None if record.doc.shown.objects == 0 => return None,
        None => (0..record.doc.shown.objects).collect(),
    };
    let left: Vec<u32> = asked.into_iter().filter(|position| !done.contains(position)).collect();
    if left.is_empty() { record.doc.only.clone() } else { Some(left) }
}
