//! Keeps the leases of what this process carries.

use std::sync::Arc;

use roadstead_contracts::operation::OperationState;
use tokio::time::{Instant, sleep};

use crate::app::App;
use crate::limits::{LEASE, RENEW};

/// Renews until the process is cut. A lease that could not be renewed in time is given up before somebody else takes it.
pub(crate) async fn renew(app: Arc<App>) {
    let mut renewed_at = Instant::now();
    loop {
        sleep(RENEW).await;
        let held = app.running.all();
        if held.is_empty() {
            renewed_at = Instant::now();
            continue;
        }
        let ids: Vec<_> = held.keys().copied().collect();
        match app.store.renew(app.bus.replica(), &ids, app.clock.now()).await {
            Ok(known) => {
                renewed_at = Instant::now();
                for (id, token) in &held {
                    match known.iter().find(|lease| lease.id == *id && lease.token == *token) {
                        // Asked for at another replica, and its event was lost.
                        Some(lease) if lease.state == OperationState::CancelRequested => app.running.cancel(*id),
                        Some(_) => {}
                        // It ended, or was let go, since the list was made; else the lease is somebody else's.
                        None => app.running.stop(*id),
                    }
                }
            }
            Err(fault) => {
                tracing::warn!("leases of operations were not renewed: {fault}");
                if renewed_at.elapsed() + RENEW >= LEASE {
                    for id in ids {
                        app.running.stop(id);
                    }
                }
            }
        }
    }
}
