//! The end of a change: its answer, for a message that is delivered twice, and its events.

use roadstead_contracts::event::Fact;
use roadstead_store::receipts::{ReceiptDatabase, keep};
use roadstead_store::relay::PostDatabase;
use roadstead_store::{Result, WriteTransaction, outbox};
use serde::Serialize;

use super::Change;

/// Keeps the answer with the change, and puts its events into the outbox.
pub(super) async fn finish<DB: ReceiptDatabase + PostDatabase>(
    tx: &mut WriteTransaction<DB>,
    change: &Change,
    reply: &(impl Serialize + Sync),
    facts: Vec<Fact>,
) -> Result<()> {
    keep(tx, change.message, reply, change.at).await?;
    for fact in facts {
        outbox::push(tx, &change.event(fact)).await?;
    }
    Ok(())
}
