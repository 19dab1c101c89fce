//! An agent of the seeds: JSON texts, one request and one reply each, correlated by `request_id`.

use std::collections::HashMap;
use std::sync::Arc;

use roadstead_contracts::audit::{Actor, AuditRecord, Ended, Origin, Outcome, Resource};
use roadstead_contracts::ids::{AgentId, ClusterId};
use roadstead_contracts::message::ClusterFacts;
use roadstead_contracts::seed::kubesage::{AgentReply, AgentRequest};
use roadstead_contracts::{Code, Error, Result};
use roadstead_tunnel::ws::TextSocket;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::{Asked, Held, Link};
use crate::app::App;
use crate::domain::cut_facts;
use crate::limits::{AGENT_IN_FLIGHT, SEED_OFFENCES_MAX, SEED_PING_EVERY};
use crate::session::attach::beat;

/// A request on its way to the agent.
#[derive(Debug)]
struct Question {
    request: AgentRequest,
    answer: oneshot::Sender<AgentReply>,
}

/// The way to the task that owns the socket.
#[derive(Debug)]
pub(crate) struct SeedLink {
    // Closing is dropping the sender.
    sender: std::sync::Mutex<Option<mpsc::Sender<Question>>>,
    agent: AgentId,
    asked: Arc<Asked>,
}

impl SeedLink {
    fn sender(&self) -> Option<mpsc::Sender<Question>> {
        self.sender.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Ends the session.
    pub(crate) fn close(&self) {
        self.sender.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    }

    /// Asks and waits; the caller sets the deadline. A caller that goes away frees its place.
    pub(crate) async fn ask(&self, request: AgentRequest) -> Result<AgentReply> {
        let offline = || Error::of(Code::AgentOffline);
        let (answer, answered) = oneshot::channel();
        let sender = self.sender().ok_or_else(offline)?;
        let _noted = self.asked.note(&request.request_id, self.agent);
        sender.try_send(Question { request, answer }).map_err(|fault| match fault {
            mpsc::error::TrySendError::Full(_) => Error::of(Code::AgentBusy).retry_after(1),
            mpsc::error::TrySendError::Closed(_) => offline(),
        })?;
        drop(sender);
        answered.await.map_err(|_| offline())
    }
}

/// First text of an agent.
#[derive(Debug, Deserialize)]
struct Hello {
    #[serde(default)]
    #[expect(
        dead_code,
        reason = "the cluster comes from the registry, never from what an agent says (reliability row W08)"
    )]
    cluster_name: String,
    #[serde(default)]
    metadata: Map<String, Value>,
}

/// The socket of an agent that was let in.
pub(crate) struct SeedSocket<IO> {
    pub socket: TextSocket<IO>,
    pub agent: AgentId,
    pub cluster: Option<ClusterId>,
    pub epoch: i64,
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> SeedSocket<IO> {
    /// Runs the session until either side ends it.
    pub(crate) async fn run(mut self, app: Arc<App>) {
        let (sender, questions) = mpsc::channel(AGENT_IN_FLIGHT as usize);
        let link = Link::Seed(SeedLink {
            sender: std::sync::Mutex::new(Some(sender)),
            agent: self.agent,
            asked: Arc::clone(&app.sessions.asked),
        });
        let held = Arc::new(Held::new(self.agent, self.cluster, self.epoch, link));
        let guard = Guard { app: Arc::clone(&app), held: Arc::clone(&held) };
        let code = match self.greet(&app, &held).await {
            Ok(()) => {
                if app.sessions.insert(&held) {
                    self.exchange(&app, questions).await
                } else {
                    NORMAL
                }
            }
            Err(code) => code,
        };
        let _ = timeout(SEED_PING_EVERY, self.socket.close(code)).await;
        drop(guard);
    }

    /// Takes the first text and answers it.
    async fn greet(&mut self, app: &Arc<App>, held: &Held) -> Result<(), u16> {
        let limit = app.settings.agents.handshake_timeout;
        let Ok(Some(Ok(text))) = timeout(limit, self.socket.receive()).await else { return Err(POLICY) };
        let Ok(hello) = serde_json::from_str::<Hello>(&text) else { return Err(POLICY) };
        // Whose cluster it is, its credential says; that it claims another is worth a record.
        if self.speaker().is_denied_by(&serde_json::from_str(&text).unwrap_or_default()) {
            self.record_mismatch(app);
        }
        let answer = serde_json::json!({
            "status": "connected",
            "agent_id": held.agent.to_string(),
            "message": "Agent connected successfully",
        });
        self.socket.send(answer.to_string()).await.map_err(|_| NORMAL)?;
        beat(app, held, facts_of(&hello.metadata));
        Ok(())
    }

    /// Carries requests and replies; answers the close code.
    async fn exchange(&mut self, app: &Arc<App>, mut questions: mpsc::Receiver<Question>) -> u16 {
        let mut waiting: HashMap<String, oneshot::Sender<AgentReply>> = HashMap::new();
        let (mut offences, mut heard, mut received) = (0, Instant::now(), self.socket.received());
        let mut ticks = interval(SEED_PING_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stopping = app.tasks.stopping();
        loop {
            tokio::select! {
                () = stopping.cancelled() => return RESTART,
                question = questions.recv() => {
                    let Some(Question { request, answer }) = question else { return NORMAL };
                    waiting.retain(|_, answer| !answer.is_closed());
                    let Ok(text) = serde_json::to_string(&request) else { continue };
                    waiting.insert(request.request_id, answer);
                    if !matches!(timeout(roadstead_tunnel::session::SEND_LIMIT, self.socket.send(text)).await, Ok(Ok(()))) {
                        return NORMAL;
                    }
                }
                text = self.socket.receive() => {
                    let Some(Ok(text)) = text else { return NORMAL };
                    heard = Instant::now();
                    let taken = take_text(app, self.speaker(), &text, &mut waiting);
                    if taken == Taken::Foreign {
                        self.record_mismatch(app);
                    }
                    if taken != Taken::Good {
                        app.count_dropped("seed_text");
                        offences += 1;
                        if offences >= SEED_OFFENCES_MAX {
                            return POLICY;
                        }
                    }
                }
                _ = ticks.tick() => {
                    if std::mem::replace(&mut received, self.socket.received()) != received {
                        heard = Instant::now();
                    }
                    if heard.elapsed() >= app.settings.agents.offline_after {
                        return AWAY;
                    }
                    if !matches!(timeout(roadstead_tunnel::session::SEND_LIMIT, self.socket.ping()).await, Ok(Ok(()))) {
                        return NORMAL;
                    }
                }
            }
        }
    }
}

impl<IO> SeedSocket<IO> {
    fn speaker(&self) -> Speaker {
        Speaker { agent: self.agent, cluster: self.cluster }
    }

    /// Who speaks for another is in the audit trail; as often as it may before it is cut off.
    fn record_mismatch(&self, app: &Arc<App>) {
        tracing::warn!("agent {} speaks for another agent and is not heard", self.agent);
        let (id, now) = (app.ids.next(), app.clock.now());
        let actor = Actor::agent(&self.agent.to_string());
        let resource = Resource::id("agent", self.agent);
        let resource = match self.cluster {
            Some(cluster) => resource.in_cluster(cluster),
            None => resource,
        };
        let outcome = Outcome { result: Ended::Refused, code: Some(Code::Forbidden) };
        let record = AuditRecord::outcome(id, now, Origin::default(), actor, "agent.speak", resource, outcome);
        let (app, record) = (Arc::clone(app), record.with("reason", "identity_mismatch"));
        let tasks = app.tasks.clone();
        // Nothing is done, so nothing waits for the record; it is written all the same.
        tasks.spawn("audit-mismatch", async move {
            let _ = app.trail.write(&record).await;
        });
    }
}

/// What a text of an agent was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Good,
    /// It makes no sense.
    Nonsense,
    /// It is about another agent.
    Foreign,
}

/// Close codes of RFC 6455 §7.4.
const NORMAL: u16 = 1000;
const AWAY: u16 = 1001;
const POLICY: u16 = 1008;
const RESTART: u16 = 1012;

/// The agent that a socket was opened for, and its cluster.
#[derive(Clone, Copy)]
struct Speaker {
    agent: AgentId,
    cluster: Option<ClusterId>,
}

impl Speaker {
    /// Whether a text names another agent or another cluster. Names of clusters do not count: agents make them up.
    fn is_denied_by(self, text: &Value) -> bool {
        let named = |name: &str| text.get(name).and_then(Value::as_str);
        let agent = named("agent_id").and_then(|id| id.parse::<AgentId>().ok());
        let cluster = named("cluster_id").and_then(|id| id.parse::<ClusterId>().ok());
        agent.is_some_and(|agent| agent != self.agent) || (cluster.is_some() && cluster != self.cluster)
    }
}

/// A reply goes to whoever waits for it; a status text is life and nothing else.
fn take_text(app: &App, who: Speaker, text: &str, waiting: &mut HashMap<String, oneshot::Sender<AgentReply>>) -> Taken {
    if let Ok(reply) = serde_json::from_str::<AgentReply>(text) {
        match waiting.remove(&reply.request_id) {
            Some(answer) => drop(answer.send(reply)),
            None if app.sessions.asked.of_another(&reply.request_id, who.agent) => return Taken::Foreign,
            // Late: its caller has gone. Not an offence.
            None => app.count_dropped("seed_reply"),
        }
        return Taken::Good;
    }
    let value = serde_json::from_str::<Value>(text).unwrap_or_default();
    if !matches!(value.get("type").and_then(Value::as_str), Some("heartbeat" | "status" | "error")) {
        return Taken::Nonsense;
    }
    // A text that names an agent names the one that sent it.
    if who.is_denied_by(&value) { Taken::Foreign } else { Taken::Good }
}

/// What the first text says about the cluster, as far as we know the words.
fn facts_of(metadata: &Map<String, Value>) -> ClusterFacts {
    let text = |name: &str| metadata.get(name).and_then(Value::as_str).map(str::to_owned);
    cut_facts(ClusterFacts {
        kubernetes_version: text("kubernetes_version"),
        agent_version: text("agent_version"),
        node_count: metadata.get("node_count").and_then(Value::as_u64).and_then(|count| u32::try_from(count).ok()),
        ..ClusterFacts::default()
    })
}

/// However the session ends, it is no longer here.
struct Guard {
    app: Arc<App>,
    held: Arc<Held>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.app.sessions.remove(&self.held);
        self.app.presence.disconnect(self.held.agent, self.held.epoch);
    }
}
