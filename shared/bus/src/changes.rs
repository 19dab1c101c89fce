//! Handlers of changes: what a message asked for is done once, however often the message comes.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use roadstead_contracts::Result;
use roadstead_contracts::ids::MessageId;
use roadstead_contracts::message::Request;
use roadstead_contracts::queue::Queue;
use serde_json::Value;

use crate::{Incoming, Router};

/// What keeps the answer to a change beside the change.
#[async_trait]
pub trait Remembers: Send + Sync + 'static {
    /// The answer of the first time; `None`: nothing came of it yet.
    async fn reply_of(&self, message: MessageId) -> Result<Option<Value>>;
}

/// A [`Router`] in the making, with what its handlers are given.
pub struct Changes<A> {
    with: Arc<A>,
    router: Router,
}

impl<A> fmt::Debug for Changes<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("router", &self.router).finish_non_exhaustive()
    }
}

impl<A: Remembers> Changes<A> {
    /// For a shared queue.
    pub fn new(queue: Queue, with: &Arc<A>) -> Self {
        Self { with: Arc::clone(with), router: Router::new(queue) }
    }

    /// Adds a handler. A message that is delivered again finds the answer of the first time.
    #[must_use]
    pub fn on<R, H, F>(self, handler: H) -> Self
    where
        R: Request,
        H: Fn(Arc<A>, R, Incoming) -> F + Send + Sync + 'static,
        F: Future<Output = Result<R::Reply>> + Send + 'static,
    {
        let (with, handler) = (Arc::clone(&self.with), Arc::new(handler));
        let router = self.router.on(move |request: R, incoming: Incoming| {
            let (with, handler) = (Arc::clone(&with), Arc::clone(&handler));
            async move {
                if let (true, Ok(message)) = (incoming.redelivered, incoming.message_id.parse::<MessageId>())
                    && let Some(reply) = with.reply_of(message).await?
                    && let Ok(reply) = serde_json::from_value(reply)
                {
                    return Ok(reply);
                }
                handler(with, request, incoming).await
            }
        });
        Self { router, ..self }
    }

    /// The handlers.
    pub fn into_router(self) -> Router {
        self.router
    }
}
