//! Fake agents: thousands in one process, each with its own key pair, enrolment, assertion and tunnel, as the real one has
//! them. They heartbeat, obey orders without doing anything ([`crate::obey`]), and come back when they are lost.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Uri};
use roadstead_auth::agent_key::AgentKey;
use roadstead_contracts::agent::{CONNECT_PATH, ENROL_PATH, Enrol, Enrolled, Notice, SUBPROTOCOL};
use roadstead_contracts::message::ClusterFacts;
use roadstead_contracts::names::{ClusterName, Labels};
use roadstead_runtime::retry::Backoff;
use roadstead_runtime::{Clock as _, Ids, Secret, SystemClock, Tasks};
use roadstead_tunnel::ws::{self, DialError};
use roadstead_tunnel::{Event, Incoming, Options, Role, Session};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use crate::obey::{Deeds, Ledger};

/// Waits between dials: those of the real agent, which come with full jitter.
const RETRY: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(30) };
/// A session that lived this long was a good one: the next wait is short again, as with the real agent.
const STABLE: Duration = Duration::from_secs(60);
/// Spread on top of a time that the hub named, as with the real agent.
const SPREAD: Duration = Duration::from_secs(1);
/// Source addresses: 28,000 ports each, and no two agents look like one machine.
const SOURCES: usize = 200;
/// First connects and enrolments at once; the hub has its own bounds.
const OPENING: usize = 100;

/// How the fleet finds its hub.
#[derive(Debug, Clone)]
pub struct Hub {
    /// Address of the agents' door.
    pub agent_url: Uri,
    /// Certificate to trust.
    pub certificate: Option<PathBuf>,
    /// Number of the first agent: several fleets share a hub.
    pub first: usize,
}

/// Agents that run until this value's tasks are cut.
#[derive(Debug)]
pub struct Fleet {
    shared: Arc<Shared>,
    started: usize,
}

struct Shared {
    hub: Hub,
    address: SocketAddr,
    connector: Option<TlsConnector>,
    client: reqwest::Client,
    clock: SystemClock,
    ids: Ids,
    tasks: Tasks,
    opening: Semaphore,
    connected: AtomicUsize,
    lost: AtomicUsize,
    refused: AtomicUsize,
    deeds: Arc<Deeds>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl Fleet {
    /// An empty fleet.
    pub fn new(hub: Hub, tasks: &Tasks) -> Result<Self> {
        let authority = hub.agent_url.authority().context("the address has no host")?;
        let port = authority.port_u16().context("the address has no port")?;
        let address: SocketAddr =
            SocketAddr::new(authority.host().parse().context("the host is not an address")?, port);
        let mut client = reqwest::Client::builder().no_proxy();
        let mut connector = None;
        if let Some(file) = &hub.certificate {
            client = client.add_root_certificate(reqwest::Certificate::from_pem(&std::fs::read(file)?)?);
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(file).context("failed to read the certificate")?)?;
            let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
            connector = Some(TlsConnector::from(Arc::new(config)));
        }
        let clock = SystemClock;
        let shared = Shared {
            hub,
            address,
            connector,
            client: client.build()?,
            clock,
            ids: Ids::system(SystemClock::shared()),
            tasks: tasks.clone(),
            opening: Semaphore::new(OPENING),
            connected: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            deeds: Arc::default(),
        };
        Ok(Self { shared: Arc::new(shared), started: 0 })
    }

    /// Adds agents that join with the token.
    pub fn grow(&mut self, to: usize, join_token: &Secret) {
        for number in self.started..to {
            let (shared, token) = (Arc::clone(&self.shared), join_token.clone());
            self.shared.tasks.spawn("fake-agent", async move {
                if let Err(fault) = shared.live(number, &token).await {
                    eprintln!("fake agent {number} gave up: {fault:#}");
                }
            });
        }
        self.started = self.started.max(to);
    }

    /// Connected: welcomed by the hub, and not lost since.
    pub fn connected(&self) -> usize {
        self.shared.connected.load(Ordering::Relaxed)
    }

    /// Sessions lost so far.
    pub fn lost(&self) -> usize {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Dials that were refused or failed so far.
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// What they were ordered to do and did.
    pub fn deeds(&self) -> &Deeds {
        &self.shared.deeds
    }
}

/// Where an agent stands.
struct Agent {
    number: usize,
    key: AgentKey,
    id: String,
    /// Survives its sessions.
    ledger: Arc<Ledger>,
}

impl Shared {
    async fn live(&self, number: usize, token: &Secret) -> Result<()> {
        let agent = self.enrol(self.hub.first + number, token).await?;
        let mut attempt = 0;
        let mut first = true;
        loop {
            // Only the first connects queue up here: after a loss every agent is on its own, as in life.
            let place = if first { Some(self.opening.acquire().await?) } else { None };
            let dialled = self.dial(&agent).await;
            drop(place);
            match dialled {
                Ok(session) => {
                    first = false;
                    let began = tokio::time::Instant::now();
                    self.serve(session, &agent.ledger).await;
                    if began.elapsed() > STABLE {
                        attempt = 0;
                    }
                }
                Err(wait) => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    if let Some(wait) = wait {
                        // As the real agent: the hub has spread those it turned away.
                        tokio::time::sleep(wait + self.ids.jitter(SPREAD)).await;
                        continue;
                    }
                }
            }
            tokio::time::sleep(RETRY.delay(attempt, &self.ids)).await;
            attempt += 1;
        }
    }

    async fn enrol(&self, number: usize, token: &Secret) -> Result<Agent> {
        let key = AgentKey::generate().map_err(|_| anyhow::anyhow!("failed to make a key"))?;
        let body = Enrol {
            join_token: token.expose().to_owned(),
            name: Some(ClusterName::parse(&format!("bench-{number:06}"))?),
            public_key: key.public_base64url(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            labels: Labels::default(),
        };
        let url = format!("{}{ENROL_PATH}", self.hub.agent_url.to_string().trim_end_matches('/'));
        for attempt in 0..20 {
            let place = self.opening.acquire().await?;
            let answer = self.client.post(&url).json(&body).send().await.context("failed to enrol")?;
            drop(place);
            match answer.status().as_u16() {
                200 | 201 => {
                    let enrolled: Enrolled = answer.json().await?;
                    let ledger = Arc::new(Ledger::new(Arc::clone(&self.deeds)));
                    return Ok(Agent { number, key, id: enrolled.agent_id, ledger });
                }
                429 | 503 => tokio::time::sleep(RETRY.delay(attempt, &self.ids)).await,
                status => bail!("enrolment was refused with {status}: {}", answer.text().await.unwrap_or_default()),
            }
        }
        bail!("enrolment was put off too often")
    }

    /// Dials once. The error says how long the hub wants to be left alone, if it said so.
    async fn dial(&self, agent: &Agent) -> Result<(Session, Incoming), Option<Duration>> {
        let stream = self.connect(agent.number).await.map_err(|_| None)?;
        let now: DateTime<Utc> = self.clock.now();
        let jti = self.ids.uuid().to_string();
        let assertion = agent.key.sign_dial(&agent.id, now, &jti).map_err(|_| None)?;
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {assertion}")).map_err(|_| None)?);
        let mut parts = self.hub.agent_url.clone().into_parts();
        parts.path_and_query = CONNECT_PATH.parse().ok();
        let uri = Uri::from_parts(parts).map_err(|_| None)?;
        let options = Options::default();
        match &self.connector {
            None => {
                let dialled = ws::client(stream, &uri, SUBPROTOCOL, headers, &self.ids).await.map_err(wanted_wait)?;
                Ok(roadstead_tunnel::start(dialled.socket, Role::Agent, options, &self.tasks))
            }
            Some(connector) => {
                let name = ServerName::from(self.address.ip());
                let stream = connector.connect(name, stream).await.map_err(|_| None)?;
                let dialled = ws::client(stream, &uri, SUBPROTOCOL, headers, &self.ids).await.map_err(wanted_wait)?;
                Ok(roadstead_tunnel::start(dialled.socket, Role::Agent, options, &self.tasks))
            }
        }
    }

    async fn connect(&self, number: usize) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        let last = u8::try_from(number % SOURCES + 2)?;
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)))?;
        let stream = tokio::time::timeout(Duration::from_secs(10), socket.connect(self.address)).await??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Heartbeats and obeys until the session ends.
    async fn serve(&self, (session, mut incoming): (Session, Incoming), ledger: &Arc<Ledger>) {
        let mut every = None;
        let mut next_beat = tokio::time::Instant::now();
        loop {
            let event = tokio::select! {
                event = incoming.next() => event,
                () = tokio::time::sleep_until(next_beat), if every.is_some() => {
                    Self::beat(&session);
                    next_beat += every.unwrap_or_default();
                    continue;
                }
            };
            match event {
                Some(Event::Notice(bytes)) => {
                    if let Ok(Notice::Welcome { heartbeat_seconds, .. }) = serde_json::from_slice(&bytes) {
                        self.connected.fetch_add(1, Ordering::Relaxed);
                        let seconds = Duration::from_secs(heartbeat_seconds.max(1).into());
                        // At once, then spread: ten thousand hearts must not beat together.
                        Self::beat(&session);
                        next_beat = tokio::time::Instant::now() + self.ids.jitter(seconds);
                        every = Some(seconds);
                    }
                }
                Some(Event::Stream { head, stream }) => {
                    let ledger = Arc::clone(ledger);
                    self.tasks.spawn("fake-stream", async move { ledger.answer(&head, stream).await });
                }
                None => break,
            }
        }
        if every.is_some() {
            self.connected.fetch_sub(1, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn beat(session: &Session) {
        let facts = ClusterFacts {
            kubernetes_version: Some("v1.36.3".to_owned()),
            agent_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            platform: Some("linux/amd64".to_owned()),
            node_count: Some(3),
            ready_nodes: Some(3),
            health: Some("healthy".to_owned()),
            issues: Vec::new(),
        };
        if let Ok(text) = serde_json::to_vec(&Notice::Heartbeat { facts }) {
            // A session that has just ended shows in its events.
            let _ = session.notify(Bytes::from(text));
        }
    }
}

fn wanted_wait(error: DialError) -> Option<Duration> {
    let DialError::Refused(response) = error else { return None };
    let seconds = response.headers().get(http::header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
