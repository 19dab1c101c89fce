//! Group commit of presence: connects, disconnects and heartbeats of many agents in one transaction.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use roadstead_contracts::ids::{AgentId, ReplicaId};
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::{Ids, SharedClock};
use roadstead_store::OutboxRelay;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::limits::{
    BATCH_ROWS, BATCH_WAIT, BEAT_WAIT, CONNECT_WAIT, PRESENCE_QUEUE, PRESENCE_RETRY, REPLICA_LIFE, TURNED_AWAY_SECONDS,
};
use crate::store::{Batch, Beat, Change, Store};

/// What becomes of a connect: the epoch, or `None` when the agent is unknown or revoked.
type Epoch = Result<Option<i64>>;

#[derive(Debug)]
enum Wanted {
    Connect {
        agent: AgentId,
        answer: oneshot::Sender<Epoch>,
    },
    Beat(Beat),
    /// Look at [`Presence::ended`].
    Ended,
}

/// The way to the presence writer, and the time by which presence goes.
#[derive(Debug, Clone)]
pub(crate) struct Presence {
    sender: mpsc::Sender<Wanted>,
    /// The database's clock minus ours, microseconds.
    skew: Arc<AtomicI64>,
    /// Sessions that ended, not in the queue, so that none is ever lost: bounded by the number of sessions.
    ended: Arc<Mutex<Vec<(AgentId, i64)>>>,
    clock: SharedClock,
}

/// The writer's end.
#[derive(Debug)]
pub(crate) struct PresenceQueue(mpsc::Receiver<Wanted>);

impl Presence {
    pub(crate) fn new(clock: SharedClock) -> (Self, PresenceQueue) {
        let (sender, receiver) = mpsc::channel(PRESENCE_QUEUE);
        (Self { sender, skew: Arc::default(), ended: Arc::default(), clock }, PresenceQueue(receiver))
    }

    /// Now by the database's clock, as far as it is known.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now() + TimeDelta::microseconds(self.skew.load(Ordering::Relaxed))
    }

    /// Replicas seen after this are alive.
    pub(crate) fn cutoff(&self) -> DateTime<Utc> {
        self.now() - REPLICA_LIFE
    }

    pub(super) fn set_time(&self, database: DateTime<Utc>, ours: DateTime<Utc>) {
        self.skew.store((database - ours).num_microseconds().unwrap_or(0), Ordering::Relaxed);
    }

    /// Makes the agent this replica's; answers the new session's epoch. `None`: unknown or revoked.
    pub(crate) async fn connect(&self, agent: AgentId) -> Epoch {
        let away = || Error::of(Code::StorageUnavailable).retry_after(TURNED_AWAY_SECONDS);
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.sender.send(Wanted::Connect { agent, answer }).await.map_err(|_| away())?;
            answered.await.map_err(|_| away())?
        };
        timeout(CONNECT_WAIT, asked).await.unwrap_or_else(|_| Err(away()))
    }

    /// The session has ended.
    pub(crate) fn disconnect(&self, agent: AgentId, epoch: i64) {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push((agent, epoch));
        // A full queue means that the writer runs and will look by itself.
        let _ = self.sender.try_send(Wanted::Ended);
    }

    fn take_ended(&self) -> Vec<(AgentId, i64)> {
        std::mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A heartbeat. `false`: the queue is full and it was dropped.
    pub(crate) fn beat(&self, beat: Beat) -> bool {
        self.sender.try_send(Wanted::Beat(beat)).is_ok()
    }
}

/// A connect whose answer is awaited.
type Waiting = HashMap<AgentId, oneshot::Sender<Epoch>>;

/// Collects what belongs in one transaction.
#[derive(Debug, Default)]
struct Collected {
    disconnects: Vec<(AgentId, i64)>,
    connects: Waiting,
    beats: HashMap<AgentId, Beat>,
    /// A second connect of the same agent: its epoch must be the higher one, so it waits for the next transaction.
    later: VecDeque<Wanted>,
}

impl Collected {
    fn rows(&self) -> usize {
        self.disconnects.len() + self.connects.len() + self.beats.len()
    }

    /// Whether nobody waits for it.
    fn is_patient(&self) -> bool {
        self.connects.is_empty() && self.disconnects.is_empty() && !self.beats.is_empty()
    }

    fn add(&mut self, change: Wanted) {
        match change {
            Wanted::Connect { agent, .. } if self.connects.contains_key(&agent) => self.later.push_back(change),
            Wanted::Connect { agent, answer } => drop(self.connects.insert(agent, answer)),
            Wanted::Ended => {}
            Wanted::Beat(mut beat) => {
                if beat.facts.is_none() {
                    beat.facts = self.beats.remove(&beat.agent).and_then(|earlier| earlier.facts);
                }
                self.beats.insert(beat.agent, beat);
            }
        }
    }
}

/// The writer: one per replica, until every sender is gone or the process is cut.
pub(crate) async fn write_presence(
    queue: &mut PresenceQueue,
    store: &dyn Store,
    replica: ReplicaId,
    presence: &Presence,
    ids: &Ids,
    relay: &OutboxRelay,
) {
    let mut kept = Collected::default();
    loop {
        if kept.later.is_empty() && kept.rows() == 0 {
            let Some(first) = queue.0.recv().await else { return };
            kept.add(first);
        }
        for change in std::mem::take(&mut kept.later) {
            kept.add(change);
        }
        let mut until = Instant::now() + if kept.is_patient() { BEAT_WAIT } else { BATCH_WAIT };
        while kept.rows() < BATCH_ROWS {
            match timeout_at(until, queue.0.recv()).await {
                Ok(Some(change)) => {
                    if !matches!(change, Wanted::Beat(_)) {
                        until = until.min(Instant::now() + BATCH_WAIT);
                    }
                    kept.add(change);
                }
                Ok(None) | Err(_) => break,
            }
        }
        kept.disconnects.extend(presence.take_ended());
        if kept.rows() == 0 {
            continue;
        }
        let later = std::mem::take(&mut kept.later);
        kept = write(std::mem::take(&mut kept), store, replica, presence, ids, relay).await;
        kept.later = later;
    }
}

/// Writes one transaction; gives back what must be tried again.
async fn write(
    collected: Collected,
    store: &dyn Store,
    replica: ReplicaId,
    presence: &Presence,
    ids: &Ids,
    relay: &OutboxRelay,
) -> Collected {
    let Collected { disconnects, mut connects, beats, .. } = collected;
    let batch =
        Batch { disconnects, connects: connects.keys().copied().collect(), beats: beats.into_values().collect() };
    let change = Change::own(&presence.clock, ids);
    // Two replicas that write the same agents in another order may be told to try again; once is enough.
    let mut written = store.apply(&batch, replica, &change).await;
    if matches!(written, Err(roadstead_store::Error::Unavailable(_))) {
        written = store.apply(&batch, replica, &change).await;
    }
    match written {
        Ok(epochs) => {
            for (agent, epoch) in epochs {
                if let Some(answer) = connects.remove(&agent) {
                    // The agent may be gone again: then its epoch is ended at once.
                    if answer.send(Ok(Some(epoch))).is_err() {
                        presence.disconnect(agent, epoch);
                    }
                }
            }
            for (_, answer) in connects {
                let _ = answer.send(Ok(None));
            }
            if !batch.disconnects.is_empty() || !batch.connects.is_empty() {
                relay.nudge();
            }
            Collected::default()
        }
        Err(fault) => {
            let shown = Error::from(fault);
            for (_, answer) in connects {
                let _ = answer.send(Err(shown.clone()));
            }
            tokio::time::sleep(PRESENCE_RETRY).await;
            Collected {
                disconnects: batch.disconnects,
                beats: batch.beats.into_iter().map(|beat| (beat.agent, beat)).collect(),
                ..Collected::default()
            }
        }
    }
}
