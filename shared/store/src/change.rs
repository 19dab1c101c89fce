//! A change that a service makes: on behalf of a message, or of its own accord.

use chrono::{DateTime, Utc};
use roadstead_contracts::event::{Event, Fact};
use roadstead_contracts::ids::MessageId;
use roadstead_runtime::{Ids, SharedClock};

/// A change: when, on whose message, and where its events get their ids.
#[derive(Debug, Clone)]
pub struct Change {
    /// The message that asked, so that a second delivery finds the first one's answer.
    pub message: Option<MessageId>,
    /// Now.
    pub at: DateTime<Utc>,
    /// Source of ids.
    pub ids: Ids,
}

impl Change {
    /// Of the service's own accord.
    pub fn own(clock: &SharedClock, ids: &Ids) -> Self {
        Self { message: None, at: clock.now(), ids: ids.clone() }
    }

    /// On behalf of a message, by its id as it came. One whose id is none of ours is never found again.
    pub fn asked_by(message: &str, clock: &SharedClock, ids: &Ids) -> Self {
        Self { message: message.parse().ok(), ..Self::own(clock, ids) }
    }

    /// What happened, for the outbox.
    pub fn event(&self, fact: Fact) -> Event {
        Event { id: self.ids.next(), at: self.at, fact }
    }
}
