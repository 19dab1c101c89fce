//! When the hub is told what has drifted. A report is the whole state: what changes within a second is one, and one that
//! the hub does not say it has is sent again, more and more seldom.

use std::time::Duration;

use bytes::Bytes;
use roadstead_contracts::agent::Notice;
use roadstead_contracts::drift::DriftReport;
use roadstead_tunnel::Session;
use tokio::time::Instant;

/// What changes within this time is told together.
pub(super) const DEBOUNCE: Duration = Duration::from_secs(1);
/// A report that is not taken is sent again after this; the time doubles.
const AGAIN: Duration = Duration::from_secs(15);
/// Longest of these times: a hub of before does not know reports at all.
const AGAIN_MAX: Duration = Duration::from_secs(300);
/// After each part of a report: the tunnel takes four notices a second, heartbeats among them.
const PER_PART: Duration = Duration::from_millis(500);

/// What was told, and when the next thing is.
#[derive(Debug)]
pub(super) struct Reports {
    revision: u64,
    /// What the hub was told last, and whether it has it.
    told: Option<DriftReport>,
    is_taken: bool,
    again: Duration,
    /// Not before this.
    from: Instant,
    due: Option<Instant>,
}

impl Reports {
    pub(super) fn new() -> Self {
        Self { revision: 0, told: None, is_taken: false, again: AGAIN, from: Instant::now(), due: None }
    }

    /// Something may be other than it was told.
    pub(super) fn touch(&mut self) {
        let soon = (Instant::now() + DEBOUNCE).max(self.from);
        // What is under way comes first: its answer, or the end of its time.
        if self.told.is_none() || self.is_taken {
            self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
        }
    }

    /// Whether nothing was told yet.
    pub(super) fn is_first(&self) -> bool {
        self.told.is_none()
    }

    /// Later.
    pub(super) fn postpone(&mut self) {
        self.due = Some(Instant::now() + DEBOUNCE);
    }

    /// When to report.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Tells the hub, unless it knows.
    pub(super) fn report(&mut self, mut report: DriftReport, session: &Session) {
        self.due = None;
        let known = self.told.as_ref().filter(|_| self.is_taken);
        report.revision = self.revision;
        if known.is_some_and(|known| *known == report) {
            return;
        }
        self.revision += 1;
        report.revision = self.revision;
        let parts = report.clone().parts();
        self.from = Instant::now() + PER_PART * u32::try_from(parts.len()).unwrap_or(1);
        for part in parts {
            let sent = serde_json::to_vec(&Notice::Drift(part))
                .map_err(|error| error.to_string())
                .and_then(|body| session.notify(Bytes::from(body)).map_err(|error| error.to_string()));
            if let Err(error) = sent {
                tracing::debug!("a report of drift was not sent: {error}");
                break;
            }
        }
        self.again = if self.is_taken || self.told.is_none() { AGAIN } else { (self.again * 2).min(AGAIN_MAX) };
        self.due = Some(Instant::now() + self.again);
        self.told = Some(report);
        self.is_taken = false;
    }

    /// The hub has a report; says whether it is the last one.
    pub(super) fn taken(&mut self, revision: u64) -> bool {
        if self.told.is_none() || revision != self.revision || self.is_taken {
            return false;
        }
        self.is_taken = true;
        self.due = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use roadstead_contracts::drift::DriftCounts;
    use roadstead_runtime::Tasks;
    use roadstead_tunnel::transport::pipe;
    use roadstead_tunnel::{Event, Options, Role, start};

    use super::*;

    fn report(drifted: u32) -> DriftReport {
        DriftReport { counts: DriftCounts { drifted, ..DriftCounts::default() }, ..DriftReport::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_is_sent_until_it_is_taken() {
        let tasks = Tasks::new();
        let (ours, theirs) = pipe();
        let (session, _events) = start(ours, Role::Agent, Options::default(), &tasks);
        let (_hub, mut heard) = start(theirs, Role::Hub, Options::default(), &tasks);
        let mut next = async || match heard.next().await {
            Some(Event::Notice(bytes)) => match serde_json::from_slice(&bytes).unwrap() {
                Notice::Drift(part) => (part.revision, part.counts.drifted),
                other => panic!("{other:?}"),
            },
            _ => panic!("no notice"),
        };
        let mut reports = Reports::new();
        assert!(reports.due().is_none());
        reports.touch();
        reports.report(report(1), &session);
        assert_eq!(next().await, (1, 1));
        // Not taken: what changes meanwhile waits, and the whole comes again later, and later.
        reports.touch();
        let first = reports.due().unwrap() - Instant::now();
        reports.report(report(2), &session);
        assert_eq!(next().await, (2, 2));
        assert!(reports.due().unwrap() - Instant::now() > first);
        assert!(!reports.taken(1) && reports.taken(2) && !reports.taken(2));
        assert!(reports.due().is_none());
        // The same again is nothing new.
        reports.touch();
        assert!(reports.due().is_some());
        reports.report(report(2), &session);
        assert!(reports.due().is_none());
        reports.report(report(0), &session);
        assert_eq!(next().await, (3, 0));
        tasks.cut();
    }
}
