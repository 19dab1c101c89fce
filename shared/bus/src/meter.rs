//! What the bus counts. The services hand in a [`Meter`] that feeds their metrics; tests use [`Counts`].

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Something worth counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Count {
    /// A request was sent.
    Requested,
    /// A request was answered.
    Answered,
    /// A request got no answer in time.
    TimedOut,
    /// A message could not be sent.
    NotSent,
    /// A request was handled.
    Handled,
    /// A message was dead-lettered.
    DeadLettered,
    /// A request was too old when it was looked at.
    Expired,
    /// An answer that nobody waits for (late, unknown, a second one) was dropped.
    StrayAnswer,
    /// An answer without a good signature was dropped.
    ForgedAnswer,
    /// An event was sent.
    Emitted,
    /// An event was handled.
    Received,
    /// A handler failed to take an event; it is delivered again if its queue is durable.
    EventFailed,
}

impl Count {
    /// Name for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Answered => "answered",
            Self::TimedOut => "timed_out",
            Self::NotSent => "not_sent",
            Self::Handled => "handled",
            Self::DeadLettered => "dead_lettered",
            Self::Expired => "expired",
            Self::StrayAnswer => "stray_answer",
            Self::ForgedAnswer => "forged_answer",
            Self::Emitted => "emitted",
            Self::Received => "received",
            Self::EventFailed => "event_failed",
        }
    }
}

/// Takes what the bus counts. `label` is a kind, a reason or a queue from a fixed list, never text from outside.
pub trait Meter: Send + Sync + fmt::Debug {
    /// Counts one.
    fn count(&self, what: Count, label: &'static str);
    /// A request of this kind was answered after this time.
    fn call_took(&self, _kind: &'static str, _took: Duration) {}
    /// A request of this kind was handled in this time.
    fn handling_took(&self, _kind: &'static str, _took: Duration) {}
}

/// Counts in memory.
#[derive(Debug, Default)]
pub struct Counts(Mutex<HashMap<(Count, &'static str), u64>>);

impl Counts {
    /// How many with this label.
    pub fn get(&self, what: Count, label: &str) -> u64 {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().filter(|((count, text), _)| *count == what && *text == label).map(|(_, number)| number).sum()
    }

    /// How many with any label.
    pub fn total(&self, what: Count) -> u64 {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().filter(|((count, _), _)| *count == what).map(|(_, number)| number).sum()
    }
}

impl Meter for Counts {
    fn count(&self, what: Count, label: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry((what, label)).or_default() += 1;
    }
}
