//! One change to many clusters: waves, a failure budget, time to bake, a window, a second person. What it is, what a person
//! does with it, and how it is shown; how it goes on is in `rollout_advance.rs`.

use chrono::{DateTime, Utc};
use roadstead_contracts::agent::RequestKind;
use roadstead_contracts::audit::Actor;
use roadstead_contracts::identity::Principal;
use roadstead_contracts::ids::{ClusterId, OperationId, RolloutId, UserId};
use roadstead_contracts::message::{
    Rollout, RolloutCluster, RolloutCommand, RolloutOverride, RolloutPlan, RolloutState, RolloutTarget, RolloutWave,
    SECRET_OVERRIDE,
};
use roadstead_contracts::names::{ClusterName, Labels};
use roadstead_contracts::operation::Work;
use roadstead_contracts::policy::ClusterFacts;
use roadstead_contracts::{Code, Error, Result};
use serde::{Deserialize, Serialize};

use super::rollout_advance::{KnownOperations, failed, failed_look};
use super::window::Window;
use super::{Body, Plan};
use crate::limits::{BAKE_MAX, ROLLOUT_OVERRIDES, ROLLOUT_WAVES};

/// A rollout as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RolloutDoc {
    pub id: RolloutId,
    pub name: String,
    pub state: RolloutState,
    #[serde(default)]
    pub reason: String,
    pub work: Work,
    pub plan: Plan,
    /// What the patches of the plan say, sealed: beside the document, and not loaded where it is not needed.
    #[serde(skip)]
    pub sealed_overrides: Option<String>,
    /// Who asked: its operations are made in this name.
    pub principal: Principal,
    #[serde(default)]
    pub approved_by: Option<UserId>,
    /// Who gave it up: what was still open is cancelled in this name.
    #[serde(default)]
    pub cancelled_by: Option<Actor>,
    /// The body before patches.
    #[serde(default)]
    pub body: Option<Body>,
    /// What the work does to a cluster, before patches.
    #[serde(default)]
    pub changes: Vec<RequestKind>,
    pub waves: Vec<Wave>,
    /// The wave that runs or bakes, from 0.
    #[serde(default)]
    pub current: usize,
    /// Failures that a resume forgave.
    #[serde(default)]
    pub forgiven: usize,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    #[serde(default)]
    pub finished_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wave {
    pub targets: Vec<Target>,
    /// Set once its clusters have ended.
    #[serde(default)]
    pub bakes_until: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Target {
    pub cluster_id: ClusterId,
    pub cluster_name: ClusterName,
    #[serde(default)]
    pub owner: Option<UserId>,
    #[serde(default)]
    pub labels: Labels,
    /// The body with this cluster's patches.
    #[serde(default)]
    pub body: Option<Body>,
    #[serde(default)]
    pub operation_id: Option<OperationId>,
    /// As its wave, or later where it ended later.
    #[serde(default)]
    pub bakes_until: Option<DateTime<Utc>>,
    /// The operation that looks, after the bake, whether it is ready still.
    #[serde(default)]
    pub look_id: Option<OperationId>,
}

/// Checks a plan.
pub(crate) fn check_plan(plan: &RolloutPlan) -> Result<()> {
    let fault = |field: &str, message: &str| Err(Error::field(&["body", "plan", field], "value_error", message));
    let sum: u32 = plan.waves.iter().map(|percent| u32::from(*percent)).sum();
    if !plan.waves.is_empty() && (sum != 100 || plan.waves.contains(&0)) {
        return fault("waves", "waves must be percentages above 0 that sum up to 100");
    }
    if plan.waves.len() > ROLLOUT_WAVES {
        return fault("waves", "there are too many waves");
    }
    if plan.bake_seconds > BAKE_MAX {
        return fault("bake_seconds", "a wave bakes for at most a week");
    }
    if plan.overrides.len() > ROLLOUT_OVERRIDES {
        return fault("overrides", "there are too many overrides");
    }
    if plan.overrides.iter().any(|one| one.cluster.is_none() && one.labels.0.is_empty()) {
        return fault("overrides", "an override must name a cluster or labels");
    }
    if plan.overrides.iter().any(RolloutOverride::may_hold_secret) {
        return fault("overrides", SECRET_OVERRIDE);
    }
    plan.window.as_ref().map(Window::parse).transpose()?;
    Ok(())
}

/// Sorts the targets into waves. A wave that rounding leaves without a cluster is left out.
pub(crate) fn waves_of(targets: Vec<Target>, percent: &[u8]) -> Vec<Wave> {
    let count = targets.len();
    let mut targets = targets.into_iter();
    let all = [100];
    let percent = if percent.is_empty() { &all[..] } else { percent };
    let (mut sum, mut taken, mut waves) = (0_usize, 0_usize, Vec::new());
    for part in percent {
        sum += usize::from(*part);
        // Rounded up: the first wave of a small fleet is one cluster, not none.
        let end = (sum * count).div_ceil(100).min(count);
        let wave: Vec<Target> = targets.by_ref().take(end - taken).collect();
        taken = end;
        if !wave.is_empty() {
            waves.push(Wave { targets: wave, bakes_until: None });
        }
    }
    waves
}

impl Target {
    /// What rules look at of its cluster.
    pub(crate) fn facts(&self) -> ClusterFacts {
        let name = Some(self.cluster_name.to_string());
        ClusterFacts { id: self.cluster_id, name, labels: Some(self.labels.clone()), owner: self.owner }
    }
}

impl RolloutDoc {
    /// Its clusters, wave after wave.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.waves.iter().flat_map(|wave| &wave.targets)
    }

    pub(super) fn end(&mut self, state: RolloutState, reason: String, now: DateTime<Utc>) {
        self.state = state;
        self.reason = reason;
        self.finished_at = Some(now);
    }
}

/// A person's command. What follows comes with the next look.
pub(crate) fn command(
    doc: &mut RolloutDoc,
    command: RolloutCommand,
    by: &Principal,
    known: &KnownOperations,
    now: DateTime<Utc>,
) -> Result<()> {
    use RolloutState as S;
    let wrong = |doc: &RolloutDoc| {
        let word = serde_json::to_value(doc.state).ok();
        let word = word.as_ref().and_then(|word| word.as_str()).unwrap_or_default();
        Err(Error::new(Code::Conflict, format!("the rollout is {word}")))
    };
    match (command, doc.state) {
        (RolloutCommand::Approve, S::AwaitingApproval) => {
            if by.user_id == doc.principal.user_id {
                return Err(Error::new(Code::Forbidden, "another account must approve it"));
            }
            doc.approved_by = Some(by.user_id);
            doc.state = S::Running;
            "approved".clone_into(&mut doc.reason);
        }
        (RolloutCommand::Halt, S::Running | S::Waiting) => {
            doc.state = S::Halted;
            "halted by hand".clone_into(&mut doc.reason);
        }
        (RolloutCommand::Resume, S::Halted) => {
            doc.forgiven = doc.targets().filter(|target| failed(target, known)).count();
            doc.state = S::Running;
            "resumed".clone_into(&mut doc.reason);
        }
        (RolloutCommand::RetryFailed, S::Halted | S::Failed) => {
            let mut first = None;
            for (index, wave) in doc.waves.iter_mut().enumerate() {
                for target in wave.targets.iter_mut().filter(|target| failed(target, known)) {
                    (target.operation_id, target.look_id, target.bakes_until) = (None, None, None);
                    wave.bakes_until = None;
                    first.get_or_insert(index);
                }
            }
            let Some(first) = first else { return Err(Error::new(Code::Conflict, "no cluster of it failed")) };
            doc.current = first;
            doc.forgiven = 0;
            doc.finished_at = None;
            doc.state = S::Running;
            "failed clusters once more".clone_into(&mut doc.reason);
        }
        (RolloutCommand::Cancel, S::AwaitingApproval | S::Waiting | S::Running | S::Halted) => {
            doc.end(S::Cancelled, "cancelled".to_owned(), now);
            doc.cancelled_by = Some(Actor::of(by));
        }
        _ => return wrong(doc),
    }
    Ok(())
}

/// As callers see it: without what patches say, which is for whoever wrote them.
pub(crate) fn shown(doc: &RolloutDoc, known: &KnownOperations) -> Rollout {
    let cluster = |target: &Target| {
        // One that was not ready any more has failed, and the look says why.
        let operation_id = failed_look(target, known).or(target.operation_id);
        RolloutCluster {
            cluster_id: target.cluster_id,
            cluster_name: target.cluster_name.clone(),
            operation_id,
            state: operation_id.and_then(|id| known.get(&id)).map(|known| known.state),
        }
    };
    Rollout {
        id: doc.id,
        name: doc.name.clone(),
        state: doc.state,
        reason: doc.reason.clone(),
        work: doc.work.clone(),
        plan: doc.plan.shown(),
        created_by: doc.principal.user_id,
        created_by_name: doc.principal.username.clone(),
        approved_by: doc.approved_by,
        waves: (1..)
            .zip(&doc.waves)
            .map(|(number, wave)| RolloutWave {
                number,
                clusters: wave.targets.iter().map(cluster).collect(),
                bakes_until: wave.bakes_until,
            })
            .collect(),
        created_at: doc.created_at,
        updated_at: doc.updated_at,
        finished_at: doc.finished_at,
    }
}

impl Target {
    /// A target as the front door resolved it.
    pub(crate) fn of(target: RolloutTarget, owner: Option<UserId>) -> Self {
        Self {
            cluster_id: target.cluster_id,
            cluster_name: target.cluster_name,
            owner,
            labels: target.labels,
            body: None,
            operation_id: None,
            bakes_until: None,
            look_id: None,
        }
    }

    /// Whether an override with this name and these labels is for this cluster.
    pub(crate) fn is_meant_by(&self, name: Option<&str>, labels: &Labels) -> bool {
        let named = name.is_none_or(|name| name == self.cluster_name.as_str() || name == self.cluster_id.to_string());
        named && labels.0.iter().all(|(key, value)| self.labels.0.get(key) == Some(value))
    }
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;
