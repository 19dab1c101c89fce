//! One session: notices, heartbeats, streams.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roadstead_auth::identity::Verifier;
use roadstead_contracts::agent::{Notice, StreamHead, StreamTarget};
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::message::ClusterFacts;
use roadstead_contracts::operation::RUN_OPERATION;
use roadstead_runtime::Tasks;
use roadstead_tunnel::{CloseReason, Code, Event, Incoming, Session, Stream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::Instant;

use super::{Core, verbs};
use crate::Result;
use crate::kubernetes::facts::Watcher;

/// Verbs that are worked on at once; more are told that the agent is busy. Each holds at most one answer.
const WORK_MAX: usize = 64;
/// Streams of operations at once: more than are worked on, because a new one takes over from one that is not known to be
/// dead.
const RUNS_MAX: usize = 64;
/// Exchanges with the API server at once: a thousand watches of dashboards and controllers, with room for kubectl.
const EXCHANGES_MAX: usize = 2_048;
/// The hub says hello within this time or is not our hub.
const WELCOME_LIMIT: Duration = Duration::from_secs(15);
/// How long running streams may finish when the process stops: less than the process's own grace.
const LEAVE_LIMIT: Duration = Duration::from_secs(8);
/// The same when the hub asked to move: it ends the session itself before that, as late as it can (12 s).
const MOVED_LIMIT: Duration = Duration::from_secs(15);
/// How long after the next dial streams are still taken on the session of before: the hub may have begun them before it knew.
const MOVED_TAKES: Duration = Duration::from_secs(1);
/// How often a session that ends looks whether its last stream is done.
const LEAVE_LOOK: Duration = Duration::from_millis(50);
/// Heartbeats come neither more often nor less often than this, whatever the hub says.
const HEARTBEATS: std::ops::RangeInclusive<u32> = 1..=300;

/// Why a session ended, as far as the agent acts on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The connection is over; dial again.
    Closed(CloseReason),
    /// The hub asked to come back after a while. What runs on this session goes on meanwhile, and ends it.
    Move {
        /// How long.
        after: Duration,
    },
    /// The hub cut the agent off for good.
    Revoked,
}

pub(super) struct Server {
    core: Arc<Core>,
    session: Session,
    verifier: Arc<Verifier>,
    cluster_id: ClusterId,
    tasks: Tasks,
    room: Arc<Semaphore>,
    exchanges: Arc<Semaphore>,
    runs: Arc<Semaphore>,
    /// Time between heartbeats, once the hub has said hello.
    every: Option<Duration>,
    /// The last report of drift that the hub has.
    drift_taken: watch::Sender<u64>,
    /// While it is here, drift is told over this session.
    drift: Option<oneshot::Sender<Infallible>>,
}

/// What a look at the cluster gives back: the watcher goes along, because only one look happens at a time.
type Look = std::pin::Pin<Box<dyn Future<Output = (Watcher, ClusterFacts)> + Send>>;

impl Server {
    pub(super) fn new(
        core: Arc<Core>,
        session: Session,
        verifier: Verifier,
        cluster_id: ClusterId,
        tasks: Tasks,
    ) -> Self {
        Self {
            core,
            session,
            verifier: Arc::new(verifier),
            cluster_id,
            tasks,
            room: Arc::new(Semaphore::new(WORK_MAX)),
            exchanges: Arc::new(Semaphore::new(EXCHANGES_MAX)),
            runs: Arc::new(Semaphore::new(RUNS_MAX)),
            every: None,
            drift_taken: watch::Sender::new(0),
            drift: None,
        }
    }

    pub(super) async fn run(mut self, mut incoming: Incoming) -> Result<Ended> {
        let mut watcher = Some(Watcher::new(self.core.cluster.clone()));
        let mut look: Option<Look> = None;
        let stopping = self.tasks.stopping();
        // Made once: the loop goes round for each stream.
        let mut stopped = pin!(stopping.cancelled());
        let mut next = pin!(tokio::time::sleep(WELCOME_LIMIT));
        let mut leave_at = None;
        let mut leave_look = pin!(tokio::time::sleep(LEAVE_LOOK));
        loop {
            tokio::select! {
                () = &mut stopped, if leave_at.is_none() => leave_at = Some(Instant::now() + LEAVE_LIMIT),
                () = &mut leave_look, if leave_at.is_some() => {
                    leave_look.as_mut().reset(Instant::now() + LEAVE_LOOK);
                    let late = leave_at.is_some_and(|at| at <= Instant::now());
                    if late || self.session.open_streams() == 0 {
                        self.session.restart("the agent stops");
                        return Ok(Ended::Closed(CloseReason::Moved("the agent stops".to_owned())));
                    }
                }
                event = incoming.next() => match event {
                    None => return Ok(Ended::Closed(self.session.closed().await)),
                    Some(Event::Stream { head, stream }) => self.work(&head, stream, leave_at.is_some()),
                    Some(Event::Notice(bytes)) => {
                        let welcomed = self.every.is_some();
                        match self.notice(&bytes) {
                            // It goes away already, as this asks for.
                            Some(Ended::Move { .. }) if leave_at.is_some() => {}
                            Some(Ended::Move { after }) => {
                                self.tasks.clone().spawn("moved-session", self.finish(incoming, after));
                                return Ok(Ended::Move { after });
                            }
                            Some(ended) => return Ok(ended),
                            None => {}
                        }
                        if !welcomed && self.every.is_some() {
                            self.watch_drift();
                            next.as_mut().reset(Instant::now());
                        }
                    }
                },
                (back, facts) = async {
                    match look.as_mut() {
                        Some(look) => look.await,
                        None => std::future::pending().await,
                    }
                } => {
                    look = None;
                    watcher = Some(back);
                    self.heartbeat(facts);
                }
                () = &mut next => {
                    let Some(every) = self.every else {
                        self.session.close("no welcome");
                        return Ok(Ended::Closed(CloseReason::Silent));
                    };
                    next.as_mut().reset(Instant::now() + every);
                    // One look at a time: a slow one delays the next heartbeat, never the streams.
                    if let Some(mut watcher) = watcher.take() {
                        look = Some(Box::pin(async move {
                            let facts = watcher.look().await;
                            (watcher, facts)
                        }));
                    }
                }
            }
        }
    }

    /// Goes on with what runs while the next session serves, and ends this one. The hub opens nothing here once it has asked
    /// to move; what it had begun before is under way, and refusing that would fail somebody's request.
    async fn finish(mut self, mut incoming: Incoming, after: Duration) {
        let began = Instant::now();
        let takes_until = began + (after + MOVED_TAKES).min(MOVED_LIMIT);
        let mut leave_at = began + MOVED_LIMIT;
        // The next session tells it.
        self.drift = None;
        let stopping = self.tasks.stopping();
        let mut stopped = pin!(stopping.cancelled());
        let mut stops = false;
        let mut look = tokio::time::interval(LEAVE_LOOK);
        loop {
            tokio::select! {
                () = &mut stopped, if !stops => {
                    stops = true;
                    leave_at = leave_at.min(Instant::now() + LEAVE_LIMIT);
                }
                _ = look.tick() => {
                    let now = Instant::now();
                    if now >= leave_at || ((stops || now >= takes_until) && self.session.open_streams() == 0) {
                        return self.session.close("moved");
                    }
                }
                event = incoming.next() => match event {
                    None => return,
                    Some(Event::Stream { head, stream }) if Instant::now() < takes_until => {
                        self.work(&head, stream, stops);
                    }
                    Some(Event::Stream { stream, .. }) => stream.reset(Code::REFUSED),
                    Some(Event::Notice(bytes)) => {
                        if self.notice(&bytes) == Some(Ended::Revoked) {
                            return;
                        }
                    }
                },
            }
        }
    }

    /// Takes a notice in. Says when it ends the session.
    fn notice(&mut self, bytes: &Bytes) -> Option<Ended> {
        match serde_json::from_slice::<Notice>(bytes) {
            Ok(Notice::Welcome { epoch, heartbeat_seconds, key_set }) => {
                tracing::info!(epoch, "the hub says welcome");
                self.update_keys(&key_set);
                let seconds = heartbeat_seconds.clamp(*HEARTBEATS.start(), *HEARTBEATS.end());
                self.every = Some(Duration::from_secs(u64::from(seconds)));
                None
            }
            Ok(Notice::Keys { key_set }) => {
                self.update_keys(&key_set);
                None
            }
            Ok(Notice::Move { after_milliseconds }) => {
                let after = Duration::from_millis(u64::from(after_milliseconds));
                tracing::info!("the hub asks to come back after {after:?}");
                Some(Ended::Move { after })
            }
            Ok(Notice::Revoked {}) => {
                self.session.close("revoked");
                Some(Ended::Revoked)
            }
            Ok(Notice::DriftTaken { revision }) => {
                self.drift_taken.send_replace(revision);
                None
            }
            Ok(Notice::Heartbeat { .. } | Notice::Drift(_)) => None,
            Err(error) => {
                // A later hub may say more than this agent knows.
                tracing::debug!("a notice was not understood: {error}");
                None
            }
        }
    }

    /// Tells the hub what has drifted, for as long as the session lasts.
    fn watch_drift(&mut self) {
        if let Some(drift) = self.core.operations.drift() {
            let (told, moved) = oneshot::channel();
            self.drift = Some(told);
            let watching = crate::drift::watch(drift, self.session.clone(), self.drift_taken.subscribe());
            self.tasks.spawn("drift", async move {
                tokio::select! {
                    () = watching => {}
                    _ = moved => {}
                }
            });
        }
    }

    fn update_keys(&self, key_set: &str) {
        if let Err(error) = self.verifier.update_keys(key_set, self.core.clock.now()) {
            tracing::error!("the hub's signing keys were not accepted, requests will be refused: {error}");
        }
    }

    fn heartbeat(&self, facts: ClusterFacts) {
        let health = facts.health.clone().unwrap_or_default();
        let sent = serde_json::to_vec(&Notice::Heartbeat { facts })
            .map_err(|error| error.to_string())
            .and_then(|body| self.session.notify(body.into()).map_err(|error| error.to_string()));
        match sent {
            Ok(()) => self.core.metrics.heartbeat(&self.cluster_id.to_string(), &health, self.core.clock.now()),
            Err(error) => tracing::debug!("heartbeat was not sent: {error}"),
        }
    }

    /// Does what a stream asks for, if there is room. `leaving`: nothing new is begun, the hub asks the next agent.
    fn work(&self, head: &[u8], stream: Stream, leaving: bool) {
        let Ok(head) = serde_json::from_slice::<StreamHead>(head) else {
            tracing::warn!("a stream's head was not understood");
            return stream.reset(UNKNOWN);
        };
        let room = match &head.target {
            StreamTarget::Kubernetes {} => &self.exchanges,
            StreamTarget::Agent { verb } if verb == RUN_OPERATION => &self.runs,
            StreamTarget::Agent { .. } => &self.room,
        };
        let permit = Arc::clone(room).try_acquire_owned().ok();
        let (core, verifier, cluster_id) = (Arc::clone(&self.core), Arc::clone(&self.verifier), self.cluster_id);
        let tasks = self.tasks.clone();
        self.tasks.spawn("agent-stream", async move {
            let busy = leaving || permit.is_none();
            let asked = verbs::Asked { core: &core, verifier: &verifier, cluster_id, tasks: &tasks, busy };
            if let Err(error) = verbs::answer(&asked, &head, stream).await {
                tracing::debug!("a stream ended early: {error}");
            }
            drop(permit);
        });
    }
}

/// The code for a stream that asks for something this agent does not know.
pub(super) const UNKNOWN: Code = Code::INTERNAL;
