//! Requests that wait for their answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::{Error, Message, Result};

/// Most requests under way in one process: each holds a few kilobytes, and a broker on two cores answers some
/// 7,000 a second, so more than this could only wait for its deadline.
const PENDING_MAX: usize = 32_768;

type Answer = Result<Message>;

/// The waiters, by message id.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    waiters: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
}

/// One waiter; dropping it forgets the request.
#[derive(Debug)]
pub(crate) struct Waiter {
    id: String,
    pending: Arc<Pending>,
    receiver: oneshot::Receiver<Answer>,
}

impl Pending {
    /// Registers a request, before it is sent.
    pub(crate) fn register(self: &Arc<Self>, id: String) -> Result<Waiter> {
        let (sender, receiver) = oneshot::channel();
        let mut waiters = self.lock();
        if waiters.len() >= PENDING_MAX {
            return Err(Error::Busy);
        }
        waiters.insert(id.clone(), sender);
        Ok(Waiter { id, pending: Arc::clone(self), receiver })
    }

    /// Hands an answer to its waiter. The first one stands: `false` when nobody waits (any more).
    pub(crate) fn answer(&self, id: &str, answer: Answer) -> bool {
        let waiter = self.lock().remove(id);
        waiter.is_some_and(|waiter| waiter.send(answer).is_ok())
    }

    /// The way back is gone: nobody who waits now will get an answer.
    pub(crate) fn fail_all(&self) {
        let waiters = std::mem::take(&mut *self.lock());
        for (_, waiter) in waiters {
            // A waiter that has just gone needs no answer.
            let _ = waiter.send(Err(Error::Disconnected));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<Answer>>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// Waits for the answer.
    pub(crate) async fn answer(&mut self) -> Answer {
        (&mut self.receiver).await.unwrap_or(Err(Error::Disconnected))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.pending.lock().remove(&self.id);
    }
}
