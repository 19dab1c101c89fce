//! Rollouts: one change to many clusters, asked of the operations service.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Page, PageRequest};
use crate::identity::Principal;
use crate::ids::{ClusterId, OperationId, RolloutId, UserId};
use crate::names::{ClusterName, Labels};
use crate::operation::{ObjectKey, OperationState, Work};

/// One change to many clusters, in waves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreateRollout {
    /// Who asks.
    pub principal: Principal,
    /// Name for people.
    pub name: String,
    /// The clusters, resolved by the front door from a selector and seen by the caller, in the order of the waves.
    pub targets: Vec<RolloutTarget>,
    /// What to do everywhere.
    pub work: Work,
    /// The staged body.
    #[serde(default)]
    pub body_sha256: Option<String>,
    /// How.
    pub plan: RolloutPlan,
    /// Without it nothing is begun: the count of clusters and the count of objects that would be removed are answered.
    #[serde(default)]
    pub confirmed: bool,
    /// As [`super::CreateOperation::idempotency_key`].
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// The selector or the names as they were sent. They, and not what they match now, make two requests with one key the
    /// same; none = a front door of before, the clusters count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters_asked: Option<String>,
}

/// A cluster of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutTarget {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// Its name.
    pub cluster_name: ClusterName,
    /// Its labels, for overrides.
    #[serde(default)]
    pub labels: Labels,
}

/// How a rollout goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutPlan {
    /// Percent of all clusters in each wave, summing up to 100; none = one wave.
    #[serde(default)]
    pub waves: Vec<u8>,
    /// Clusters that may fail, over all, before it halts. Clusters that are away do not hold a wave up as far as it goes.
    #[serde(default)]
    pub failure_budget: u32,
    /// Seconds between the end of a wave and the look at whether it is ready still, which comes before the next wave.
    #[serde(default)]
    pub bake_seconds: u32,
    /// Clusters at once within a wave; 0 = all.
    #[serde(default)]
    pub at_once: u32,
    /// Another account must approve it.
    #[serde(default)]
    pub needs_approval: bool,
    /// Patches for clusters.
    #[serde(default)]
    pub overrides: Vec<RolloutOverride>,
    /// Only within this window.
    #[serde(default)]
    pub window: Option<MaintenanceWindow>,
    /// Seconds for each cluster's operation, waiting for its agent included.
    #[serde(default)]
    pub cluster_deadline_seconds: Option<u32>,
}

/// A patch of the body for some clusters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutOverride {
    /// Clusters with these labels, or
    #[serde(default)]
    pub labels: Labels,
    /// this cluster.
    #[serde(default)]
    pub cluster: Option<String>,
    /// Which object of the body: kind and name must match, namespace when given.
    pub object: ObjectKey,
    /// JSON merge patch (RFC 7396). Where a rollout is shown, only how long it is: `{"bytes": 24}`.
    pub patch: serde_json::Value,
}

/// Why such an override is refused.
pub const SECRET_OVERRIDE: &str =
    "a Secret cannot be overridden: a plan rides queues in the clear. Roll its values out as manifests of their own";

impl RolloutOverride {
    /// Whether it may be about a Secret: a plan rides queues in the clear. The patch could make one of
    /// another object, or a list of them.
    pub fn may_hold_secret(&self) -> bool {
        let patched = |field: &str| self.patch.get(field).and_then(serde_json::Value::as_str);
        let secret = self.object.kind == "Secret";
        (secret && (matches!(self.object.api_version.as_str(), "" | "v1") || patched("apiVersion").is_some()))
            || patched("kind").is_some_and(|kind| kind == "Secret" || kind.ends_with("List"))
    }

    /// The same without what it says.
    #[must_use]
    pub fn without_content(&self) -> Self {
        let bytes = serde_json::to_vec(&self.patch).map_or(0, |text| text.len());
        Self { patch: serde_json::json!({ "bytes": bytes }), ..self.clone() }
    }
}

/// When changes may begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceWindow {
    /// Days, `mon` to `sun`; none = every day.
    #[serde(default)]
    pub days: Vec<String>,
    /// `HH:MM` in UTC.
    pub from: String,
    /// `HH:MM` in UTC; before `from` = the next day.
    pub to: String,
}

/// State of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// Waits for a second person.
    AwaitingApproval,
    /// Waits for its window.
    Waiting,
    /// A wave runs or bakes.
    Running,
    /// Stopped by itself or by hand; can be resumed.
    Halted,
    /// Every cluster has it.
    Succeeded,
    /// Ended with clusters that failed.
    Failed,
    /// Given up.
    Cancelled,
}

/// What is done with a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutCommand {
    /// Second person says yes.
    Approve,
    /// Stop before the next cluster.
    Halt,
    /// Go on; the failure budget starts anew.
    Resume,
    /// Failed clusters once more.
    RetryFailed,
    /// Give up: nothing more begins, what runs is asked to stop.
    Cancel,
}

/// Changes a rollout.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChangeRollout {
    /// Who asks.
    pub principal: Principal,
    /// Which.
    pub id: RolloutId,
    /// What.
    pub command: RolloutCommand,
}

/// One rollout.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GetRollout {
    /// Who asks.
    pub principal: Principal,
    /// Which.
    pub id: RolloutId,
}

/// Rollouts, newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListRollouts {
    /// Who asks.
    pub principal: Principal,
    /// Which part.
    pub page: PageRequest,
}

/// A rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Id.
    pub id: RolloutId,
    /// Name.
    pub name: String,
    /// State.
    pub state: RolloutState,
    /// Why, for people.
    pub reason: String,
    /// What to do.
    pub work: Work,
    /// How.
    pub plan: RolloutPlan,
    /// Who asked.
    pub created_by: UserId,
    /// That account's name.
    pub created_by_name: String,
    /// Who approved.
    pub approved_by: Option<UserId>,
    /// The waves.
    pub waves: Vec<RolloutWave>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// A wave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutWave {
    /// From 1.
    pub number: u32,
    /// Its clusters.
    pub clusters: Vec<RolloutCluster>,
    /// Until when it bakes, once its clusters are done; then each is looked at once more.
    pub bakes_until: Option<DateTime<Utc>>,
}

/// A cluster in a wave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutCluster {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// Its name.
    pub cluster_name: ClusterName,
    /// Its operation, once begun; the look after its bake, when that failed.
    pub operation_id: Option<OperationId>,
    /// That operation's state.
    pub state: Option<OperationState>,
}

/// What creating a rollout did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum RolloutCreated {
    /// It was made.
    Rollout(Box<Rollout>),
    /// Not confirmed: this is what it would touch.
    WouldTouch {
        /// Clusters.
        clusters: u32,
        /// Objects of the body in each.
        objects: u32,
        /// Whether it may remove something.
        destructive: bool,
    },
}

super::requests! {
    crate::queue::OPERATION: {
        GetRollout = "get_rollout.v1" -> Rollout;
        ListRollouts = "list_rollouts.v1" -> Page<Rollout>;
    }
    crate::queue::OPERATION_CHANGE: {
        CreateRollout = "create_rollout.v1" -> RolloutCreated;
        ChangeRollout = "change_rollout.v1" -> Rollout;
    }
}
