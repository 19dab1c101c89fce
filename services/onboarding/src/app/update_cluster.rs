//! Changes what people may change of a cluster. Fields left out keep their values.

use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{Cluster, UpdateCluster};
use roadstead_contracts::names::ClusterName;
use roadstead_contracts::{Error, Result};

use super::create_cluster::{check_description, name_taken};
use super::{App, require_at};
use crate::store::{Change, ClusterPatch};

pub(crate) async fn update_cluster(app: &App, request: UpdateCluster, change: Change) -> Result<Cluster> {
    let record = app.visible_cluster(&request.principal, &request.cluster).await?;
    require_at(app, &request.principal, Action::ClustersWrite, &record.cluster.policy_facts())?;
    if let Some(text) = &request.description {
        check_description(text)?;
    }
    if let Some(labels) = &request.labels {
        labels.check()?;
    }
    let patch = ClusterPatch { name: request.name, description: request.description, labels: request.labels };
    let changed = app.store.update_cluster(record.cluster.id, &patch, app.presence.cutoff(), &change).await;
    let name = patch.name.as_ref().map(ClusterName::as_str).unwrap_or_default();
    let changed = changed.map_err(|fault| name_taken(fault, name))?;
    app.relay.nudge();
    changed.map(|record| record.cluster).ok_or_else(|| Error::not_found("Cluster not found"))
}
