//! A cluster that an agent will join, with its join token.

use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{Cluster, ClusterMode, CreateCluster};
use roadstead_contracts::{Code, Error, Result};

use super::{App, new_token, require, require_unbound};
use crate::limits::DESCRIPTION_MAX;
use crate::store::{Change, NewCluster};

pub(crate) async fn create_cluster(app: &App, request: CreateCluster, change: Change) -> Result<Cluster> {
    let principal = &request.principal;
    require(app, principal, Action::ClustersWrite)?;
    require_unbound(principal)?;
    check_description(&request.description)?;
    request.labels.check()?;
    let new = NewCluster {
        id: app.ids.next(),
        name: request.name.clone(),
        description: request.description,
        labels: request.labels,
        mode: ClusterMode::Agent,
        owner_id: principal.user_id,
        owner_seq: principal.user_seq,
        details: None,
    };
    let token = match request.join_token {
        Some(token) => {
            require(app, principal, Action::ClustersManage)?;
            Some(new_token(principal, token, Some(new.id), change.at)?)
        }
        None => None,
    };
    let made = app.store.create_cluster(&new, token.as_ref(), &change).await;
    let record = made.map_err(|fault| name_taken(fault, new.name.as_str()))?;
    app.relay.nudge();
    tracing::info!(cluster_id = %new.id, "cluster {} was made", new.name);
    Ok(record.cluster)
}

/// A taken name is a conflict that says which.
pub(super) fn name_taken(fault: roadstead_store::Error, name: &str) -> Error {
    if fault.is_conflict("clusters_name_key") {
        Error::new(Code::Conflict, format!("a cluster named {name} exists already"))
    } else {
        fault.into()
    }
}

pub(super) fn check_description(text: &str) -> Result<()> {
    if text.len() > DESCRIPTION_MAX {
        let message = format!("description must be at most {DESCRIPTION_MAX} bytes");
        return Err(Error::field(&["body", "description"], "string_too_long", message));
    }
    Ok(())
}
