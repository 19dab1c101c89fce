//! The bus inside one process: the same rules as the broker's (time to live, dead letters, delivery limit, bounds),
//! no sockets, nothing on disk. All services of `roadstead up` share one [`Memory`].

mod broker;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

use crate::message::BODY_MAX;
use crate::transport::{Arrival, Deliveries, Destination, ReturnedHook, Settle, Settler, Subscription, Transport};
use crate::{Error, Message, Result};

use broker::{Broker, Outbound};

/// A broker in memory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Memory {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    broker: Mutex<Broker>,
    connected: watch::Sender<bool>,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// An empty broker.
    pub fn new() -> Self {
        let (connected, _) = watch::channel(true);
        Self { shared: Arc::new(Shared { broker: Mutex::default(), connected }) }
    }

    /// Plays a lost broker (`false`) and its return (`true`): own queues are gone, unsettled messages come again.
    pub fn set_connected(&self, connected: bool) {
        if self.shared.connected.send_replace(connected) != connected {
            self.shared.with(|broker, out| if connected { broker.attach_all(out) } else { broker.detach_all(out) });
        }
    }
}

impl Shared {
    /// Changes the broker under its lock, then sends what came out of it: a receiver that is gone drops its delivery,
    /// which settles it, which takes the lock again.
    fn with<T>(&self, change: impl FnOnce(&mut Broker, &mut Vec<Outbound>) -> T) -> T {
        let mut out = Vec::new();
        let result = change(&mut self.broker.lock().unwrap_or_else(PoisonError::into_inner), &mut out);
        for (receiver, arrival) in out {
            // A consumer that ended has dropped its receiver; its message is put back by its drop.
            let _ = receiver.send(arrival);
        }
        result
    }
}

#[async_trait]
impl Transport for Memory {
    async fn publish(&self, to: Destination, message: Message) -> Result<()> {
        if !*self.shared.connected.borrow() {
            return Err(Error::Disconnected);
        }
        if message.body.len() > BODY_MAX {
            return Err(Error::TooLarge(message.body.len()));
        }
        self.shared.with(|broker, out| match to {
            Destination::Queue(queue) => broker.publish(&queue, message, out),
            Destination::Answer(queue) => {
                // Nobody may wait for it any more.
                let _ = broker.publish(&queue, message, out);
                Ok(())
            }
            Destination::Events(key) => {
                broker.publish_event(key, &message, out);
                Ok(())
            }
        })
    }

    fn consume(&self, subscription: Subscription) -> Deliveries {
        let (sender, receiver) = mpsc::unbounded_channel();
        let settler: Arc<dyn Settler> = Arc::new(MemorySettler { shared: Arc::clone(&self.shared) });
        let connected = *self.shared.connected.borrow();
        let id = self.shared.with(|broker, out| broker.consume(subscription, sender, settler, connected, out));
        let shared = Arc::clone(&self.shared);
        Deliveries::new(receiver, move || shared.with(|broker, out| broker.leave(id, out)))
    }

    fn connected(&self) -> watch::Receiver<bool> {
        self.shared.connected.subscribe()
    }

    fn detail(&self) -> String {
        if *self.shared.connected.borrow() { String::new() } else { Error::Disconnected.to_string() }
    }

    async fn depth(&self, queue: &str) -> Result<Option<u64>> {
        Ok(self.shared.with(|broker, out| broker.depth(queue, out)))
    }

    async fn take(&self, queue: &str) -> Result<Option<Message>> {
        Ok(self.shared.with(|broker, out| broker.take(queue, out)))
    }

    fn on_returned(&self, _hook: ReturnedHook) {
        // A publish always learns by itself here.
    }
}

#[derive(Debug)]
struct MemorySettler {
    shared: Arc<Shared>,
}

impl Settler for MemorySettler {
    fn settle(&self, tag: u64, how: Settle, _message: Message) {
        self.shared.with(|broker, out| broker.settle(tag, how, out));
    }
}

/// For the broker: what is to be sent after its lock is released.
type Receiver = mpsc::UnboundedSender<Arrival>;
