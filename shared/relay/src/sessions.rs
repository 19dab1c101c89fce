//! Sessions to other members of the mesh, kept and dialled when needed.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roadstead_auth::mesh_tls::MeshTls;
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::sockets::keep_alive;
use roadstead_runtime::{Ids, Tasks};
use roadstead_tunnel::transport::Framed;
use roadstead_tunnel::{Options, Role, Session, start};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Connecting to a member, handshake included: both are in one network.
const DIAL_LIMIT: Duration = Duration::from_secs(3);
/// Streams in one session before another is dialled: one window for all of them should not become the bottleneck.
const STREAMS_PER_SESSION: usize = 256;
/// Sessions to one member.
const SESSIONS_MAX: usize = 16;
/// Members that sessions are kept to. Gone ones are forgotten when a new one appears.
const MEMBERS_MAX: usize = 1_024;

/// Sessions by address.
pub struct Sessions {
    ids: Ids,
    tasks: Tasks,
    tls: TlsConnector,
    members: Mutex<HashMap<String, Arc<Member>>>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

/// Sessions to one member. The lock is held while one is dialled, so that a burst dials once.
#[derive(Default)]
struct Member {
    sessions: tokio::sync::Mutex<Vec<Session>>,
}

impl Sessions {
    /// None yet.
    pub fn new(ids: Ids, tasks: Tasks, tls: &MeshTls) -> Self {
        Self { ids, tasks, tls: TlsConnector::from(Arc::clone(&tls.client)), members: Mutex::default() }
    }

    fn member(&self, address: &str) -> Arc<Member> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        if members.len() >= MEMBERS_MAX && !members.contains_key(address) {
            members.clear();
        }
        Arc::clone(members.entry(address.to_owned()).or_default())
    }

    /// A session to the member at an address with room for another stream.
    pub async fn session(&self, address: &str) -> Result<Session> {
        let member = self.member(address);
        let mut sessions = member.sessions.lock().await;
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
                return Err(Error::new(Code::Unavailable, "the replica that is needed is not reached"));
            }
            Err(_) => return Err(Error::new(Code::Unavailable, "the replica that is needed does not answer")),
        };
        sessions.push(session.clone());
        Ok(session)
    }

    async fn dial(&self, address: &str) -> std::io::Result<Session> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        keep_alive(&socket)?;
        let socket = self.tls.connect(MeshTls::member_name(), socket).await?;
        // Replicas open no streams: what would come in is dropped with the receiver and so refused.
        let (session, _) = start(Framed::new(socket), Role::Hub, Options::jittered(&self.ids), &self.tasks);
        Ok(session)
    }
}
