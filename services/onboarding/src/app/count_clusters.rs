//! Counts for metrics: no names, so no caller.

use roadstead_contracts::Result;
use roadstead_contracts::message::{ClusterCount, CountClusters};

use super::App;

pub(crate) async fn count_clusters(app: &App, _request: CountClusters) -> Result<Vec<ClusterCount>> {
    Ok(app.store.count_clusters(app.presence.cutoff()).await?)
}
