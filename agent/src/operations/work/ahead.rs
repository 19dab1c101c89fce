//! Objects that come next, read while the one before them is applied: reading costs as much time as applying.

use std::collections::VecDeque;

use roadstead_contracts::operation::ObjectKey;
use roadstead_runtime::Tasks;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::kubernetes::Failure;
use crate::kubernetes::objects::Objects;

/// Objects that are read ahead: a few round trips, and at most as many objects in memory.
const AHEAD: usize = 4;

type Read = Result<Option<Value>, Failure>;

/// What was read ahead, and what is to be.
pub(super) struct Ahead {
    next: VecDeque<(usize, ObjectKey)>,
    read: VecDeque<(usize, oneshot::Receiver<Read>)>,
}

impl Ahead {
    /// These, in this order.
    pub(super) fn of(next: VecDeque<(usize, ObjectKey)>) -> Self {
        Self { next, read: VecDeque::new() }
    }

    /// The object at this position as it was a moment ago; none when it was not read.
    pub(super) async fn take(&mut self, position: usize, objects: &Objects, tasks: &Tasks) -> Option<Read> {
        let mut mine = None;
        while self.read.front().is_some_and(|(first, _)| *first == position) {
            mine = self.read.pop_front();
        }
        self.next.retain(|(other, _)| *other != position);
        while self.read.len() < AHEAD
            && let Some((position, key)) = self.next.pop_front()
        {
            let (give, read) = oneshot::channel();
            let objects = objects.clone();
            tasks.spawn("read-ahead", async move {
                // A kind that is not there yet is looked for when its turn comes.
                if let Ok(Some(at)) = objects.find(&key).await {
                    let _ = give.send(objects.get(&at).await);
                }
            });
            self.read.push_back((position, read));
        }
        mine?.1.await.ok()
    }
}
