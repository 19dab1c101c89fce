//! What a run leaves is remembered for as long as it should be so ([`crate::drift`]), before the hub hears of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use roadstead_contracts::operation::{ObjectKey, ObjectOutcome, ObjectResult, Work};
use serde_json::Value;

use super::{Job, restart};
use crate::drift::{Applied, Drift, Gone};

/// Objects of a run as it left them, until their results are written down.
#[derive(Debug)]
pub(in crate::operations) struct Remember {
    drift: Arc<Drift>,
    left: Mutex<BTreeMap<u32, Applied>>,
}

impl Remember {
    pub(in crate::operations) fn new(drift: Arc<Drift>) -> Self {
        Self { drift, left: Mutex::default() }
    }

    fn left(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Applied>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    /// Marks how an object is left. What only asks leaves nothing, and what puts back leaves what others had made.
    pub(super) fn mark(&self, position: u32, key: &ObjectKey, before: Option<&Value>, after: &Value) {
        let work = &self.plan.order.head.work;
        let Some(remember) = &self.tools.remember else { return };
        if work.is_dry_run() || matches!(work, Work::Undo { .. }) {
            return;
        }
        let left = if let Some(set) = part(work) {
            remember.drift.touched(key, &set, before, after)
        } else {
            let by_helm = matches!(work, Work::Helm { .. });
            remember.drift.left(self.plan.order.head.operation_id, key, after, by_helm)
        };
        match left {
            Ok(Some(applied)) => drop(remember.left().insert(position, applied)),
            Ok(None) => drop(remember.left().remove(&position)),
            Err(error) => warn(&error),
        }
    }

    /// Remembers what was applied, and forgets what was taken back. Drift that is not noticed is no reason to fail.
    pub(super) fn remember(&self, results: &[ObjectResult]) {
        let work = &self.plan.order.head.work;
        let Some(remember) = self.tools.remember.as_ref().filter(|_| !work.is_dry_run()) else { return };
        let put_back = matches!(work, Work::Undo { .. });
        let (mut applied, mut gone) = (Vec::new(), Vec::new());
        for result in results {
            let left = remember.left().remove(&result.position);
            match result.outcome {
                ObjectOutcome::Created | ObjectOutcome::Configured | ObjectOutcome::Unchanged if !put_back => {
                    applied.extend(left);
                }
                ObjectOutcome::Created | ObjectOutcome::Configured | ObjectOutcome::Unchanged => {
                    gone.push(Gone::alone(result.key.clone()));
                }
                ObjectOutcome::Deleted | ObjectOutcome::Absent => {
                    gone.push(Gone::removed(result.key.clone(), result.before.as_ref()));
                }
                ObjectOutcome::Drifted | ObjectOutcome::Failed | ObjectOutcome::Skipped => {}
            }
        }
        if let Err(error) = remember.drift.note(applied, &gone) {
            warn(&error);
        }
    }

    /// Something is about to change an object over some time: until that is over nobody can say how it should be.
    pub(super) fn forget(&self, key: &ObjectKey) {
        if let Some(remember) = &self.tools.remember
            && let Err(error) = remember.drift.note(Vec::new(), &[Gone::alone(key.clone())])
        {
            warn(&error);
        }
    }
}

/// What a work sets of an object that others apply; none: it applies the whole of it.
fn part(work: &Work) -> Option<Vec<&'static str>> {
    match work {
        Work::Scale { .. } => Some(vec!["spec", "replicas"]),
        Work::Restart { .. } => Some(vec!["spec", "template", "metadata", "annotations", restart::ANNOTATION]),
        Work::Rollback { .. } => Some(vec!["spec", "template"]),
        _ => None,
    }
}

fn warn(error: &std::io::Error) {
    tracing::warn!("what an operation left is not watched for drift: {error}");
}
