//! Whether the ledger knows everything that was ordered from its agent. That of a hosted agent stands beside whoever hosts it
//! now: another replica of the hub may have hosted it meanwhile, with a ledger of its own. The epochs of the agent's sessions
//! tell: they count up by one, so one that is left out was served elsewhere.

use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use roadstead_contracts::ids::{OperationId, TypedId as _};
use serde::{Deserialize, Serialize};

/// What the clock of whoever made an operation and this one's may differ by.
const CLOCKS_APART: TimeDelta = TimeDelta::seconds(30);

/// What a folder remembers of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    /// The last one that was served with this folder.
    epoch: i64,
    /// Until then others may have been.
    #[serde(default)]
    away_until: Option<DateTime<Utc>>,
}

/// The sessions that were served with one folder.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    seen: Mutex<Option<Seen>>,
}

impl Sessions {
    /// A session begins. Says whether others may have been served elsewhere since this process took the folder.
    pub(super) fn attend(&self, file: &Path, epoch: i64, now: DateTime<Utc>) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = seen.is_none();
        let known = seen.or_else(|| read(file));
        let follows = match known {
            Some(known) => epoch == known.epoch + 1 || epoch == known.epoch,
            // Nobody was before the first one.
            None => epoch <= 1,
        };
        let away_until = if follows { known.and_then(|known| known.away_until) } else { Some(now) };
        let next = Seen { epoch, away_until };
        *seen = Some(next);
        if let Err(error) = write(file, &next) {
            // The next process that takes the folder believes the worst.
            tracing::warn!("{} cannot be written: {error}", file.display());
        }
        is_first && !follows
    }

    /// Whether an order of this operation may have come while somebody else served the agent.
    pub(super) fn may_have_missed(&self, operation: OperationId) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(until) = seen.and_then(|seen| seen.away_until) else { return false };
        made_at(operation).is_none_or(|made| made <= until + CLOCKS_APART)
    }
}

/// The time in an id of version 7.
fn made_at(operation: OperationId) -> Option<DateTime<Utc>> {
    let (seconds, nanoseconds) = operation.uuid().get_timestamp()?.to_unix();
    DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanoseconds)
}

fn read(file: &Path) -> Option<Seen> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

/// Takes the place of the old one at once or not at all.
fn write(file: &Path, seen: &Seen) -> io::Result<()> {
    let fresh = file.with_extension("new");
    std::fs::write(&fresh, serde_json::to_vec(seen)?)?;
    std::fs::rename(fresh, file)
}

#[cfg(test)]
mod tests {
    use roadstead_contracts::operation::{Ending, OperationKind};

    use super::super::ledger::{Folder, Head};
    use super::super::start;
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    fn made(seconds: i64) -> OperationId {
        let text = format!("{:012x}", at(seconds).timestamp_millis());
        let (high, low) = text.split_at(8);
        format!("{high}-{low}-7000-8000-000000000001").parse().unwrap()
    }

    #[test]
    fn what_may_have_begun_elsewhere_ends_or_begins_anew() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        let rows = [(1, OperationKind::Exec, Some(Ending::Interrupted)), (2, OperationKind::Apply, None)];
        for (seconds, kind, ending) in rows {
            let operation_id = made(seconds);
            let (digest, user) = ("d".to_owned(), "roadstead:ada".to_owned());
            let head = Head { operation_id, epoch: 1, kind, digest, user, objects: 1 };
            let started = start(&folder, &head, true, None).unwrap();
            assert_eq!(started.ending.map(|ended| ended.ending), ending, "{kind:?}");
        }
    }

    #[test]
    fn regression_a_ledger_that_others_had_in_between_does_not_know_everything() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sessions");
        let sessions = Sessions::default();
        assert!(!sessions.attend(&file, 1, at(0)), "nobody was before");
        assert!(!sessions.attend(&file, 2, at(10)) && !sessions.may_have_missed(made(0)));

        // Another process with the same folder, and nobody in between.
        let again = Sessions::default();
        assert!(!again.attend(&file, 3, at(20)) && !again.may_have_missed(made(15)));

        // Somebody else had the fourth session.
        let back = Sessions::default();
        assert!(back.attend(&file, 5, at(100)));
        assert!(back.may_have_missed(made(50)) && back.may_have_missed(made(110)), "clocks differ");
        assert!(!back.may_have_missed(made(200)), "made since");
        assert!(!back.attend(&file, 6, at(300)) && back.may_have_missed(made(50)));

        // It is remembered.
        let later = Sessions::default();
        assert!(!later.attend(&file, 7, at(400)));
        assert!(later.may_have_missed(made(50)) && !later.may_have_missed(made(350)));

        // An empty folder of an agent that had sessions before; a folder from an old copy; one that cannot be read.
        for (text, epoch) in [(None, 4), (Some(r#"{"epoch":9}"#), 4), (Some("{"), 2)] {
            let file = folder.path().join("other");
            let _ = std::fs::remove_file(&file);
            if let Some(text) = text {
                std::fs::write(&file, text).unwrap();
            }
            let sessions = Sessions::default();
            assert!(sessions.attend(&file, epoch, at(0)) && sessions.may_have_missed(made(0)), "{text:?}");
        }
    }
}
