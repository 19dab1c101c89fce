//! How operations look on `/api/v1`: seed 000's fields, with its five words in `status`, and ours beside them.

use chrono::{DateTime, Utc};
use roadstead_contracts::message::{Operation, OperationStep};
use roadstead_contracts::operation::{Counts, OperationState};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// Objects by what was done with them.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct CountsView {
    /// Did not exist before.
    created: u32,
    /// Changed.
    configured: u32,
    /// Were so already.
    unchanged: u32,
    /// Removed, or not there.
    deleted: u32,
    /// Differ, and were left.
    drifted: u32,
    /// Went wrong.
    failed: u32,
    /// Not reached.
    skipped: u32,
}

impl From<Counts> for CountsView {
    fn from(counts: Counts) -> Self {
        let Counts { created, configured, unchanged, deleted, drifted, failed, skipped } = counts;
        Self { created, configured, unchanged, deleted, drifted, failed, skipped }
    }
}

/// Why something failed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FaultView {
    /// Stable code; each has a page in `docs/errors`.
    code: &'static str,
    /// One sentence.
    detail: String,
}

impl From<roadstead_contracts::Error> for FaultView {
    fn from(error: roadstead_contracts::Error) -> Self {
        Self { code: error.code.as_str(), detail: error.detail.into_owned() }
    }
}

/// An operation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OperationView {
    /// Id.
    pub(crate) id: String,
    /// Its cluster.
    pub(crate) cluster_id: String,
    /// `apply`, `delete`, `scale`, `restart`, `rollback`, `exec`, `sync` or `undo`.
    r#type: &'static str,
    /// `queued`, `running`, `success`, `failed` or `cancelled`.
    pub(crate) status: &'static str,
    /// What was asked for, without the manifests.
    #[schema(value_type = Object)]
    payload: Value,
    /// What came of it, once it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
    /// When it was first given to the agent.
    started_at: Option<DateTime<Utc>>,
    /// When it ended.
    finished_at: Option<DateTime<Utc>>,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it last changed.
    updated_at: DateTime<Utc>,
    /// Integer number.
    seq: i64,
    /// Name of its cluster when it began.
    cluster_name: String,
    /// `queued`, `dispatched`, `running`, `cancel_requested`, `cancelling`, `succeeded`, `failed`, `cancelled`, `timed_out` or
    /// `interrupted`.
    pub(crate) state: &'static str,
    /// Why it is in this state.
    reason: String,
    /// Free text of whoever asked.
    description: String,
    /// Name of the account that asked.
    created_by: String,
    /// Whether it only asks what would change.
    dry_run: bool,
    /// How often it was given to the agent.
    attempt: i64,
    /// 0 (last) to 9.
    priority: u8,
    /// Objects in all, once they were counted.
    objects: u32,
    /// Objects by outcome, so far.
    counts: CountsView,
    /// Why it failed.
    error: Option<FaultView>,
    /// Exit status of a command.
    exit_code: Option<i32>,
    /// The rollout it belongs to.
    rollout_id: Option<String>,
    /// The operation that it retries or undoes.
    origin_id: Option<String>,
    /// Whether there is something to put back.
    undoable: bool,
    /// Number of its last step.
    last_step: i64,
    /// When it times out.
    deadline: DateTime<Utc>,
}

impl From<Operation> for OperationView {
    fn from(operation: Operation) -> Self {
        let counts = CountsView::from(operation.counts);
        let result = operation.state.is_terminal().then(|| {
            let mut result = json!({ "objects": operation.objects, "counts": counts });
            if let (Value::Object(fields), Some(error)) = (&mut result, &operation.error) {
                fields.insert("error".to_owned(), json!(error.detail));
            }
            if let (Value::Object(fields), Some(code)) = (&mut result, operation.exit_code) {
                fields.insert("exit_code".to_owned(), json!(code));
            }
            result
        });
        Self {
            id: operation.id.to_string(),
            cluster_id: operation.cluster_id.to_string(),
            r#type: operation.kind.as_str(),
            status: operation.state.seed_word(),
            payload: payload(&operation),
            result,
            started_at: operation.started_at,
            finished_at: operation.finished_at,
            created_at: operation.created_at,
            updated_at: operation.updated_at,
            seq: operation.seq,
            cluster_name: operation.cluster_name.into(),
            state: operation.state.as_str(),
            reason: operation.reason,
            description: operation.description,
            created_by: operation.created_by_name,
            dry_run: operation.work.is_dry_run(),
            attempt: operation.epoch,
            priority: operation.priority,
            objects: operation.objects,
            counts,
            error: operation.error.map(Into::into),
            exit_code: operation.exit_code,
            rollout_id: operation.rollout_id.map(|id| id.to_string()),
            origin_id: operation.origin_id.map(|id| id.to_string()),
            undoable: operation.undoable,
            last_step: operation.last_step,
            deadline: operation.deadline,
        }
    }
}

/// Seed 000 shows where an operation came from beside what it does.
fn payload(operation: &Operation) -> Value {
    let mut fields = match serde_json::to_value(&operation.work) {
        Ok(Value::Object(fields)) => fields,
        // The work is made of plain structs.
        _ => Map::new(),
    };
    fields.shift_remove("kind");
    fields.insert("source".to_owned(), json!(operation.source));
    Value::Object(fields)
}

/// Seed 000's list of a cluster's operations.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClusterOperationsView {
    /// The operations, newest first.
    pub(crate) operations: Vec<OperationView>,
    /// How many there are in all.
    pub(crate) total_count: u64,
    /// The cluster.
    pub(crate) cluster_id: String,
    /// As asked.
    pub(crate) limit: u32,
    /// As asked.
    pub(crate) offset: u64,
}

/// Seed 000's answer to manifests, and ours beside it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueuedView {
    /// The operation.
    pub(crate) operation_id: String,
    /// As [`OperationView::status`].
    pub(crate) status: &'static str,
    /// A sentence.
    pub(crate) message: &'static str,
    /// As [`OperationView::state`].
    pub(crate) state: &'static str,
    /// Its cluster.
    pub(crate) cluster_id: String,
    /// Name of its cluster.
    pub(crate) cluster_name: String,
    /// Objects that were understood.
    pub(crate) documents: usize,
    /// Where it is.
    pub(crate) url: String,
}

/// What the API server said to a dry run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PreviewView {
    /// The operation.
    pub(crate) operation_id: String,
    /// As [`OperationView::status`].
    pub(crate) status: &'static str,
    /// As [`OperationView::state`].
    pub(crate) state: &'static str,
    /// Always true.
    pub(crate) dry_run: bool,
    /// Objects by what would be done with them.
    pub(crate) counts: CountsView,
    /// Each object, with its diff.
    #[schema(value_type = [Object])]
    pub(crate) objects: Vec<Value>,
    /// Why it failed.
    pub(crate) error: Option<FaultView>,
}

/// Seed 000's answer to a cancellation, and ours beside it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CancelledView {
    /// The operation.
    pub(crate) id: String,
    /// `cancelled`, or `cancelling` when it runs: then the agent stops between two objects.
    pub(crate) status: &'static str,
    /// A sentence.
    pub(crate) message: &'static str,
    /// As [`OperationView::state`].
    pub(crate) state: &'static str,
}

/// A step: as it is between the services, with the seed's word beside a state.
pub(crate) fn step(step: &OperationStep) -> Value {
    let mut value = serde_json::to_value(step).unwrap_or_default();
    let word = value.get("state").and_then(Value::as_str).and_then(OperationState::parse);
    if let (Some(word), Value::Object(fields)) = (word, &mut value) {
        fields.insert("status".to_owned(), json!(word.seed_word()));
    }
    value
}

/// The states behind a word of seed 000.
pub(crate) fn states_of(word: &str) -> Vec<OperationState> {
    // Spellings that are found in the seed besides its own five.
    let word = match word {
        "pending" => "queued",
        "completed" => "success",
        other => other,
    };
    OperationState::ALL.into_iter().filter(|state| state.seed_word() == word).collect()
}
