//! Clusters that the caller can see, newest first.

use roadstead_contracts::Result;
use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{Cluster, ListClusters, Page};
use roadstead_store::Window;

use super::{App, require_somewhere, within_scope};

pub(crate) async fn list_clusters(app: &App, request: ListClusters) -> Result<Page<Cluster>> {
    require_somewhere(app, &request.principal, Action::ClustersRead)?;
    let window = Window::of(&request.page)?;
    request.labels.check()?;
    let view = app.view(&request.principal).await?;
    let (records, total) = app.store.list_clusters(&view, &request.labels, window, app.presence.cutoff()).await?;
    let clusters = records.into_iter().map(|record| record.cluster).collect();
    let page = window.page(clusters, total, |cluster: &Cluster| cluster.seq);
    Ok(within_scope(&request.principal, page, |cluster| app.sees(&request.principal, cluster)))
}
