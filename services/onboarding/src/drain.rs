//! How a replica stops: its agents are told to go elsewhere, each once its requests are done and no new one begins; those
//! that do not go are let go.

use std::sync::Arc;
use std::time::Duration;

use roadstead_contracts::agent::Notice;
use tokio::time::{Instant, sleep};

use crate::app::App;
use crate::limits::{DRAIN_LIMIT, DRAIN_LOOK, FINISH_WAIT, MOVE_SPREAD, MOVE_SPREAD_LEAST, MOVE_WAIT};
use crate::session::Held;

/// Waits for the stop and empties the replica.
pub(crate) async fn drain_when_stopping(app: Arc<App>) {
    app.tasks.stopping().cancelled_owned().await;
    let held = app.sessions.all();
    if !held.is_empty() {
        tracing::info!("{} agents are told to move", held.len());
    }
    // Who asks from now on waits until the agent is elsewhere.
    for agent in &held {
        agent.leave();
    }
    let began = Instant::now();
    // A few agents need no spread, ten thousand need all of it; callers wait for them meanwhile.
    let spread =
        MOVE_SPREAD.min(MOVE_SPREAD_LEAST + Duration::from_micros(500) * u32::try_from(held.len()).unwrap_or(u32::MAX));
    let mut staying = held;
    while !staying.is_empty() {
        let late = began.elapsed() >= FINISH_WAIT;
        let (going, busy): (Vec<_>, Vec<_>) = staying.into_iter().partition(|agent| late || agent.is_quiet());
        for agent in &going {
            tell(&app, agent, spread);
        }
        staying = busy;
        if !staying.is_empty() {
            sleep(DRAIN_LOOK).await;
        }
    }
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

fn tell(app: &App, agent: &Held, spread: Duration) {
    let after = app.ids.jitter(spread);
    let after_milliseconds = u32::try_from(after.as_millis()).unwrap_or(u32::MAX);
    agent.notify(&Notice::Move { after_milliseconds });
}
