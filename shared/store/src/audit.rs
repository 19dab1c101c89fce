//! The audit trail's way out of a service: a record is written with the change it tells of, in the same transaction, and a
//! relay hands it on afterwards, at least once (its id is the same every time).
//!
//! A verb that changes something calls [`fn@write`] before it commits. Where a change is made and stored in one transaction one
//! outcome is enough; where something happens outside the database, an intent is committed first and an outcome after.
//! What cannot be written fails the transaction, so nothing is done that is not recorded.

mod trail;

use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};
use roadstead_contracts::audit::{AuditRecord, BATCH_MAX};
use roadstead_runtime::Tasks;

pub use trail::{Deed, Trail};

use crate::error::{Error, Result};
use crate::open::Opened;
use crate::relay::{PostDatabase, Posted, Relay, Statements, post, post_alone, statements};
use crate::transaction::WriteTransaction;

impl Posted for AuditRecord {
    const SQL: &'static Statements = statements!("audit_outbox", "record");
    const NAME: &'static str = "audit record";
    const TASK: &'static str = "audit-relay";
    const BATCH: u32 = BATCH_MAX;
    /// They are kept already. The chain has one head, which is written once for each batch.
    const GATHER: Duration = Duration::from_millis(100);

    fn at(&self) -> DateTime<Utc> {
        self.at
    }
}

/// Hands records on to the chain.
pub type AuditRelay = Relay<AuditRecord>;

/// Puts a record into the transaction.
pub async fn write<DB: PostDatabase>(tx: &mut WriteTransaction<DB>, record: &AuditRecord) -> Result<()> {
    check(record)?;
    post(tx, record).await
}

/// Writes a record by itself: an intent, or the outcome of something that changed nothing here (a refusal).
pub async fn write_alone(opened: &Opened, record: &AuditRecord) -> Result<()> {
    check(record)?;
    post_alone(opened, record).await
}

/// Fails the transaction of whoever writes a record that is too long: nothing is done without its record.
fn check(record: &AuditRecord) -> Result<()> {
    record.too_long().map_or(Ok(()), |bytes| Err(Error::TooLong(bytes)))
}

impl AuditRelay {
    /// Relays until the process stops. `deliver` answers once the records are in the chain: all of them, or none.
    pub fn start<P, F, E>(&self, tasks: &Tasks, deliver: P)
    where
        P: Fn(Vec<AuditRecord>) -> F + Send + Sync + Clone + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        self.relay(tasks, move |records| {
            let (count, delivering) = (records.len(), deliver(records));
            async move {
                let delivered = delivering.await.inspect_err(|fault| tracing::warn!("audit records wait: {fault}"));
                vec![delivered.is_ok(); count]
            }
        });
    }
}
