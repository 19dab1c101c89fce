//! Answering: reads a queue, checks each message, runs its handler, sends the answer, and settles the message last.

use std::sync::Arc;
use std::time::Duration;

use roadstead_contracts::{Code, Error};
use roadstead_runtime::kill;
use tokio::time::Instant;

use crate::member::REPLIES_PREFIX;
use crate::message::{header, reason};
use crate::meter::Count;
use crate::router::{Handled, Incoming, Route, answer_body};
use crate::transport::{Arrival, Delivery, Destination, Subscription};
use crate::{BODY_MAX, Bus, Message, Result, Router, seal};

/// Handlers of look-ups are dropped this long after their deadline: nobody waits, and a stuck one must not hold its place.
/// Handlers of changes are never dropped half-way.
const OVERRUN: Duration = Duration::from_secs(1);
/// Time for a peer's request, which carries no deadline: the seeds' longest wait (namespaces, 30 s).
const PEER_DEADLINE: Duration = Duration::from_secs(30);

/// How a queue is served.
#[derive(Debug, Clone, Copy)]
pub struct ServeOptions {
    /// Messages handled at once; also the broker's prefetch.
    pub concurrency: u16,
}

impl Default for ServeOptions {
    /// 64: enough to hide a database's latency, few enough that a stop is quick.
    fn default() -> Self {
        Self { concurrency: 64 }
    }
}

struct Server {
    bus: Bus,
    router: Router,
    queue: String,
}

impl Bus {
    /// Serves a queue until the process stops, over reconnects. Returns at once: whether it is being read is part of
    /// [`Bus::connected`].
    #[expect(
        clippy::unused_async,
        reason = "the bus's verbs are async alike; a transport may have to wait here one day"
    )]
    pub async fn serve(&self, router: Router, options: ServeOptions) -> Result<()> {
        router.check()?;
        let subscription = router.subscription(self, options.concurrency.max(1));
        let queue = subscription.queue.clone();
        let server = Arc::new(Server { bus: self.clone(), router, queue });
        self.each(subscription, "bus-serve", "bus-handler", move |delivery| {
            let server = Arc::clone(&server);
            async move { server.take(delivery).await }
        });
        Ok(())
    }

    /// Takes each delivery of a subscription in a task of its own, until the process stops.
    pub(crate) fn each<F>(
        &self,
        subscription: Subscription,
        reader: &'static str,
        taker: &'static str,
        take: impl Fn(Delivery) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut deliveries = self.inner.transport.consume(subscription);
        let tasks = self.inner.member.tasks.clone();
        let stopping = tasks.stopping();
        self.inner.member.tasks.spawn(reader, async move {
            loop {
                let arrival = tokio::select! {
                    biased;
                    () = stopping.cancelled() => return,
                    arrival = deliveries.next() => arrival,
                };
                match arrival {
                    // The prefetch bounds how many of these there are.
                    Some(Arrival::Message(delivery)) => tasks.spawn(taker, take(*delivery)),
                    Some(Arrival::Attached(_) | Arrival::Lost) => {}
                    None => return,
                }
            }
        });
    }
}

impl Server {
    async fn take(&self, mut delivery: Delivery) {
        let message = &delivery.message;
        if message.body.len() > BODY_MAX {
            return self.dead_letter(delivery, reason::TOO_LARGE);
        }
        if message.header(header::SIGNATURE).is_none() {
            return self.take_peer(delivery).await;
        }
        if !seal::is_sealed(&self.bus.inner.member.mesh_key, &self.queue, message) {
            return self.dead_letter(delivery, reason::UNAUTHENTICATED);
        }
        let Some(reply_to) = message.reply_to.clone().filter(|name| name.starts_with(REPLIES_PREFIX)) else {
            return self.dead_letter(delivery, reason::BAD_REPLY_QUEUE);
        };
        let left = seal::deadline(message).and_then(|deadline| (deadline - self.bus.now()).to_std().ok());
        let Some(left) = left.filter(|left| !left.is_zero()) else {
            self.bus.count(Count::Expired, self.router.route(&message.kind).map_or("", |route| route.kind));
            return self.dead_letter(delivery, reason::EXPIRED);
        };
        let Some(route) = self.router.route(&message.kind) else {
            // A newer asker: tell it at once, it cannot know.
            let unknown = Error::new(Code::Unavailable, "the service does not know this message yet");
            self.answer(&delivery.message, &reply_to, left, answer_body::<()>("", Err(unknown))).await;
            return self.dead_letter(delivery, reason::UNKNOWN_KIND);
        };
        let incoming = incoming(&delivery, left);
        kill::point("bus.message_received");
        let body = std::mem::take(&mut delivery.message.body);
        let began = Instant::now();
        let handled = self.run(route, body.clone(), incoming, left).await;
        self.bus.inner.member.meter.handling_took(route.kind, began.elapsed());
        delivery.message.body = body;
        kill::point("bus.message_handled");
        match handled {
            Some(Handled::Malformed) => {
                let malformed = answer_body::<()>(route.kind, Err(Code::Internal.into()));
                self.answer(&delivery.message, &reply_to, left, malformed).await;
                self.dead_letter(delivery, reason::MALFORMED);
            }
            Some(answer @ Handled::Answer(_)) => {
                self.bus.count(Count::Handled, route.kind);
                // Not answered because the broker is gone: it will deliver the message again, so leave it unsettled.
                if self.answer(&delivery.message, &reply_to, left, answer).await {
                    kill::point("bus.answer_sent");
                    delivery.ack();
                }
            }
            None => {
                self.bus.count(Count::Expired, route.kind);
                delivery.ack();
            }
        }
    }

    /// Runs a handler; `None` when a look-up overran its deadline.
    async fn run(&self, route: &Route, body: bytes::Bytes, incoming: Incoming, left: Duration) -> Option<Handled> {
        let work = route.handle(body, incoming);
        if self.router.changes() {
            return Some(work.await);
        }
        let done = tokio::time::timeout(left + OVERRUN, work).await.ok();
        if done.is_none() {
            tracing::warn!("handler of {} dropped, {OVERRUN:?} after its deadline", route.kind);
        }
        done
    }

    /// Sends an answer; `false` when the broker did not take it.
    async fn answer(&self, request: &Message, reply_to: &str, left: Duration, handled: Handled) -> bool {
        let Handled::Answer(mut body) = handled else { return true };
        if body.len() > BODY_MAX {
            tracing::error!("answer to {} of {} bytes is larger than the bus takes", request.kind, body.len());
            let too_large = Error::new(Code::PayloadTooLarge, "the answer is larger than the bus takes");
            if let Handled::Answer(small) = answer_body::<()>("", Err(too_large)) {
                body = small;
            }
        }
        let mut message = self.bus.message(&request.kind, body);
        message.correlation_id.clone_from(&request.correlation_id);
        message.expires_in = Some(left);
        if let Some(id) = request.header(header::REQUEST) {
            message.headers.insert(header::REQUEST.to_owned(), id.to_owned());
        }
        seal::seal(&self.bus.inner.member.mesh_key, reply_to, &mut message);
        let queue = reply_to.to_owned();
        let to = if self.router.changes() { Destination::Queue(queue) } else { Destination::Answer(queue) };
        match self.bus.inner.transport.publish(to, message).await {
            // The asker is gone, and its reply queue with it: the work was done all the same.
            Ok(()) | Err(crate::Error::Unroutable(_)) => true,
            Err(fault) => {
                tracing::warn!("answer to {} was not sent: {fault}", request.kind);
                false
            }
        }
    }

    async fn take_peer(&self, delivery: Delivery) {
        let admitted = self.router.open_to_peers().and_then(|(peers, results)| {
            // A peer that names a reply queue is not one of the seeds'.
            let request = peers.admit(&delivery.message).filter(|_| delivery.message.reply_to.is_none())?;
            Some((peers, results, request))
        });
        let Some((peers, results, request)) = admitted else {
            return self.dead_letter(delivery, reason::UNAUTHENTICATED);
        };
        let reply = if self.router.changes() {
            // Never dropped half-way.
            peers.run(request).await
        } else {
            let Ok(reply) = tokio::time::timeout(PEER_DEADLINE, peers.run(request)).await else {
                self.bus.count(Count::Expired, "peer");
                return self.dead_letter(delivery, reason::EXPIRED);
            };
            reply
        };
        if let Some(why) = reply.dead_letter {
            return self.dead_letter(delivery, why);
        }
        self.bus.count(Count::Handled, "peer");
        if let Some(body) = reply.body {
            // As the seeds send it: no signature, no correlation, it stands in the body; durable.
            let message = Message { body, persistent: true, ..Message::default() };
            let sent = self.bus.inner.transport.publish(Destination::Queue(results.to_owned()), message).await;
            if let Err(fault) = sent {
                tracing::warn!("answer to a peer was not sent: {fault}");
                return delivery.retry();
            }
        }
        delivery.ack();
    }

    fn dead_letter(&self, delivery: Delivery, why: &'static str) {
        self.bus.count(Count::DeadLettered, why);
        if why == reason::UNAUTHENTICATED {
            self.bus.inner.forged.add(&self.queue, 1);
        }
        tracing::debug!("message dead-lettered from {}: {why}", self.queue);
        delivery.dead_letter(why);
    }
}

fn incoming(delivery: &Delivery, left: Duration) -> Incoming {
    let message = &delivery.message;
    let text = |name| message.header(name).unwrap_or_default().to_owned();
    Incoming {
        request_id: text(header::REQUEST),
        deadline: Instant::now() + left,
        service: message.service.clone(),
        replica: text(header::REPLICA),
        traceparent: message.header(header::TRACE).map(str::to_owned),
        message_id: message.id.clone(),
        redelivered: delivery.redelivered(),
    }
}
