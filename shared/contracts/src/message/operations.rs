//! Operations: asked of the operations service. Every message carries the caller; what is not the caller's is answered
//! as not found. No message carries a manifest: its body is staged at the operations service first (over the mesh's own
//! TLS, or a call in one process) and named here by its digest.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Page, PageRequest};
use crate::identity::Principal;
use crate::ids::{ClusterId, OperationId, RolloutId, UserId};
use crate::names::ClusterName;
use crate::operation::{Counts, ObjectKey, ObjectOutcome, OperationKind, OperationState, Work};

/// Starts one operation on one cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreateOperation {
    /// Who asks.
    pub principal: Principal,
    /// The cluster, already resolved and seen by the caller.
    pub cluster_id: ClusterId,
    /// Its name, kept with the operation.
    pub cluster_name: ClusterName,
    /// What to do.
    pub work: Work,
    /// SHA-256 (hex) of the staged body; none where the work needs none.
    #[serde(default)]
    pub body_sha256: Option<String>,
    /// Where it came from: `http_api`, `cli`, `queue`, `rollout`.
    pub source: String,
    /// Free text of the caller.
    #[serde(default)]
    pub description: String,
    /// The same key of the same caller within a day answers the first operation; with another content it is a conflict.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// Seconds until it times out, waiting included.
    #[serde(default)]
    pub deadline_seconds: Option<u32>,
    /// 0 (last) to 9; 5 without one.
    #[serde(default)]
    pub priority: Option<u8>,
    /// Told when it has ended (HMAC-signed POST). Read for hubs of before, which sent it; the address may hold a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_url: Option<String>,
    /// The same, staged like a body: its SHA-256 (hex).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_sha256: Option<String>,
}

/// One operation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GetOperation {
    /// Who asks.
    pub principal: Principal,
    /// Which.
    pub id: OperationId,
}

/// Operations, newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListOperations {
    /// Who asks.
    pub principal: Principal,
    /// Of this cluster.
    #[serde(default)]
    pub cluster_id: Option<ClusterId>,
    /// In one of these states.
    #[serde(default)]
    pub states: Vec<OperationState>,
    /// Of this kind.
    #[serde(default)]
    pub kind: Option<OperationKind>,
    /// Of this rollout.
    #[serde(default)]
    pub rollout_id: Option<RolloutId>,
    /// Which part.
    pub page: PageRequest,
}

/// What happened in an operation after a step, in order. For live progress: a reader that lost its connection goes on
/// after the last step it saw.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListOperationSteps {
    /// Who asks.
    pub principal: Principal,
    /// Which operation.
    pub id: OperationId,
    /// Steps with a greater number.
    pub after: i64,
    /// At most this many, 1 to 1,000.
    pub limit: u32,
}

/// Asks for an honest stop.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CancelOperation {
    /// Who asks.
    pub principal: Principal,
    /// Which.
    pub id: OperationId,
    /// Why, at most 500 characters.
    #[serde(default)]
    pub reason: String,
}

/// What a cancellation did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cancellation {
    /// It had not begun: nothing was applied.
    Cancelled,
    /// It runs; the agent is told to stop between two objects.
    Cancelling,
}

/// Runs what failed once more, as a new operation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RetryOperation {
    /// Who asks.
    pub principal: Principal,
    /// Which.
    pub id: OperationId,
    /// Everything, not only what failed.
    #[serde(default)]
    pub all: bool,
    /// Compares what it applied with the cluster and corrects what differs, whoever changed it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sync: bool,
    /// The same key of the same caller within a day is the same operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// Puts back what an operation changed, as a new operation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UndoOperation {
    /// Who asks.
    pub principal: Principal,
    /// Which.
    pub id: OperationId,
    /// Also objects that somebody changed since.
    #[serde(default)]
    pub force: bool,
    /// The same key of the same caller within a day is the same operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// Forgets an ended operation whose retention is over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteOperation {
    /// Who asks.
    pub principal: Principal,
    /// Which.
    pub id: OperationId,
}

/// An operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Id.
    pub id: OperationId,
    /// Integer number.
    pub seq: i64,
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// The cluster's name when it began.
    pub cluster_name: ClusterName,
    /// Kind.
    pub kind: OperationKind,
    /// State now.
    pub state: OperationState,
    /// Why it is in this state, for people.
    #[serde(default)]
    pub reason: String,
    /// What to do.
    pub work: Work,
    /// See [`CreateOperation::source`].
    pub source: String,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Who asked.
    pub created_by: UserId,
    /// That account's name.
    pub created_by_name: String,
    /// Attempt; 0 before the first dispatch.
    pub epoch: i64,
    /// Priority.
    pub priority: u8,
    /// Objects in all, once the agent has counted them.
    pub objects: u32,
    /// Objects by outcome so far.
    pub counts: Counts,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<crate::Error>,
    /// Exit status of an exec.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// The rollout it belongs to.
    #[serde(default)]
    pub rollout_id: Option<RolloutId>,
    /// The operation it retries or undoes.
    #[serde(default)]
    pub origin_id: Option<OperationId>,
    /// Whether [`UndoOperation`] has something to put back.
    #[serde(default)]
    pub undoable: bool,
    /// Number of its last step.
    pub last_step: i64,
    /// When it times out.
    pub deadline: DateTime<Utc>,
    /// When it was first given to the agent.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// Something that happened in an operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationStep {
    /// Number within the operation, from 1, without gaps.
    pub number: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    #[serde(flatten)]
    pub what: StepKind,
}

/// What a step tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum StepKind {
    /// The state changed.
    State {
        /// To this.
        state: OperationState,
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// An object is done.
    Object {
        /// Its position.
        position: u32,
        /// Which document it was.
        #[serde(default)]
        source: String,
        /// Which object.
        key: ObjectKey,
        /// What was done.
        outcome: ObjectOutcome,
        /// What went wrong.
        #[serde(default)]
        error: Option<crate::Error>,
        /// Masked diff.
        #[serde(default)]
        diff: Option<String>,
    },
    /// It waits for readiness.
    Waiting {
        /// Objects left.
        left: u32,
        /// What the first lacks.
        on: String,
    },
    /// Output of an exec.
    Output {
        /// Text.
        text: String,
        /// From standard error.
        #[serde(default)]
        stderr: bool,
    },
    /// Something came late: of an attempt that is over, or after the end. It is kept for people and changed nothing.
    Parked {
        /// The attempt that it is about.
        epoch: i64,
        /// What it said.
        what: String,
    },
}

/// Finds a replica of the operations service that takes bodies: whichever answers names itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LocateBodyStage {}

/// Where bodies are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyStagePlace {
    /// Host and port at which members of the mesh reach it.
    pub address: String,
}

/// Steps, and the operation as it was when they were read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationSteps {
    /// The operation.
    pub operation: Operation,
    /// Steps in order.
    pub steps: Vec<OperationStep>,
}

super::requests! {
    crate::queue::CLUSTER_MANIFEST: {
        CreateOperation = "create_operation.v1" -> Operation;
    }
    crate::queue::CLUSTER_CANCELLATION: {
        CancelOperation = "cancel_operation.v1" -> (Cancellation, Operation);
    }
    crate::queue::OPERATION: {
        GetOperation = "get_operation.v1" -> Operation;
        ListOperations = "list_operations.v1" -> Page<Operation>;
        ListOperationSteps = "list_operation_steps.v1" -> OperationSteps;
        LocateBodyStage = "locate_body_stage.v1" -> BodyStagePlace;
    }
    crate::queue::OPERATION_CHANGE: {
        RetryOperation = "retry_operation.v1" -> Operation;
        UndoOperation = "undo_operation.v1" -> Operation;
        DeleteOperation = "delete_operation.v1" -> ();
    }
}
