//! Named points at which a test lets a dispatcher die as if its process had been killed: it does nothing more, keeps its
//! lease in the database, and renews it no more. Without a hook, which only tests set, a point costs one look at an option.

use std::fmt;
use std::sync::Arc;

/// Every point, in the order in which an operation passes them.
pub const POINTS: [&str; 10] = [
    "claimed",
    "order_signed",
    "stream_open",
    "dispatched_stored",
    "order_sent",
    "event_read",
    "events_stored",
    "ending_read",
    "ending_stored",
    "settled",
];

type Hook = Arc<dyn Fn(&'static str) -> bool + Send + Sync>;

/// The hook.
#[derive(Clone, Default)]
pub struct Faults(Option<Hook>);

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faults")
    }
}

/// The process was killed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Killed;

impl Faults {
    /// Dies where the hook says so.
    pub fn hook(hook: impl Fn(&'static str) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hook)))
    }

    pub(crate) fn pass(&self, point: &'static str) -> Result<(), Killed> {
        // The whole process, where that is what a test wants.
        roadstead_runtime::kill::point(point);
        match &self.0 {
            Some(hook) if hook(point) => Err(Killed),
            _ => Ok(()),
        }
    }
}
