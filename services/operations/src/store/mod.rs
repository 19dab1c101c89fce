//! The service's SQL. One trait for each noun, one body for both databases.
//!
//! What an operation is stands in one document (`doc`); the columns beside it are what queries look at, written from the
//! record in the same statement. `OperationStore::change` is the one way in which an operation changes: it locks the row,
//! lets a rule decide, and writes the state, steps, objects, audit records, the event and the webhook in one transaction.
//! Ids inside JSON parameters are 32 hex digits, which both databases read as a UUID.

mod bodies;
mod change;
mod dispatch;
mod drifts;
mod forget;
mod objects;
mod operations;
mod rollouts;
mod rows;
#[cfg(test)]
mod tests;
mod webhooks;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use roadstead_contracts::audit::AuditRecord;
use roadstead_contracts::event::Fact;
use roadstead_contracts::ids::{ClusterId, OperationId, ReplicaId, RolloutId, UserId};
use roadstead_contracts::message::{OperationStep, StepKind};
use roadstead_contracts::operation::{ObjectKey, ObjectOutcome, OperationKind, OperationState};
use roadstead_store::{Receipts, Result, Window};
use serde_json::Value;
use uuid::Uuid;

use crate::domain::{Known, Record, RolloutDoc, View};

pub(crate) use dispatch::{Claim, Renewed};
pub(crate) use drifts::{DriftDoc, NewDrift};
pub(crate) use roadstead_store::Change;
pub(crate) use webhooks::DueWebhook;

/// What the mesh is told of an operation that was changed.
fn updated(record: &Record) -> Fact {
    let shown = &record.doc.shown;
    Fact::OperationUpdated {
        operation_id: shown.id,
        cluster_id: shown.cluster_id,
        state: shown.state,
        step: shown.last_step,
    }
}

/// What a rule does with an operation besides changing its record.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Whether anything is written at all.
    pub touched: bool,
    /// What happened, in order.
    pub steps: Vec<StepKind>,
    /// Results of objects.
    pub objects: Vec<NewObject>,
    /// For the audit trail.
    pub audit: Vec<AuditRecord>,
    /// Somebody to tell.
    pub webhook: Option<NewWebhook>,
    /// The answer to the message, kept for a second delivery.
    pub reply: Option<Value>,
}

/// A rule: changes a locked record. It is told which of the asked positions have a result already.
pub(crate) type Decide<'a> = &'a mut (dyn FnMut(&mut Record, &BTreeSet<u32>) -> Effects + Send);

/// The result of an object, its earlier state sealed.
#[derive(Debug, Clone)]
pub(crate) struct NewObject {
    pub position: u32,
    pub key: ObjectKey,
    pub outcome: ObjectOutcome,
    pub undoable: bool,
    /// Whether the object existed before.
    pub existed: bool,
    pub left_version: Option<String>,
    /// Its earlier state, in sealed parts.
    pub sealed_before: Vec<String>,
}

/// A stored result of an object.
#[derive(Debug, Clone)]
pub(crate) struct StoredObject {
    pub position: u32,
    pub key: ObjectKey,
    pub outcome: ObjectOutcome,
    pub undoable: bool,
    pub existed: bool,
    pub left_version: Option<String>,
}

/// Somebody to tell.
#[derive(Debug, Clone)]
pub(crate) struct NewWebhook {
    pub id: Uuid,
    pub body: Value,
}

/// An operation to make.
#[derive(Debug, Clone)]
pub(crate) struct NewOperation {
    pub record: Record,
    pub key: Option<Key>,
    pub audit: Vec<AuditRecord>,
}

/// An idempotency key, and the digest of what was asked with it.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub user: UserId,
    pub key: String,
    pub digest: String,
}

/// What became of a new operation.
#[derive(Debug)]
pub(crate) enum Created {
    /// It was made.
    New(Box<Record>),
    /// The same key made it before.
    Before(Box<Record>),
    /// The same key came with something else.
    Mismatch,
    /// Its body is not staged.
    NoBody,
    /// The cluster has as many as it may.
    Full,
}

/// Which operations to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub cluster: Option<ClusterId>,
    pub states: Vec<OperationState>,
    pub kind: Option<OperationKind>,
    pub rollout: Option<RolloutId>,
}

#[async_trait]
pub(crate) trait OperationStore: Send + Sync {
    async fn create_operation(&self, new: &NewOperation, change: &Change) -> Result<Created>;
    async fn find_operation(&self, id: OperationId) -> Result<Option<Record>>;
    /// The operation that a waiting one waits for, where so many of a lane go at once: one that runs, or one that goes first.
    async fn waited_for(&self, id: OperationId, per_lane: i64) -> Result<Option<Record>>;
    async fn list_operations(&self, view: &View, filter: &Filter, window: Window) -> Result<(Vec<Record>, u64)>;
    async fn list_steps(&self, id: OperationId, after: i64, limit: u32) -> Result<Vec<OperationStep>>;
    /// Removes an ended operation; `false`: it was gone or has not ended.
    async fn delete_operation(&self, id: OperationId, audit: &AuditRecord, change: &Change) -> Result<bool>;
}

#[async_trait]
pub(crate) trait ChangeStore: Send + Sync {
    /// Changes an operation by a rule; `None`: there is none. `positions` are those whose results the rule brings.
    async fn change(
        &self,
        id: OperationId,
        positions: &[u32],
        change: &Change,
        decide: Decide<'_>,
    ) -> Result<Option<Record>>;
}

#[async_trait]
pub(crate) trait DispatchStore: Send + Sync {
    /// Leases operations that can go on now, fair between clusters.
    async fn claim(&self, claim: &Claim) -> Result<Vec<Record>>;
    /// Frees every lease: nobody else uses this database, so whoever held one is gone.
    async fn free(&self) -> Result<()>;
    /// Renews leases; answers those that still count, with their states.
    async fn renew(&self, holder: ReplicaId, held: &[OperationId], at: DateTime<Utc>) -> Result<Vec<Renewed>>;
    /// Lays an operation aside for a while, if the lease still counts. `at` is now, where the database does not tell.
    async fn rest(&self, id: OperationId, token: i64, at: DateTime<Utc>, pause: Duration) -> Result<()>;
    /// Nothing that waits in a cluster's queue is tried for a while.
    async fn park(&self, cluster: ClusterId, at: DateTime<Utc>, pause: Duration) -> Result<()>;
    /// What waits for a cluster is tried now; answers whether something does.
    async fn wake(&self, cluster: ClusterId, at: DateTime<Utc>) -> Result<bool>;
    /// Operations whose deadline passed: at `queued_before` those that wait, at `running_before` those that run.
    async fn overdue(&self, queued_before: DateTime<Utc>, running_before: DateTime<Utc>) -> Result<Vec<OperationId>>;
    /// Endings that agents are to be told, due and claimed until `again`.
    async fn claim_settlements(&self, at: DateTime<Utc>, again: DateTime<Utc>) -> Result<Vec<Record>>;
    async fn settled(&self, id: OperationId) -> Result<()>;
    /// Operations by state, and how many seconds the oldest that waits has waited.
    async fn count_active(&self) -> Result<Vec<(String, i64)>>;
}

#[async_trait]
pub(crate) trait ObjectStore: Send + Sync {
    async fn objects(&self, id: OperationId, epoch: i64) -> Result<Vec<StoredObject>>;
    /// The sealed parts of an object's earlier state.
    async fn before(&self, id: OperationId, epoch: i64, position: u32) -> Result<Vec<String>>;
}

#[async_trait]
pub(crate) trait BodyStore: Send + Sync {
    /// Keeps a body; `false`: too many wait for their operations.
    async fn stage(&self, sha256: &str, length: u64, sealed_parts: &[String], at: DateTime<Utc>) -> Result<bool>;
    async fn body_length(&self, sha256: &str) -> Result<Option<u64>>;
    /// Its length and sealed parts.
    async fn body(&self, sha256: &str) -> Result<Option<(u64, Vec<String>)>>;
    /// It is not counted among those that wait any more; it goes after its hour unless something names it.
    async fn claim_body(&self, sha256: &str) -> Result<()>;
    /// Removes those of these bodies that nothing names any more, and that are not for somebody who has just staged them.
    async fn forget_bodies(&self, sha256s: &[String], at: DateTime<Utc>) -> Result<()>;
    /// Forgets what nobody names, old keys and receipts, and that clusters are gone.
    async fn tidy(&self, at: DateTime<Utc>) -> Result<u64>;
}

#[async_trait]
pub(crate) trait WebhookStore: Send + Sync {
    /// Webhooks that are due, claimed until `again`.
    async fn claim_webhooks(&self, at: DateTime<Utc>, again: DateTime<Utc>) -> Result<Vec<DueWebhook>>;
    async fn webhook_told(&self, id: Uuid) -> Result<()>;
    async fn webhook_failed(&self, id: Uuid, next_at: DateTime<Utc>) -> Result<()>;
}

/// Operations of a rollout, with what is known of them.
pub(crate) type States = Vec<(OperationId, Known)>;

/// A rule for a rollout: changes its document, answers what to make and when to look again.
pub(crate) type DecideRollout<'a> =
    &'a mut (dyn FnMut(&mut RolloutDoc, &[(OperationId, Known)]) -> RolloutEffects + Send);

/// What a rule does with a rollout.
#[derive(Debug, Default)]
pub(crate) struct RolloutEffects {
    pub touched: bool,
    pub create: Vec<NewOperation>,
    pub audit: Vec<AuditRecord>,
    pub next_at: Option<DateTime<Utc>>,
    pub reply: Option<Value>,
}

/// Seals the patches of a document; `false`: there was nothing to seal.
pub(crate) type Seal<'a> = &'a mut (dyn FnMut(&mut RolloutDoc) -> bool + Send);

#[async_trait]
pub(crate) trait RolloutStore: Send + Sync {
    async fn create_rollout(
        &self,
        doc: &RolloutDoc,
        key: Option<&Key>,
        audit: &[AuditRecord],
        reply: &Value,
        change: &Change,
    ) -> Result<std::result::Result<RolloutDoc, Created>>;
    async fn find_rollout(&self, id: RolloutId) -> Result<Option<(RolloutDoc, States)>>;
    /// Newest first; those of which every cluster is in the view.
    async fn list_rollouts(&self, view: &View, window: Window) -> Result<(Vec<(i64, RolloutDoc, States)>, u64)>;
    async fn change_rollout(
        &self,
        id: RolloutId,
        change: &Change,
        decide: DecideRollout<'_>,
    ) -> Result<Option<RolloutDoc>>;
    /// Rollouts with patches in the clear: of before, some of them.
    async fn unsealed_rollouts(&self) -> Result<Vec<RolloutId>>;
    /// Has the patches of a locked rollout sealed; `false`: it is gone, or nothing was to be sealed.
    async fn seal_rollout(&self, id: RolloutId, seal: Seal<'_>) -> Result<bool>;
    /// Rollouts to look at before a moment.
    async fn due_rollouts(&self, before: DateTime<Utc>) -> Result<Vec<RolloutId>>;
}

#[async_trait]
pub(crate) trait DriftStore: Send + Sync {
    /// Keeps what an agent says; `false`: a later report of it is known, and nothing was changed.
    async fn report_drift(&self, new: &NewDrift, change: &Change) -> Result<bool>;
    /// What a cluster's agent said last, and when.
    async fn find_drift(&self, cluster: ClusterId) -> Result<Option<(DriftDoc, DateTime<Utc>)>>;
    /// Forgets a cluster that is gone. What is still under way from its agent is not kept either.
    async fn forget_drift(&self, cluster: ClusterId, at: DateTime<Utc>) -> Result<()>;
    /// Clusters with drift, and how many objects of each.
    async fn count_drifted(&self) -> Result<Vec<(ClusterId, i64)>>;
}

/// What was removed because its time is over.
#[derive(Debug, Default)]
pub(crate) struct Forgotten {
    pub count: usize,
    /// The bodies that it named.
    pub bodies: Vec<String>,
}

/// Makes the audit record of a removal.
pub(crate) type Told<'a, T> = &'a (dyn Fn(&T) -> AuditRecord + Send + Sync);

/// How long what has ended is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    /// Now; where the database tells the time, the earlier of the two counts, so that no clock that is ahead deletes too soon.
    pub at: DateTime<Utc>,
    pub time: TimeDelta,
}

/// Each call removes one batch. What another replica removes at the same time is passed over, and told by that one.
#[async_trait]
pub(crate) trait ForgetStore: Send + Sync {
    /// Operations that ended so long ago, but for those that somebody is still to be told of, and those of rollouts that did
    /// not end so long ago.
    async fn forget_operations(&self, kept: Kept, told: Told<'_, Record>) -> Result<Forgotten>;
    /// Rollouts that ended so long ago and have no operation any more.
    async fn forget_rollouts(&self, kept: Kept, told: Told<'_, RolloutDoc>) -> Result<Forgotten>;
}

/// Everything the service stores.
pub(crate) trait Store:
    OperationStore
    + ChangeStore
    + DispatchStore
    + DriftStore
    + ForgetStore
    + ObjectStore
    + BodyStore
    + WebhookStore
    + RolloutStore
    + Receipts
{
}

impl<T> Store for T where
    T: OperationStore
        + ChangeStore
        + DispatchStore
        + DriftStore
        + ForgetStore
        + ObjectStore
        + BodyStore
        + WebhookStore
        + RolloutStore
        + Receipts
{
}
