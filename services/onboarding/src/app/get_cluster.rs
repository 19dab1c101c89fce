//! One cluster.

use roadstead_contracts::Result;
use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{Cluster, GetCluster};

use super::{App, require};

pub(crate) async fn get_cluster(app: &App, request: GetCluster) -> Result<Cluster> {
    let record = app.visible_cluster(&request.principal, &request.cluster).await?;
    require(&request.principal, Action::ClustersRead)?;
    Ok(record.cluster)
}
