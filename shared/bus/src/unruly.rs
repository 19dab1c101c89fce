//! A broker at its worst, for tests: every message may come twice or five times and later than others that were sent after
//! it. Nothing is lost, for a confirmed message is not.
//!
//! `ROADSTEAD_TEST_UNRULY=SEED` puts it before the transport of every service of a process. Builds without debug assertions,
//! which is every release, have none of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use roadstead_runtime::Tasks;
use tokio::sync::{oneshot, watch};

use crate::member::Member;
use crate::transport::{Deliveries, Destination, ReturnedHook, Subscription, Transport};
use crate::{Error, Message, Result};

/// Longest delay: some hundred messages of a busy hub overtake each other.
const DELAY_MAX: Duration = Duration::from_millis(60);

/// The transport, behind an unruly one where the environment asks for that.
pub(crate) fn before(transport: Arc<dyn Transport>, member: &Member) -> Arc<dyn Transport> {
    let seed = std::env::var("ROADSTEAD_TEST_UNRULY").ok().and_then(|text| text.parse().ok());
    match seed {
        Some(seed) => Arc::new(Unruly::new(transport, seed, &member.tasks)),
        None => transport,
    }
}

#[derive(Debug)]
struct Unruly {
    inner: Arc<dyn Transport>,
    dice: AtomicU64,
    tasks: Tasks,
}

impl Unruly {
    fn new(inner: Arc<dyn Transport>, seed: u64, tasks: &Tasks) -> Self {
        Self { inner, dice: AtomicU64::new(seed), tasks: tasks.clone() }
    }

    /// The next number, by splitmix64.
    fn roll(&self, below: u64) -> u64 {
        let mut value = self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % below
    }

    /// Sends one copy later; the answer is its fate. Nobody who stops waiting takes it back.
    fn later(&self, to: Destination, message: Message) -> oneshot::Receiver<Result<()>> {
        let (told, fate) = oneshot::channel();
        let inner = Arc::clone(&self.inner);
        let delay = DELAY_MAX.mul_f64(f64::from(u32::try_from(self.roll(1_000)).unwrap_or(0)) / 1_000.0);
        self.tasks.spawn("unruly-message", async move {
            tokio::time::sleep(delay).await;
            // For most copies nobody waits.
            let _ = told.send(inner.publish(to, message).await);
        });
        fate
    }
}

#[async_trait]
impl Transport for Unruly {
    async fn publish(&self, to: Destination, message: Message) -> Result<()> {
        let copies = match self.roll(8) {
            0 => 4,
            1..=3 => 1,
            _ => 0,
        };
        for _ in 0..copies {
            drop(self.later(to.clone(), message.clone()));
        }
        if self.roll(2) == 0 {
            return self.later(to, message).await.unwrap_or(Err(Error::Disconnected));
        }
        self.inner.publish(to, message).await
    }

    fn consume(&self, subscription: Subscription) -> Deliveries {
        self.inner.consume(subscription)
    }

    fn connected(&self) -> watch::Receiver<bool> {
        self.inner.connected()
    }

    fn detail(&self) -> String {
        self.inner.detail()
    }

    async fn depth(&self, queue: &str) -> Result<Option<u64>> {
        self.inner.depth(queue).await
    }

    async fn take(&self, queue: &str) -> Result<Option<Message>> {
        self.inner.take(queue).await
    }

    fn on_returned(&self, hook: ReturnedHook) {
        self.inner.on_returned(hook);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::memory::Memory;
    use crate::transport::{Arrival, Shape};

    fn reading() -> Subscription {
        Subscription {
            queue: "q".to_owned(),
            shape: Shape::Lookup,
            dead: None,
            results: None,
            patterns: Vec::new(),
            prefetch: 1_000,
            auto_settle: true,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_lost_and_some_come_more_often_and_out_of_turn() {
        let tasks = Tasks::new();
        let unruly = Unruly::new(Arc::new(Memory::new()), 7, &tasks);
        let mut read = unruly.consume(reading());
        let sending = (0..100).map(|number| {
            let message = Message { id: format!("{number:03}"), ..Message::default() };
            unruly.publish(Destination::Queue("q".to_owned()), message)
        });
        assert!(futures_util::future::join_all(sending).await.into_iter().all(|sent| sent.is_ok()));
        tokio::time::sleep(DELAY_MAX * 2).await;
        let (mut counts, mut order) = (BTreeMap::new(), Vec::new());
        while let Ok(Some(arrival)) = tokio::time::timeout(Duration::from_millis(1), read.next()).await {
            if let Arrival::Message(delivery) = arrival {
                *counts.entry(delivery.message.id.clone()).or_insert(0) += 1;
                order.push(delivery.message.id.clone());
                delivery.ack();
            }
        }
        assert_eq!(counts.len(), 100);
        assert!(counts.values().any(|count| *count == 2) && counts.values().any(|count| *count == 5), "{counts:?}");
        assert!(order.windows(2).any(|pair| pair[0] > pair[1]), "in turn");
    }
}
