//! RabbitMQ, by AMQP 0-9-1.
//!
//! Two connections: one publishes, one reads, so that a broker that throttles publishers does not stop answers.
//! Each is kept by a loop of our own (`connection.rs`), because lapin's recovery replays exclusive queues under
//! their old names, stops after a number of tries and cannot say why it waits. `publish.rs` sends with pipelined confirms,
//! `consume.rs` reads and settles, `topology.rs` declares, `codec.rs` translates messages.

mod board;
mod codec;
mod connection;
mod consume;
mod fault;
mod publish;
mod topology;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use lapin::options::{BasicGetOptions, QueueDeclareOptions};
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::types::FieldTable;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Channel, Connection};
use roadstead_runtime::client_tls::ClientTls;
use roadstead_runtime::{Ids, Secret, Tasks};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::message::BODY_MAX;
use crate::transport::{Deliveries, Destination, ReturnedHook, Subscription, Transport};
use crate::{Error, Message, Result};

use board::Board;
use publish::Link;

/// How often the two sides say that they live; a broker that vanished without a word is missed after two of them.
const HEARTBEAT_SECONDS: u16 = 10;

/// How to reach the broker.
#[derive(Debug)]
pub struct Options {
    /// `amqp://user:password@host:port/vhost`, or `amqps:`.
    pub url: Secret,
    /// Whom to trust besides the system's authorities, and what to show.
    pub tls: ClientTls,
    /// Name of the connections in the broker's lists.
    pub name: String,
    /// For the jitter of the waits between tries.
    pub ids: Ids,
    /// Where the connections' loops run; they end at the cut.
    pub tasks: Tasks,
}

/// A RabbitMQ broker.
pub struct Rabbit {
    shared: Arc<Shared>,
    publisher: watch::Receiver<Option<Arc<Link>>>,
    reader: watch::Receiver<Option<Arc<Connection>>>,
}

/// What the loops of one broker have in common.
pub(crate) struct Shared {
    uri: AMQPUri,
    tls: OwnedTLSConfig,
    name: String,
    ids: Ids,
    tasks: Tasks,
    board: Arc<Board>,
    returned: Mutex<Vec<ReturnedHook>>,
}

impl fmt::Debug for Rabbit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rabbit({})", self.shared.name)
    }
}

impl Rabbit {
    /// Begins to connect; a broker that is away is waited for. Inside a tokio runtime.
    pub fn open(options: Options) -> Result<Self> {
        let mut uri: AMQPUri = options
            .url
            .expose()
            .parse()
            .map_err(|_| Error::Address("it must be amqp://user:password@host/vhost".to_owned()))?;
        if options.tls.is_set() && uri.scheme != AMQPScheme::AMQPS {
            return Err(Error::Address("it must begin with amqps:// where TLS is asked for".to_owned()));
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        let shared = Arc::new(Shared {
            uri,
            tls: tls_config(options.tls),
            name: options.name,
            ids: options.ids,
            tasks: options.tasks,
            board: Board::new(),
            returned: Mutex::default(),
        });
        let publisher = publish::keep(&shared);
        let reader = connection::keep_reader(&shared);
        Ok(Self { shared, publisher, reader })
    }

    async fn channel(&self) -> Result<Channel> {
        let connection = self.reader.borrow().clone().ok_or(Error::Disconnected)?;
        connection.create_channel().await.map_err(|_| Error::Disconnected)
    }
}

fn tls_config(tls: ClientTls) -> OwnedTLSConfig {
    let identity = tls.identity.map(|identity| OwnedIdentity::PKCS8 {
        pem: identity.chain_pem.into_bytes(),
        key: identity.key_pem.expose().as_bytes().to_vec(),
    });
    OwnedTLSConfig { identity, cert_chain: tls.ca_pem }
}

impl Shared {
    fn returned(&self, id: &str) {
        for hook in self.returned.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            hook(id);
        }
    }
}

#[async_trait]
impl Transport for Rabbit {
    async fn publish(&self, to: Destination, message: Message) -> Result<()> {
        if message.body.len() > BODY_MAX {
            return Err(Error::TooLarge(message.body.len()));
        }
        let link = self.publisher.borrow().clone().ok_or(Error::Disconnected)?;
        link.publish(&self.shared, to, message).await
    }

    fn consume(&self, subscription: Subscription) -> Deliveries {
        let (sender, receiver) = mpsc::unbounded_channel();
        let end = CancellationToken::new();
        let reader =
            consume::Reader::new(&self.shared, self.reader.clone(), self.publisher.clone(), subscription, sender);
        self.shared.tasks.support("bus-rabbit-reader", reader.run(end.clone()));
        Deliveries::new(receiver, move || end.cancel())
    }

    fn connected(&self) -> watch::Receiver<bool> {
        self.shared.board.connected()
    }

    fn detail(&self) -> String {
        self.shared.board.detail()
    }

    async fn depth(&self, queue: &str) -> Result<Option<u64>> {
        let channel = self.channel().await?;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        match channel.queue_declare(codec::short(queue), passive, FieldTable::default()).await {
            Ok(state) => Ok(Some(state.message_count().into())),
            Err(lost) if fault::is_missing(&lost) => Ok(None),
            Err(lost) => Err(fault::refused(&lost, queue)),
        }
    }

    async fn take(&self, queue: &str) -> Result<Option<Message>> {
        let channel = self.channel().await?;
        match channel.basic_get(codec::short(queue), BasicGetOptions { no_ack: true }).await {
            Ok(got) => Ok(got.map(|got| codec::decode(&got.delivery.properties, got.delivery.data.into()))),
            Err(lost) if fault::is_missing(&lost) => Ok(None),
            Err(lost) => Err(fault::refused(&lost, queue)),
        }
    }

    fn on_returned(&self, hook: ReturnedHook) {
        self.shared.returned.lock().unwrap_or_else(PoisonError::into_inner).push(hook);
    }
}
