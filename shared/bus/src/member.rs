//! [`Bus`]: one service's membership of the bus. What it can do stands in `call.rs`, `serve.rs` and `events.rs`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use roadstead_auth::mesh::MeshKey;
use roadstead_contracts::ids::{MessageId, ReplicaId};
use roadstead_runtime::{Ids, ReadyPart, SharedClock, Tasks};
use tokio::sync::watch;

use crate::forged::Forgeries;
use crate::message::header;
use crate::meter::{Count, Meter};
use crate::pending::Pending;
use crate::transport::{Arrival, Shape, Subscription, Transport};
use crate::{Message, Result, seal};

/// First part of every reply queue's name: a request that asks for its answer elsewhere is refused.
pub(crate) const REPLIES_PREFIX: &str = "roadstead.replies.";

/// The broker is connected before this process's reply queue is known here, by a task switch or two.
const ATTACH_MAX: Duration = Duration::from_secs(1);

/// Name of a replica's own queue, for requests that only it can answer.
pub fn replica_queue(service: &str, replica: ReplicaId) -> String {
    format!("roadstead.replica.{service}.{replica}")
}

/// Who a process is on the bus, and what it needs for that.
#[derive(Debug)]
pub struct Member {
    /// Signs what it sends and checks what it gets.
    pub mesh_key: MeshKey,
    /// The service.
    pub service: &'static str,
    /// This process of it.
    pub replica: ReplicaId,
    /// Ids of messages.
    pub ids: Ids,
    /// For deadlines.
    pub clock: SharedClock,
    /// Where its tasks run.
    pub tasks: Tasks,
    /// What it counts.
    pub meter: Arc<dyn Meter>,
}

/// The bus as a service sees it. Cheap to clone.
#[derive(Clone)]
pub struct Bus {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) member: Member,
    pub(crate) pending: Arc<Pending>,
    pub(crate) forged: Forgeries,
    reply_queue: watch::Sender<Option<Arc<str>>>,
    subscriptions: AtomicU32,
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bus({} {})", self.inner.member.service, self.inner.member.replica)
    }
}

impl Bus {
    /// Joins the bus. Inside a tokio runtime; nothing is waited for, see [`Bus::connected`].
    pub fn new(transport: Arc<dyn Transport>, member: Member) -> Self {
        #[cfg(debug_assertions)]
        let transport = crate::unruly::before(transport, &member);
        let inner = Arc::new(Inner {
            transport,
            member,
            pending: Arc::default(),
            forged: Forgeries::default(),
            reply_queue: watch::channel(None).0,
            subscriptions: AtomicU32::new(0),
        });
        let bus = Self { inner };
        // Weak: the transport outlives the buses that share it in one process.
        let pending = Arc::downgrade(&bus.inner.pending);
        bus.inner.transport.on_returned(Box::new(move |id| {
            if let Some(pending) = pending.upgrade() {
                pending.answer(id, Err(crate::Error::Unroutable("its queue".to_owned())));
            }
        }));
        bus.read_answers();
        bus
    }

    /// Whether requests can be sent and every queue of this process is being read.
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.inner.transport.connected()
    }

    /// One sentence about why not.
    pub fn detail(&self) -> String {
        self.inner.transport.detail()
    }

    /// Keeps a part of the process's readiness true to [`Bus::connected`].
    pub fn report_to(&self, part: ReadyPart) {
        let bus = self.clone();
        self.inner.member.tasks.support("bus-readiness", async move {
            let mut connected = bus.connected();
            loop {
                let now = *connected.borrow_and_update();
                part.set(now, if now { "connected".to_owned() } else { bus.detail() });
                // The sentence can change while the state does not.
                let change = tokio::time::timeout(Duration::from_secs(1), connected.changed());
                if matches!(change.await, Ok(Err(_))) {
                    return;
                }
            }
        });
    }

    /// This replica's own queue; serve it with [`crate::Router::replica`].
    pub fn replica_queue(&self) -> String {
        replica_queue(self.inner.member.service, self.inner.member.replica)
    }

    /// This process's id.
    pub fn replica(&self) -> ReplicaId {
        self.inner.member.replica
    }

    /// Messages that wait in a queue; `None` when there is no such queue.
    pub async fn depth(&self, queue: &str) -> Result<Option<u64>> {
        self.inner.transport.depth(queue).await
    }

    pub(crate) fn count(&self, what: Count, label: &'static str) {
        self.inner.member.meter.count(what, label);
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.inner.member.clock.now()
    }

    pub(crate) fn next_subscription(&self) -> u32 {
        self.inner.subscriptions.fetch_add(1, Ordering::Relaxed)
    }

    /// Where answers come to now; `None` while the broker is away.
    pub(crate) fn reply_queue_now(&self) -> Option<Arc<str>> {
        self.inner.reply_queue.borrow().clone()
    }

    /// Where answers come to; an error at once while the broker is away.
    pub(crate) async fn reply_queue(&self) -> Result<Arc<str>> {
        if let Some(name) = self.reply_queue_now() {
            return Ok(name);
        }
        if !*self.inner.transport.connected().borrow() {
            return Err(crate::Error::Disconnected);
        }
        let mut queue = self.inner.reply_queue.subscribe();
        match tokio::time::timeout(ATTACH_MAX, queue.wait_for(Option::is_some)).await {
            Ok(Ok(name)) => name.clone().ok_or(crate::Error::Disconnected),
            _ => Err(crate::Error::Disconnected),
        }
    }

    /// A message of ours, not yet signed.
    pub(crate) fn message(&self, kind: &str, body: Vec<u8>) -> Message {
        let member = &self.inner.member;
        let mut message = Message {
            id: member.ids.next::<MessageId>().to_string(),
            kind: kind.to_owned(),
            service: member.service.to_owned(),
            body: Bytes::from(body),
            ..Message::default()
        };
        message.headers.insert(header::REPLICA.to_owned(), member.replica.to_string());
        message
    }

    fn set_reply_queue(&self, name: Option<String>) {
        self.inner.reply_queue.send_replace(name.map(Arc::from));
    }

    /// Reads the answers to this process's requests until the cut: what runs in the grace period may still ask.
    fn read_answers(&self) {
        let member = &self.inner.member;
        let mut answers = self.inner.transport.consume(Subscription {
            queue: format!("{REPLIES_PREFIX}{}.{}", member.service, member.replica),
            shape: Shape::Fresh,
            dead: None,
            results: None,
            patterns: Vec::new(),
            prefetch: 0,
            auto_settle: true,
        });
        let bus = self.clone();
        member.tasks.support("bus-answers", async move {
            let mut queue = String::new();
            while let Some(arrival) = answers.next().await {
                match arrival {
                    Arrival::Attached(name) => {
                        queue.clone_from(&name);
                        bus.set_reply_queue(Some(name));
                    }
                    Arrival::Lost => {
                        bus.set_reply_queue(None);
                        bus.inner.pending.fail_all();
                    }
                    Arrival::Message(mut delivery) => {
                        let message = std::mem::take(&mut delivery.message);
                        delivery.ack();
                        bus.take_answer(&queue, message);
                    }
                }
            }
        });
    }

    fn take_answer(&self, queue: &str, message: Message) {
        // Checked before the waiter is taken: a forged answer must not use up the place of the true one.
        if !seal::is_sealed(&self.inner.member.mesh_key, queue, &message) {
            self.count(Count::ForgedAnswer, "");
            return;
        }
        let id = message.correlation_id.clone().unwrap_or_default();
        if !self.inner.pending.answer(&id, Ok(message)) {
            self.count(Count::StrayAnswer, "");
        }
    }
}
