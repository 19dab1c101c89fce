//! Deletes what ended long ago by itself (`operations.delete_after`). Each removal has its record in the audit trail, stored
//! with it.

use chrono::{DateTime, TimeDelta, Utc};
use roadstead_contracts::Result;
use roadstead_contracts::audit::{Actor, AuditRecord, Origin, Outcome, Resource};

use super::App;
use crate::domain::{Record, RolloutDoc};
use crate::store::{Forgotten, Kept};

/// Deletes a batch of operations, and one of rollouts that have none any more; answers how many.
pub(super) async fn forget(app: &App) -> Result<usize> {
    let now = app.clock.now();
    let after = app.options.delete_after.and_then(|after| TimeDelta::from_std(after).ok());
    let Some(time) = after else { return Ok(0) };
    let kept = Kept { at: now, time };
    let operations = app.store.forget_operations(kept, &|record| operation_deleted(app, record, now)).await?;
    told(app, "operations", &operations);
    app.store.forget_bodies(&operations.bodies, now).await?;
    let rollouts = app.store.forget_rollouts(kept, &|doc| rollout_deleted(app, doc, now)).await?;
    told(app, "rollouts", &rollouts);
    app.store.forget_bodies(&rollouts.bodies, now).await?;
    Ok(operations.count + rollouts.count)
}

fn told(app: &App, what: &str, forgotten: &Forgotten) {
    if forgotten.count > 0 {
        app.committed();
        tracing::info!("{} {what} were deleted whose time was over", forgotten.count);
    }
}

fn operation_deleted(app: &App, record: &Record, now: DateTime<Utc>) -> AuditRecord {
    let shown = &record.doc.shown;
    let resource = Resource::id("operation", shown.id).in_cluster(shown.cluster_id);
    deleted(app, "operation.delete", resource, shown.finished_at, now)
        .with("kind", shown.kind.as_str())
        .with("state", shown.state.as_str())
}

fn rollout_deleted(app: &App, doc: &RolloutDoc, now: DateTime<Utc>) -> AuditRecord {
    deleted(app, "rollout.delete", Resource::id("rollout", doc.id), doc.finished_at, now).with("name", &doc.name)
}

fn deleted(
    app: &App,
    action: &str,
    resource: Resource,
    ended: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> AuditRecord {
    let (origin, actor) = (Origin::request(""), Actor::system("retention"));
    AuditRecord::outcome(app.ids.next(), now, origin, actor, action, resource, Outcome::succeeded())
        .with("ended", &ended.map(|at| at.to_rfc3339()).unwrap_or_default())
}
