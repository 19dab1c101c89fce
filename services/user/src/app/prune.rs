//! Sessions and rules that are long over are removed.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use roadstead_runtime::{OnFailure, Tasks};

use super::App;

/// How long an ended session is kept for whoever wants to know.
const KEPT: TimeDelta = TimeDelta::days(7);
/// How long a rule that is over is kept, for whoever asks what somebody was given.
const RULES_KEPT: TimeDelta = TimeDelta::days(30);
/// How often they are looked for; replicas doing it at once do no harm.
const EVERY: Duration = Duration::from_hours(1);

impl App {
    /// Removes what is long over; answers how many sessions.
    pub async fn prune(&self) -> roadstead_store::Result<u64> {
        self.store.prune_policy(self.clock.now() - RULES_KEPT).await?;
        self.store.prune_sessions(self.clock.now() - KEPT).await
    }

    /// Keeps pruning until the process stops.
    pub fn keep_pruning(self: &Arc<Self>, tasks: &Tasks) {
        let (app, stopping) = (Arc::clone(self), tasks.stopping());
        tasks.run("prune-sessions", OnFailure::Restart, move || {
            let (app, stopping) = (Arc::clone(&app), stopping.clone());
            async move {
                loop {
                    tokio::select! {
                        () = stopping.cancelled() => return Ok(()),
                        () = tokio::time::sleep(EVERY) => {}
                    }
                    let gone = app.prune().await?;
                    tracing::debug!("{gone} sessions that ended long ago were removed");
                }
            }
        });
    }
}
