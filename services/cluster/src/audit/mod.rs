//! The front door's part of the audit trail: what it refuses, what it is asked to change, and what goes through the Kubernetes
//! door. Records are on disk before anything is done ([`spool`]) and are handed to the user service from there, which chains
//! them.

mod kube;
mod slot;
mod spool;
mod words;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use roadstead_bus::{Bus, CallContext};
use roadstead_contracts::Result;
use roadstead_contracts::audit::AuditRecord;
use roadstead_contracts::message::RecordAudit;
use roadstead_http_kit::{Auditor, Word};
use roadstead_runtime::{Ids, OnFailure, ReadyPart, SharedClock, Tasks};

pub(crate) use kube::Deed;
use spool::Spool;

/// How long the user service may take for a batch.
const DELIVERY: Duration = Duration::from_secs(10);
/// Wait after it did not take one.
const RETRY: Duration = Duration::from_secs(1);
/// How long a stop waits for the user service.
const LAST_PASS: Duration = Duration::from_secs(1);
/// How often the relay looks when nobody woke it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Takes the front door's records.
#[derive(Debug, Clone)]
pub(crate) struct Audit {
    spool: Spool,
    pub(crate) ids: Ids,
    pub(crate) clock: SharedClock,
}

impl Audit {
    /// Begins with what an earlier run left in the folder. Inside the runtime.
    pub(crate) fn open(folder: PathBuf, limit: usize, ids: Ids, clock: SharedClock, tasks: &Tasks) -> Self {
        Self { spool: Spool::open(folder, limit, tasks), ids, clock }
    }

    /// Stores a record: it is on disk when this answers. Nothing may be done when it fails.
    pub(crate) async fn write(&self, record: &AuditRecord) -> Result<()> {
        self.spool.append(record).await
    }

    /// Stores how something ended, from where nothing can be waited for.
    pub(crate) fn finish_now(&self, record: &AuditRecord) {
        self.spool.push_now(record);
    }

    /// Stores how something ended; nobody waits for the disk.
    pub(crate) async fn finish(&self, record: &AuditRecord) {
        self.spool.push(record).await;
    }

    /// What is stored and not handed on.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> Vec<AuditRecord> {
        self.spool.oldest()
    }

    /// Hands records on until the process stops.
    pub(crate) fn relay(&self, bus: &Bus, ready: ReadyPart, tasks: &Tasks) {
        let (spool, bus, ids, stopping) = (self.spool.clone(), bus.clone(), self.ids.clone(), tasks.stopping());
        let ready = Arc::new(ready);
        tasks.run("audit-relay", OnFailure::Restart, move || {
            let (spool, bus, ids, stopping, ready) =
                (spool.clone(), bus.clone(), ids.clone(), stopping.clone(), Arc::clone(&ready));
            async move {
                let work = async {
                    loop {
                        let wait = pass(&spool, &bus, &ids).await;
                        match spool.fault() {
                            None => ready.set(true, "ok"),
                            // Reads go on without it: the replica stays in its place, and the detail tells.
                            Some(fault) => ready.set(true, fault),
                        }
                        tokio::select! {
                            () = stopping.cancelled() => {
                                pass(&spool, &bus, &ids).await;
                                return;
                            }
                            () = spool.filled() => {}
                            () = tokio::time::sleep(wait) => {}
                        }
                    }
                };
                // What does not leave in time leaves after the next start.
                let late = async {
                    stopping.cancelled().await;
                    tokio::time::sleep(LAST_PASS).await;
                };
                tokio::select! {
                    () = work => {}
                    () = late => {}
                }
                Ok(())
            }
        });
    }
}

/// Hands on everything there is; answers how long to wait for more.
async fn pass(spool: &Spool, bus: &Bus, ids: &Ids) -> Duration {
    loop {
        let records = spool.oldest();
        if records.is_empty() {
            return LOOK_EVERY;
        }
        let count = records.len();
        let request = RecordAudit { records };
        match bus.call(&request, &CallContext::new(DELIVERY, ids.uuid().to_string())).await {
            Ok(_) => spool.delivered(count).await,
            Err(fault) => {
                tracing::warn!("{} records of the audit trail wait: {fault}", spool.waiting());
                return RETRY;
            }
        }
    }
}

#[async_trait]
impl Auditor for Audit {
    fn word(&self, method: &str, path: &str) -> Option<Word> {
        words::word(method, path)
    }

    async fn write(&self, record: &AuditRecord) -> Result<()> {
        self.spool.append(record).await
    }

    async fn finish(&self, record: &AuditRecord) {
        self.spool.push(record).await;
    }
}
