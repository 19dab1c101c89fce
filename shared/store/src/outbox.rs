//! Events that leave with the transaction that made them true ([`crate::relay`]): the event's id is the same every time.
//! They may overtake each other: subscribers look the state up.

use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use roadstead_contracts::event::Event;
use roadstead_runtime::Tasks;

use crate::error::Result;
use crate::relay::{PostDatabase, Posted, Relay, Statements, post, statements};
use crate::transaction::WriteTransaction;

impl Posted for Event {
    const SQL: &'static Statements = statements!("outbox", "event");
    const NAME: &'static str = "event";
    const TASK: &'static str = "outbox";
    /// One confirm round trip of the broker for all.
    const BATCH: u32 = 128;
    /// People watch what follows from it.
    const GATHER: Duration = Duration::ZERO;

    fn at(&self) -> DateTime<Utc> {
        self.at
    }
}

/// Publishes what the outbox holds.
pub type OutboxRelay = Relay<Event>;

/// Puts an event into the transaction.
pub async fn push<DB: PostDatabase>(tx: &mut WriteTransaction<DB>, event: &Event) -> Result<()> {
    post(tx, event).await
}

impl OutboxRelay {
    /// Relays until the process stops. `publish` answers once the broker has the event.
    pub fn start<P, F, E>(&self, tasks: &Tasks, publish: P)
    where
        P: Fn(Event) -> F + Send + Sync + Clone + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        self.relay(tasks, move |events| {
            let publishing = join_all(events.into_iter().map(&publish));
            async move {
                let published = publishing.await.into_iter().map(|published| {
                    published.inspect_err(|fault| tracing::debug!("an event was not published: {fault}")).is_ok()
                });
                published.collect()
            }
        });
    }
}
