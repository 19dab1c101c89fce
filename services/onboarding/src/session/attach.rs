//! The one task of a session: drives the tunnel and takes the agent's notices. Written as a future by hand, because there
//! are ten thousand of them and the compiler's would be larger.

use std::future::Future;
use std::hash::{Hash as _, Hasher as _};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use roadstead_contracts::agent::Notice;
use roadstead_contracts::ids::{AgentId, ClusterId};
use roadstead_contracts::message::ClusterFacts;
use roadstead_telemetry::metrics::labels::{ClusterHeartbeat, Outcome};
use roadstead_tunnel::session::{Driver, Incoming, prepare};
use roadstead_tunnel::transport::Transport;
use roadstead_tunnel::{Event, Options, Role, Session};

use super::drift::take_drift;
use super::{Held, Link};
use crate::app::App;
use crate::domain::cut_facts;
use crate::limits::BEAT_STORE_EVERY;
use crate::store::Beat;

/// An agent that was let in: what its session is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub agent: AgentId,
    pub cluster: ClusterId,
    pub epoch: i64,
}

/// Starts the session of an agent over a transport.
pub(crate) fn attach(app: &Arc<App>, arrival: Arrival, transport: impl Transport) {
    let options = Options { silence_limit: app.settings.agents.offline_after, ..Options::jittered(&app.ids) };
    let (session, incoming, driver) = prepare(transport, Role::Hub, options);
    welcome(app, arrival.epoch, &session);
    let held = Arc::new(Held::new(arrival.agent, Some(arrival.cluster), arrival.epoch, Link::Tunnel(session)));
    let inserted = app.sessions.insert(&held);
    if !inserted {
        held.close("the agent connected again");
    }
    app.metrics.agent_sessions.inc();
    app.tasks.spawn("agent-session", SessionTask { app: Arc::clone(app), held, driver, incoming: Some(incoming) });
}

fn welcome(app: &App, epoch: i64, session: &Session) {
    // Without keys nobody is let in, see `Keys::get`; an agent that got none would refuse every caller.
    let key_set = app.keys.get().map(|keys| keys.key_set.clone()).unwrap_or_default();
    let heartbeat_seconds = u32::try_from(app.settings.agents.heartbeat_interval.as_secs()).unwrap_or(u32::MAX).max(1);
    let notice = Notice::Welcome { epoch, heartbeat_seconds, key_set };
    match serde_json::to_vec(&notice) {
        Ok(bytes) => drop(session.notify(Bytes::from(bytes))),
        Err(fault) => tracing::error!("a welcome cannot be written: {fault}"),
    }
}

struct SessionTask {
    app: Arc<App>,
    held: Arc<Held>,
    driver: Driver,
    /// Dropped when the agent breaks the rules: the tunnel then refuses the rest.
    incoming: Option<Incoming>,
}

impl Future for SessionTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            let driven = Pin::new(&mut this.driver).poll(context);
            let Some(incoming) = this.incoming.as_mut() else {
                return driven;
            };
            match incoming.poll_next(context) {
                Poll::Ready(Some(event)) => take_event(&this.app, &this.held, event),
                Poll::Ready(None) => this.incoming = None,
                Poll::Pending => return driven,
            }
        }
    }
}

impl Drop for SessionTask {
    /// Runs however the task ended: by itself, or cut.
    fn drop(&mut self) {
        self.app.sessions.remove(&self.held);
        self.app.presence.disconnect(self.held.agent, self.held.epoch);
        self.app.metrics.agent_sessions.dec();
        if let Link::Tunnel(session) = &self.held.link {
            let reason = session.close_reason().map(|reason| reason.to_string()).unwrap_or_default();
            tracing::info!(agent_id = %self.held.agent, epoch = self.held.epoch, "agent {} is gone: {reason}", self.held.agent);
        }
    }
}

fn take_event(app: &Arc<App>, held: &Arc<Held>, event: Event) {
    match event {
        // No version of the agent opens streams to the hub: dropping it refuses it.
        Event::Stream { .. } => app.count_dropped("agent_stream"),
        Event::Notice(bytes) => match serde_json::from_slice::<Notice>(&bytes) {
            Ok(Notice::Heartbeat { facts }) => beat(app, held, cut_facts(facts)),
            Ok(Notice::Drift(part)) => take_drift(app, held, part),
            // Notices that a newer agent may send are not an offence; their number is bounded by the tunnel.
            Ok(_) | Err(_) => app.count_dropped("agent_notice"),
        },
    }
}

/// A heartbeat: stored when it says something new, or now and then.
pub(super) fn beat(app: &App, held: &Held, facts: ClusterFacts) {
    let Some(cluster) = held.cluster else { return };
    let now = app.clock.now();
    let status = facts.health.clone().unwrap_or_else(|| "unknown".to_owned());
    app.metrics.agent_heartbeats.get_or_create(&ClusterHeartbeat { cluster_id: cluster.to_string(), status }).inc();
    let hash = hash_of(&facts);
    let changed = held.stored_facts.swap(hash, Ordering::Relaxed) != hash;
    let stored_at = held.stored_at.load(Ordering::Relaxed);
    let due = now.timestamp_micros() - stored_at >= BEAT_STORE_EVERY.num_microseconds().unwrap_or(i64::MAX);
    if !changed && !due {
        return;
    }
    held.stored_at.store(now.timestamp_micros(), Ordering::Relaxed);
    let stored = Beat { agent: held.agent, cluster: Some(cluster), at: now, facts: changed.then_some(facts) };
    if !app.presence.beat(stored) {
        app.count_dropped("heartbeat");
        // The next one is stored, whatever it says.
        held.stored_facts.store(0, Ordering::Relaxed);
    }
}

fn hash_of(facts: &ClusterFacts) -> u64 {
    let mut hasher = std::collections::hash_map::DefaultHasher::new();
    (&facts.kubernetes_version, &facts.agent_version, &facts.platform).hash(&mut hasher);
    (facts.node_count, facts.ready_nodes, &facts.health, &facts.issues).hash(&mut hasher);
    // Zero stands for "nothing stored yet".
    hasher.finish().max(1)
}

impl App {
    /// Counts something that was dropped.
    pub(crate) fn count_dropped(&self, outcome: &'static str) {
        self.metrics.dropped.get_or_create(&Outcome { outcome }).inc();
    }
}
