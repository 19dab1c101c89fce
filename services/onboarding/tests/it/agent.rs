//! An agent made of the tunnel and the contracts alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use roadstead_auth::agent_key::AgentKey;
use roadstead_contracts::agent::{
    CONNECT_PATH, ENROL_PATH, Enrolled, NamespaceInfo, NamespaceList, Notice, SUBPROTOCOL, StreamHead, VerbAnswer,
};
use roadstead_contracts::ids::AgentId;
use roadstead_contracts::message::ClusterFacts;
use roadstead_runtime::{Ids, Secret, SystemClock, Tasks};
use roadstead_tunnel::ws::{DialError, client};
use roadstead_tunnel::{Event, Incoming, Options, Role, Session, Stream, start};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::rig::Rig;
use crate::wire::{Answer, post};

/// An agent that may dial.
#[derive(Clone)]
pub struct Joined {
    pub key: Arc<AgentKey>,
    pub enrolled: Enrolled,
}

impl Joined {
    pub fn id(&self) -> AgentId {
        self.enrolled.agent_id.parse().unwrap()
    }
}

pub fn enrol_body(token: &str, name: Option<&str>, key: &AgentKey) -> String {
    json!({
        "join_token": token, "name": name, "public_key": key.public_base64url(), "agent_version": "1.0.0",
        "labels": {"site": "here"},
    })
    .to_string()
}

pub async fn try_enrol(address: SocketAddr, token: &str, name: Option<&str>, key: &AgentKey) -> Answer {
    post(address, ENROL_PATH, &enrol_body(token, name, key)).await
}

pub async fn enrol(address: SocketAddr, token: &str, name: Option<&str>) -> Joined {
    let key = AgentKey::generate().unwrap();
    let answer = try_enrol(address, token, name, &key).await;
    assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
    Joined { key: Arc::new(key), enrolled: serde_json::from_slice(&answer.body).unwrap() }
}

/// A connected agent.
pub struct Agent {
    pub session: Session,
    pub incoming: Incoming,
    pub tasks: Tasks,
    pub epoch: i64,
}

pub fn assertion(joined: &Joined, seconds: i64) -> String {
    let ids = Ids::system(SystemClock::shared());
    let now = roadstead_runtime::Clock::now(&SystemClock) + chrono::TimeDelta::seconds(seconds);
    joined.key.sign_dial(&joined.enrolled.agent_id, now, &ids.uuid().to_string()).unwrap()
}

pub async fn try_dial(address: SocketAddr, joined: &Joined) -> Result<Agent, DialError> {
    let ids = Ids::system(SystemClock::shared());
    let io = TcpStream::connect(address).await.map_err(|_| DialError::Timeout)?;
    let mut headers = HeaderMap::new();
    let bearer = format!("Bearer {}", Secret::new(assertion(joined, 0)).expose());
    headers.insert(AUTHORIZATION, HeaderValue::from_str(&bearer).unwrap());
    let uri = format!("http://{address}{CONNECT_PATH}").parse().unwrap();
    let dialled = client(io, &uri, SUBPROTOCOL, headers, &ids).await?;
    let tasks = Tasks::new();
    let (session, mut incoming) = start(dialled.socket, Role::Agent, Options::default(), &tasks);
    let Some(Event::Notice(bytes)) = incoming.next().await else { return Err(DialError::Timeout) };
    let Notice::Welcome { epoch, key_set, heartbeat_seconds } = serde_json::from_slice(&bytes).unwrap() else {
        panic!("not a welcome")
    };
    assert!(!key_set.is_empty() && heartbeat_seconds > 0);
    Ok(Agent { session, incoming, tasks, epoch })
}

pub async fn dial(address: SocketAddr, joined: &Joined) -> Agent {
    try_dial(address, joined).await.unwrap()
}

impl Agent {
    pub fn beat(&self, facts: ClusterFacts) {
        let notice = serde_json::to_vec(&Notice::Heartbeat { facts }).unwrap();
        self.session.notify(Bytes::from(notice)).unwrap();
    }

    /// Waits for a notice that is wanted.
    pub async fn notice(&mut self, wanted: impl Fn(&Notice) -> bool) -> bool {
        while let Some(event) = self.incoming.next().await {
            if let Event::Notice(bytes) = event
                && wanted(&serde_json::from_slice(&bytes).unwrap())
            {
                return true;
            }
        }
        false
    }

    /// Waits for a stream.
    pub async fn stream(&mut self) -> Stream {
        loop {
            if let Event::Stream { stream, .. } = self.incoming.next().await.expect("the session is over") {
                return stream;
            }
        }
    }

    /// Answers every question with these names, until the session ends.
    pub fn answer_with(self, names: &'static [&'static str]) -> (Session, Arc<AtomicU32>) {
        let count = Arc::new(AtomicU32::new(0));
        let (session, counted) = (self.session.clone(), Arc::clone(&count));
        let mut incoming = self.incoming;
        let tasks = self.tasks.clone();
        self.tasks.spawn("agent", async move {
            while let Some(event) = incoming.next().await {
                if let Event::Stream { head, stream } = event {
                    counted.fetch_add(1, Ordering::SeqCst);
                    tasks.spawn("verb", answer(head, stream, names));
                }
            }
        });
        (session, count)
    }
}

pub async fn read_all(stream: &mut Stream) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(chunk) = stream.chunk().await.unwrap() {
        body.extend_from_slice(&chunk);
    }
    body
}

async fn answer(head: Bytes, mut stream: Stream, names: &[&str]) {
    let head: StreamHead = serde_json::from_slice(&head).unwrap();
    assert!(head.assertion.is_some());
    assert_eq!(read_all(&mut stream).await, b"{}");
    let namespaces = names
        .iter()
        .map(|name| NamespaceInfo {
            name: (*name).to_owned(),
            status: "Active".to_owned(),
            created_at: Some("2024-01-02T03:04:05Z".to_owned()),
            labels: std::collections::BTreeMap::default(),
            annotations: std::collections::BTreeMap::default(),
        })
        .collect();
    let answer = serde_json::to_vec(&VerbAnswer::Ok(NamespaceList { namespaces })).unwrap();
    let _ = stream.write_all(&answer).await;
    stream.finish();
    // Dropping it before the hub has read would cut it.
    let _ = stream.chunk().await;
}

/// A cluster of alice with its agent connected.
pub async fn connected(rig: &Rig, name: &str) -> (Joined, Agent) {
    let (token, _) = rig.cluster(&rig.alice, name).await;
    let joined = enrol(rig.address(), &token, None).await;
    let agent = dial(rig.address(), &joined).await;
    (joined, agent)
}
