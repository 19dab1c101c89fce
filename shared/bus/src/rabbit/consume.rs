//! Reads one queue: declares it, hands out its messages, settles them; again and again, over lost channels and connections.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::board::Part;
use super::connection::Tries;
use super::publish::Link;
use super::{Shared, codec, fault, topology};
use crate::Message;
use crate::transport::{Arrival, Delivery, Settle, Settler, Shape, Subscription};

/// Settlements taken at once.
const SETTLE_BATCH: usize = 64;

pub(super) struct Reader {
    shared: Arc<Shared>,
    connection: watch::Receiver<Option<Arc<Connection>>>,
    publisher: watch::Receiver<Option<Arc<Link>>>,
    subscription: Subscription,
    sender: mpsc::UnboundedSender<Arrival>,
    part: Part,
    opened: u32,
}

/// Why a reading ended.
enum Ended {
    /// Nobody wants the messages any more.
    Done,
    /// It broke, with a sentence about it.
    Broken(String),
}

#[derive(Debug)]
struct Settlement {
    tag: u64,
    how: Settle,
    message: Message,
}

#[derive(Debug)]
struct Sender(mpsc::UnboundedSender<Settlement>);

impl Settler for Sender {
    fn settle(&self, tag: u64, how: Settle, message: Message) {
        // After a lost channel nobody listens, and the broker delivers the message again.
        let _ = self.0.send(Settlement { tag, how, message });
    }
}

impl Reader {
    pub(super) fn new(
        shared: &Arc<Shared>,
        connection: watch::Receiver<Option<Arc<Connection>>>,
        publisher: watch::Receiver<Option<Arc<Link>>>,
        subscription: Subscription,
        sender: mpsc::UnboundedSender<Arrival>,
    ) -> Self {
        let part = shared.board.part();
        Self { shared: Arc::clone(shared), connection, publisher, subscription, sender, part, opened: 0 }
    }

    pub(super) async fn run(mut self, end: CancellationToken) {
        let mut tries = Tries::default();
        loop {
            let connection = tokio::select! {
                () = end.cancelled() => return,
                connection = self.connection.wait_for(Option::is_some) => match connection {
                    Ok(connection) => connection.clone(),
                    Err(_) => return,
                },
            };
            let Some(connection) = connection else { continue };
            match self.read(&connection, &end, &mut tries).await {
                Ended::Done => return,
                Ended::Broken(why) => {
                    self.part.down(why);
                    let _ = self.sender.send(Arrival::Lost);
                }
            }
            if connection.status().connected() {
                tracing::warn!("queue {} is not being read: {}", self.subscription.queue, self.shared.board.detail());
                tokio::select! {
                    () = end.cancelled() => return,
                    () = tries.wait(&self.shared) => {}
                }
            } else {
                // The connection's own loop waits and tries; come back when it has a new one.
                let is_old =
                    |now: &Option<Arc<Connection>>| now.as_ref().is_some_and(|now| Arc::ptr_eq(now, &connection));
                tokio::select! {
                    () = end.cancelled() => return,
                    changed = self.connection.wait_for(|now| !is_old(now)) => if changed.is_err() {
                        return;
                    },
                }
            }
        }
    }

    async fn read(&mut self, connection: &Connection, end: &CancellationToken, tries: &mut Tries) -> Ended {
        let name = if self.subscription.shape == Shape::Fresh {
            self.opened += 1;
            format!("{}#{}", self.subscription.queue, self.opened)
        } else {
            self.subscription.queue.clone()
        };
        let (channel, consumer) = match self.open(connection, &name).await {
            Ok(opened) => opened,
            Err((fault, queue)) => return Ended::Broken(fault::queue_sentence(&fault, &queue)),
        };
        tries.succeeded();
        self.part.up();
        let _ = self.sender.send(Arrival::Attached(name.clone()));

        let (settler, settlements) = mpsc::unbounded_channel();
        let mut delivering = std::pin::pin!(self.deliver(&channel, consumer, settler, end));
        let mut settling = std::pin::pin!(self.settle(&channel, settlements));
        tokio::select! {
            finished = &mut delivering => match finished {
                // Told to end: what was handed out is still to be settled. The channel's end puts back the rest.
                Ok(()) => {
                    settling.await;
                    Ended::Done
                }
                Err(why) => Ended::Broken(why),
            },
            () = &mut settling => Ended::Broken(format!("queue {name} is not being read")),
        }
    }

    async fn open(&self, connection: &Connection, name: &str) -> Result<(Channel, Consumer), (lapin::Error, String)> {
        let about = |fault| (fault, name.to_owned());
        let channel = connection.create_channel().await.map_err(about)?;
        topology::declare(&channel, &self.subscription, name).await?;
        if !self.subscription.auto_settle {
            channel.basic_qos(self.subscription.prefetch, BasicQosOptions::default()).await.map_err(about)?;
        }
        let options = BasicConsumeOptions { no_ack: self.subscription.auto_settle, ..BasicConsumeOptions::default() };
        let consumer = channel.basic_consume(codec::short(name), "".into(), options, FieldTable::default());
        Ok((channel.clone(), consumer.await.map_err(about)?))
    }

    /// Hands out messages. `Ok` when told to end and everything that had arrived is handed out or put back.
    async fn deliver(
        &self,
        channel: &Channel,
        mut consumer: Consumer,
        settler: mpsc::UnboundedSender<Settlement>,
        end: &CancellationToken,
    ) -> Result<(), String> {
        let settler: Arc<dyn Settler> = Arc::new(Sender(settler));
        let mut ending = false;
        loop {
            let next = tokio::select! {
                biased;
                () = end.cancelled(), if !ending => {
                    ending = true;
                    // After this the consumer's stream ends by itself.
                    let _ = channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await;
                    continue;
                }
                next = consumer.next() => next,
            };
            match next {
                Some(Ok(delivery)) => {
                    let message = codec::decode(&delivery.properties, delivery.data.into());
                    let deliveries = codec::deliveries(&delivery.properties, delivery.redelivered);
                    let settler = (!self.subscription.auto_settle).then(|| Arc::clone(&settler));
                    let shape = self.subscription.shape;
                    let delivery = Delivery::new(message, deliveries, shape, delivery.delivery_tag, settler);
                    // Refused when nobody listens any more: dropped, it is put back.
                    let _ = self.sender.send(Arrival::Message(Box::new(delivery)));
                }
                _ if ending => return Ok(()),
                Some(Err(fault)) => return Err(fault::queue_sentence(&fault, &self.subscription.queue)),
                None => return Err(format!("queue {} was deleted", self.subscription.queue)),
            }
        }
    }

    /// Tells the broker what became of messages, until every sender of settlements is gone or the channel is.
    async fn settle(&self, channel: &Channel, mut settlements: mpsc::UnboundedReceiver<Settlement>) {
        let mut batch = Vec::with_capacity(SETTLE_BATCH);
        let mut under_way = FuturesUnordered::new();
        let mut open = true;
        while open || !under_way.is_empty() {
            tokio::select! {
                number = settlements.recv_many(&mut batch, SETTLE_BATCH), if open => {
                    open = number > 0;
                    under_way.extend(batch.drain(..).map(|settlement| self.settle_one(channel, settlement)));
                }
                Some(settled) = under_way.next() => {
                    if settled.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn settle_one(&self, channel: &Channel, settlement: Settlement) -> lapin::Result<()> {
        let Settlement { tag, how, message } = settlement;
        match how {
            Settle::Ack => channel.basic_ack(tag, BasicAckOptions::default()).await,
            Settle::Requeue => self.put_back(channel, tag).await,
            Settle::Dead(why) => {
                if self.bury(message, why).await {
                    channel.basic_ack(tag, BasicAckOptions::default()).await
                } else {
                    self.put_back(channel, tag).await
                }
            }
        }
    }

    async fn bury(&self, message: Message, why: &str) -> bool {
        let Some(dead) = &self.subscription.dead else { return true };
        let letter = message.into_dead_letter(&self.subscription.queue, why);
        let link = self.publisher.borrow().clone();
        match link {
            Some(link) => link.bury(dead, &letter).await.is_ok(),
            None => false,
        }
    }

    async fn put_back(&self, channel: &Channel, tag: u64) -> lapin::Result<()> {
        channel.basic_nack(tag, BasicNackOptions { requeue: true, multiple: false }).await
    }
}
