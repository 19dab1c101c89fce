//! What this process carries now, and how a carrier is told to cancel or to stop.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use roadstead_contracts::ids::OperationId;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What a carrier listens to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Handle {
    /// A stop was asked for: the state says so.
    pub cancel: Arc<Notify>,
    /// The lease is lost or the operation has ended: nothing more is to be done.
    pub stop: CancellationToken,
    token: i64,
}

/// Operations by id.
#[derive(Debug, Default)]
pub(crate) struct Running(Mutex<HashMap<OperationId, Handle>>);

impl Running {
    /// Takes one on; `None` when this process carries it already, under an older lease that it has not noticed the loss of.
    pub(crate) fn begin(&self, id: OperationId, token: i64) -> Option<Handle> {
        let mut held = self.lock();
        if let Some(old) = held.get(&id) {
            old.stop.cancel();
            return None;
        }
        let handle = Handle { token, ..Handle::default() };
        held.insert(id, handle.clone());
        Some(handle)
    }

    /// Lets go of it.
    pub(crate) fn end(&self, id: OperationId) {
        self.lock().remove(&id);
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
        self.lock().iter().map(|(id, handle)| (*id, handle.token)).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<OperationId, Handle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
