//! Join tokens: made at the door, kept here by digest.

use chrono::{DateTime, TimeDelta, Utc};
use roadstead_contracts::identity::{Action, Principal};
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::message::{CreateJoinToken, JoinToken, NewJoinToken};
use roadstead_contracts::{Code, Error, Result};

use super::{App, require, require_of, require_unbound};
use crate::domain::check_new_token;
use crate::store::{Change, NewToken};

pub(crate) async fn create_join_token(app: &App, request: CreateJoinToken, change: Change) -> Result<JoinToken> {
    let principal = &request.principal;
    let cluster = match &request.cluster {
        Some(text) => Some(app.visible_cluster(principal, text).await?.cluster.policy_facts()),
        None => None,
    };
    require_of(app, principal, Action::ClustersManage, cluster.as_ref())?;
    if cluster.is_none() {
        // Whoever joins with it makes a cluster in the caller's name.
        require(app, principal, Action::ClustersWrite)?;
        require_unbound(principal)?;
    }
    let new = new_token(principal, request.token, cluster.map(|cluster| cluster.id), change.at)?;
    let made = app.store.create_token(&new, &change).await;
    let record = made.map_err(|fault| match fault {
        roadstead_store::Error::Conflict { .. } => {
            Error::new(Code::Conflict, "a join token with this id exists already")
        }
        roadstead_store::Error::Reference => Error::not_found("Cluster not found"),
        fault => fault.into(),
    })?;
    tracing::info!(join_token_id = %record.token.id, "join token {} was made", record.token.id);
    Ok(record.token)
}

/// Checks a token that a door made.
pub(crate) fn new_token(
    principal: &Principal,
    token: NewJoinToken,
    cluster_id: Option<ClusterId>,
    now: DateTime<Utc>,
) -> Result<NewToken> {
    check_new_token(&token)?;
    let expires_at = now + TimeDelta::seconds(i64::from(token.lifetime_seconds));
    Ok(NewToken { token, cluster_id, owner_id: principal.user_id, owner_seq: principal.user_seq, expires_at })
}
