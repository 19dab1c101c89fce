//! A replica's life in the database: says that it lives, sweeps up after those that do not, and takes its sessions back
//! after the database or the broker was away.

use std::sync::Arc;
use std::time::Duration;

use roadstead_contracts::{Error, Result};
use tokio::time::Instant;

use crate::app::App;
use crate::limits::{RECEIPT_LIFE, RECLAIM_ROWS, REPLICA_GAP, REPLICA_REFRESH};

/// Keeps the replica alive until the process stops.
pub(crate) async fn keep_replica(app: Arc<App>) {
    let stopping = app.tasks.stopping();
    let mut connected = app.bus.connected();
    let mut seen = Instant::now();
    let mut reclaim = false;
    loop {
        // A failure is logged where it was translated, and readiness tells about it.
        if refresh(&app).await.is_ok() {
            reclaim |= seen.elapsed() > REPLICA_GAP;
            seen = Instant::now();
            if reclaim {
                reclaim = take_back(&app).await.is_err();
            }
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(REPLICA_REFRESH) => {}
            changed = connected.changed() => {
                // Events that say "revoked" may have been missed while the broker was away.
                reclaim |= changed.is_ok() && *connected.borrow_and_update();
                if changed.is_err() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// Says that this replica lives, and sweeps up after others.
pub(crate) async fn refresh(app: &App) -> Result<()> {
    let ours = app.clock.now();
    let database =
        app.store.see_replica(app.replica, app.replica_address.as_deref(), ours).await.map_err(Error::from)?;
    app.presence.set_time(database, ours);
    let swept =
        app.store.sweep(app.presence.cutoff(), ours - RECEIPT_LIFE, &app.own_change()).await.map_err(Error::from)?;
    if swept > 0 {
        tracing::warn!("{swept} agents were connected to a replica that is gone");
        app.relay.nudge();
    }
    Ok(())
}

/// Sessions that are still this replica's stay; those that were taken over or revoked meanwhile are closed.
async fn take_back(app: &App) -> Result<()> {
    let held = app.sessions.all();
    for part in held.chunks(RECLAIM_ROWS) {
        let wanted: Vec<_> = part.iter().map(|held| (held.agent, held.epoch)).collect();
        let mine = app.store.reclaim(&wanted, app.replica).await.map_err(Error::from)?;
        let mine: std::collections::HashSet<_> = mine.into_iter().collect();
        for held in part.iter().filter(|held| !mine.contains(&held.agent)) {
            held.close("taken over or cut off meanwhile");
        }
    }
    Ok(())
}
