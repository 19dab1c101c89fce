//! A message as it travels, independent of the broker.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

/// Largest body: commands are small, bytes of streams ride the tunnel, and RabbitMQ slows down well before its own limit.
pub const BODY_MAX: usize = 1024 * 1024;
/// How much of an oversized body is kept when it is dead-lettered: enough to see what it was.
pub(crate) const TRUNCATED_BODY: usize = 64 * 1024;
/// Times a message of a change queue is delivered before it is dead-lettered (`x-delivery-limit` stands behind it).
pub const DELIVERIES_MAX: u32 = 5;

/// Names of our headers.
pub mod header {
    /// HMAC over the message, see `seal.rs`.
    pub const SIGNATURE: &str = "x-roadstead-signature";
    /// Absolute deadline, milliseconds since 1970.
    pub const DEADLINE: &str = "x-roadstead-deadline";
    /// The replica that sent it.
    pub const REPLICA: &str = "x-roadstead-replica";
    /// Id of the client's request.
    pub const REQUEST: &str = "x-roadstead-request-id";
    /// W3C trace context.
    pub const TRACE: &str = "traceparent";
    /// Why the message was dead-lettered by us, see [`super::reason`].
    pub const REASON: &str = "x-roadstead-reason";
    /// The queue a dead letter was read from.
    pub const QUEUE: &str = "x-roadstead-queue";
    /// Why the message was dead-lettered by the broker (`expired`, `delivery_limit`, `maxlen`).
    pub const FIRST_DEATH: &str = "x-first-death-reason";
}

/// Why a message was dead-lettered.
pub mod reason {
    /// No signature, or a wrong one, or a peer that is not listed.
    pub const UNAUTHENTICATED: &str = "unauthenticated";
    /// The deadline had passed before work began.
    pub const EXPIRED: &str = "expired";
    /// The body is not what its kind says.
    pub const MALFORMED: &str = "malformed";
    /// A kind, or a version of one, that this service does not know.
    pub const UNKNOWN_KIND: &str = "unknown_kind";
    /// Larger than [`super::BODY_MAX`].
    pub const TOO_LARGE: &str = "too_large";
    /// No reply queue, or one that is not a reply queue.
    pub const BAD_REPLY_QUEUE: &str = "bad_reply_queue";
    /// Its handler failed each time it was delivered.
    pub const DELIVERY_LIMIT: &str = "delivery_limit";
    /// Its handler panicked.
    pub const PANICKED: &str = "handler_panicked";
}

/// A message.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Id: the same for every delivery.
    pub id: String,
    /// Kind with its version; the routing key of an event.
    pub kind: String,
    /// Queue that takes the answer.
    pub reply_to: Option<String>,
    /// Id of the message that this one answers.
    pub correlation_id: Option<String>,
    /// The service that sent it.
    pub service: String,
    /// Broker user that sent it, validated by the broker. Only peers of the seeds set it.
    pub user_id: Option<String>,
    /// Time to live in a queue.
    pub expires_in: Option<Duration>,
    /// Whether it must survive a restart of the broker.
    pub persistent: bool,
    /// Text headers.
    pub headers: BTreeMap<String, String>,
    /// JSON.
    pub body: Bytes,
}

impl Message {
    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Why it was dead-lettered, by us or by the broker.
    pub fn dead_reason(&self) -> Option<&str> {
        self.header(header::REASON).or_else(|| self.header(header::FIRST_DEATH))
    }

    /// The dead letter made of this message. It outlives the deadline, and its body is cut if it was too large.
    pub(crate) fn into_dead_letter(mut self, queue: &str, why: &str) -> Self {
        self.headers.insert(header::REASON.to_owned(), why.to_owned());
        self.headers.insert(header::QUEUE.to_owned(), queue.to_owned());
        self.expires_in = None;
        self.persistent = true;
        // A peer's validated user belongs to its connection: the broker would refuse it from ours.
        if let Some(user) = self.user_id.take() {
            self.headers.insert("x-roadstead-peer".to_owned(), user);
        }
        if self.body.len() > BODY_MAX {
            self.body = self.body.slice(..TRUNCATED_BODY);
        }
        self
    }
}

// The body never reaches a log.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("service", &self.service)
            .field("body_len", &self.body.len())
            .finish_non_exhaustive()
    }
}
