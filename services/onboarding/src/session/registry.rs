//! Who is connected to this replica. Sharded, so that connecting agents do not wait for each other; no lock is held
//! across an await.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use roadstead_contracts::agent::Notice;
use roadstead_contracts::ids::{AgentId, ClusterId};
use roadstead_contracts::{Code, Error, Result};
use roadstead_tunnel::Session;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use super::drift::Inbox;
use super::{Asked, SeedLink};
use crate::limits::AGENT_IN_FLIGHT;

const SHARDS: usize = 64;

/// What carries an agent's session.
#[derive(Debug)]
pub(crate) enum Link {
    /// The tunnel.
    Tunnel(Session),
    /// JSON texts of the seeds.
    Seed(SeedLink),
}

/// An agent that is here. Small: there are ten thousand of them.
#[derive(Debug)]
pub(crate) struct Held {
    pub agent: AgentId,
    /// Agents of the seeds may have no cluster yet.
    pub cluster: Option<ClusterId>,
    /// Which of the agent's sessions this is; the newest counts.
    pub epoch: i64,
    pub link: Link,
    in_flight: AtomicU32,
    /// Since when no new stream begins here, because it goes to another replica.
    leaving: OnceLock<Instant>,
    /// When a heartbeat was last stored, microseconds since 1970.
    pub(super) stored_at: AtomicI64,
    /// Hash of the facts that were last stored.
    pub(super) stored_facts: AtomicU64,
    /// What it says has drifted, on its way.
    pub(super) drift: Inbox,
}

impl Held {
    pub(crate) fn new(agent: AgentId, cluster: Option<ClusterId>, epoch: i64, link: Link) -> Self {
        Self {
            agent,
            cluster,
            epoch,
            link,
            in_flight: AtomicU32::new(0),
            leaving: OnceLock::new(),
            stored_at: AtomicI64::new(0),
            stored_facts: AtomicU64::new(0),
            drift: Inbox::default(),
        }
    }

    /// A place among the requests of this agent, or `agent_busy`.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Turn> {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= AGENT_IN_FLIGHT {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::of(Code::AgentBusy).retry_after(1));
        }
        Ok(Turn(Arc::clone(self)))
    }

    /// Whether nothing is under way: no request and no stream.
    pub(crate) fn is_quiet(&self) -> bool {
        let streams = match &self.link {
            Link::Tunnel(session) => session.open_streams(),
            Link::Seed(_) => 0,
        };
        self.in_flight.load(Ordering::Relaxed) == 0 && streams == 0
    }

    /// From now on no new stream begins here.
    pub(crate) fn leave(&self) {
        let _ = self.leaving.set(Instant::now());
    }

    /// How long it has been leaving; `None` where it is not.
    pub(crate) fn leaving_for(&self) -> Option<Duration> {
        self.leaving.get().map(Instant::elapsed)
    }

    /// Ends the session, telling the peer the reason.
    pub(crate) fn close(&self, reason: &str) {
        match &self.link {
            Link::Tunnel(session) => session.close(reason),
            Link::Seed(link) => link.close(),
        }
    }

    /// Sends a notice; agents of the seeds know none. A full queue of notices belongs to a peer that takes nothing, which
    /// the tunnel ends by itself.
    pub(crate) fn notify(&self, notice: &Notice) {
        if let (Link::Tunnel(session), Ok(bytes)) = (&self.link, serde_json::to_vec(notice)) {
            let _ = session.notify(Bytes::from(bytes));
        }
    }
}

/// A running request of an agent.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Held>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

type Shard = Mutex<HashMap<AgentId, Arc<Held>>>;
type ClusterShard = Mutex<HashMap<ClusterId, Vec<Arc<Held>>>>;

/// The sessions of this replica.
#[derive(Debug)]
pub(crate) struct Registry {
    hasher: RandomState,
    shards: Box<[Shard]>,
    /// The sessions of each cluster, the newest last; a cluster has one, or two while its agent is replaced.
    clusters: Box<[ClusterShard]>,
    arrived: Notify,
    /// Open questions to agents of the seeds.
    pub(crate) asked: Arc<Asked>,
    count: AtomicUsize,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            clusters: (0..SHARDS).map(|_| Mutex::default()).collect(),
            arrived: Notify::new(),
            asked: Arc::default(),
            count: AtomicUsize::new(0),
        }
    }

    fn shard(&self, agent: AgentId) -> MutexGuard<'_, HashMap<AgentId, Arc<Held>>> {
        let index = usize::try_from(self.hasher.hash_one(agent) % SHARDS as u64).unwrap_or(0);
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are here.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Adds a session. An older one of the same agent is closed; if a newer one is here already, the new one is refused.
    pub(crate) fn insert(&self, held: &Arc<Held>) -> bool {
        let older = match self.shard(held.agent).entry(held.agent) {
            Entry::Occupied(entry) if entry.get().epoch >= held.epoch => return false,
            Entry::Occupied(mut entry) => Some(entry.insert(Arc::clone(held))),
            Entry::Vacant(entry) => {
                entry.insert(Arc::clone(held));
                self.count.fetch_add(1, Ordering::Relaxed);
                None
            }
        };
        self.list(held);
        if let Some(older) = older {
            self.unlist(&older);
            older.close("the agent connected again");
        }
        self.arrived.notify_waiters();
        true
    }

    /// The session of an agent.
    pub(crate) fn get(&self, agent: AgentId) -> Option<Arc<Held>> {
        self.shard(agent).get(&agent).cloned()
    }

    /// The newest session of a cluster.
    pub(crate) fn of_cluster(&self, cluster: ClusterId) -> Option<Arc<Held>> {
        self.cluster_shard(cluster).get(&cluster)?.last().filter(|held| held.leaving.get().is_none()).cloned()
    }

    /// Fires when any session begins.
    pub(crate) fn arrival(&self) -> Notified<'_> {
        self.arrived.notified()
    }

    fn cluster_shard(&self, cluster: ClusterId) -> MutexGuard<'_, HashMap<ClusterId, Vec<Arc<Held>>>> {
        let index = usize::try_from(self.hasher.hash_one(cluster) % SHARDS as u64).unwrap_or(0);
        self.clusters[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn list(&self, held: &Arc<Held>) {
        if let Some(cluster) = held.cluster {
            self.cluster_shard(cluster).entry(cluster).or_default().push(Arc::clone(held));
        }
    }

    fn unlist(&self, held: &Held) {
        let Some(cluster) = held.cluster else { return };
        if let Entry::Occupied(mut entry) = self.cluster_shard(cluster).entry(cluster) {
            entry.get_mut().retain(|known| known.agent != held.agent || known.epoch != held.epoch);
            if entry.get().is_empty() {
                entry.remove();
            }
        }
    }

    /// Removes a session that has ended, unless a newer one took its place.
    pub(crate) fn remove(&self, held: &Held) {
        self.unlist(held);
        let mut shard = self.shard(held.agent);
        if shard.get(&held.agent).is_some_and(|found| found.epoch == held.epoch) {
            shard.remove(&held.agent);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Cuts an agent off for good.
    pub(crate) fn revoke(&self, agent: AgentId) {
        if let Some(held) = self.get(agent) {
            held.notify(&Notice::Revoked {});
            held.close("revoked");
        }
    }

    /// Every session, one shard at a time.
    pub(crate) fn all(&self) -> Vec<Arc<Held>> {
        let mut all = Vec::with_capacity(self.len());
        for shard in &self.shards {
            all.extend(shard.lock().unwrap_or_else(PoisonError::into_inner).values().cloned());
        }
        all
    }
}
