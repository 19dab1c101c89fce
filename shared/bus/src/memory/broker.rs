//! Queues, bindings and consumers of the broker in memory. No I/O, no waiting: every change happens under one lock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;

use super::Receiver;
use crate::message::{DELIVERIES_MAX, header, reason};
use crate::transport::{Arrival, Delivery, Settle, Settler, Shape, Subscription};
use crate::{Error, Message, Result};

/// Most messages that wait in one queue, as on the broker (`rabbit/topology.rs`).
pub(crate) const QUEUE_MAX: usize = 100_000;
/// Most dead letters kept; the oldest go first.
pub(crate) const DEAD_MAX: usize = 10_000;

/// An arrival and where it goes.
pub(super) type Outbound = (Receiver, Arrival);

#[derive(Debug, Default)]
pub(super) struct Broker {
    queues: HashMap<String, Queue>,
    consumers: BTreeMap<u64, Consumer>,
    unsettled: HashMap<u64, Unsettled>,
    bindings: Vec<(String, String)>,
    last_id: u64,
}

#[derive(Debug)]
struct Queue {
    shape: Shape,
    dead: Option<String>,
    waiting: VecDeque<Waiting>,
    consumers: VecDeque<u64>,
}

#[derive(Debug)]
struct Waiting {
    message: Message,
    deliveries: u32,
    dies_at: Option<Instant>,
}

#[derive(Debug)]
struct Unsettled {
    queue: String,
    consumer: u64,
    waiting: Waiting,
}

#[derive(Debug)]
struct Consumer {
    subscription: Subscription,
    receiver: Receiver,
    settler: Arc<dyn Settler>,
    under_way: u16,
}

impl Broker {
    pub(super) fn publish(&mut self, name: &str, message: Message, out: &mut Vec<Outbound>) -> Result<()> {
        let queue = self.queues.get_mut(name).ok_or_else(|| Error::Unroutable(name.to_owned()))?;
        if queue.shape == Shape::Dead {
            while queue.waiting.len() >= DEAD_MAX {
                queue.waiting.pop_front();
            }
        } else if queue.waiting.len() >= QUEUE_MAX {
            return Err(Error::Refused(name.to_owned()));
        }
        let dies_at = message.expires_in.and_then(|life| Instant::now().checked_add(life));
        queue.waiting.push_back(Waiting { message, deliveries: 0, dies_at });
        self.pump(name, out);
        Ok(())
    }

    pub(super) fn publish_event(&mut self, key: &str, message: &Message, out: &mut Vec<Outbound>) {
        let mut queues: Vec<String> =
            self.bindings.iter().filter(|(pattern, _)| matches(pattern, key)).map(|(_, queue)| queue.clone()).collect();
        queues.sort();
        queues.dedup();
        for queue in queues {
            // A subscriber whose queue is full does not stop the others, as on the broker.
            let _ = self.publish(&queue, message.clone(), out);
        }
    }

    pub(super) fn consume(
        &mut self,
        subscription: Subscription,
        receiver: Receiver,
        settler: Arc<dyn Settler>,
        connected: bool,
        out: &mut Vec<Outbound>,
    ) -> u64 {
        let id = self.next_id();
        self.consumers.insert(id, Consumer { subscription, receiver, settler, under_way: 0 });
        if connected {
            self.attach(id, out);
        }
        id
    }

    pub(super) fn attach_all(&mut self, out: &mut Vec<Outbound>) {
        for id in self.consumers.keys().copied().collect::<Vec<_>>() {
            self.attach(id, out);
        }
    }

    /// The broker is lost: who reads is told, what was under way waits again, own queues are gone.
    pub(super) fn detach_all(&mut self, out: &mut Vec<Outbound>) {
        for consumer in self.consumers.values_mut() {
            consumer.under_way = 0;
            out.push((consumer.receiver.clone(), Arrival::Lost));
        }
        for (_, unsettled) in self.unsettled.drain() {
            if let Some(queue) = self.queues.get_mut(&unsettled.queue) {
                queue.waiting.push_front(unsettled.waiting);
            }
        }
        self.queues.retain(|_, queue| !matches!(queue.shape, Shape::Own | Shape::Fresh));
        self.queues.values_mut().for_each(|queue| queue.consumers.clear());
        let queues = &self.queues;
        self.bindings.retain(|(_, queue)| queues.contains_key(queue));
    }

    /// The consumer ends: what it had under way and has not handed out waits again.
    pub(super) fn leave(&mut self, id: u64, out: &mut Vec<Outbound>) {
        let Some(consumer) = self.consumers.remove(&id) else { return };
        let name = consumer.subscription.queue;
        let Some(queue) = self.queues.get_mut(&name) else { return };
        queue.consumers.retain(|other| *other != id);
        if matches!(queue.shape, Shape::Own | Shape::Fresh) {
            self.queues.remove(&name);
            self.bindings.retain(|(_, bound)| *bound != name);
        } else {
            self.pump(&name, out);
        }
    }

    pub(super) fn settle(&mut self, tag: u64, how: Settle, out: &mut Vec<Outbound>) {
        // Unknown after a lost connection: the message waits again already.
        let Some(Unsettled { queue, consumer, mut waiting }) = self.unsettled.remove(&tag) else { return };
        if let Some(consumer) = self.consumers.get_mut(&consumer) {
            consumer.under_way = consumer.under_way.saturating_sub(1);
        }
        match how {
            Settle::Ack => {}
            Settle::Dead(why) => self.bury(&queue, waiting.message, header::REASON, why, out),
            Settle::Requeue => {
                let place = self.queues.get_mut(&queue);
                if place.as_ref().is_some_and(|queue| queue.shape == Shape::Change)
                    && waiting.deliveries >= DELIVERIES_MAX
                {
                    self.bury(&queue, waiting.message, header::FIRST_DEATH, reason::DELIVERY_LIMIT, out);
                } else if let Some(place) = place {
                    waiting.deliveries = waiting.deliveries.max(1);
                    place.waiting.push_front(waiting);
                }
            }
        }
        self.pump(&queue, out);
    }

    pub(super) fn depth(&mut self, name: &str, out: &mut Vec<Outbound>) -> Option<u64> {
        self.expire_all(out);
        self.queues.get(name).map(|queue| queue.waiting.len() as u64)
    }

    pub(super) fn take(&mut self, name: &str, out: &mut Vec<Outbound>) -> Option<Message> {
        self.expire_all(out);
        Some(self.queues.get_mut(name)?.waiting.pop_front()?.message)
    }

    fn attach(&mut self, id: u64, out: &mut Vec<Outbound>) {
        let fresh = self.next_id();
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        if consumer.subscription.shape == Shape::Fresh {
            let base = consumer.subscription.queue.split('#').next().unwrap_or_default();
            consumer.subscription.queue = format!("{base}#{fresh}");
        }
        let Subscription { queue: name, shape, dead, results, patterns, .. } = consumer.subscription.clone();
        out.push((consumer.receiver.clone(), Arrival::Attached(name.clone())));
        self.declare(&name, shape, dead.clone());
        if let Some(dead) = dead {
            self.declare(&dead, Shape::Dead, None);
        }
        if let Some(results) = results {
            self.declare(&results, Shape::Seed, None);
        }
        for pattern in patterns {
            let binding = (pattern, name.clone());
            if !self.bindings.contains(&binding) {
                self.bindings.push(binding);
            }
        }
        if let Some(queue) = self.queues.get_mut(&name) {
            queue.consumers.push_back(id);
        }
        self.pump(&name, out);
    }

    fn declare(&mut self, name: &str, shape: Shape, dead: Option<String>) {
        self.queues.entry(name.to_owned()).or_insert_with(|| Queue {
            shape,
            dead,
            waiting: VecDeque::new(),
            consumers: VecDeque::new(),
        });
    }

    /// Hands waiting messages to consumers in turn, as far as their prefetch goes.
    fn pump(&mut self, name: &str, out: &mut Vec<Outbound>) {
        self.expire(name, out);
        let Some(queue) = self.queues.get_mut(name) else { return };
        while !queue.waiting.is_empty() {
            let ready = queue.consumers.iter().position(|id| {
                self.consumers.get(id).is_some_and(|consumer| {
                    !consumer.receiver.is_closed()
                        && (consumer.subscription.auto_settle || consumer.under_way < consumer.subscription.prefetch)
                })
            });
            let Some(id) = ready.and_then(|index| queue.consumers.remove(index)) else { return };
            queue.consumers.push_back(id);
            let (Some(mut waiting), Some(consumer)) = (queue.waiting.pop_front(), self.consumers.get_mut(&id)) else {
                return;
            };
            waiting.deliveries += 1;
            self.last_id += 1;
            let tag = self.last_id;
            let auto = consumer.subscription.auto_settle;
            let settler = (!auto).then(|| Arc::clone(&consumer.settler));
            let delivery = Delivery::new(waiting.message.clone(), waiting.deliveries, queue.shape, tag, settler);
            if !auto {
                consumer.under_way += 1;
                self.unsettled.insert(tag, Unsettled { queue: name.to_owned(), consumer: id, waiting });
            }
            out.push((consumer.receiver.clone(), Arrival::Message(Box::new(delivery))));
        }
    }

    /// Messages whose time is over leave from the head, as on the broker.
    fn expire(&mut self, name: &str, out: &mut Vec<Outbound>) {
        let now = Instant::now();
        while let Some(queue) = self.queues.get_mut(name) {
            let over = queue.waiting.front().and_then(|first| first.dies_at).is_some_and(|dies_at| dies_at <= now);
            let Some(dead) = over.then(|| queue.waiting.pop_front()).flatten() else { return };
            // The seeds' queues have no dead letters on the broker: what expires there is gone.
            if queue.shape != Shape::Seed {
                self.bury(name, dead.message, header::FIRST_DEATH, reason::EXPIRED, out);
            }
        }
    }

    /// Nothing runs by itself here: a queue that nobody reads is looked at when somebody looks at queues.
    fn expire_all(&mut self, out: &mut Vec<Outbound>) {
        for name in self.queues.keys().cloned().collect::<Vec<_>>() {
            self.expire(&name, out);
        }
    }

    fn bury(&mut self, name: &str, message: Message, by: &str, why: &str, out: &mut Vec<Outbound>) {
        let Some(dead) = self.queues.get(name).and_then(|queue| queue.dead.clone()) else { return };
        let mut letter = message.into_dead_letter(name, why);
        if by != header::REASON {
            letter.headers.remove(header::REASON);
            letter.headers.insert(by.to_owned(), why.to_owned());
        }
        // Declared with its queue and never full: it makes room.
        let _ = self.publish(&dead, letter, out);
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

/// Topic patterns of AMQP 0-9-1 §3.1.3.3: words between dots, `*` is one word, `#` any number.
fn matches(pattern: &str, key: &str) -> bool {
    fn words(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, None) => true,
            (Some((&"#", rest)), _) => words(rest, key) || (!key.is_empty() && words(pattern, &key[1..])),
            (Some((word, rest)), Some((first, others))) => (*word == "*" || word == first) && words(rest, others),
            _ => false,
        }
    }
    words(&pattern.split('.').collect::<Vec<_>>(), &key.split('.').collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn topics_match_as_on_the_broker() {
        for (pattern, key, expected) in [
            ("user.*", "user.created", true),
            ("user.*", "user", false),
            ("user.*", "user.a.b", false),
            ("#", "user.created", true),
            ("user.#", "user", true),
            ("user.#", "user.a.b", true),
            ("*.created", "cluster.created", true),
            ("cluster.created", "cluster.deleted", false),
        ] {
            assert_eq!(matches(pattern, key), expected, "{pattern} {key}");
        }
    }
}
