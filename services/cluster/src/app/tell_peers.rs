//! Tells the seeds' peers on the broker what was done to a cluster, in their words. The mesh's own services
//! hear of it by the events of whoever owns the cluster.

use std::time::Duration;

use roadstead_contracts::message::Cluster;
use roadstead_contracts::queue::CLUSTER_EVENTS;
use roadstead_contracts::seed::kubeconfig::{ClusterDeed, ClusterEvent};
use roadstead_http_kit::Caller;

use super::App;

/// Longest wait for the broker: the caller waits too, and what was done is done.
const TELL_MAX: Duration = Duration::from_secs(1);

impl App {
    /// Puts an event on `cluster_events`, where `compat.queue_peers` lists anybody who could read it.
    pub(crate) async fn tell_peers(&self, caller: &Caller, cluster: &Cluster, deed: ClusterDeed) {
        if !self.options.tell_peers {
            return;
        }
        let event = ClusterEvent {
            deed,
            user_id: caller.principal.user_seq,
            username: caller.principal.username.clone(),
            timestamp: self.clock.now().format("%Y-%m-%dT%H:%M:%S%.6f").to_string(),
            cluster_id: cluster.seq,
            cluster_name: cluster.name.to_string(),
        };
        match tokio::time::timeout(TELL_MAX, self.bus.tell_peers(CLUSTER_EVENTS, &event)).await {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => tracing::warn!("the peers of the seeds were not told: {fault}"),
            Err(_) => tracing::warn!("the peers of the seeds were not told within {TELL_MAX:?}"),
        }
    }
}
