//! How a run ends, by what its objects came to and by what stopped it.

use roadstead_contracts::operation::{Counts, Ending, ObjectOutcome, RunEnding, Work};
use roadstead_contracts::{Code, Error};

use super::{Job, Stop};

impl Job {
    /// Whether some objects were not come to, by this run or one before it.
    pub(super) fn has_skipped(&self) -> bool {
        self.ledger.story.finished.values().any(|outcome| *outcome == ObjectOutcome::Skipped)
    }

    /// Why a run before this one had stopped, when it died between what it wrote of the rest and its ending.
    pub(super) fn stopped_before(&self) -> Option<Stop> {
        let why = if *self.run.cancel.borrow() { Stop::Cancel } else { Stop::Deadline };
        self.has_skipped().then_some(why)
    }

    /// What is told of it. `left`: some objects were not come to.
    pub(super) fn ending(&self, stop: Option<Stop>, left: bool, error: Option<Error>) -> RunEnding {
        let mut counts = Counts::default();
        for outcome in self.ledger.story.finished.values() {
            counts.add(*outcome);
        }
        let objects = self.ledger.story.finished.len();
        let undone_in_part = counts.drifted > 0 && matches!(self.plan.order.head.work, Work::Undo { .. });
        let (ending, why) = match stop {
            Some(Stop::Cancel) if left => (Ending::Cancelled, None),
            Some(Stop::Deadline) => (Ending::TimedOut, Some(Error::of(Code::Timeout))),
            _ if counts.failed > 0 => {
                let why = format!("{} of {objects} objects failed", counts.failed);
                (Ending::Failed, Some(Error::new(Code::AgentError, why)))
            }
            _ if error.is_some() => (Ending::Failed, None),
            _ if undone_in_part => {
                let why = format!("{} of {objects} objects were changed since and left as they are", counts.drifted);
                (Ending::Failed, Some(Error::new(Code::Conflict, why)))
            }
            Some(Stop::Cancel) => (Ending::FinishedFirst, None),
            None => (Ending::Succeeded, None),
        };
        RunEnding { ending, counts, error: error.or(why), exit_code: None }
    }
}
