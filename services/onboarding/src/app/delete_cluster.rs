//! Removes a cluster with its agents and tokens; a connected agent is cut off.

use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{Cluster, DeleteCluster};
use roadstead_contracts::{Error, Result};

use super::{App, require_at};
use crate::store::Change;

pub(crate) async fn delete_cluster(app: &App, request: DeleteCluster, change: Change) -> Result<Cluster> {
    let record = app.visible_cluster(&request.principal, &request.cluster).await?;
    require_at(app, &request.principal, Action::ClustersDelete, &record.cluster.policy_facts())?;
    let agents = app.store.delete_cluster(&record.cluster, &change).await?;
    let agents = agents.ok_or_else(|| Error::not_found("Cluster not found"))?;
    // The agents of other replicas are cut off by the events.
    for agent in agents {
        app.sessions.revoke(agent);
    }
    app.relay.nudge();
    tracing::info!(cluster_id = %record.cluster.id, "cluster {} was removed", record.cluster.name);
    Ok(record.cluster)
}
