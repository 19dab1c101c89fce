//! Intents and outcomes around verbs whose own transaction does not take a record.

use std::future::Future;

use roadstead_contracts::audit::{Actor, AuditRecord, Ended, Origin, Outcome, Resource};
use roadstead_contracts::{Code, Error as Shown, Result};
use roadstead_runtime::{Ids, SharedClock, Tasks};

use super::{AuditRelay, write_alone};
use crate::open::Opened;

/// Seconds after which a repeat may find the database back.
const RETRY_AFTER: u32 = 2;

/// What is asked for, by whom, from where.
#[derive(Debug, Clone)]
pub struct Deed {
    /// From where.
    pub origin: Origin,
    /// Who.
    pub actor: Actor,
    /// What.
    pub action: String,
    /// To what.
    pub resource: Resource,
}

/// Writes a service's records into its own outbox and has them handed on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Trail {
    opened: Opened,
    relay: AuditRelay,
    clock: SharedClock,
    ids: Ids,
}

impl Trail {
    /// The trail of a service with this database.
    pub fn new(opened: Opened, clock: SharedClock, ids: Ids) -> Self {
        let relay = AuditRelay::new(opened.clone(), SharedClock::clone(&clock));
        Self { opened, relay, clock, ids }
    }

    /// The relay behind it, to be nudged after a transaction that took a record.
    pub fn relay(&self) -> &AuditRelay {
        &self.relay
    }

    /// Hands records on until the process stops. `deliver` answers once they are in the chain.
    pub fn start<P, F, E>(&self, tasks: &Tasks, deliver: P)
    where
        P: Fn(Vec<AuditRecord>) -> F + Send + Sync + Clone + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        self.relay.start(tasks, deliver);
    }

    /// Stores a record; [`Code::AuditUnavailable`] when that is not possible.
    pub async fn write(&self, record: &AuditRecord) -> Result<()> {
        write_alone(&self.opened, record).await.map_err(|fault| {
            tracing::error!("a record of the audit trail cannot be stored: {}", Chain(&fault));
            Shown::new(Code::AuditUnavailable, "the record of this change cannot be stored; nothing was done")
                .retry_after(RETRY_AFTER)
        })?;
        self.relay.nudge();
        Ok(())
    }

    /// Writes the intent, does the work, writes the outcome. Nothing is done when the intent cannot be written.
    pub async fn around<T>(&self, deed: Deed, work: impl Future<Output = Result<T>>) -> Result<T> {
        let Deed { origin, actor, action, resource } = deed;
        let intent = AuditRecord::intent(self.ids.next(), self.clock.now(), origin, actor, &action, resource);
        self.write(&intent).await?;
        let result = work.await;
        self.finish(&intent.ended(self.ids.next(), self.clock.now(), Outcome::of(&result))).await;
        result
    }

    /// Does the work and writes the outcome: for what was announced by whoever asked.
    pub async fn after<T>(&self, deed: Deed, work: impl Future<Output = Result<T>>) -> Result<T> {
        let result = work.await;
        let Deed { origin, actor, action, resource } = deed;
        let (id, now, outcome) = (self.ids.next(), self.clock.now(), Outcome::of(&result));
        self.finish(&AuditRecord::outcome(id, now, origin, actor, &action, resource, outcome)).await;
        result
    }

    /// Records messages that nobody of ours sent; answers whether that is stored.
    pub async fn forged(&self, queue: &str, count: u64) -> bool {
        let outcome = Outcome { result: Ended::Refused, code: Some(Code::InvalidCredential) };
        let (id, now, resource) = (self.ids.next(), self.clock.now(), Resource::named("queue", queue));
        let actor = Actor::anonymous();
        let record = AuditRecord::outcome(id, now, Origin::default(), actor, "message.refuse", resource, outcome);
        let record = record.with("reason", "unauthenticated").with("count", &count.to_string());
        self.write(&record).await.is_ok()
    }

    async fn finish(&self, record: &AuditRecord) {
        if self.write(record).await.is_err() {
            tracing::error!("the outcome of {} is not recorded; its intent stands", record.action);
        }
    }
}

/// A fault with its causes.
struct Chain<'a>(&'a crate::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        std::error::Error::source(self.0).map_or(Ok(()), |cause| write!(f, ": {cause}"))
    }
}
