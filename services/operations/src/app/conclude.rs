//! What goes with an ending, in the transaction that stores it.

use roadstead_contracts::audit::{AuditRecord, Ended, Origin, Outcome, Resource};
use roadstead_contracts::operation::OperationState;
use serde_json::json;

use super::App;
use crate::domain::Record;
use crate::store::{Change, Effects, NewWebhook};

impl App {
    /// The intent of running an operation: written before anything is sent.
    pub(crate) fn run_intent(&self, record: &Record, change: &Change) -> AuditRecord {
        let id = record.doc.intent.unwrap_or_else(|| self.ids.next());
        let shown = &record.doc.shown;
        let resource = Resource::id("operation", shown.id).in_cluster(shown.cluster_id);
        let origin = Origin::request(&record.doc.request_id);
        AuditRecord::intent(id, change.at, origin, record.doc.actor.clone(), "operation.run", resource)
            .with("kind", shown.kind.as_str())
            .with("epoch", &shown.epoch.to_string())
            .with("body_sha256", record.doc.body.as_ref().map_or("", |body| body.sha256.as_str()))
    }
}

/// An operation has just ended: nobody carries it any more, the trail gets its outcome, the webhook its message, and the
/// agent is to be told unless it never heard of it.
pub(crate) fn conclude(app: &App, record: &mut Record, effects: &mut Effects, change: &Change) {
    record.lease.holder = None;
    record.lease.until = None;
    let shown = &record.doc.shown;
    if shown.epoch > 0 {
        record.settle_at = Some(change.at);
    }
    if record.doc.intent.is_some() {
        let code = shown.error.as_ref().map(|error| error.code);
        let result = match shown.state {
            OperationState::Succeeded => Ended::Succeeded,
            OperationState::Cancelled => Ended::Cancelled,
            _ => Ended::Failed,
        };
        let counts = shown.counts;
        let entry = app
            .run_intent(record, change)
            .ended(app.ids.next(), change.at, Outcome { result, code })
            .with("state", shown.state.as_str())
            .with("created", &counts.created.to_string())
            .with("configured", &counts.configured.to_string())
            .with("deleted", &counts.deleted.to_string())
            .with("failed", &counts.failed.to_string());
        effects.audit.push(entry);
    } else if shown.state != OperationState::Cancelled {
        // Refused at its dispatch, or its time ran out in the queue: nothing was done, and the trail says that. A cancellation
        // has a record of its own.
        let outcome = Outcome { result: Ended::Failed, code: shown.error.as_ref().map(|error| error.code) };
        let resource = Resource::id("operation", shown.id).in_cluster(shown.cluster_id);
        let (origin, actor) = (Origin::request(&record.doc.request_id), record.doc.actor.clone());
        let entry = AuditRecord::outcome(app.ids.next(), change.at, origin, actor, "operation.run", resource, outcome)
            .with("kind", shown.kind.as_str())
            .with("state", shown.state.as_str());
        effects.audit.push(entry);
    }
    if record.sealed_webhook.is_some() && app.webhooks.is_some() {
        let body = json!({
            "event": "operation.finished",
            "operation": {
                "id": shown.id,
                "cluster_id": shown.cluster_id,
                "cluster_name": shown.cluster_name,
                "type": shown.kind,
                "state": shown.state,
                "status": shown.state.seed_word(),
                "reason": shown.reason,
                "counts": shown.counts,
                "error": shown.error,
                "description": shown.description,
                "created_by": shown.created_by_name,
                "rollout_id": shown.rollout_id,
                "created_at": shown.created_at,
                "started_at": shown.started_at,
                "finished_at": shown.finished_at,
            },
        });
        effects.webhook = Some(NewWebhook { id: app.ids.uuid(), body });
    }
}
