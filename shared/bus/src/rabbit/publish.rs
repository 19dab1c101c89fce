//! Sends messages, with pipelined confirms.
//!
//! Each publish is a future of its own. Its first poll hands the frames to the connection, under a lock: lapin numbers a
//! message and queues its frames in two steps, and two threads between them would swap their confirms. The rest of the future
//! waits for the confirm. If its caller stops waiting (the answer came first), the future goes to the link's task, which finishes
//! it: lapin keeps a dropped confirm for ever.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation, Connection};
use roadstead_contracts::queue::EVENTS_EXCHANGE;
use tokio::sync::{Notify, Semaphore, mpsc, watch};

use super::connection::{Tries, connect, lost};
use super::{Shared, codec, fault, topology};
use crate::transport::Destination;
use crate::{Error, Message, Result};

/// Messages sent and not confirmed. More than one broker confirms in a second would only sit in buffers.
const IN_FLIGHT_MAX: usize = 4096;

/// The connection that sends, while it stands.
pub(crate) struct Link {
    connection: Arc<Connection>,
    channel: Channel,
    // Answers, which are not confirmed.
    answers: Channel,
    // Dead letters go one at a time: their originals are acknowledged next, so whose confirm it is must be certain.
    letters: Channel,
    one_letter: tokio::sync::Mutex<()>,
    order: Mutex<()>,
    in_flight: Arc<Semaphore>,
    // Bounded by `in_flight`.
    unfinished: mpsc::UnboundedSender<Sending>,
    look: Arc<Notify>,
}

type Sending = BoxFuture<'static, Result<()>>;

impl Link {
    /// Sends a message and waits for its confirm.
    pub(super) async fn publish(&self, shared: &Arc<Shared>, to: Destination, message: Message) -> Result<()> {
        if self.connection.status().blocked() {
            return Err(Error::Disconnected);
        }
        if let Destination::Answer(queue) = &to {
            return self.answer(queue, &message).await;
        }
        let permit = Arc::clone(&self.in_flight).acquire_owned().await.map_err(|_| Error::Disconnected)?;
        let (channel, shared, look) = (self.channel.clone(), Arc::clone(shared), Arc::clone(&self.look));
        let mut sending = Unfinished {
            sending: Some(Box::pin(async move {
                let _permit = permit;
                send(&channel, &shared, &look, to, message).await
            })),
            finish: self.unfinished.clone(),
        };
        let first = poll_fn(|context| {
            let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
            Poll::Ready(sending.poll(context))
        });
        match first.await {
            Poll::Ready(done) => done,
            Poll::Pending => poll_fn(|context| sending.poll(context)).await,
        }
    }

    async fn answer(&self, queue: &str, message: &Message) -> Result<()> {
        let options = BasicPublishOptions::default();
        let properties = codec::properties(message);
        let sent = self.answers.basic_publish("".into(), codec::short(queue), options, &message.body, properties);
        sent.await.map(drop).map_err(|fault| {
            tracing::debug!("an answer was not sent: {fault}");
            self.look.notify_one();
            Error::Disconnected
        })
    }

    /// Whether every channel stands.
    fn is_healthy(&self) -> bool {
        [&self.channel, &self.answers, &self.letters].iter().all(|channel| channel.status().connected())
    }

    /// Sends a dead letter; returns when it is safe.
    pub(super) async fn bury(&self, queue: &str, letter: &Message) -> Result<()> {
        let _turn = self.one_letter.lock().await;
        let mandatory = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let publish = self.letters.basic_publish(
            "".into(),
            codec::short(queue),
            mandatory,
            &letter.body,
            codec::properties(letter),
        );
        let confirm = match publish.await {
            Ok(confirm) => confirm.await,
            Err(fault) => Err(fault),
        };
        match confirm {
            Ok(Confirmation::Ack(None)) => Ok(()),
            Ok(_) => Err(Error::Unroutable(queue.to_owned())),
            Err(_) => {
                self.look.notify_one();
                Err(Error::Disconnected)
            }
        }
    }
}

async fn send(channel: &Channel, shared: &Shared, look: &Notify, to: Destination, message: Message) -> Result<()> {
    let (exchange, key, mandatory) = match &to {
        Destination::Queue(name) | Destination::Answer(name) => ("", name.as_str(), true),
        Destination::Events(key) => (EVENTS_EXCHANGE, *key, false),
    };
    let options = BasicPublishOptions { mandatory, immediate: false };
    let properties = codec::properties(&message);
    let publish = channel.basic_publish(exchange.into(), codec::short(key), options, &message.body, properties);
    let confirmed = match publish.await {
        Ok(confirm) => confirm.await,
        Err(fault) => Err(fault),
    };
    let (taken, returned) = match confirmed {
        Ok(Confirmation::Ack(returned)) => (true, returned),
        Ok(Confirmation::Nack(returned)) => (false, returned),
        Ok(Confirmation::NotRequested) => (true, None),
        Err(fault) => {
            tracing::debug!("a message was not confirmed: {fault}");
            look.notify_one();
            return Err(Error::Disconnected);
        }
    };
    if let Some(returned) = returned {
        // When the broker confirms several at once, lapin hands the returned one to any of them.
        let id = returned.delivery.properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default();
        if id == message.id {
            return Err(Error::Unroutable(key.to_owned()));
        }
        shared.returned(&id);
    }
    if taken { Ok(()) } else { Err(Error::Refused(key.to_owned())) }
}

/// A publish whose caller may go away.
struct Unfinished {
    sending: Option<Sending>,
    finish: mpsc::UnboundedSender<Sending>,
}

impl Unfinished {
    fn poll(&mut self, context: &mut std::task::Context<'_>) -> Poll<Result<()>> {
        let Some(sending) = self.sending.as_mut() else { return Poll::Ready(Err(Error::Disconnected)) };
        let state = Pin::new(sending).poll(context);
        if state.is_ready() {
            self.sending = None;
        }
        state
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(sending) = self.sending.take() {
            // The link's task is gone: then so is the channel, and everything lapin kept for it.
            let _ = self.finish.send(sending);
        }
    }
}

/// Keeps the connection that sends.
pub(super) fn keep(shared: &Arc<Shared>) -> watch::Receiver<Option<Arc<Link>>> {
    let (sender, receiver) = watch::channel(None);
    let part = shared.board.part();
    let shared = Arc::clone(shared);
    let tasks = shared.tasks.clone();
    tasks.support("bus-rabbit-publish", async move {
        let mut tries = Tries::default();
        loop {
            match open(&shared).await {
                Ok((link, unfinished)) => {
                    tries.succeeded();
                    part.up();
                    sender.send_replace(Some(Arc::clone(&link)));
                    let healthy = || link.is_healthy();
                    tokio::select! {
                        () = lost(&link.connection, &part, &link.look, healthy) => {}
                        () = finish(unfinished) => {}
                    }
                    part.down("the message broker is not reachable".to_owned());
                    sender.send_replace(None);
                    tracing::warn!("lost the connection to the message broker (sending)");
                }
                Err(fault) => {
                    part.down(fault::connection_sentence(&fault));
                    tracing::debug!("no connection to the message broker: {fault}");
                }
            }
            tries.wait(&shared).await;
        }
    });
    receiver
}

async fn open(shared: &Shared) -> lapin::Result<(Arc<Link>, mpsc::UnboundedReceiver<Sending>)> {
    let connection = connect(shared, "publish").await?;
    let channel = connection.create_channel().await?;
    topology::declare_events(&channel).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let answers = connection.create_channel().await?;
    let letters = connection.create_channel().await?;
    letters.confirm_select(ConfirmSelectOptions::default()).await?;
    let (unfinished, receiver) = mpsc::unbounded_channel();
    let link = Link {
        connection: Arc::new(connection),
        channel,
        answers,
        letters,
        one_letter: tokio::sync::Mutex::default(),
        order: Mutex::default(),
        in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
        unfinished,
        look: Arc::default(),
    };
    Ok((Arc::new(link), receiver))
}

/// Finishes publishes whose callers went away.
async fn finish(mut unfinished: mpsc::UnboundedReceiver<Sending>) {
    let mut sending = FuturesUnordered::new();
    loop {
        tokio::select! {
            next = unfinished.recv() => match next {
                Some(next) => sending.push(next),
                None => return,
            },
            Some(_) = sending.next() => {}
        }
    }
}
