//! What is done beside the work, in small steps: plans of before are sealed, what is old is forgotten.

use std::sync::Arc;

use tokio::time::sleep;

use super::App;
use super::forget::forget;
use super::seal_overrides::seal_plans;
use crate::limits::{UPKEEP_EVERY, UPKEEP_PAUSE};

/// Looks after it until the process stops. Several processes may: what one has in hand the others pass over.
pub(crate) async fn run_upkeep(app: Arc<App>) {
    let stopping = app.tasks.stopping();
    loop {
        let sealed = seal_plans(&app).await.unwrap_or_else(|error| {
            tracing::warn!("plans of before were not sealed: {error}");
            0
        });
        let forgotten = forget(&app).await.unwrap_or_else(|error| {
            tracing::warn!("ended operations were not deleted: {error}");
            0
        });
        // Until nothing is left.
        let pause = if sealed + forgotten > 0 { UPKEEP_PAUSE } else { UPKEEP_EVERY };
        tokio::select! {
            () = stopping.cancelled() => return,
            () = sleep(pause) => {}
        }
    }
}
