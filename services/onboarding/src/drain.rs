//! How a replica stops: its agents are told to go elsewhere, spread over a few seconds, and those that do not are let go
//! once their requests are done.

use std::sync::Arc;

use roadstead_contracts::agent::Notice;
use tokio::time::{Instant, sleep};

use crate::app::App;
use crate::limits::{DRAIN_LIMIT, DRAIN_LOOK, MOVE_SPREAD, MOVE_WAIT};

/// Waits for the stop and empties the replica.
pub(crate) async fn drain_when_stopping(app: Arc<App>) {
    app.tasks.stopping().cancelled_owned().await;
    let held = app.sessions.all();
    if !held.is_empty() {
        tracing::info!("{} agents are told to move", held.len());
    }
    for agent in &held {
        let after = app.ids.jitter(MOVE_SPREAD);
        let after_milliseconds = u32::try_from(after.as_millis()).unwrap_or(u32::MAX);
        agent.notify(&Notice::Move { after_milliseconds });
    }
    drop(held);
    let began = Instant::now();
    while app.sessions.len() > 0 && began.elapsed() < DRAIN_LIMIT {
        if began.elapsed() >= MOVE_WAIT {
            app.sessions.all().iter().filter(|held| held.is_idle()).for_each(|held| held.close("the hub restarts"));
        }
        sleep(DRAIN_LOOK).await;
    }
    app.sessions.all().iter().for_each(|held| held.close("the hub restarts"));
    match app.store.leave(app.replica, &app.own_change()).await {
        Ok(_) => app.relay.nudge(),
        // The others notice within seconds that this replica is gone.
        Err(fault) => tracing::warn!("this replica could not say that it leaves: {fault}"),
    }
}
