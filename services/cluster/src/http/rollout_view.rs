//! How rollouts look on `/api/v1`.

use chrono::{DateTime, Utc};
use roadstead_contracts::message::{Rollout, RolloutState, RolloutWave};
use roadstead_contracts::operation::OperationState;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A rollout: one change to many clusters.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RolloutView {
    /// Id.
    pub(crate) id: String,
    /// Name.
    name: String,
    /// `awaiting_approval`, `waiting`, `running`, `halted`, `succeeded`, `failed` or `cancelled`.
    state: &'static str,
    /// Why.
    reason: String,
    /// `apply`, `delete`, …
    r#type: &'static str,
    /// What is done in each cluster, without the manifests.
    #[schema(value_type = Object)]
    payload: Value,
    /// How it goes. Of an override, `patch` says only how many bytes it has.
    #[schema(value_type = Object)]
    plan: Value,
    /// Name of the account that asked.
    created_by: String,
    /// Id of the account that approved.
    approved_by: Option<String>,
    /// Clusters in all, and by what became of them.
    clusters: ClustersView,
    /// The waves.
    waves: Vec<WaveView>,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it last changed.
    updated_at: DateTime<Utc>,
    /// When it ended.
    finished_at: Option<DateTime<Utc>>,
}

/// Clusters by what became of them.
#[derive(Debug, Default, Serialize, ToSchema)]
struct ClustersView {
    total: usize,
    succeeded: usize,
    failed: usize,
    running: usize,
    untouched: usize,
}

/// A wave.
#[derive(Debug, Serialize, ToSchema)]
struct WaveView {
    /// From 1.
    number: u32,
    /// Until when it bakes, once its clusters are done; then each is looked at once more.
    bakes_until: Option<DateTime<Utc>>,
    /// Its clusters.
    clusters: Vec<WaveClusterView>,
}

/// A cluster in a wave.
#[derive(Debug, Serialize, ToSchema)]
struct WaveClusterView {
    /// Id.
    cluster_id: String,
    /// Name.
    cluster_name: String,
    /// Its operation, once begun; the look after its bake, when that failed.
    operation_id: Option<String>,
    /// That operation's state in our words.
    state: Option<&'static str>,
    /// That operation's state in the seed's words.
    status: Option<&'static str>,
}

/// What a rollout would touch: the answer to one that was not confirmed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WouldTouchView {
    /// Always false: nothing was begun.
    pub(crate) confirmed: bool,
    /// Clusters.
    pub(crate) clusters: u32,
    /// Their names.
    pub(crate) cluster_names: Vec<String>,
    /// Objects in each.
    pub(crate) objects: u32,
    /// Whether something may be removed.
    pub(crate) destructive: bool,
    /// A sentence.
    pub(crate) message: String,
}

impl From<Rollout> for RolloutView {
    fn from(rollout: Rollout) -> Self {
        let mut payload = serde_json::to_value(&rollout.work).unwrap_or_default();
        if let Value::Object(fields) = &mut payload {
            fields.shift_remove("kind");
        }
        Self {
            id: rollout.id.to_string(),
            name: rollout.name,
            state: word(rollout.state),
            reason: rollout.reason,
            r#type: rollout.work.kind().as_str(),
            payload,
            plan: serde_json::to_value(&rollout.plan).unwrap_or_default(),
            created_by: rollout.created_by_name,
            approved_by: rollout.approved_by.map(|id| id.to_string()),
            clusters: count(&rollout.waves),
            waves: rollout.waves.into_iter().map(wave).collect(),
            created_at: rollout.created_at,
            updated_at: rollout.updated_at,
            finished_at: rollout.finished_at,
        }
    }
}

fn word(state: RolloutState) -> &'static str {
    match state {
        RolloutState::AwaitingApproval => "awaiting_approval",
        RolloutState::Waiting => "waiting",
        RolloutState::Running => "running",
        RolloutState::Halted => "halted",
        RolloutState::Succeeded => "succeeded",
        RolloutState::Failed => "failed",
        RolloutState::Cancelled => "cancelled",
    }
}

fn wave(wave: RolloutWave) -> WaveView {
    let clusters = wave.clusters.into_iter().map(|cluster| WaveClusterView {
        cluster_id: cluster.cluster_id.to_string(),
        cluster_name: cluster.cluster_name.into(),
        operation_id: cluster.operation_id.map(|id| id.to_string()),
        state: cluster.state.map(OperationState::as_str),
        status: cluster.state.map(OperationState::seed_word),
    });
    WaveView { number: wave.number, bakes_until: wave.bakes_until, clusters: clusters.collect() }
}

fn count(waves: &[RolloutWave]) -> ClustersView {
    let mut counts = ClustersView::default();
    for cluster in waves.iter().flat_map(|wave| &wave.clusters) {
        counts.total += 1;
        match cluster.state {
            None => counts.untouched += 1,
            Some(OperationState::Succeeded) => counts.succeeded += 1,
            Some(state) if state.is_terminal() => counts.failed += 1,
            Some(_) => counts.running += 1,
        }
    }
    counts
}
