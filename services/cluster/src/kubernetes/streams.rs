//! Streams to agents whose sessions other processes hold: finds the replica, keeps sessions to it, opens a stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use roadstead_auth::mesh_tls::MeshTls;
use roadstead_bus::{Bus, CallContext};
use roadstead_contracts::agent::{RELAY_OPEN, RelayHead, StreamHead};
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::message::{AgentLocation, LocateAgent};
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::{Ids, SharedClock, Tasks};
use roadstead_tunnel::transport::Framed;
use roadstead_tunnel::{Class, Options, Role, Session, Stream, start};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use super::AgentStreams;
use crate::app::{Answer, Cache};

/// How long a location is believed; a wrong one is noticed when the stream is opened.
const FOUND_FOR: Duration = Duration::from_secs(2);
/// Deadline of the question where an agent is.
const LOCATE_DEADLINE: Duration = Duration::from_secs(5);
/// How long a caller waits for an agent that is just coming back.
const RECONNECT_WAIT: Duration = Duration::from_secs(5);
/// Between two looks for it.
const RECONNECT_LOOK: Duration = Duration::from_millis(250);
/// Connecting to a replica, handshake included: both are in one network.
const DIAL_LIMIT: Duration = Duration::from_secs(3);
/// Streams in one session before another is dialled: one window for all of them should not become the bottleneck.
const STREAMS_PER_SESSION: usize = 256;
/// Sessions to one replica.
const SESSIONS_MAX: usize = 16;
/// Replicas that sessions are kept to. Gone ones are forgotten when a new one appears.
const REPLICAS_MAX: usize = 1_024;
/// Longest refusal that is read.
const REFUSAL_MAX: u64 = 4 * 1024;

/// Streams over the mesh.
pub(crate) struct MeshStreams {
    bus: Bus,
    clock: SharedClock,
    ids: Ids,
    tasks: Tasks,
    tls: TlsConnector,
    places: Cache<ClusterId, AgentLocation>,
    replicas: Mutex<HashMap<String, Arc<Replica>>>,
}

/// Sessions to one replica. The lock is held while one is dialled, so that a burst dials once.
#[derive(Default)]
struct Replica {
    sessions: tokio::sync::Mutex<Vec<Session>>,
}

/// Why a stream was not opened.
enum Miss {
    /// The agent is not there any more: look again.
    Elsewhere(Error),
    /// It is there and does not take the stream.
    Refused(Error),
}

impl MeshStreams {
    pub(crate) fn new(bus: Bus, clock: SharedClock, ids: Ids, tasks: Tasks, tls: &MeshTls) -> Self {
        Self {
            places: Cache::new(Arc::clone(&clock), tasks.clone()),
            tls: TlsConnector::from(Arc::clone(&tls.client)),
            bus,
            clock,
            ids,
            tasks,
            replicas: Mutex::default(),
        }
    }

    async fn place(&self, cluster: ClusterId) -> Result<Arc<AgentLocation>> {
        let (bus, clock) = (self.bus.clone(), Arc::clone(&self.clock));
        let context = CallContext::new(LOCATE_DEADLINE, self.ids.uuid().to_string());
        let ask = move || -> BoxFuture<'static, _> {
            Box::pin(async move {
                let place = bus.call(&LocateAgent { cluster_id: cluster }, &context).await?;
                let until = clock.now() + chrono::Duration::from_std(FOUND_FOR).unwrap_or_default();
                Ok(Answer { value: Arc::new(place), until })
            })
        };
        self.places.get(cluster, ask).await
    }

    fn replica(&self, address: &str) -> Arc<Replica> {
        let mut replicas = self.replicas.lock().unwrap_or_else(PoisonError::into_inner);
        if replicas.len() >= REPLICAS_MAX && !replicas.contains_key(address) {
            replicas.clear();
        }
        Arc::clone(replicas.entry(address.to_owned()).or_default())
    }

    async fn session(&self, address: &str) -> Result<Session> {
        let replica = self.replica(address);
        let mut sessions = replica.sessions.lock().await;
        sessions.retain(|session| session.close_reason().is_none());
        let least = sessions.iter().min_by_key(|session| session.open_streams());
        if let Some(session) = least
            && (session.open_streams() < STREAMS_PER_SESSION || sessions.len() >= SESSIONS_MAX)
        {
            return Ok(session.clone());
        }
        let session = match timeout(DIAL_LIMIT, self.dial(address)).await {
            Ok(Ok(session)) => session,
            Ok(Err(fault)) => {
                tracing::warn!("failed to reach the replica at {address}: {fault}");
                return Err(Error::new(Code::Unavailable, "the replica that holds the agent is not reached"));
            }
            Err(_) => return Err(Error::new(Code::Unavailable, "the replica that holds the agent does not answer")),
        };
        sessions.push(session.clone());
        Ok(session)
    }

    async fn dial(&self, address: &str) -> std::io::Result<Session> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let socket = self.tls.connect(MeshTls::member_name(), socket).await?;
        // Replicas open no streams: what would come in is dropped with the receiver and so refused.
        let (session, _) = start(Framed::new(socket), Role::Hub, Options::jittered(&self.ids), &self.tasks);
        Ok(session)
    }

    async fn open_at(&self, place: &AgentLocation, head: &Bytes, class: Class) -> std::result::Result<Stream, Miss> {
        let session = self.session(&place.address).await.map_err(Miss::Elsewhere)?;
        let mut stream = session.open(head.clone(), class).map_err(|fault| match fault {
            roadstead_tunnel::Error::TooManyStreams => Miss::Refused(Error::of(Code::AgentBusy).retry_after(1)),
            roadstead_tunnel::Error::HeadTooLong(_) => Miss::Refused(Error::of(Code::HeadersTooLarge)),
            _ => Miss::Elsewhere(Error::of(Code::AgentOffline)),
        })?;
        let Ok(first) = stream.read_u8().await else { return Err(Miss::Elsewhere(Error::of(Code::AgentOffline))) };
        if first == RELAY_OPEN {
            return Ok(stream);
        }
        let mut refusal = Vec::new();
        let _ = (&mut stream).take(REFUSAL_MAX).read_to_end(&mut refusal).await;
        let error: Error = serde_json::from_slice(&refusal).unwrap_or_else(|_| Error::of(Code::AgentError));
        Err(if error.code == Code::AgentOffline { Miss::Elsewhere(error) } else { Miss::Refused(error) })
    }
}

#[async_trait]
impl AgentStreams for MeshStreams {
    async fn open(&self, cluster: ClusterId, head: StreamHead, class: Class) -> Result<Stream> {
        let relayed = RelayHead { cluster_id: cluster, interactive: class == Class::Interactive, head };
        let head = Bytes::from(serde_json::to_vec(&relayed).map_err(|_| Error::of(Code::Internal))?);
        let deadline = Instant::now() + RECONNECT_WAIT;
        loop {
            let missed = match self.place(cluster).await {
                Ok(place) => match self.open_at(&place, &head, class).await {
                    Ok(stream) => return Ok(stream),
                    Err(Miss::Refused(error)) => return Err(error),
                    Err(Miss::Elsewhere(error)) => {
                        self.places.evict(|known, _| *known == cluster);
                        error.retry_after(1)
                    }
                },
                // With a time to come back: it was there a moment ago.
                Err(error) if error.code == Code::AgentOffline && error.retry_after.is_some() => error,
                Err(error) => return Err(error),
            };
            if Instant::now() + RECONNECT_LOOK >= deadline {
                return Err(missed);
            }
            sleep(RECONNECT_LOOK).await;
        }
    }
}
