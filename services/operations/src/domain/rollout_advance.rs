//! How a rollout goes on: what is begun now, what bakes, what is looked at once more, when it halts and ends. Pure: what is to
//! be begun is answered, not done.
//!
//! A wave runs until its clusters have ended, bakes, and is then looked at: each cluster that has it gets an operation which
//! changes nothing and fails unless what was applied is ready still. A look that fails is a cluster that failed. A cluster
//! whose agent is away holds nothing up as far as the failure budget goes; it bakes and is looked at on its own once it has it.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use roadstead_contracts::ids::OperationId;
use roadstead_contracts::message::RolloutState;
use roadstead_contracts::operation::{OperationState, Work};

use super::rollout::{RolloutDoc, Target};
use super::window::Window;
use crate::limits::{ROLLOUT_LOOK, ROLLOUT_WAIT};

/// An operation that waits for its agent is passed over after this: a hub or an agent that starts anew is back by then.
pub(crate) const AWAY_GRACE: TimeDelta = TimeDelta::seconds(30);
/// Seconds for a look, waiting for its agent included: the agent itself takes half a minute at most.
pub(crate) const LOOK_SECONDS: u32 = 300;

/// What is known of an operation of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub state: OperationState,
    /// It was never dispatched, its agent is away, and it was made then.
    pub away_since: Option<DateTime<Utc>>,
}

/// Operations of a rollout.
pub(crate) type KnownOperations = BTreeMap<OperationId, Known>;

/// What is to be done now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Clusters to begin: wave and place in it.
    pub begin: Vec<(usize, usize)>,
    /// Clusters to look at once more.
    pub looks: Vec<(usize, usize)>,
    /// When to look again without being told.
    pub look_at: Option<DateTime<Utc>>,
}

/// How far a cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// Not begun.
    Idle,
    /// Its operation, or the look, is under way.
    Open,
    /// The same, never dispatched: its agent is away.
    Away,
    /// It has it, and bakes; none = since when is not written down yet.
    Bakes(Option<DateTime<Utc>>),
    /// It has baked.
    LookDue,
    /// Its operation or the look failed.
    Failed,
    /// Nothing more is to be done with it.
    Done,
}

/// Whether the look once more, after the bake, says anything: what was applied with the wish that it be ready. What other
/// work leaves is not looked at; its waves only wait.
fn is_watched(doc: &RolloutDoc) -> bool {
    doc.plan.bake_seconds > 0 && look_work(&doc.work).is_some()
}

/// The work of a look. The API server is asked what an apply would change, and nothing is changed; with the fields of others,
/// which are not what the look is about.
pub(crate) fn look_work(work: &Work) -> Option<Work> {
    match work {
        Work::Apply { namespace, dry_run: false, wait: true, .. } => Some(Work::Apply {
            namespace: namespace.clone(),
            dry_run: true,
            prune: None,
            inventory: None,
            force_conflicts: true,
            wait: true,
        }),
        _ => None,
    }
}

fn stands(target: &Target, watched: bool, known: &KnownOperations, now: DateTime<Utc>) -> Stands {
    // An operation that is gone was deleted by somebody, which only one that has ended can be.
    let ended = |id: OperationId| match known.get(&id) {
        Some(Known { away_since: Some(since), .. }) if now - *since >= AWAY_GRACE => Some(Stands::Away),
        Some(known) if !known.state.is_terminal() => Some(Stands::Open),
        Some(known) if known.state != OperationState::Succeeded => Some(Stands::Failed),
        Some(_) => None,
        None => Some(Stands::Done),
    };
    let Some(id) = target.operation_id else { return Stands::Idle };
    if let Some(stands) = ended(id) {
        return stands;
    }
    match (target.look_id, target.bakes_until) {
        _ if !watched => Stands::Done,
        (Some(look), _) => ended(look).unwrap_or(Stands::Done),
        (None, Some(until)) if until <= now => Stands::LookDue,
        (None, until) => Stands::Bakes(until),
    }
}

/// Whether the look after its bake failed.
pub(crate) fn failed_look(target: &Target, known: &KnownOperations) -> Option<OperationId> {
    let fails = |id: &OperationId| {
        known.get(id).is_some_and(|known| known.state.is_terminal() && known.state != OperationState::Succeeded)
    };
    target.look_id.filter(fails)
}

/// Whether a cluster failed: at its operation, or at the look.
pub(crate) fn failed(target: &Target, known: &KnownOperations) -> bool {
    let ended = target.operation_id.and_then(|id| known.get(&id));
    ended.is_some_and(|known| known.state.is_terminal() && known.state != OperationState::Succeeded)
        || failed_look(target, known).is_some()
}

/// Takes a rollout on.
pub(crate) fn advance(doc: &mut RolloutDoc, known: &KnownOperations, now: DateTime<Utc>) -> Progress {
    if !matches!(doc.state, RolloutState::Running | RolloutState::Waiting) {
        return Progress::default();
    }
    let watched = is_watched(doc);
    let bake = TimeDelta::seconds(i64::from(doc.plan.bake_seconds));
    // What came late bakes as long as its wave did.
    for wave in doc.waves.iter_mut().filter(|wave| wave.bakes_until.is_some()) {
        bakes(&mut wave.targets, now + bake, |target| stands(target, watched, known, now));
    }
    let failures = doc.targets().filter(|target| failed(target, known)).count();
    let spent = failures.saturating_sub(doc.forgiven);
    let budget = doc.plan.failure_budget as usize;
    if spent > budget {
        let looks = doc.targets().filter(|target| failed_look(target, known).is_some()).count();
        let later = if looks > 0 { format!(" ({looks} of them were not ready after the bake)") } else { String::new() };
        doc.state = RolloutState::Halted;
        doc.reason = format!("{failures} clusters failed{later}, {budget} may");
        return Progress::default();
    }
    let at = |doc: &RolloutDoc, wave: usize| -> Vec<Stands> {
        let targets = doc.waves.get(wave).map(|wave| wave.targets.as_slice()).unwrap_or_default();
        targets.iter().map(|target| stands(target, watched, known, now)).collect()
    };
    let count = |all: &[Stands], one: Stands| all.iter().filter(|stands| **stands == one).count();
    let away: usize = (0..doc.waves.len()).map(|wave| count(&at(doc, wave), Stands::Away)).sum();
    // All of them could fail, and it would go on: nobody need wait for them.
    let goes_on = spent + away <= budget;
    while doc.current < doc.waves.len() {
        let (number, waves) = (doc.current + 1, doc.waves.len());
        let all = at(doc, doc.current);
        let waited_for = if goes_on { 0 } else { count(&all, Stands::Away) };
        let running = count(&all, Stands::Open) + waited_for;
        let mut idle: Vec<usize> = (0..all.len()).filter(|index| all[*index] == Stands::Idle).collect();
        if running > 0 || !idle.is_empty() {
            let at_once = doc.plan.at_once as usize;
            idle.truncate(if at_once == 0 { usize::MAX } else { at_once.saturating_sub(running) });
            if !idle.is_empty() && !in_window(doc, now) {
                doc.state = RolloutState::Waiting;
                "waits for its maintenance window".clone_into(&mut doc.reason);
                return progress(doc, Vec::new(), &at, now, now + ROLLOUT_WAIT);
            }
            let baked = doc.waves.get(doc.current).and_then(|wave| wave.bakes_until).is_some_and(|until| until <= now);
            let what = match idle.is_empty() {
                true if waited_for == running => " waits for agents that are away",
                true if baked => " is looked at once more",
                _ => "",
            };
            doc.state = RolloutState::Running;
            doc.reason = format!("wave {number} of {waves}{what}");
            let begin = idle.into_iter().map(|index| (doc.current, index)).collect();
            return progress(doc, begin, &at, now, now + ROLLOUT_LOOK);
        }
        let last = number == waves;
        // The last one bakes for the sake of the look alone.
        if doc.plan.bake_seconds > 0
            && (watched || !last)
            && let Some(wave) = doc.waves.get_mut(doc.current)
        {
            let until = *wave.bakes_until.get_or_insert(now + bake);
            bakes(&mut wave.targets, until, |target| stands(target, watched, known, now));
            // Those that came late are not waited for before the end.
            let unsettled = |target: &Target| {
                target.bakes_until.is_some_and(|own| own <= until)
                    && matches!(stands(target, watched, known, now), Stands::Bakes(_) | Stands::LookDue)
            };
            let looked_at = wave.targets.iter().any(unsettled);
            if until > now || looked_at {
                doc.state = RolloutState::Running;
                let what = if until > now { "bakes" } else { "is looked at once more" };
                doc.reason = format!("wave {number} of {waves} {what}");
                return progress(doc, Vec::new(), &at, now, until.max(now + ROLLOUT_LOOK));
            }
        }
        if last {
            break;
        }
        doc.current += 1;
    }
    let left = (0..doc.waves.len()).flat_map(|wave| at(doc, wave));
    let left = left.filter(|stands| !matches!(stands, Stands::Done | Stands::Failed)).count();
    if left > 0 {
        // Those whose agents were away.
        doc.state = RolloutState::Running;
        doc.reason = format!("waits for {left} clusters that were away");
        return progress(doc, Vec::new(), &at, now, now + ROLLOUT_LOOK);
    }
    if failures == 0 {
        doc.end(RolloutState::Succeeded, "every cluster has it".to_owned(), now);
    } else {
        doc.end(RolloutState::Failed, format!("{failures} clusters failed"), now);
    }
    Progress::default()
}

/// Writes down until when those bake that have it.
fn bakes(targets: &mut [Target], until: DateTime<Utc>, stands: impl Fn(&Target) -> Stands) {
    for target in targets {
        if stands(target) == Stands::Bakes(None) {
            target.bakes_until = Some(until);
        }
    }
}

/// What is to be begun, with the looks that are due and the next time, which is not after `latest`.
fn progress(
    doc: &RolloutDoc,
    begin: Vec<(usize, usize)>,
    at: &impl Fn(&RolloutDoc, usize) -> Vec<Stands>,
    now: DateTime<Utc>,
    latest: DateTime<Utc>,
) -> Progress {
    let (mut looks, mut next) = (Vec::new(), latest);
    for wave in 0..=doc.current {
        for (index, stands) in at(doc, wave).into_iter().enumerate() {
            match stands {
                Stands::LookDue => {
                    looks.push((wave, index));
                    next = next.min(now + ROLLOUT_LOOK);
                }
                Stands::Bakes(Some(until)) => next = next.min(until),
                Stands::Open | Stands::Away | Stands::Bakes(None) => next = next.min(now + ROLLOUT_LOOK),
                Stands::Idle | Stands::Failed | Stands::Done => {}
            }
        }
    }
    Progress { begin, looks, look_at: Some(next) }
}

fn in_window(doc: &RolloutDoc, now: DateTime<Utc>) -> bool {
    // A window was checked when the rollout was made; one that cannot be read any more is never open.
    doc.plan.window.as_ref().is_none_or(|window| Window::parse(window).is_ok_and(|window| window.contains(now)))
}

/// What is still open of a cancelled one.
pub(crate) fn open(known: &KnownOperations) -> impl Iterator<Item = (OperationId, OperationState)> {
    known.iter().map(|(id, known)| (*id, known.state)).filter(|(_, state)| !state.is_terminal())
}
