//! Events: facts fanned out on the topic exchange, each subscriber with a queue of its own.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use roadstead_contracts::event::Event;
use roadstead_contracts::queue::EVENTS_EXCHANGE;
use roadstead_runtime::kill;

use crate::message::reason;
use crate::meter::Count;
use crate::transport::{Delivery, Destination, Shape, Subscription, dead_letter_queue, events_destination};
use crate::{BODY_MAX, Bus, Error, Result, seal};

/// How long an event may take to be confirmed; after that it counts as not sent and stays in the outbox.
const CONFIRM_MAX: Duration = Duration::from_secs(10);
/// Events handled at once by one subscriber.
const PREFETCH: u16 = 32;
/// First wait before an event that a handler could not take is delivered again. Doubles each time, which with
/// [`crate::DELIVERIES_MAX`] rides out a restart of the database.
const RETRY_BASE: Duration = Duration::from_secs(1);

/// Who gets an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscriber {
    /// Every process: its queue lives as long as its connection, what happens meanwhile is missed (caches are short).
    Own,
    /// One process of a group of this name: its queue is durable, nothing is missed.
    Shared(&'static str),
}

type Handle = Arc<dyn Fn(Event) -> BoxFuture<'static, roadstead_contracts::Result<()>> + Send + Sync>;

impl Bus {
    /// Sends an event; returns when the broker has it. An error means: treat it as not sent.
    pub async fn emit(&self, event: &Event) -> Result<()> {
        let kind = event.fact.routing_key();
        let body = serde_json::to_vec(event).map_err(|_| Error::Encode(kind))?;
        if body.len() > BODY_MAX {
            return Err(Error::TooLarge(body.len()));
        }
        let mut message = self.message(kind, body);
        message.id = event.id.to_string();
        message.persistent = true;
        let to = Destination::Events(kind);
        seal::seal(&self.inner.member.mesh_key, &to.signed(), &mut message);
        let sent = tokio::time::timeout(CONFIRM_MAX, self.inner.transport.publish(to, message)).await;
        let sent = sent.unwrap_or(Err(Error::Disconnected));
        kill::point("bus.event_confirmed");
        self.count(if sent.is_ok() { Count::Emitted } else { Count::NotSent }, kind);
        sent
    }

    /// Hands every event that matches a topic pattern (`user.*`, `#`) to the handler, which may run twice for one
    /// event. An error from it means "later" for a [`Subscriber::Shared`], and is only counted for a [`Subscriber::Own`].
    #[expect(
        clippy::unused_async,
        reason = "the bus's verbs are async alike; a transport may have to wait here one day"
    )]
    pub async fn subscribe<H, F>(&self, group: Subscriber, patterns: &[&str], handler: H) -> Result<()>
    where
        H: Fn(Event) -> F + Send + Sync + 'static,
        F: Future<Output = roadstead_contracts::Result<()>> + Send + 'static,
    {
        let handle: Handle = Arc::new(move |event| Box::pin(handler(event)));
        let (bus, subscription) = (self.clone(), self.event_subscription(group, patterns));
        self.each(subscription, "bus-events", "bus-event", move |delivery| {
            let (bus, handle) = (bus.clone(), Arc::clone(&handle));
            async move { bus.take_event(group, delivery, &handle).await }
        });
        Ok(())
    }

    fn event_subscription(&self, group: Subscriber, patterns: &[&str]) -> Subscription {
        let service = self.inner.member.service;
        let (queue, shape, dead) = match group {
            Subscriber::Own => {
                let number = self.next_subscription();
                let queue = format!("roadstead.events.{service}.{}.{number}", self.inner.member.replica);
                (queue, Shape::Fresh, format!("roadstead.events.{service}"))
            }
            Subscriber::Shared(name) => {
                let queue = format!("roadstead.events.{service}.{name}");
                (queue.clone(), Shape::Change, queue)
            }
        };
        Subscription {
            queue,
            shape,
            dead: Some(dead_letter_queue(&dead)),
            results: None,
            patterns: patterns.iter().map(|pattern| (*pattern).to_owned()).collect(),
            prefetch: PREFETCH,
            auto_settle: false,
        }
    }

    async fn take_event(&self, group: Subscriber, delivery: Delivery, handle: &Handle) {
        let message = &delivery.message;
        if !seal::is_sealed(&self.inner.member.mesh_key, &events_destination(&message.kind), message) {
            self.count(Count::DeadLettered, reason::UNAUTHENTICATED);
            self.inner.forged.add(EVENTS_EXCHANGE, 1);
            return delivery.dead_letter(reason::UNAUTHENTICATED);
        }
        let event = serde_json::from_slice::<Event>(&message.body).ok();
        let Some(event) = event.filter(|event| event.fact.routing_key() == message.kind) else {
            self.count(Count::DeadLettered, reason::MALFORMED);
            return delivery.dead_letter(reason::MALFORMED);
        };
        let kind = event.fact.routing_key();
        kill::point("bus.event_received");
        let handled = handle(event).await;
        kill::point("bus.event_handled");
        match (handled, group) {
            (Ok(()), _) => {
                self.count(Count::Received, kind);
                delivery.ack();
            }
            (Err(fault), Subscriber::Own) => {
                self.count(Count::EventFailed, kind);
                tracing::warn!("event {kind} was not taken: {fault}");
                delivery.ack();
            }
            (Err(fault), Subscriber::Shared(name)) => {
                self.count(Count::EventFailed, kind);
                tracing::warn!("event {kind} was not taken by {name}, delivery {}: {fault}", delivery.deliveries);
                tokio::time::sleep(RETRY_BASE * 2u32.saturating_pow(delivery.deliveries.saturating_sub(1))).await;
                delivery.retry();
            }
        }
    }
}
