//! One operation, one rollout.

use roadstead_contracts::identity::{Action, Principal};
use roadstead_contracts::message::{GetOperation, GetRollout, Operation, Rollout};
use roadstead_contracts::{Error, Result};

use super::{App, require};
use crate::domain::{RolloutDoc, shown};

pub(crate) async fn get_operation(app: &App, request: GetOperation) -> Result<Operation> {
    require(&request.principal, Action::OperationsRead)?;
    Ok(app.visible(&request.principal, request.id).await?.doc.shown)
}

pub(crate) async fn get_rollout(app: &App, request: GetRollout) -> Result<Rollout> {
    require(&request.principal, Action::OperationsRead)?;
    let found = app.store.find_rollout(request.id).await?;
    let (doc, states) = found.filter(|(doc, _)| sees(&request.principal, doc)).ok_or_else(no_rollout)?;
    Ok(shown(&doc, &states.into_iter().collect()))
}

/// A rollout exists for whoever sees every cluster of it.
pub(super) fn sees(principal: &Principal, doc: &RolloutDoc) -> bool {
    doc.waves.iter().flat_map(|wave| &wave.targets).all(|target| principal.can_see(target.cluster_id, target.owner))
}

pub(super) fn no_rollout() -> Error {
    Error::not_found("Rollout not found")
}
