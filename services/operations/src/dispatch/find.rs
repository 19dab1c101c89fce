//! Looks for work: at once when something is made or an agent returns, slowly for what no event tells of.

use std::sync::Arc;

use roadstead_bus::Subscriber;
use roadstead_contracts::Result;
use roadstead_contracts::event::{Event, Fact};
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::operation::OperationState;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};

use super::carry::carry;
use super::settle::settle_due;
use crate::app::{App, sweep};
use crate::limits::{POLL, STORE_RETRY, TIDY_EVERY};
use crate::store::Claim;

/// Claims and carries until the process stops.
pub(crate) async fn find(app: Arc<App>) {
    let places = Arc::new(Semaphore::new(app.options.at_once as usize));
    let stopping = app.tasks.stopping();
    let mut tidy_at = Instant::now();
    let mut slow_at = Instant::now() + POLL;
    loop {
        match look(&app, &places).await {
            Ok(()) => app.dispatcher_ready.set(true, "ok"),
            Err(fault) => {
                app.dispatcher_ready.set(false, "work cannot be looked for");
                tracing::warn!("work was not looked for: {fault}");
                sleep(STORE_RETRY).await;
            }
        }
        if tidy_at <= Instant::now() {
            tidy_at = Instant::now() + TIDY_EVERY;
            if let Err(fault) = app.store.tidy(app.clock.now()).await {
                tracing::warn!("what is old was not forgotten: {fault}");
            }
        }
        // By the clock, whatever else there is to do: a hub that is busy has deadlines too.
        if slow_at <= Instant::now() {
            slow_at = Instant::now() + POLL;
            slow(&app).await;
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = app.work.notified() => {}
            () = sleep_until(slow_at) => {}
        }
    }
}

/// Claims as much as there are places for.
async fn look(app: &Arc<App>, places: &Arc<Semaphore>) -> Result<()> {
    loop {
        let free = places.available_permits();
        if free == 0 {
            return Ok(());
        }
        let claim = Claim {
            holder: app.bus.replica(),
            at: app.clock.now(),
            most: i64::try_from(free).unwrap_or(i64::MAX),
            per_lane: i64::from(app.options.per_namespace),
        };
        let records = app.store.claim(&claim).await?;
        let claimed = records.len();
        for record in records {
            let Ok(place) = Arc::clone(places).try_acquire_owned() else { return Ok(()) };
            let app = Arc::clone(app);
            app.tasks.clone().spawn("operation", async move {
                carry(&app, record).await;
                drop(place);
                // A place is free.
                app.work.notify_one();
            });
        }
        if claimed < free {
            return Ok(());
        }
    }
}

async fn slow(app: &Arc<App>) {
    if let Err(fault) = sweep(app).await {
        tracing::warn!("deadlines were not looked at: {fault}");
    }
    if let Err(fault) = settle_due(app).await {
        tracing::warn!("settlements were not looked for: {fault}");
    }
    if let Ok(counts) = app.store.count_active().await {
        for state in OperationState::ALL.into_iter().filter(|state| !state.is_terminal()) {
            let count = counts.iter().find(|(word, _)| word == state.as_str()).map_or(0, |(_, count)| *count);
            let label = roadstead_telemetry::metrics::labels::Outcome { outcome: state.as_str() };
            app.metrics.operations_active.get_or_create(&label).set(count);
        }
    }
    if let Ok(drifted) = app.store.count_drifted().await {
        app.metrics.drifted_objects.clear();
        for (cluster, count) in drifted {
            let label = roadstead_telemetry::metrics::labels::ClusterOnly { cluster_id: cluster.to_string() };
            app.metrics.drifted_objects.get_or_create(&label).set(count);
        }
    }
}

/// Name of the queue on which removed clusters wait for one of the replicas.
const CLUSTERS: &str = "clusters";

/// An agent's return wakes what waits for it; a cancellation asked for at another replica reaches whoever carries it: what is
/// missed of that is found by the slow look. That a cluster is gone is told once, so it waits for one of the replicas.
pub(crate) async fn listen(app: &Arc<App>) -> roadstead_bus::Result<()> {
    let heard = Arc::clone(app);
    let patterns = ["agent.connected", "operation.updated"];
    app.bus
        .subscribe(Subscriber::Own, &patterns, move |event: Event| {
            let app = Arc::clone(&heard);
            async move {
                match event.fact {
                    Fact::AgentConnected { cluster_id, .. } => agent_returned(&app, cluster_id).await?,
                    Fact::OperationUpdated { operation_id, state, .. } => match state {
                        OperationState::CancelRequested => app.running.cancel(operation_id),
                        // Made at another replica, or its lane is free.
                        OperationState::Queued => app.work.notify_one(),
                        state if state.is_terminal() => {
                            app.work.notify_one();
                            app.rollouts.notify_one();
                        }
                        _ => {}
                    },
                    _ => {}
                }
                Ok(())
            }
        })
        .await?;
    let owner = Arc::clone(app);
    app.bus
        .subscribe(Subscriber::Shared(CLUSTERS), &["cluster.deleted"], move |event: Event| {
            let app = Arc::clone(&owner);
            async move {
                match event.fact {
                    Fact::ClusterDeleted { cluster_id } => {
                        Ok(app.store.forget_drift(cluster_id, app.clock.now()).await?)
                    }
                    _ => Ok(()),
                }
            }
        })
        .await
}

/// Work of a cluster need not wait any longer.
async fn agent_returned(app: &App, cluster: ClusterId) -> Result<()> {
    // Before the queue is woken: a carrier that is just laying its operation aside wakes it again.
    app.running.returned(cluster);
    wake(app, cluster).await
}

/// Has what waits for a cluster's agent looked at now.
pub(super) async fn wake(app: &App, cluster: ClusterId) -> Result<()> {
    if app.store.wake(cluster, app.clock.now()).await? {
        app.work.notify_one();
    }
    Ok(())
}
