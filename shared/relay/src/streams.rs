//! Streams to agents whose sessions other processes hold: finds the replica and opens a stream there.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use roadstead_auth::mesh_tls::MeshTls;
use roadstead_bus::Bus;
use roadstead_contracts::agent::{RELAY_OPEN, RelayHead, StreamHead};
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::message::{AgentLocation, LocateAgent, SessionFacts};
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::{Ids, SharedClock, Tasks};
use roadstead_tunnel::{Class, Stream};
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, sleep, timeout_at};

use crate::AgentStreams;
use crate::places::Places;
use crate::sessions::silent;

/// How long a location is believed; a wrong one is noticed when the stream is opened.
const FOUND_FOR: chrono::Duration = chrono::Duration::seconds(2);
/// How long a caller waits for an agent that is just coming back.
const RECONNECT_WAIT: Duration = Duration::from_secs(5);
/// Between two looks for it.
const RECONNECT_LOOK: Duration = Duration::from_millis(250);
/// Longest refusal that is read.
const REFUSAL_MAX: u64 = 4 * 1024;

/// Streams over the mesh.
#[derive(Debug)]
pub struct MeshStreams {
    places: Places<ClusterId, LocateAgent>,
}

/// Why a stream was not opened.
enum Miss {
    /// The agent is not there any more: look again.
    Elsewhere(Error),
    /// It is there and does not take the stream.
    Refused(Error),
}

impl MeshStreams {
    /// Streams for a member of the mesh.
    pub fn new(bus: Bus, clock: SharedClock, ids: Ids, tasks: Tasks, tls: &MeshTls) -> Self {
        Self { places: Places::new(bus, clock, ids, tasks, tls, FOUND_FOR) }
    }

    async fn open_at(
        &self,
        place: &AgentLocation,
        head: &Bytes,
        class: Class,
        deadline: Instant,
    ) -> std::result::Result<Stream, Miss> {
        // Nobody waits longer for a replica that does not answer than for an agent that comes back.
        let session = timeout_at(deadline, self.places.session(&place.address)).await;
        let session = session.unwrap_or_else(|_| Err(silent())).map_err(Miss::Elsewhere)?;
        let mut stream = session.open_to_use(head.clone(), class).map_err(|fault| match fault {
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
        let interactive = class == Class::Interactive;
        self.relayed(RelayHead { cluster_id: cluster, interactive, head, session: None }, class).await
    }

    async fn open_session(&self, session: SessionFacts, head: StreamHead, class: Class) -> Result<Stream> {
        let (cluster_id, interactive) = (session.cluster_id, class == Class::Interactive);
        self.relayed(RelayHead { cluster_id, interactive, head, session: Some(session) }, class).await
    }
}

impl MeshStreams {
    async fn relayed(&self, relayed: RelayHead, class: Class) -> Result<Stream> {
        let cluster = relayed.cluster_id;
        let head = Bytes::from(serde_json::to_vec(&relayed).map_err(|_| Error::of(Code::Internal))?);
        let deadline = Instant::now() + RECONNECT_WAIT;
        loop {
            let missed = match self.places.find(cluster, LocateAgent { cluster_id: cluster }).await {
                Ok(place) => match self.open_at(&place, &head, class, deadline).await {
                    Ok(stream) => return Ok(stream),
                    Err(Miss::Refused(error)) => return Err(error),
                    Err(Miss::Elsewhere(error)) => {
                        self.places.missed(&cluster, &place);
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
