//! How one change goes to many clusters: waves, a failure budget, time to bake, a window, a second person. Pure: what is to
//! be begun is answered, not done.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use roadstead_contracts::agent::RequestKind;
use roadstead_contracts::identity::Principal;
use roadstead_contracts::ids::{ClusterId, OperationId, RolloutId, UserId};
use roadstead_contracts::message::{
    Rollout, RolloutCluster, RolloutCommand, RolloutPlan, RolloutState, RolloutTarget, RolloutWave,
};
use roadstead_contracts::names::{ClusterName, Labels};
use roadstead_contracts::operation::{OperationState, Work};
use roadstead_contracts::policy::ClusterFacts;
use roadstead_contracts::{Code, Error, Result};
use serde::{Deserialize, Serialize};

use super::Body;
use super::window::Window;
use crate::limits::{BAKE_MAX, ROLLOUT_LOOK, ROLLOUT_OVERRIDES, ROLLOUT_WAIT, ROLLOUT_WAVES};

/// A rollout as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RolloutDoc {
    pub id: RolloutId,
    pub name: String,
    pub state: RolloutState,
    #[serde(default)]
    pub reason: String,
    pub work: Work,
    pub plan: RolloutPlan,
    /// Who asked: its operations are made in this name.
    pub principal: Principal,
    #[serde(default)]
    pub approved_by: Option<UserId>,
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
}

/// What is to be done now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Clusters to begin: wave and place in it.
    pub begin: Vec<(usize, usize)>,
    /// When to look again without being told.
    pub look_at: Option<DateTime<Utc>>,
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

    fn end(&mut self, state: RolloutState, reason: String, now: DateTime<Utc>) {
        self.state = state;
        self.reason = reason;
        self.finished_at = Some(now);
    }
}

fn failed(target: &Target, states: &BTreeMap<OperationId, OperationState>) -> bool {
    state_of(target, states).is_some_and(|state| state.is_terminal() && state != OperationState::Succeeded)
}

fn state_of(target: &Target, states: &BTreeMap<OperationId, OperationState>) -> Option<OperationState> {
    target.operation_id.and_then(|id| states.get(&id).copied())
}

/// Takes a rollout on.
pub(crate) fn advance(
    doc: &mut RolloutDoc,
    states: &BTreeMap<OperationId, OperationState>,
    now: DateTime<Utc>,
) -> Progress {
    if !matches!(doc.state, RolloutState::Running | RolloutState::Waiting) {
        return Progress::default();
    }
    let failures = doc.targets().filter(|target| failed(target, states)).count();
    if failures.saturating_sub(doc.forgiven) > doc.plan.failure_budget as usize {
        doc.state = RolloutState::Halted;
        doc.reason = format!("{failures} clusters failed, {} may", doc.plan.failure_budget);
        return Progress::default();
    }
    loop {
        let last = doc.current + 1 >= doc.waves.len();
        let bake = TimeDelta::seconds(i64::from(doc.plan.bake_seconds));
        let at_once = doc.plan.at_once as usize;
        let Some(wave) = doc.waves.get_mut(doc.current) else { break };
        let terminal = |target: &&Target| state_of(target, states).is_some_and(OperationState::is_terminal);
        if wave.targets.iter().filter(terminal).count() < wave.targets.len() {
            let running =
                wave.targets.iter().filter(|target| target.operation_id.is_some() && !terminal(target)).count();
            let room = if at_once == 0 { usize::MAX } else { at_once.saturating_sub(running) };
            let idle: Vec<usize> = (0..wave.targets.len())
                .filter(|index| wave.targets[*index].operation_id.is_none())
                .take(room)
                .collect();
            if !idle.is_empty() && !in_window(doc, now) {
                doc.state = RolloutState::Waiting;
                "waits for its maintenance window".clone_into(&mut doc.reason);
                return Progress { begin: Vec::new(), look_at: Some(now + ROLLOUT_WAIT) };
            }
            doc.state = RolloutState::Running;
            doc.reason = format!("wave {} of {}", doc.current + 1, doc.waves.len());
            let begin = idle.into_iter().map(|index| (doc.current, index)).collect();
            return Progress { begin, look_at: Some(now + ROLLOUT_LOOK) };
        }
        if last {
            break;
        }
        let until = *wave.bakes_until.get_or_insert(now + bake);
        if until > now {
            doc.state = RolloutState::Running;
            doc.reason = format!("wave {} of {} is watched", doc.current + 1, doc.waves.len());
            return Progress { begin: Vec::new(), look_at: Some(until) };
        }
        doc.current += 1;
    }
    if failures == 0 {
        doc.end(RolloutState::Succeeded, "every cluster has it".to_owned(), now);
    } else {
        doc.end(RolloutState::Failed, format!("{failures} clusters failed"), now);
    }
    Progress::default()
}

fn in_window(doc: &RolloutDoc, now: DateTime<Utc>) -> bool {
    // A window was checked when the rollout was made; one that cannot be read any more is never open.
    doc.plan.window.as_ref().is_none_or(|window| Window::parse(window).is_ok_and(|window| window.contains(now)))
}

/// A person's command. What follows is [`advance`]'s.
pub(crate) fn command(
    doc: &mut RolloutDoc,
    command: RolloutCommand,
    by: UserId,
    states: &BTreeMap<OperationId, OperationState>,
    now: DateTime<Utc>,
) -> Result<Command> {
    use RolloutState as S;
    let wrong = |doc: &RolloutDoc| {
        let word = serde_json::to_value(doc.state).ok();
        let word = word.as_ref().and_then(|word| word.as_str()).unwrap_or_default();
        Err(Error::new(Code::Conflict, format!("the rollout is {word}")))
    };
    match (command, doc.state) {
        (RolloutCommand::Approve, S::AwaitingApproval) => {
            if by == doc.principal.user_id {
                return Err(Error::new(Code::Forbidden, "another account must approve it"));
            }
            doc.approved_by = Some(by);
            doc.state = S::Running;
            "approved".clone_into(&mut doc.reason);
        }
        (RolloutCommand::Halt, S::Running | S::Waiting) => {
            doc.state = S::Halted;
            "halted by hand".clone_into(&mut doc.reason);
        }
        (RolloutCommand::Resume, S::Halted) => {
            doc.forgiven = doc.targets().filter(|target| failed(target, states)).count();
            doc.state = S::Running;
            "resumed".clone_into(&mut doc.reason);
        }
        (RolloutCommand::RetryFailed, S::Halted | S::Failed) => {
            let mut first = None;
            for (index, wave) in doc.waves.iter_mut().enumerate() {
                for target in wave.targets.iter_mut().filter(|target| failed(target, states)) {
                    target.operation_id = None;
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
            let running =
                doc.targets().filter(|target| state_of(target, states).is_some_and(|state| !state.is_terminal()));
            let cancel = running.filter_map(|target| target.operation_id).collect();
            doc.end(S::Cancelled, "cancelled".to_owned(), now);
            return Ok(Command { cancel });
        }
        _ => return wrong(doc),
    }
    Ok(Command::default())
}

/// What a command asks for besides.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Command {
    /// Operations to cancel.
    pub cancel: BTreeSet<OperationId>,
}

/// As callers see it.
pub(crate) fn shown(doc: &RolloutDoc, states: &BTreeMap<OperationId, OperationState>) -> Rollout {
    Rollout {
        id: doc.id,
        name: doc.name.clone(),
        state: doc.state,
        reason: doc.reason.clone(),
        work: doc.work.clone(),
        plan: doc.plan.clone(),
        created_by: doc.principal.user_id,
        created_by_name: doc.principal.username.clone(),
        approved_by: doc.approved_by,
        waves: (1..)
            .zip(&doc.waves)
            .map(|(number, wave)| RolloutWave {
                number,
                clusters: wave
                    .targets
                    .iter()
                    .map(|target| RolloutCluster {
                        cluster_id: target.cluster_id,
                        cluster_name: target.cluster_name.clone(),
                        operation_id: target.operation_id,
                        state: state_of(target, states),
                    })
                    .collect(),
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
        }
    }

    /// Whether an override is for this cluster.
    pub(crate) fn is_meant_by(&self, patch: &roadstead_contracts::message::RolloutOverride) -> bool {
        let named = patch
            .cluster
            .as_deref()
            .is_none_or(|name| name == self.cluster_name.as_str() || name == self.cluster_id.to_string());
        named && patch.labels.0.iter().all(|(key, value)| self.labels.0.get(key) == Some(value))
    }
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;
