//! An agent of the seeds: JSON texts, one request and one reply each, correlated by `request_id` (seeds-wire §2.5).

use std::collections::HashMap;
use std::sync::Arc;

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

use super::{Held, Link};
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
        let link = Link::Seed(SeedLink { sender: std::sync::Mutex::new(Some(sender)) });
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
    async fn greet(&mut self, app: &App, held: &Held) -> Result<(), u16> {
        let limit = app.settings.agents.handshake_timeout;
        let Ok(Some(Ok(text))) = timeout(limit, self.socket.receive()).await else { return Err(POLICY) };
        let Ok(hello) = serde_json::from_str::<Hello>(&text) else { return Err(POLICY) };
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
                    if !take_text(app, &text, &mut waiting) {
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

/// Close codes of RFC 6455 §7.4.
const NORMAL: u16 = 1000;
const AWAY: u16 = 1001;
const POLICY: u16 = 1008;
const RESTART: u16 = 1012;

/// A reply goes to whoever waits for it; a status text is life and nothing else. `false`: makes no sense.
fn take_text(app: &App, text: &str, waiting: &mut HashMap<String, oneshot::Sender<AgentReply>>) -> bool {
    if let Ok(reply) = serde_json::from_str::<AgentReply>(text) {
        match waiting.remove(&reply.request_id) {
            Some(answer) => drop(answer.send(reply)),
            // Late: its caller has gone. Not an offence.
            None => app.count_dropped("seed_reply"),
        }
        return true;
    }
    let kind =
        serde_json::from_str::<Value>(text).ok().and_then(|value| value.get("type")?.as_str().map(str::to_owned));
    matches!(kind.as_deref(), Some("heartbeat" | "status" | "error"))
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
