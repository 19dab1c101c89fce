//! Which handler answers which message of a queue.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use roadstead_contracts::message::Request;
use roadstead_contracts::queue::{OPEN_TO_PEERS, Queue};
use tokio::time::Instant;

use crate::call::Outcome;
use crate::transport::{Shape, Subscription, dead_letter_queue};
use crate::{Bus, Error, PeerHandler, Result};

/// What came with a request besides its body.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Id of the client's request.
    pub request_id: String,
    /// Nobody waits for the answer after this.
    pub deadline: Instant,
    /// The service that asks.
    pub service: String,
    /// The replica of it that asks.
    pub replica: String,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// Id of the message: the same each time it is delivered. Handlers of changes look it up first.
    pub message_id: String,
    /// Whether it may have been handled already.
    pub redelivered: bool,
}

/// What a handler made of a message.
pub(crate) enum Handled {
    /// The answer's body.
    Answer(Vec<u8>),
    /// The request could not be read.
    Malformed,
}

type Handle = Arc<dyn Fn(Bytes, Incoming) -> BoxFuture<'static, Handled> + Send + Sync>;

pub(crate) struct Route {
    pub(crate) kind: &'static str,
    queue: &'static str,
    handle: Handle,
}

impl Route {
    pub(crate) fn handle(&self, body: Bytes, incoming: Incoming) -> BoxFuture<'static, Handled> {
        (self.handle)(body, incoming)
    }
}

enum Source {
    Shared(Queue),
    Replica,
}

/// The handlers of one queue.
pub struct Router {
    source: Source,
    routes: HashMap<&'static str, Route>,
    peers: Option<PeerHandler>,
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("kinds", &self.routes.keys()).finish_non_exhaustive()
    }
}

impl Router {
    /// For a shared queue.
    pub fn new(queue: Queue) -> Self {
        Self { source: Source::Shared(queue), routes: HashMap::new(), peers: None }
    }

    /// For this replica's own queue: takes messages of any queue, forwarded by another replica.
    pub fn replica() -> Self {
        Self { source: Source::Replica, routes: HashMap::new(), peers: None }
    }

    /// Answers messages of one kind.
    #[must_use]
    pub fn on<R, H, F>(mut self, handler: H) -> Self
    where
        R: Request,
        H: Fn(R, Incoming) -> F + Send + Sync + 'static,
        F: Future<Output = roadstead_contracts::Result<R::Reply>> + Send + 'static,
    {
        let handle: Handle = Arc::new(move |body, incoming| {
            // Read here: the future must not borrow the handler.
            match serde_json::from_slice::<R>(&body) {
                Ok(request) => {
                    let work = handler(request, incoming);
                    Box::pin(async move { answer_body(R::KIND, work.await) })
                }
                Err(_) => Box::pin(std::future::ready(Handled::Malformed)),
            }
        });
        self.routes.insert(R::KIND, Route { kind: R::KIND, queue: R::QUEUE.requests, handle });
        self
    }

    /// Answers peers of the seeds too, on the queues that are open to them.
    #[must_use]
    pub fn peers(mut self, peers: PeerHandler) -> Self {
        self.peers = Some(peers);
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        let Source::Shared(queue) = &self.source else { return Ok(()) };
        match self.routes.values().find(|route| route.queue != queue.requests) {
            Some(route) => Err(Error::WrongQueue { kind: route.kind, queue: queue.requests.to_owned() }),
            None => Ok(()),
        }
    }

    pub(crate) fn subscription(&self, bus: &Bus, prefetch: u16) -> Subscription {
        let (queue, shape, dead, results) = match &self.source {
            Source::Shared(queue) => (
                queue.requests.to_owned(),
                Shape::from(queue.kind),
                dead_letter_queue(queue.requests),
                self.peer_queue().map(|queue| queue.results.to_owned()),
            ),
            Source::Replica => {
                let service = bus.inner.member.service;
                let dead = dead_letter_queue(&format!("roadstead.replica.{service}"));
                (bus.replica_queue(), Shape::Own, dead, None)
            }
        };
        Subscription { queue, shape, dead: Some(dead), results, patterns: Vec::new(), prefetch, auto_settle: false }
    }

    pub(crate) fn route(&self, kind: &str) -> Option<&Route> {
        self.routes.get(kind)
    }

    /// The handler of peers and where they are answered, if this queue is open to them.
    pub(crate) fn open_to_peers(&self) -> Option<(&PeerHandler, &'static str)> {
        Some((self.peers.as_ref()?, self.peer_queue()?.results))
    }

    /// Whether its messages change something.
    pub(crate) fn changes(&self) -> bool {
        matches!(&self.source, Source::Shared(queue) if queue.kind.carries_changes())
    }

    fn peer_queue(&self) -> Option<&Queue> {
        match &self.source {
            Source::Shared(queue) if self.peers.is_some() && OPEN_TO_PEERS.contains(queue) => Some(queue),
            _ => None,
        }
    }
}

pub(crate) fn answer_body<T: serde::Serialize>(kind: &'static str, outcome: roadstead_contracts::Result<T>) -> Handled {
    let body = match outcome {
        Ok(reply) => Outcome::Ok(reply),
        Err(error) => Outcome::Error(error),
    };
    match serde_json::to_vec(&body) {
        Ok(body) => Handled::Answer(body),
        Err(fault) => {
            tracing::error!("answer to {kind} cannot be written: {fault}");
            Handled::Answer(br#"{"error":{"code":"internal","detail":"Internal error"}}"#.to_vec())
        }
    }
}
