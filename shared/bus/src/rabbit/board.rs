//! Who is connected and who is not, and why: one line for each connection and each queue that is read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// The state of every part; ready when all are.
#[derive(Debug)]
pub(super) struct Board {
    // The sentence about why a part is not up, or `None` when it is.
    parts: Mutex<(u64, BTreeMap<u64, Option<String>>)>,
    connected: watch::Sender<bool>,
}

/// One part's line; taken off the board when dropped.
#[derive(Debug)]
pub(super) struct Part {
    id: u64,
    board: Arc<Board>,
}

impl Board {
    pub(super) fn new() -> Arc<Self> {
        let (connected, _) = watch::channel(false);
        Arc::new(Self { parts: Mutex::default(), connected })
    }

    /// A new part, down until it says otherwise.
    pub(super) fn part(self: &Arc<Self>) -> Part {
        let mut parts = self.lock();
        parts.0 += 1;
        let id = parts.0;
        parts.1.insert(id, Some("connecting to the message broker".to_owned()));
        self.publish(&parts);
        drop(parts);
        Part { id, board: Arc::clone(self) }
    }

    pub(super) fn connected(&self) -> watch::Receiver<bool> {
        self.connected.subscribe()
    }

    /// The first part's sentence: connections stand before queues.
    pub(super) fn detail(&self) -> String {
        self.lock().1.values().flatten().next().cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Option<String>>)> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, parts: &MutexGuard<'_, (u64, BTreeMap<u64, Option<String>>)>) {
        let all = parts.1.values().all(Option::is_none);
        self.connected.send_if_modified(|connected| std::mem::replace(connected, all) != all);
    }
}

impl Part {
    pub(super) fn up(&self) {
        self.set(None);
    }

    pub(super) fn down(&self, why: String) {
        self.set(Some(why));
    }

    fn set(&self, state: Option<String>) {
        let mut parts = self.board.lock();
        parts.1.insert(self.id, state);
        self.board.publish(&parts);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut parts = self.board.lock();
        parts.1.remove(&self.id);
        self.board.publish(&parts);
    }
}
