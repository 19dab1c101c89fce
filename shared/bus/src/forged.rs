//! Messages that nobody of ours sent: dead letters, and told to whoever keeps the audit trail (reliability row Q05).
//!
//! A flood of them must not become a flood of records: they are counted for each queue, and told once a second.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::Bus;

/// How often at most a queue's forgeries are told.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Messages without a good signature, or of a broker user who may not ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forged {
    /// The queue they were read from.
    pub queue: String,
    /// How many since it was last told.
    pub count: u64,
}

/// What was not told yet; as many queues as this process reads.
#[derive(Debug, Default)]
pub(crate) struct Forgeries {
    counts: Mutex<BTreeMap<String, u64>>,
    wake: Notify,
}

impl Forgeries {
    pub(crate) fn add(&self, queue: &str, count: u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(queue) {
            Some(known) => *known = known.saturating_add(count),
            None => drop(counts.insert(queue.to_owned(), count)),
        }
        drop(counts);
        self.wake.notify_one();
    }

    fn take(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Bus {
    /// Tells of forged messages until the process stops. `report` answers whether it is recorded; what is not is told again.
    pub fn report_forged<F, T>(&self, report: F)
    where
        F: Fn(Forged) -> T + Send + Sync + 'static,
        T: Future<Output = bool> + Send + 'static,
    {
        let bus = self.clone();
        let stopping = self.inner.member.tasks.stopping();
        self.inner.member.tasks.spawn("bus-forged", async move {
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = bus.inner.forged.wake.notified() => {}
                }
                for (queue, count) in bus.inner.forged.take() {
                    if !report(Forged { queue: queue.clone(), count }).await {
                        bus.inner.forged.add(&queue, count);
                    }
                }
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = tokio::time::sleep(REPORT_EVERY) => {}
                }
            }
        });
    }
}
