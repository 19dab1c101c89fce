//! Clusters with credentials that were given over the API: one replica at a time hosts the agent of each. It holds a lease in
//! the database ([`crate::store::ConnectionStore::lease_connections`]); when it dies, another takes over within seconds.
//!
//! Two guards against two hosts: a replica that could not renew in time stops by itself before the lease ends, and of two
//! sessions the one with the higher epoch counts, as for any agent.
//!
//! Operations are remembered where they are done ([`folders`]). Another host has a ledger of its own: changes that may be
//! repeated begin anew there, the others end as interrupted. [`Core::attend`] tells it apart from a restart in one place.

mod credentials;
mod folders;

use std::collections::HashMap;
use std::sync::Arc;

use chrono::TimeDelta;
use roadstead_agent::Core;
use roadstead_agent::kubernetes::Cluster;
use roadstead_contracts::ids::ClusterId;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::app::{App, Ends, serve_hosted};
use crate::limits::{HOST_AGAIN, HOST_LEASE, HOST_LOOK, HOST_STOP_BEFORE, HOST_SWEEP, HOST_TAKE};
use crate::store::Leased;

pub(crate) use credentials::{seal_connection, unseal_connection};
pub(crate) use folders::folder;

/// An agent that this replica hosts.
struct Running {
    revision: i64,
    ends: Ends,
    /// Cancelled when it has ended.
    done: CancellationToken,
}

/// Hosts what this replica holds, until the process stops.
pub(crate) async fn keep_hosting(app: Arc<App>) {
    let stopping = app.tasks.stopping();
    let mut running: HashMap<ClusterId, Running> = HashMap::new();
    let mut failed: HashMap<ClusterId, (i64, Instant)> = HashMap::new();
    let mut renewed = Instant::now();
    let mut swept: Option<Instant> = None;
    while !stopping.is_cancelled() {
        let asked = Instant::now();
        let now = app.clock.now();
        let until = now + TimeDelta::from_std(HOST_LEASE).unwrap_or_default();
        // A database that says nothing must not keep this from noticing that the lease is over.
        match timeout(HOST_STOP_BEFORE, app.store.lease_connections(app.replica, now, until, HOST_TAKE)).await {
            Ok(Ok(leased)) => {
                renewed = asked;
                let some_ended = reconcile(&app, &leased, &mut running, &mut failed).await;
                if some_ended || swept.is_none_or(|at| at.elapsed() >= HOST_SWEEP) {
                    swept = Some(Instant::now());
                    // Apart: leases are renewed however many folders there are.
                    let in_use = running.keys().copied().collect();
                    app.tasks.spawn("hosted-folders", folders::remove_left(Arc::clone(&app), in_use));
                }
            }
            Ok(Err(fault)) => tracing::debug!("leases of clusters were not renewed: {fault}"),
            Err(_) => tracing::debug!("leases of clusters were not renewed in time"),
        }
        let held = running.values().filter(|hosted| !hosted.ends.stop.is_cancelled()).count();
        if renewed.elapsed() + HOST_STOP_BEFORE >= HOST_LEASE && held > 0 {
            tracing::warn!("{held} hosted clusters are let go: their leases could not be renewed");
            for hosted in running.values() {
                hosted.ends.stop.cancel();
            }
        }
        tokio::select! {
            () = stopping.cancelled() => {}
            () = app.hosting.notified() => {}
            () = sleep(HOST_LOOK + app.ids.jitter(HOST_LOOK / 4)) => {}
        }
    }
    // A hosted agent moves by being let go: once it changes nothing any more another replica may host it, whose session is the
    // newer one. What this one still carries ends meanwhile.
    for hosted in running.values() {
        tokio::select! {
            () = hosted.ends.at_rest.cancelled() => {}
            () = hosted.done.cancelled() => {}
        }
    }
    if let Err(fault) = app.store.let_connections_go(app.replica).await {
        tracing::debug!("hosted clusters wait for the end of their leases: {fault}");
    }
}

/// Hosts what is leased and nothing else. Says whether any that were hosted have ended.
async fn reconcile(
    app: &Arc<App>,
    leased: &[Leased],
    running: &mut HashMap<ClusterId, Running>,
    failed: &mut HashMap<ClusterId, (i64, Instant)>,
) -> bool {
    let before = running.len();
    running.retain(|cluster, hosted| {
        let stays = leased.iter().any(|lease| lease.cluster == *cluster && lease.revision == hosted.revision);
        if !stays {
            hosted.ends.stop.cancel();
        }
        // Until it has ended its operations are its own: two agents must not write one ledger.
        !hosted.done.is_cancelled()
    });
    let some_ended = running.len() < before;
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
    some_ended
}

async fn begin(app: &Arc<App>, lease: Leased) -> anyhow::Result<Running> {
    let Some(kept) = app.store.connection(lease.cluster).await? else { anyhow::bail!("its connection is gone") };
    let connection = unseal_connection(&app.sealer, lease.cluster, &kept.sealed)?;
    let cluster = Cluster::connect(&connection, kept.limits, app.outgoing.clone())?;
    let core = Core::connected(cluster).with_rights(kept.rights.profile, kept.rights.namespaces);
    let ledger = folder(&app.settings.data_dir, lease.cluster);
    let core = tokio::task::spawn_blocking(move || core.with_ledger(ledger)).await?;
    let (ends, done) = (Ends::default(), CancellationToken::new());
    let (hosting, its, ended) = (Arc::clone(app), ends.clone(), done.clone().drop_guard());
    let (again, was_stopped) = (Arc::clone(app), ends.stop.clone());
    app.tasks.spawn("hosted-cluster", async move {
        if let Err(fault) = serve_hosted(hosting, Arc::new(core), (kept.agent, lease.cluster), its).await {
            tracing::warn!(cluster_id = %lease.cluster, "a hosted agent ended: {fault:#}");
        }
        drop(ended);
        // Whoever waits for its end to begin anew looks at once. One that ended by itself is not begun again in a hurry.
        if was_stopped.is_cancelled() {
            again.hosting.notify_one();
        }
    });
    tracing::info!(cluster_id = %lease.cluster, "this replica hosts the agent of cluster {}", lease.cluster);
    Ok(Running { revision: kept.revision, ends, done })
}
