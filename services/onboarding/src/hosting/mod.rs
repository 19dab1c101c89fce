//! Clusters with credentials that were given over the API: one replica at a time hosts the agent of each. It holds a lease in
//! the database ([`crate::store::ConnectionStore::lease_connections`]); when it dies, another takes over within seconds.
//!
//! Two guards against two hosts: a replica that could not renew in time stops by itself before the lease ends, and of two
//! sessions the one with the higher epoch counts, as for any agent.

mod credentials;

use std::collections::HashMap;
use std::sync::Arc;

use chrono::TimeDelta;
use roadstead_agent::Core;
use roadstead_agent::kubernetes::Cluster;
use roadstead_contracts::ids::ClusterId;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::app::{App, serve_hosted};
use crate::limits::{HOST_AGAIN, HOST_LEASE, HOST_LOOK, HOST_STOP_BEFORE, HOST_TAKE};
use crate::store::Leased;

pub(crate) use credentials::{seal_connection, unseal_connection};

/// An agent that this replica hosts.
struct Running {
    revision: i64,
    stop: CancellationToken,
    /// Cancelled when it has ended.
    done: CancellationToken,
}

/// Hosts what this replica holds, until the process stops.
pub(crate) async fn keep_hosting(app: Arc<App>) {
    let stopping = app.tasks.stopping();
    let mut running: HashMap<ClusterId, Running> = HashMap::new();
    let mut failed: HashMap<ClusterId, (i64, Instant)> = HashMap::new();
    let mut renewed = Instant::now();
    while !stopping.is_cancelled() {
        let asked = Instant::now();
        let now = app.clock.now();
        let until = now + TimeDelta::from_std(HOST_LEASE).unwrap_or_default();
        // A database that says nothing must not keep this from noticing that the lease is over.
        match timeout(HOST_STOP_BEFORE, app.store.lease_connections(app.replica, now, until, HOST_TAKE)).await {
            Ok(Ok(leased)) => {
                renewed = asked;
                reconcile(&app, &leased, &mut running, &mut failed).await;
            }
            Ok(Err(fault)) => tracing::debug!("leases of clusters were not renewed: {fault}"),
            Err(_) => tracing::debug!("leases of clusters were not renewed in time"),
        }
        if renewed.elapsed() + HOST_STOP_BEFORE >= HOST_LEASE && !running.is_empty() {
            tracing::warn!("{} hosted clusters are let go: their leases could not be renewed", running.len());
            for (_, hosted) in running.drain() {
                hosted.stop.cancel();
            }
        }
        tokio::select! {
            () = stopping.cancelled() => {}
            () = app.hosting.notified() => {}
            () = sleep(HOST_LOOK + app.ids.jitter(HOST_LOOK / 4)) => {}
        }
    }
    // The drain tells agents to move once they are quiet; a hosted one moves by being let go.
    for hosted in running.into_values() {
        hosted.done.cancelled().await;
    }
    if let Err(fault) = app.store.let_connections_go(app.replica).await {
        tracing::debug!("hosted clusters wait for the end of their leases: {fault}");
    }
}

async fn reconcile(
    app: &Arc<App>,
    leased: &[Leased],
    running: &mut HashMap<ClusterId, Running>,
    failed: &mut HashMap<ClusterId, (i64, Instant)>,
) {
    running.retain(|cluster, hosted| {
        let stays = leased.iter().any(|lease| lease.cluster == *cluster && lease.revision == hosted.revision);
        if !stays {
            hosted.stop.cancel();
        }
        stays && !hosted.done.is_cancelled()
    });
    failed.retain(|cluster, _| leased.iter().any(|lease| lease.cluster == *cluster));
    for lease in leased {
        let waits = failed
            .get(&lease.cluster)
            .is_some_and(|(revision, at)| *revision == lease.revision && at.elapsed() < HOST_AGAIN);
        if waits || running.contains_key(&lease.cluster) {
            continue;
        }
        match begin(app, *lease).await {
            Ok(hosted) => {
                failed.remove(&lease.cluster);
                running.insert(lease.cluster, hosted);
            }
            Err(fault) => {
                tracing::error!(cluster_id = %lease.cluster, "a cluster cannot be hosted: {fault:#}");
                failed.insert(lease.cluster, (lease.revision, Instant::now()));
            }
        }
    }
}

async fn begin(app: &Arc<App>, lease: Leased) -> anyhow::Result<Running> {
    let Some(kept) = app.store.connection(lease.cluster).await? else { anyhow::bail!("its connection is gone") };
    let connection = unseal_connection(&app.sealer, lease.cluster, &kept.sealed)?;
    let cluster = Cluster::connect(&connection, kept.limits, app.outgoing.clone())?;
    let core = Core::connected(cluster).with_rights(kept.rights.profile, kept.rights.namespaces);
    let stop = CancellationToken::new();
    let done = CancellationToken::new();
    let (hosting, stopped, ended) = (Arc::clone(app), stop.clone(), done.clone().drop_guard());
    app.tasks.spawn("hosted-cluster", async move {
        if let Err(fault) = serve_hosted(hosting, Arc::new(core), kept.agent, lease.cluster, stopped).await {
            tracing::warn!(cluster_id = %lease.cluster, "a hosted agent ended: {fault:#}");
        }
        drop(ended);
    });
    tracing::info!(cluster_id = %lease.cluster, "this replica hosts the agent of cluster {}", lease.cluster);
    Ok(Running { revision: kept.revision, stop, done })
}
