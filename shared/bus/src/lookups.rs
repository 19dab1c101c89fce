//! Handlers of look-ups that all need the same thing: most of a service's questions are one call of a verb.

use std::fmt;
use std::sync::Arc;

use roadstead_contracts::message::Request;
use roadstead_contracts::queue::Queue;

use crate::{Incoming, Router};

/// A [`Router`] in the making, with what its handlers are given.
pub struct Lookups<A> {
    with: Arc<A>,
    router: Router,
}

impl<A> fmt::Debug for Lookups<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookups").field("router", &self.router).finish_non_exhaustive()
    }
}

impl<A: Send + Sync + 'static> Lookups<A> {
    /// For a shared queue.
    pub fn new(queue: Queue, with: &Arc<A>) -> Self {
        Self { with: Arc::clone(with), router: Router::new(queue) }
    }

    /// Adds a handler.
    #[must_use]
    pub fn on<R, H, F>(self, handler: H) -> Self
    where
        R: Request,
        H: Fn(Arc<A>, R) -> F + Send + Sync + 'static,
        F: Future<Output = roadstead_contracts::Result<R::Reply>> + Send + 'static,
    {
        let with = Arc::clone(&self.with);
        let router = self.router.on(move |request: R, _: Incoming| handler(Arc::clone(&with), request));
        Self { router, ..self }
    }

    /// The handlers.
    pub fn into_router(self) -> Router {
        self.router
    }
}
