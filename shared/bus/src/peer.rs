//! Peers of the seeds: programs that put the seeds' bodies on the seeds' queues, without a signature and without a reply
//! queue. They are accepted where the design says so, from broker users that the settings list, and answered on the plain
//! results queue.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::message::BODY_MAX;
use crate::transport::Destination;
use crate::{Bus, Error, Message, Result};

/// How long something told to peers waits for them: a queue of theirs that nobody reads must not grow for ever.
const TOLD_LIFE: Duration = Duration::from_secs(3_600);

/// A peer's request.
#[derive(Debug, Clone)]
pub struct PeerRequest {
    /// The broker user, as the broker validated it.
    pub user: String,
    /// The service account that the settings map it to.
    pub account: String,
    /// The seed's body, unread.
    pub body: Bytes,
    /// Id of the message, if the peer gave one.
    pub message_id: Option<String>,
}

/// What becomes of a peer's request.
#[derive(Debug, Clone)]
pub struct PeerReply {
    /// The seed's answer, for the results queue.
    pub body: Option<Bytes>,
    /// Dead-letter the request for this reason.
    pub dead_letter: Option<&'static str>,
}

impl PeerReply {
    /// An answer.
    pub fn answer(body: impl Into<Bytes>) -> Self {
        Self { body: Some(body.into()), dead_letter: None }
    }

    /// Handled, nothing to say.
    pub fn none() -> Self {
        Self { body: None, dead_letter: None }
    }

    /// To the dead letters; see [`crate::reason`].
    pub fn dead_letter(why: &'static str) -> Self {
        Self { body: None, dead_letter: Some(why) }
    }
}

type Handle = Arc<dyn Fn(PeerRequest) -> BoxFuture<'static, PeerReply> + Send + Sync>;

/// Answers peers of the seeds.
#[derive(Clone)]
pub struct PeerHandler {
    accounts: Arc<BTreeMap<String, String>>,
    handle: Handle,
}

impl fmt::Debug for PeerHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerHandler({} peers)", self.accounts.len())
    }
}

impl PeerHandler {
    /// Answers the broker users of `accounts` (broker user → service account, `compat.queue_peers`).
    pub fn new<H, F>(accounts: BTreeMap<String, String>, handle: H) -> Self
    where
        H: Fn(PeerRequest) -> F + Send + Sync + 'static,
        F: Future<Output = PeerReply> + Send + 'static,
    {
        Self { accounts: Arc::new(accounts), handle: Arc::new(move |request| Box::pin(handle(request))) }
    }

    /// The request of a listed peer; `None` for anybody else.
    pub(crate) fn admit(&self, message: &Message) -> Option<PeerRequest> {
        let user = message.user_id.as_ref()?;
        let account = self.accounts.get(user)?;
        Some(PeerRequest {
            user: user.clone(),
            account: account.clone(),
            body: message.body.clone(),
            message_id: (!message.id.is_empty()).then(|| message.id.clone()),
        })
    }

    pub(crate) async fn run(&self, request: PeerRequest) -> PeerReply {
        (self.handle)(request).await
    }
}

impl Bus {
    /// Puts a body on a queue that peers read, as they put theirs there: JSON, durable, unsigned. Where no peer has declared
    /// the queue nobody listens, and it is dropped.
    pub async fn tell_peers(&self, queue: &'static str, body: &(impl Serialize + Sync)) -> Result<()> {
        let body = serde_json::to_vec(body).map_err(|_| Error::Encode(queue))?;
        if body.len() > BODY_MAX {
            return Err(Error::TooLarge(body.len()));
        }
        let message =
            Message { body: body.into(), persistent: true, expires_in: Some(TOLD_LIFE), ..Message::default() };
        match self.inner.transport.publish(Destination::Queue(queue.to_owned()), message).await {
            Ok(()) | Err(Error::Unroutable(_)) => Ok(()),
            Err(fault) => Err(fault),
        }
    }
}
