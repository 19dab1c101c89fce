//! One cluster, plain or with the seeds' extra fields.

use roadstead_contracts::Result;
use roadstead_contracts::message::{Cluster, GetCluster, GetSeedCluster, SeedCluster};

use super::{App, require_entry};

pub(crate) async fn get_cluster(app: &App, request: GetCluster) -> Result<Cluster> {
    let record = app.visible_cluster(&request.principal, &request.cluster).await?;
    require_entry(app, &request.principal, &record.cluster.policy_facts())?;
    Ok(record.cluster)
}

pub(crate) async fn get_seed_cluster(app: &App, request: GetSeedCluster) -> Result<SeedCluster> {
    let record = app.visible_cluster(&request.principal, &request.cluster).await?;
    require_entry(app, &request.principal, &record.cluster.policy_facts())?;
    Ok(record.into())
}
