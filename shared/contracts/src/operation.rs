//! Operations: the words every part uses for a change, and what the operations service and an agent say to each other
//! while one runs.
//!
//! An agent is given work as a stream to its verb [`RUN_OPERATION`]: one line of JSON ([`RunOperation`]), then exactly
//! `body_length` bytes of body, then half closed. It answers with lines of JSON ([`RunEvent`]), each at most
//! [`RUN_EVENT_MAX`] bytes, and ends after [`RunEvent::Done`]. The same operation and epoch may be sent again after a
//! broken stream: the agent finds it in its ledger and goes on after the last finished object, or repeats the ending.

mod run;

use serde::{Deserialize, Serialize};

use crate::ids::{ClusterId, OperationId};

pub use run::*;

/// Verb that runs an operation, or takes one up again.
pub const RUN_OPERATION: &str = "run-operation";
/// Verb that asks a running operation to stop between two objects ([`CancelRun`] in, [`CancelledRun`] out).
pub const CANCEL_OPERATION: &str = "cancel-operation";
/// Verb that says that the ending is stored at the hub, so that the ledger may forget it ([`SettleRun`] in and out).
pub const SETTLE_OPERATION: &str = "settle-operation";

/// Longest line of [`RunOperation`].
pub const RUN_HEAD_MAX: usize = 64 * 1024;
/// Longest line of a [`RunEvent`]: an object with its earlier state is cut into none, so it must hold one whole object
/// (etcd takes 1.5 MiB).
pub const RUN_EVENT_MAX: usize = 4 * 1024 * 1024;
/// Largest body of an operation, and of all its objects together.
pub const BODY_MAX: usize = 8 * 1024 * 1024;
/// Most objects in one operation.
pub const OBJECTS_MAX: usize = 5_000;
/// Name of the chart's archive in the body of a Helm install.
pub const CHART_FILE: &str = "chart.tgz";
/// Longest name of a Helm release.
pub const RELEASE_MAX: usize = 53;
/// The one field manager of every apply.
pub const FIELD_MANAGER: &str = "roadstead";

/// State of an operation. `status` on `/api/v1` is [`OperationState::seed_word`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// Waits for its cluster, its turn or its maintenance window.
    Queued,
    /// Leased by a dispatcher; the agent has not said yet that it has it.
    Dispatched,
    /// The agent has it.
    Running,
    /// Somebody asked for a stop; the agent has not been told.
    CancelRequested,
    /// The agent was told to stop between two objects.
    Cancelling,
    /// Done, every object.
    Succeeded,
    /// Done, and something went wrong.
    Failed,
    /// Stopped before its end.
    Cancelled,
    /// Its deadline passed.
    TimedOut,
    /// Its agent died in a work that must not be run twice (exec, delete without inventory).
    Interrupted,
}

impl OperationState {
    /// Every state.
    pub const ALL: [Self; 10] = [
        Self::Queued,
        Self::Dispatched,
        Self::Running,
        Self::CancelRequested,
        Self::Cancelling,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::TimedOut,
        Self::Interrupted,
    ];

    /// Our word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Dispatched => "dispatched",
            Self::Running => "running",
            Self::CancelRequested => "cancel_requested",
            Self::Cancelling => "cancelling",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
            Self::Interrupted => "interrupted",
        }
    }

    /// Reads our word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Seed 000 knows five words.
    pub fn seed_word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Dispatched | Self::Running | Self::CancelRequested | Self::Cancelling => "running",
            Self::Succeeded => "success",
            Self::Failed | Self::TimedOut | Self::Interrupted => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it never changes again.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::TimedOut | Self::Interrupted)
    }
}

/// What kind of change. The words of seed 000 and ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// Manifests are applied.
    Apply,
    /// Objects are removed.
    Delete,
    /// Replicas of a workload are set.
    Scale,
    /// A workload's pods are replaced one after another.
    Restart,
    /// A workload goes back to an earlier revision.
    Rollback,
    /// A command is run in a container. Never run twice.
    Exec,
    /// What was applied earlier is compared with the cluster, and corrected when asked to.
    Sync,
    /// What an earlier operation changed is put back.
    Undo,
    /// A chart is installed, upgraded, rolled back or uninstalled. Never run twice by itself: charts have hooks.
    Helm,
}

impl OperationKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Apply,
        Self::Delete,
        Self::Scale,
        Self::Restart,
        Self::Rollback,
        Self::Exec,
        Self::Sync,
        Self::Undo,
        Self::Helm,
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Delete => "delete",
            Self::Scale => "scale",
            Self::Restart => "restart",
            Self::Rollback => "rollback",
            Self::Exec => "exec",
            Self::Sync => "sync",
            Self::Undo => "undo",
            Self::Helm => "helm",
        }
    }

    /// Whether a second run after a crash does no harm.
    pub fn is_repeatable(self) -> bool {
        !matches!(self, Self::Exec | Self::Helm)
    }
}

/// One object of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// `apps/v1`, `v1`.
    pub api_version: String,
    /// `Deployment`.
    pub kind: String,
    /// None for what is cluster-wide.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

/// What the agent is to do. The body, where one is needed, is manifests as YAML or JSON documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Work {
    /// Server-side apply of the body.
    Apply {
        /// For objects that name no namespace; an object that names another one is an error.
        #[serde(default)]
        namespace: Option<String>,
        /// Only ask the API server what would change.
        #[serde(default)]
        dry_run: bool,
        /// Objects of this inventory that are not in the body any more are removed afterwards.
        #[serde(default)]
        prune: Option<String>,
        /// Remember what was applied under this name (one inventory object in the cluster).
        #[serde(default)]
        inventory: Option<String>,
        /// Take fields over from other managers instead of failing with their names.
        #[serde(default)]
        force_conflicts: bool,
        /// Wait until every object is ready by its kind's own rule.
        #[serde(default)]
        wait: bool,
    },
    /// Removes the objects of the body (only their keys count), last first.
    Delete {
        /// As above.
        #[serde(default)]
        namespace: Option<String>,
        /// Only ask.
        #[serde(default)]
        dry_run: bool,
        /// Wait until they are gone.
        #[serde(default)]
        wait: bool,
    },
    /// Sets replicas through the scale subresource.
    Scale {
        /// Of what.
        object: ObjectKey,
        /// How many.
        replicas: u32,
        /// Wait until they are there.
        #[serde(default)]
        wait: bool,
    },
    /// Rollout restart.
    Restart {
        /// Of what.
        object: ObjectKey,
        /// Wait for the rollout.
        #[serde(default)]
        wait: bool,
    },
    /// Rollout undo.
    Rollback {
        /// Of what.
        object: ObjectKey,
        /// To this revision; none = the one before.
        #[serde(default)]
        revision: Option<u64>,
        /// Wait for the rollout.
        #[serde(default)]
        wait: bool,
    },
    /// Runs a command; its output is cut at 1 MiB.
    Exec {
        /// Namespace of the pod.
        namespace: String,
        /// Pod.
        pod: String,
        /// Container; none = the pod's default.
        #[serde(default)]
        container: Option<String>,
        /// Program and arguments; no shell.
        command: Vec<String>,
    },
    /// Compares the body with the cluster; corrects by applying what differs.
    Sync {
        /// As above.
        #[serde(default)]
        namespace: Option<String>,
        /// Correct, or only report.
        correct: bool,
    },
    /// Puts objects back: the body is JSON lines of [`Restore`].
    Undo {
        /// Overwrite an object that changed since the operation; otherwise that object is reported and left.
        #[serde(default)]
        force: bool,
    },
    /// Has the Helm of the agent's host change a release. The body of an install is a bundle of files: [`CHART_FILE`], and
    /// values in the order in which later ones win.
    Helm {
        /// What to do with it.
        action: HelmAction,
        /// Name of the release.
        release: String,
        /// Its namespace.
        namespace: String,
        /// To this revision, for a rollback; none = the one before.
        #[serde(default)]
        revision: Option<u32>,
        /// Make the namespace when it is not there.
        #[serde(default)]
        create_namespace: bool,
        /// Only say what an install would change.
        #[serde(default)]
        dry_run: bool,
        /// Wait until everything is ready, or gone.
        #[serde(default)]
        wait: bool,
    },
}

/// What is done with a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HelmAction {
    /// Installed, or upgraded where it is there.
    Install,
    /// Taken back to an earlier revision.
    Rollback,
    /// Removed with everything of it.
    Uninstall,
}

impl HelmAction {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Rollback => "rollback",
            Self::Uninstall => "uninstall",
        }
    }
}

impl Work {
    /// Its kind.
    pub fn kind(&self) -> OperationKind {
        match self {
            Self::Apply { .. } => OperationKind::Apply,
            Self::Delete { .. } => OperationKind::Delete,
            Self::Scale { .. } => OperationKind::Scale,
            Self::Restart { .. } => OperationKind::Restart,
            Self::Rollback { .. } => OperationKind::Rollback,
            Self::Exec { .. } => OperationKind::Exec,
            Self::Sync { .. } => OperationKind::Sync,
            Self::Undo { .. } => OperationKind::Undo,
            Self::Helm { .. } => OperationKind::Helm,
        }
    }

    /// Whether it only asks.
    pub fn is_dry_run(&self) -> bool {
        matches!(
            self,
            Self::Apply { dry_run: true, .. }
                | Self::Delete { dry_run: true, .. }
                | Self::Sync { correct: false, .. }
                | Self::Helm { dry_run: true, .. }
        )
    }
}

/// A line of an undo's body: one object as it was before the operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Restore {
    /// Which object.
    pub key: ObjectKey,
    /// Its earlier state; none = it did not exist and is removed.
    pub before: Option<serde_json::Value>,
    /// The `resourceVersion` the operation left it with: another one now means that somebody changed it since.
    pub left_version: Option<String>,
}

/// Head of the stream to [`RUN_OPERATION`], one line. The stream's own head carries the person's assertion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOperation {
    /// The operation.
    pub operation_id: OperationId,
    /// The cluster it is for.
    pub cluster_id: ClusterId,
    /// Attempt. A higher one than the ledger's is a retry from the beginning; a lower one is refused.
    pub epoch: i64,
    /// What to do.
    pub work: Work,
    /// Bytes of the body that follow.
    pub body_length: u64,
    /// SHA-256 of the body, hex.
    pub body_sha256: String,
    /// Seconds until the agent stops by itself with [`Ending::TimedOut`].
    pub deadline_seconds: u32,
    /// Only these objects (positions in the body): a retry of what failed.
    #[serde(default)]
    pub only: Option<Vec<u32>>,
    /// The hub has heard [`RunEvent::Accepted`] for this attempt before. An agent that has lost its ledger since then ends
    /// work that must not be repeated with [`Ending::Interrupted`] instead of beginning it.
    #[serde(default)]
    pub begun: bool,
    /// An order of this attempt may have been sent before, whatever became of it. A hosted agent whose ledger was elsewhere
    /// then takes it for [`RunOperation::begun`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sent: bool,
    /// The operation as the user service signed it at this dispatch ([`OperationClaims`]): without it nothing is begun.
    pub order: String,
    /// Results of objects of this attempt that the hub has stored. Those that the ledger has beyond them (all of them when
    /// the hub has none) are sent again after [`RunEvent::Accepted`], in their order, before the work goes on.
    #[serde(default)]
    pub stored: u32,
}

/// Claims of an order: the user service decides at each dispatch and signs (EdDSA, the identity keys).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationClaims {
    /// User name.
    pub sub: String,
    /// Id of the account.
    pub uid: String,
    /// Roles of the hub.
    pub roles: Vec<String>,
    /// Id of the cluster.
    pub aud: String,
    /// The operation.
    pub operation: String,
    /// The attempt.
    pub epoch: i64,
    /// SHA-256, hex, over the JSON of [`RunOperation::work`], a line feed, and the body's digest in hex: nobody between the
    /// two services and the agent can change what was allowed.
    pub digest: String,
    /// Seconds since 1970.
    pub iat: i64,
    /// Not begun, or gone on with after a pause, later than this.
    pub exp: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_knows_five_words() {
        let words: std::collections::BTreeSet<_> = OperationState::ALL.iter().map(|state| state.seed_word()).collect();
        assert_eq!(words, ["cancelled", "failed", "queued", "running", "success"].into());
        for state in OperationState::ALL {
            assert_eq!(OperationState::parse(state.as_str()), Some(state));
        }
    }
}
