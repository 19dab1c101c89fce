//! What this process carries now, and how a carrier is told to cancel or to stop.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use roadstead_contracts::ids::{ClusterId, OperationId};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What a carrier listens to.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    /// A stop was asked for: the state says so.
    pub cancel: Arc<Notify>,
    /// The lease is lost or the operation has ended: nothing more is to be done.
    pub stop: CancellationToken,
    /// The agent of its cluster came back: what waits for it need not wait any longer.
    pub returned: Arc<Notify>,
    cluster: ClusterId,
    token: i64,
    /// Its carrier has stopped and is about to lay it aside.
    leaving: bool,
}

impl Handle {
    /// Whether the agent came back since this was asked last.
    pub(crate) fn has_returned(&self) -> bool {
        self.returned.notified().now_or_never().is_some()
    }
}

/// Operations by id.
#[derive(Debug, Default)]
pub(crate) struct Running(Mutex<HashMap<OperationId, Handle>>);

impl Running {
    /// Takes one on; `None` when this process carries it already, under an older lease that it has not noticed the loss of.
    pub(crate) fn begin(&self, id: OperationId, token: i64, cluster: ClusterId) -> Option<Handle> {
        let mut held = self.lock();
        if let Some(old) = held.get(&id).filter(|old| !old.leaving) {
            old.stop.cancel();
            return None;
        }
        let handle = Handle {
            cancel: Arc::default(),
            stop: CancellationToken::new(),
            returned: Arc::default(),
            cluster,
            token,
            leaving: false,
        };
        held.insert(id, handle.clone());
        Some(handle)
    }

    /// Does no more with it, but still hears of its agent's return.
    pub(crate) fn leave(&self, id: OperationId, token: i64) {
        if let Some(handle) = self.lock().get_mut(&id).filter(|handle| handle.token == token) {
            handle.leaving = true;
        }
    }

    /// Lets go of it; somebody else may have taken it on meanwhile.
    pub(crate) fn end(&self, id: OperationId, token: i64) {
        let mut held = self.lock();
        if held.get(&id).is_some_and(|handle| handle.token == token) {
            held.remove(&id);
        }
    }

    /// Tells the carriers of a cluster that its agent came back.
    pub(crate) fn returned(&self, cluster: ClusterId) {
        for handle in self.lock().values().filter(|handle| handle.cluster == cluster) {
            handle.returned.notify_one();
        }
    }

    /// Has its carrier look at the state: somebody asked for a stop.
    pub(crate) fn cancel(&self, id: OperationId) {
        if let Some(handle) = self.lock().get(&id) {
            handle.cancel.notify_one();
        }
    }

    /// Has its carrier do nothing more.
    pub(crate) fn stop(&self, id: OperationId) {
        if let Some(handle) = self.lock().get(&id) {
            handle.stop.cancel();
        }
    }

    /// Everything, with the leases' tokens.
    pub(crate) fn all(&self) -> HashMap<OperationId, i64> {
        let held = self.lock();
        held.iter().filter(|(_, handle)| !handle.leaving).map(|(id, handle)| (*id, handle.token)).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<OperationId, Handle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
