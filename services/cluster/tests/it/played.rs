//! A front door with a Kubernetes door, and a cluster behind it that a test plays.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use roadstead_cluster::KubernetesLink;
use roadstead_contracts::Result;
use roadstead_contracts::agent::StreamHead;
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::message::SessionFacts;
use roadstead_http_kit::tls::Files;
use roadstead_relay::AgentStreams;
use roadstead_runtime::Tasks;
use roadstead_tunnel::transport::pipe;
use roadstead_tunnel::{Class, Event, Options, Role, Session, Stream, start};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::owners::noon;
use crate::rig::{Rig, Setup};

/// Bytes of an answer without end that are said at once.
const CHUNK: usize = 64 * 1024;

/// An agent whose cluster answers by path, whoever asks: `null` without end.
pub struct Played {
    session: Session,
    /// Heads of the requests that came, with their bodies; `cut` and the path of an answer without end that nobody reads any more.
    pub seen: Arc<Mutex<Vec<String>>>,
    _agent: Session,
}

impl Played {
    #[expect(clippy::disallowed_methods, reason = "a played agent is no part of the service")]
    fn start(answers: BTreeMap<&'static str, Value>) -> Arc<Self> {
        let tasks = Tasks::new();
        let (hub, agent) = pipe();
        let (session, _) = start(hub, Role::Hub, Options::default(), &tasks);
        let (agent, mut incoming) = start(agent, Role::Agent, Options::default(), &tasks);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (heard, answers) = (Arc::clone(&seen), Arc::new(answers));
        tokio::spawn(async move {
            while let Some(event) = incoming.next().await {
                let Event::Stream { mut stream, .. } = event else { continue };
                let (heard, answers) = (Arc::clone(&heard), Arc::clone(&answers));
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else { return };
                        head.push(byte);
                    }
                    let mut text = String::from_utf8(head).unwrap();
                    let length = text
                        .to_ascii_lowercase()
                        .lines()
                        .find_map(|line| line.strip_prefix("content-length: ").and_then(|length| length.parse().ok()));
                    let mut body = vec![0; length.unwrap_or(0)];
                    stream.read_exact(&mut body).await.unwrap();
                    let target = text.split(' ').nth(1).unwrap_or_default().to_owned();
                    let path = target.split('?').next().unwrap_or_default();
                    let missing = json!({"kind": "Status", "reason": "NotFound", "message": "not there"});
                    let (status, answer) = answers.get(path).map_or((404, &missing), |answer| (200, answer));
                    text.push_str(&String::from_utf8_lossy(&body));
                    heard.lock().unwrap().push(text);
                    if answer.is_null() {
                        let head = "HTTP/1.1 200 X\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
                        let mut next = head.to_owned();
                        while stream.write_all(next.as_bytes()).await.is_ok() {
                            next = format!("{CHUNK:x}\r\n{}\r\n", "x".repeat(CHUNK));
                        }
                        heard.lock().unwrap().push(format!("cut {path}"));
                        return;
                    }
                    let answer = answer.to_string();
                    let answer = format!(
                        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{answer}",
                        answer.len()
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Arc::new(Self { session, seen, _agent: agent })
    }

    /// Waits until nobody reads an answer without end any more.
    pub async fn was_cut(&self, path: &str) {
        let cut = format!("cut {path}");
        let began = std::time::Instant::now();
        while !self.seen.lock().unwrap().contains(&cut) {
            assert!(began.elapsed() < std::time::Duration::from_secs(20), "{path} is still being read");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

#[async_trait]
impl AgentStreams for Played {
    async fn open(&self, _: ClusterId, head: StreamHead, class: Class) -> Result<Stream> {
        let head = serde_json::to_vec(&head).unwrap();
        Ok(self.session.open(head.into(), class).unwrap())
    }

    async fn open_session(&self, session: SessionFacts, head: StreamHead, class: Class) -> Result<Stream> {
        self.open(session.cluster_id, head, class).await
    }
}

/// A rig with a Kubernetes door.
pub async fn with_cluster(answers: BTreeMap<&'static str, Value>) -> (Rig, Arc<Played>, tempfile::TempDir) {
    with_cluster_and(answers, &[]).await
}

/// The same with more in its environment.
pub async fn with_cluster_and(
    answers: BTreeMap<&'static str, Value>,
    more: &[(&'static str, &str)],
) -> (Rig, Arc<Played>, tempfile::TempDir) {
    roadstead_runtime::install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let now = noon();
    let authority = roadstead_auth::authority::Authority::generate(now).unwrap();
    let leaf = authority.issue(&["localhost".to_owned()], now).unwrap();
    let file = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    };
    let files = Files { key: file("key.pem", leaf.key.expose()), certificate: file("chain.pem", &leaf.chain) };
    let played = Played::start(answers);
    let streams = Arc::clone(&played) as Arc<dyn AgentStreams>;
    let kubernetes = KubernetesLink { streams, files, authority: authority.certificate.clone() };
    let mut env = vec![("ROADSTEAD_SERVER_KUBERNETES_PORT", "0".to_owned())];
    env.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let rig = Rig::with(Setup { env, kubernetes: Some(kubernetes), ..Setup::default() }).await;
    (rig, played, folder)
}
