//! What an agent says while it works, and the two verbs beside the run.

use serde::{Deserialize, Serialize};

use super::ObjectKey;
use crate::ids::OperationId;

/// What the agent says while it works.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum RunEvent {
    /// In the ledger; work begins, or goes on.
    Accepted {
        /// Objects in all.
        objects: u32,
        /// Objects that an earlier stream of this attempt finished.
        finished: u32,
    },
    /// One object is done.
    Object(Box<ObjectResult>),
    /// Everything is applied; now it waits until it is ready.
    Waiting {
        /// Objects not ready yet.
        left: u32,
        /// What the first of them lacks, for people.
        on: String,
    },
    /// Output of an exec, as it comes.
    Output {
        /// Text; bytes that are no UTF-8 are replaced.
        text: String,
        /// From standard error.
        #[serde(default)]
        stderr: bool,
    },
    /// Nothing to say; the stream lives.
    Alive {},
    /// The order was not taken: nothing was begun and nothing ended by it (a stale epoch, a busy agent, an order that does
    /// not match). The stream ends; whether to ask again is the error's to say.
    Refused(crate::Error),
    /// The end. Repeated for the same attempt until it is settled.
    Done(Box<RunEnding>),
}

/// What became of one object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectResult {
    /// Its position in the body, from 0; pruned objects count on from the last.
    pub position: u32,
    /// Which document of which file it was, for people: `deploy.yaml#2`.
    #[serde(default)]
    pub source: String,
    /// Which object.
    pub key: ObjectKey,
    /// What was done.
    pub outcome: ObjectOutcome,
    /// What went wrong.
    #[serde(default)]
    pub error: Option<crate::Error>,
    /// Unified diff, managed fields hidden and Secrets masked; for dry runs and sync.
    #[serde(default)]
    pub diff: Option<String>,
    /// The object before, without managed fields and status; none = it did not exist, or nothing changed. Sealed at rest
    /// at the hub, given to nobody but an undo.
    #[serde(default)]
    pub before: Option<serde_json::Value>,
    /// Whether `before` says anything: something changed and an undo is possible.
    #[serde(default)]
    pub undoable: bool,
    /// `resourceVersion` afterwards.
    #[serde(default)]
    pub left_version: Option<String>,
}

/// What was done with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectOutcome {
    /// It did not exist.
    Created,
    /// It changed.
    Configured,
    /// It was so already.
    Unchanged,
    /// It was removed.
    Deleted,
    /// It was not there.
    Absent,
    /// It was not removed or corrected, only reported.
    Drifted,
    /// It went wrong.
    Failed,
    /// The operation ended before it.
    Skipped,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Every object.
    Succeeded,
    /// Not every object.
    Failed,
    /// Asked to stop, and stopped between two objects.
    Cancelled,
    /// Asked to stop, but everything was done already.
    FinishedFirst,
    /// The deadline passed.
    TimedOut,
    /// The agent died in a work that must not be repeated.
    Interrupted,
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunEnding {
    /// How.
    pub ending: Ending,
    /// Objects by outcome.
    pub counts: Counts,
    /// Why it failed as a whole.
    #[serde(default)]
    pub error: Option<crate::Error>,
    /// Exit status of an exec.
    #[serde(default)]
    pub exit_code: Option<i32>,
}

/// Objects by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// See [`ObjectOutcome`].
    pub created: u32,
    /// See [`ObjectOutcome`].
    pub configured: u32,
    /// See [`ObjectOutcome`].
    pub unchanged: u32,
    /// Removed, or not there.
    pub deleted: u32,
    /// Reported.
    pub drifted: u32,
    /// Went wrong.
    pub failed: u32,
    /// Not reached.
    pub skipped: u32,
}

impl Counts {
    /// One more object.
    pub fn add(&mut self, outcome: ObjectOutcome) {
        let count = match outcome {
            ObjectOutcome::Created => &mut self.created,
            ObjectOutcome::Configured => &mut self.configured,
            ObjectOutcome::Unchanged => &mut self.unchanged,
            ObjectOutcome::Deleted | ObjectOutcome::Absent => &mut self.deleted,
            ObjectOutcome::Drifted => &mut self.drifted,
            ObjectOutcome::Failed => &mut self.failed,
            ObjectOutcome::Skipped => &mut self.skipped,
        };
        *count = count.saturating_add(1);
    }
}

/// Request of [`super::CANCEL_OPERATION`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRun {
    /// The operation.
    pub operation_id: OperationId,
    /// The attempt.
    pub epoch: i64,
}

/// Answer of [`super::CANCEL_OPERATION`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelledRun {
    /// It will stop after the object at hand.
    Stopping,
    /// It has ended already; the ending comes with the run.
    Ended,
    /// Never heard of it: it will not be begun at this attempt.
    Unknown,
}

/// Request and answer of [`super::SETTLE_OPERATION`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettleRun {
    /// The operation.
    pub operation_id: OperationId,
    /// The attempt.
    pub epoch: i64,
}
