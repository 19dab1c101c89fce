//! Revokes a join token. Agents that joined with it stay.

use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{JoinToken, RevokeJoinToken};
use roadstead_contracts::{Error, Result};

use super::{App, require_of};
use crate::store::Change;

pub(crate) async fn revoke_join_token(app: &App, request: RevokeJoinToken, change: Change) -> Result<JoinToken> {
    let missing = || Error::not_found("Join token not found");
    let record = app.store.find_token(request.id).await?.ok_or_else(missing)?;
    if !record.visible_to(&request.principal, change.at) {
        return Err(missing());
    }
    require_of(app, &request.principal, Action::ClustersManage, record.cluster().as_ref())?;
    let record = app.store.revoke_token(request.id, &change).await?.ok_or_else(missing)?;
    tracing::info!(join_token_id = %request.id, "join token {} was revoked", request.id);
    Ok(record.token)
}
