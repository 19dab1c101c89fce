//! Tells agents that an ending is stored, so that their ledgers may forget it.

use std::sync::Arc;

use roadstead_contracts::Result;
use roadstead_contracts::operation::{CancelRun, CancelledRun, SettleRun};

use super::agent;
use crate::app::App;
use crate::domain::Record;
use crate::limits::SETTLE_RETRY;

/// Tells one ending. An operation that the hub ended by itself is cancelled first: a ledger entry of work that still runs
/// must not be forgotten.
pub(crate) async fn settle(app: &App, record: &Record) -> Result<()> {
    let shown = &record.doc.shown;
    let (operation_id, epoch) = (shown.id, shown.epoch);
    if !record.doc.ended_by_agent {
        let run = CancelRun { operation_id, epoch };
        let answer = agent::cancel(app, shown.cluster_id, &run, &record.doc.request_id).await?;
        if answer == CancelledRun::Stopping {
            // It will have ended when this is tried again.
            return Ok(());
        }
    }
    agent::settle(app, shown.cluster_id, &SettleRun { operation_id, epoch }, &record.doc.request_id).await?;
    app.store.settled(operation_id).await?;
    Ok(())
}

/// Tells what is due.
pub(super) async fn settle_due(app: &Arc<App>) -> Result<()> {
    let now = app.clock.now();
    for record in app.store.claim_settlements(now, now + SETTLE_RETRY).await? {
        let app = Arc::clone(app);
        app.tasks.clone().spawn("settlement", async move {
            if let Err(error) = settle(&app, &record).await {
                tracing::debug!(operation_id = %record.doc.shown.id, "an ending was not settled yet: {error}");
            }
        });
    }
    Ok(())
}
