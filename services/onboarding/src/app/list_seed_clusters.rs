//! The caller's clusters with the seeds' extra fields, newest first.

use roadstead_contracts::Result;
use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{ListSeedClusters, PageRequest, SeedCluster};
use roadstead_contracts::names::Labels;
use roadstead_store::Window;

use super::{App, require_somewhere, within_scope};
use crate::domain::ClusterRecord;
use crate::limits::SEED_LIST_MAX;

pub(crate) async fn list_seed_clusters(app: &App, request: ListSeedClusters) -> Result<Vec<SeedCluster>> {
    require_somewhere(app, &request.principal, Action::ClustersRead)?;
    let window = Window::of(&PageRequest { limit: SEED_LIST_MAX, ..PageRequest::default() })?;
    let view = app.view(&request.principal).await?;
    let (records, total) = app.store.list_clusters(&view, &Labels::default(), window, app.presence.cutoff()).await?;
    let page = window.page(records, total, |record| record.cluster.seq);
    let sees = |record: &ClusterRecord| app.sees(&request.principal, &record.cluster);
    Ok(within_scope(&request.principal, page, sees).items.into_iter().map(SeedCluster::from).collect())
}
