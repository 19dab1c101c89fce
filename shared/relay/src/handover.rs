//! Requests that must not ride a queue ([`Handover`]): to any replica of onboarding, over the mesh's own connections.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use roadstead_auth::mesh_tls::MeshTls;
use roadstead_bus::Bus;
use roadstead_contracts::agent::{RELAY_OPEN, RelayCall, VerbAnswer};
use roadstead_contracts::message::{FindReplica, HANDOVER_REPLY_MAX, HANDOVER_REQUEST_MAX, Handover};
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::{Ids, SharedClock, Tasks};
use roadstead_tunnel::Class;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::places::Places;

/// How long a replica is believed to be there.
const FOUND_FOR: chrono::Duration = chrono::Duration::seconds(2);
/// Longest exchange: a few rows of a database.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(10);

/// Hands requests to onboarding: JSON in, a [`VerbAnswer`] as JSON out.
#[async_trait]
pub trait Handovers: Send + Sync {
    /// Hands one over.
    async fn hand_over(&self, verb: &'static str, body: Bytes, request_id: &str) -> Result<Vec<u8>>;
}

/// Hands a request over and reads its reply.
pub async fn hand_over<R: Handover>(to: &dyn Handovers, request: &R, request_id: &str) -> Result<R::Reply> {
    let body = serde_json::to_vec(request).map_err(|_| Error::of(Code::Internal))?;
    if body.len() > HANDOVER_REQUEST_MAX {
        return Err(Code::PayloadTooLarge.into());
    }
    let answer = to.hand_over(R::VERB, body.into(), request_id).await?;
    match serde_json::from_slice::<VerbAnswer<R::Reply>>(&answer) {
        Ok(VerbAnswer::Ok(reply)) => Ok(reply),
        Ok(VerbAnswer::Error(fault)) => Err(fault),
        Err(_) => Err(Error::of(Code::Internal)),
    }
}

/// The same over the mesh.
#[derive(Debug)]
pub struct MeshHandovers {
    places: Places<(), FindReplica>,
}

impl MeshHandovers {
    /// For a member of the mesh.
    pub fn new(bus: Bus, clock: SharedClock, ids: Ids, tasks: Tasks, tls: &MeshTls) -> Self {
        Self { places: Places::new(bus, clock, ids, tasks, tls, FOUND_FOR) }
    }
}

/// Why there is no reply.
fn lost() -> Error {
    Error::new(Code::Unavailable, "the replica that took the request was lost").retry_after(1)
}

#[async_trait]
impl Handovers for MeshHandovers {
    async fn hand_over(&self, verb: &'static str, body: Bytes, request_id: &str) -> Result<Vec<u8>> {
        let place = self.places.find((), FindReplica {}).await?;
        let session = match self.places.session(&place.address).await {
            Ok(session) => session,
            Err(fault) => {
                // Nothing was handed over: another replica may answer next time.
                self.places.forget(&());
                return Err(fault.retry_after(1));
            }
        };
        let call = RelayCall { call: verb.to_owned(), request_id: request_id.to_owned() };
        let head = Bytes::from(serde_json::to_vec(&call).map_err(|_| Error::of(Code::Internal))?);
        let mut stream = session.open(head, Class::Bulk).map_err(|_| lost())?;
        let exchange = async {
            // A refusal may come before the last byte is taken: the answer is read whatever became of the writing.
            let _ = stream.write_all(&body).await;
            stream.finish();
            if stream.read_u8().await.map_err(|_| lost())? != RELAY_OPEN {
                return Err(lost());
            }
            let mut answer = Vec::new();
            let most = HANDOVER_REPLY_MAX as u64;
            (&mut stream).take(most + 1).read_to_end(&mut answer).await.map_err(|_| lost())?;
            if answer.len() as u64 > most { Err(Error::of(Code::Internal)) } else { Ok(answer) }
        };
        timeout(EXCHANGE_LIMIT, exchange).await.unwrap_or_else(|_| Err(Error::of(Code::Timeout)))
    }
}
