//! Reports of drift: put together from their parts and passed on to the operations service, one at a time for each agent.
//! What is not taken the agent sends again.

use std::sync::{Arc, Mutex, PoisonError};

use roadstead_bus::CallContext;
use roadstead_contracts::agent::Notice;
use roadstead_contracts::drift::{DriftPart, DriftParts, DriftReport};
use roadstead_contracts::message::ReportDrift;

use super::Held;
use crate::app::App;
use crate::limits::REPORT_DRIFT;

/// A report on its way. Most agents never make one: nothing is held for them.
#[derive(Debug, Default)]
pub(crate) struct Inbox(Mutex<Option<Box<Coming>>>);

#[derive(Debug, Default)]
struct Coming {
    parts: DriftParts,
    /// One is being passed on.
    busy: bool,
}

/// What a part came to.
enum Came {
    Part,
    Report(DriftReport),
    /// Another report is under way.
    TooSoon,
}

impl Inbox {
    fn add(&self, part: DriftPart) -> Came {
        let mut coming = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let coming = coming.get_or_insert_default();
        match coming.parts.add(part) {
            None => Came::Part,
            Some(_) if coming.busy => Came::TooSoon,
            Some(report) => {
                coming.busy = true;
                Came::Report(report)
            }
        }
    }

    fn free(&self) {
        if let Some(coming) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            coming.busy = false;
        }
    }
}

/// Takes a part; passes the report on with its last one.
pub(super) fn take_drift(app: &Arc<App>, held: &Arc<Held>, part: DriftPart) {
    let Some(cluster_id) = held.cluster else { return };
    let report = match held.drift.add(part) {
        Came::Part => return,
        Came::TooSoon => return app.count_dropped("drift"),
        Came::Report(report) => report,
    };
    let (app, held) = (Arc::clone(app), Arc::clone(held));
    app.tasks.clone().spawn("drift-report", async move {
        let revision = report.revision;
        let report = ReportDrift { cluster_id, agent_id: held.agent, epoch: held.epoch, report };
        let context = CallContext::new(REPORT_DRIFT, app.ids.uuid().to_string());
        let stored = app.bus.call(&report, &context).await;
        held.drift.free();
        match stored {
            Ok(()) => held.notify(&Notice::DriftTaken { revision }),
            Err(error) => {
                tracing::debug!(cluster_id = %cluster_id, "a report of drift was not passed on: {error}");
            }
        }
    });
}
