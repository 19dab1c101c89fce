//! One operation, one rollout.

use chrono::{DateTime, Utc};
use roadstead_contracts::identity::{Action, Principal};
use roadstead_contracts::ids::OperationId;
use roadstead_contracts::message::{GetOperation, GetRollout, Operation, Rollout};
use roadstead_contracts::operation::OperationState;
use roadstead_contracts::{Error, Result};

use super::permit::permits;
use super::{App, require_of, require_somewhere};
use crate::domain::{RolloutDoc, shown};

pub(crate) async fn get_operation(app: &App, request: GetOperation) -> Result<Operation> {
    require_somewhere(app, &request.principal, Action::OperationsRead)?;
    let record = app.visible(&request.principal, request.id).await?;
    require_of(app, &request.principal, Action::OperationsRead, &record)?;
    let mut shown = record.doc.shown;
    if shown.state == OperationState::Queued && shown.reason.is_empty() {
        shown.reason = waits_for(app, &request.principal, shown.id).await?;
    }
    Ok(shown)
}

/// Why an operation does not begin although its cluster is there. One that the caller may not read is not named.
async fn waits_for(app: &App, principal: &Principal, id: OperationId) -> Result<String> {
    let Some(first) = app.store.waited_for(id, i64::from(app.options.per_namespace)).await? else {
        return Ok(String::new());
    };
    let may_read = first.visible_to(principal, app.clock.now())
        && require_of(app, principal, Action::OperationsRead, &first).is_ok();
    let named = if may_read { first.doc.shown.id.to_string() } else { "another".to_owned() };
    Ok(format!("waits for operation {named}, which goes before it"))
}

pub(crate) async fn get_rollout(app: &App, request: GetRollout) -> Result<Rollout> {
    require_somewhere(app, &request.principal, Action::OperationsRead)?;
    let found = app.store.find_rollout(request.id).await?;
    let now = app.clock.now();
    let (doc, states) = found.filter(|(doc, _)| sees(&request.principal, doc, now)).ok_or_else(no_rollout)?;
    require_of_rollout(app, &request.principal, Action::OperationsRead, &doc)?;
    Ok(shown(&doc, &states.into_iter().collect()))
}

/// A rollout exists for whoever sees every cluster of it.
pub(super) fn sees(principal: &Principal, doc: &RolloutDoc, now: DateTime<Utc>) -> bool {
    doc.targets().all(|target| roadstead_policy::sees(principal, &target.facts(), now))
}

/// Refuses what the caller may not do with a rollout: it must be allowed at each of its clusters.
pub(super) fn require_of_rollout(app: &App, principal: &Principal, action: Action, doc: &RolloutDoc) -> Result<()> {
    let now = app.clock.now();
    doc.targets().try_for_each(|target| permits(principal, action, &target.facts(), &doc.changes, now).check(principal))
}

pub(super) fn no_rollout() -> Error {
    Error::not_found("Rollout not found")
}
