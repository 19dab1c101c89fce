//! Where hosted agents remember operations: a folder each, below the service's own. Of a cluster that is gone it is removed.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use roadstead_contracts::ids::ClusterId;

use crate::app::App;
use crate::domain::ClusterRef;

/// Folder below the hub's own.
const HOSTED: &str = "hosted-agents";

/// The folder of a cluster's hosted agent. It may not be there.
pub(crate) fn folder(data: &Path, cluster: ClusterId) -> PathBuf {
    data.join(HOSTED).join(cluster.to_string())
}

/// Removes the folders of clusters that are not in the registry any more, but for those that are `in_use` here.
pub(super) async fn remove_left(app: Arc<App>, in_use: BTreeSet<ClusterId>) {
    let data = app.settings.data_dir.clone();
    let listed = tokio::task::spawn_blocking(move || there(&data)).await;
    let Ok(Ok(clusters)) = listed else { return };
    for cluster in clusters.into_iter().filter(|cluster| !in_use.contains(cluster)) {
        // A database that does not answer says nothing of what is gone.
        let Ok(None) = app.store.find_cluster(&ClusterRef::Id(cluster), app.presence.cutoff()).await else { continue };
        let left = folder(&app.settings.data_dir, cluster);
        let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(left)).await;
        match removed {
            Ok(Ok(())) => tracing::info!(cluster_id = %cluster, "what was remembered of a removed cluster was removed"),
            Ok(Err(error)) => tracing::warn!(cluster_id = %cluster, "a removed cluster's folder stays: {error}"),
            Err(_) => {}
        }
    }
}

/// The clusters that have a folder.
fn there(data: &Path) -> io::Result<Vec<ClusterId>> {
    let entries = std::fs::read_dir(data.join(HOSTED))?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}
