//! What failed, or was not reached, once more: as a new operation with the same body.

use std::collections::BTreeSet;

use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{Operation, RetryOperation};
use roadstead_contracts::operation::{ObjectOutcome, OperationState, Work};
use roadstead_contracts::{Code, Error, Result};

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
    let shown = &record.doc.shown;
    if !shown.state.is_terminal() {
        return Err(Error::new(Code::Conflict, "the operation has not ended"));
    }
    if shown.state == OperationState::Succeeded && !request.all && !request.sync {
        return Err(Error::new(Code::Conflict, "nothing of the operation failed"));
    }
    let objects = app.store.objects(request.id, shown.epoch).await?;
    let only = if request.all || request.sync { record.doc.only.clone() } else { left(&record, &objects) };
    let mut draft = Draft { only, ..again(&record, request.id) };
    if request.sync {
        draft.work = sync(&draft.work)?;
    }
    let sha256 = record.doc.body.as_ref().map(|body| body.sha256.clone());
    let draft = app.checked(draft, &request.principal, sha256.as_deref(), request_id).await?;
    app.make(draft, &request.principal, None, change, request_id).await
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

/// Positions that are not done. `None` when nothing was counted: then it is everything.
fn left(record: &Record, objects: &[StoredObject]) -> Option<Vec<u32>> {
    let done: BTreeSet<u32> = objects
        .iter()
        .filter(|object| !matches!(object.outcome, ObjectOutcome::Failed | ObjectOutcome::Skipped))
        .map(|object| object.position)
        .collect();
    let asked: Vec<u32> = match &record.doc.only {
        Some(only) => only.clone(),
        None if record.doc.shown.objects == 0 => return None,
        None => (0..record.doc.shown.objects).collect(),
    };
    Some(asked.into_iter().filter(|position| !done.contains(position)).collect())
}
