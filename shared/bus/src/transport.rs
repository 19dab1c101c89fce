//! What the typed layer needs of a broker.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use roadstead_contracts::queue::QueueKind;
use tokio::sync::{mpsc, watch};

use crate::message::{DELIVERIES_MAX, reason};
use crate::{Message, Result};

/// Called with the id of each message that came back because no queue takes it.
pub type ReturnedHook = Box<dyn Fn(&str) + Send + Sync>;

/// A broker, or what stands for one in a single process.
#[async_trait]
pub trait Transport: Send + Sync + fmt::Debug + 'static {
    /// Sends a message; returns when the broker has confirmed it ([`Destination::Answer`]: when it is sent). The message is on its way after the first poll, so a
    /// caller may wait for its answer at the same time; a caller that stops waiting does not take the message back.
    async fn publish(&self, to: Destination, message: Message) -> Result<()>;

    /// Reads a queue, over reconnects, until the deliveries are dropped. Declares what the subscription names. A broker
    /// that is away or refuses is no error: it is seen in [`Transport::connected`] and tried again.
    fn consume(&self, subscription: Subscription) -> Deliveries;

    /// Whether messages can be sent and every subscription is being read.
    fn connected(&self) -> watch::Receiver<bool>;

    /// One sentence about why not; empty when connected. No secrets, no addresses.
    fn detail(&self) -> String;

    /// Messages that wait in a queue; `None` when there is no such queue.
    async fn depth(&self, queue: &str) -> Result<Option<u64>>;

    /// Takes one message out of a queue: for dead letters. `None` when it is empty or absent.
    async fn take(&self, queue: &str) -> Result<Option<Message>>;

    /// Tells about messages that came back. A publish learns by itself of its own, unless the broker
    /// confirmed several at once.
    fn on_returned(&self, hook: ReturnedHook);
}

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A queue, by name; it must exist.
    Queue(String),
    /// The reply queue of somebody who waits. Not confirmed: an answer that is lost with its connection is as good as a
    /// late one, and half the traffic of look-ups is answers.
    Answer(String),
    /// The exchange of events; nobody need be listening.
    Events(&'static str),
}

impl Destination {
    /// The text that is signed.
    pub fn signed(&self) -> String {
        match self {
            Self::Queue(name) | Self::Answer(name) => name.clone(),
            Self::Events(key) => events_destination(key),
        }
    }
}

/// The signed destination of an event.
pub(crate) fn events_destination(key: &str) -> String {
    format!("{}/{key}", roadstead_contracts::queue::EVENTS_EXCHANGE)
}

/// The dead-letter queue of a queue.
pub fn dead_letter_queue(queue: &str) -> String {
    format!("{queue}.dead")
}

/// How a queue is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Durable, no arguments: as the peers of the seeds declare it.
    Seed,
    /// Durable classic queue, bounded, dead-lettering.
    Lookup,
    /// Quorum queue, bounded, with delivery limit and dead-lettering.
    Change,
    /// Dead letters: durable, bounded, oldest out first.
    Dead,
    /// This process's own: gone with its connection.
    Own,
    /// This process's own with a new name for each connection, so that a broker that has not noticed the loss of the
    /// last one cannot lock us out.
    Fresh,
}

impl From<QueueKind> for Shape {
    fn from(kind: QueueKind) -> Self {
        match kind {
            QueueKind::Seed | QueueKind::SeedChange => Self::Seed,
            QueueKind::Lookup => Self::Lookup,
            QueueKind::Change => Self::Change,
        }
    }
}

/// What to read.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// The queue.
    pub queue: String,
    /// How it is declared.
    pub shape: Shape,
    /// Where its dead letters go; declared too.
    pub dead: Option<String>,
    /// Another queue to declare: the peers' results.
    pub results: Option<String>,
    /// Topic patterns of the events exchange to bind.
    pub patterns: Vec<String>,
    /// Messages under way at once.
    pub prefetch: u16,
    /// Whether deliveries count as settled when sent (answers to us: nobody else could use them).
    pub auto_settle: bool,
}

/// What comes out of [`Deliveries`].
#[derive(Debug)]
pub enum Arrival {
    /// The queue is being read, under this name.
    Attached(String),
    /// A message.
    Message(Box<Delivery>),
    /// The queue is no longer being read; it will be again.
    Lost,
}

/// Messages of one subscription. Dropping it ends the subscription and puts back what was not looked at.
pub struct Deliveries {
    // Dropped before `end`: what is in it is put back while its consumer still counts.
    // Bounded by the prefetch, but for auto-settled answers, which are bounded by the requests under way.
    receiver: mpsc::UnboundedReceiver<Arrival>,
    _end: OnDrop,
}

struct OnDrop(Option<Box<dyn FnOnce() + Send>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}

impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deliveries")
    }
}

impl Deliveries {
    /// Deliveries that arrive on a channel; `end` runs when they are dropped.
    pub fn new(receiver: mpsc::UnboundedReceiver<Arrival>, end: impl FnOnce() + Send + 'static) -> Self {
        Self { receiver, _end: OnDrop(Some(Box::new(end))) }
    }

    /// The next arrival; `None` when the transport ended.
    pub async fn next(&mut self) -> Option<Arrival> {
        self.receiver.recv().await
    }
}

/// What becomes of a delivered message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// Done.
    Ack,
    /// Deliver it again.
    Requeue,
    /// To the dead letters, with the reason.
    Dead(&'static str),
}

/// The transport's end of a delivery. Must not block: it is called from `Drop`.
pub trait Settler: Send + Sync + fmt::Debug {
    /// Settles the delivery with that tag.
    fn settle(&self, tag: u64, how: Settle, message: Message);
}

/// A message that must be settled. Dropped unsettled (its task was cut), it is delivered again.
#[derive(Debug)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// How often it has been delivered, this time included, as far as the broker tells: 1 or 2 on classic queues.
    pub deliveries: u32,
    shape: Shape,
    tag: u64,
    settler: Option<Arc<dyn Settler>>,
}

impl Delivery {
    /// A delivery that its transport wants settled.
    pub fn new(message: Message, deliveries: u32, shape: Shape, tag: u64, settler: Option<Arc<dyn Settler>>) -> Self {
        Self { message, deliveries, shape, tag, settler }
    }

    /// Whether an earlier delivery may have been handled already.
    pub fn redelivered(&self) -> bool {
        self.deliveries > 1
    }

    /// Done: the effect is stored.
    pub fn ack(mut self) {
        self.settle(Settle::Ack);
    }

    /// Deliver it again, or dead-letter it if that has been done often enough.
    pub fn retry(mut self) {
        self.settle_failed(reason::DELIVERY_LIMIT);
    }

    /// To the dead letters.
    pub fn dead_letter(mut self, why: &'static str) {
        self.settle(Settle::Dead(why));
    }

    fn settle(&mut self, how: Settle) {
        if let Some(settler) = self.settler.take() {
            settler.settle(self.tag, how, std::mem::take(&mut self.message));
        }
    }

    fn settle_failed(&mut self, why: &'static str) {
        // Classic queues do not count: the second failure of a message there ends it, else it would turn for ever.
        let most = if self.shape == Shape::Change { DELIVERIES_MAX } else { 2 };
        self.settle(if self.deliveries >= most { Settle::Dead(why) } else { Settle::Requeue });
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.settle_failed(reason::PANICKED);
        } else {
            self.settle(Settle::Requeue);
        }
    }
}
