//! Bodies of operations on their way to the service that keeps them: no message carries one.
//!
//! A stream with the head [`StageHead`], then the bytes, then half closed; back comes one line of JSON, [`VerbAnswer`] of
//! the digest.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use roadstead_auth::mesh_tls::MeshTls;
use roadstead_bus::Bus;
use roadstead_contracts::agent::VerbAnswer;
use roadstead_contracts::message::LocateBodyStage;
use roadstead_contracts::operation::BODY_MAX;
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::{Ids, SharedClock, Tasks, kill};
use roadstead_tunnel::{Class, Stream};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::places::Places;

/// Longest answer to a staged body.
const ANSWER_MAX: u64 = 8 * 1024;
/// How long a replica that takes bodies is believed to be there; a wrong one is noticed when it is dialled.
const FOUND_FOR: chrono::Duration = chrono::Duration::seconds(5);
/// Longest transfer: the largest body over a slow network, and the database's time.
const STAGE_LIMIT: Duration = Duration::from_secs(15);
/// What the bodies that are taken at once may hold together: the doors bound what each of them sends, not how many doors
/// there are.
const TOGETHER: usize = 8 * BODY_MAX;
/// Longest wait for room among them. The sender then asks once more, before its own client gives up.
const PATIENCE: Duration = Duration::from_secs(2);

/// Keeps bodies for operations that are about to be made.
#[async_trait]
pub trait BodyStage: Send + Sync {
    /// Keeps a body for an hour; answers its SHA-256 in hex, by which the operation names it.
    async fn stage(&self, body: Bytes) -> Result<String>;
}

/// Head of a stream that brings a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageHead {
    /// SHA-256 of the body, hex.
    pub sha256: String,
    /// Its bytes.
    pub length: u64,
}

/// SHA-256 in lower-case hex.
pub fn digest(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 0xf)]);
    Sha256::digest(bytes).iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// The side that is dialled: reads bodies, has them kept, answers. Clones share the room for what they hold.
#[derive(Clone)]
pub struct Intake {
    stage: Arc<dyn BodyStage>,
    /// Bytes.
    room: Arc<Semaphore>,
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Intake({} bytes free)", self.room.available_permits())
    }
}

impl Intake {
    /// Has bodies kept there.
    pub fn new(stage: Arc<dyn BodyStage>) -> Self {
        Self { stage, room: Arc::new(Semaphore::new(TOGETHER)) }
    }

    /// Serves the stream that brings one.
    pub async fn receive(&self, head: &[u8], mut stream: Stream) {
        let answer = match timeout(STAGE_LIMIT, self.take(head, &mut stream)).await {
            Ok(Ok(sha256)) => VerbAnswer::Ok(sha256),
            Ok(Err(error)) => VerbAnswer::Error(error),
            Err(_) => VerbAnswer::Error(Error::of(Code::Timeout)),
        };
        let mut line = serde_json::to_vec(&answer).unwrap_or_default();
        line.push(b'\n');
        // The sender may be gone already; it will send again.
        let _ = stream.write_all(&line).await;
        stream.finish();
    }

    async fn take(&self, head: &[u8], stream: &mut Stream) -> Result<String> {
        let head: StageHead = serde_json::from_slice(head).map_err(|_| Error::of(Code::BadRequest))?;
        let length = u32::try_from(head.length).ok().filter(|length| *length as usize <= BODY_MAX);
        let length = length.ok_or_else(too_large)?;
        // Before its place in memory is.
        let Ok(Ok(_room)) = timeout(PATIENCE, self.room.acquire_many(length)).await else {
            let full = "the operations service holds as many manifests as it has room for";
            return Err(Error::new(Code::Unavailable, full).retry_after(1));
        };
        let mut body = Vec::with_capacity(length as usize);
        let cut = |_| Error::new(Code::BadRequest, "the body was cut off");
        stream.take(head.length.saturating_add(1)).read_to_end(&mut body).await.map_err(cut)?;
        if body.len() != length as usize || digest(&body) != head.sha256 {
            return Err(Error::new(Code::BadRequest, "the body is not what its head says"));
        }
        self.stage.stage(Bytes::from(body)).await
    }
}

fn too_large() -> Error {
    Error::new(Code::PayloadTooLarge, format!("manifests of one operation have at most {BODY_MAX} bytes"))
}

/// Keeps bodies at the operations service, over the mesh.
#[derive(Debug)]
pub struct MeshStage {
    places: Places<(), LocateBodyStage>,
}

impl MeshStage {
    /// A stage for a member of the mesh.
    pub fn new(bus: Bus, clock: SharedClock, ids: Ids, tasks: Tasks, tls: &MeshTls) -> Self {
        Self { places: Places::new(bus, clock, ids, tasks, tls, FOUND_FOR) }
    }

    async fn send(&self, head: &Bytes, body: &Bytes) -> Result<String> {
        let lost = || Error::new(Code::Unavailable, "the operations service was lost while it took the manifests");
        let place = self.places.find((), LocateBodyStage {}).await?;
        let session = self.places.session(&place.address).await?;
        let mut stream = session.open(head.clone(), Class::Bulk).map_err(|_| lost())?;
        let exchange = async {
            // A refusal may come before the last byte is taken: the answer is read whatever became of the writing.
            let _ = stream.write_all(body).await;
            stream.finish();
            kill::point("stage.body_sent");
            let mut line = Vec::new();
            (&mut stream).take(ANSWER_MAX).read_to_end(&mut line).await.map_err(|_| lost())?;
            match serde_json::from_slice(&line).map_err(|_| lost())? {
                VerbAnswer::Ok(sha256) => Ok(sha256),
                VerbAnswer::Error(error) => Err(error),
            }
        };
        timeout(STAGE_LIMIT, exchange).await.unwrap_or_else(|_| Err(Error::of(Code::Timeout)))
    }
}

#[async_trait]
impl BodyStage for MeshStage {
    async fn stage(&self, body: Bytes) -> Result<String> {
        if body.len() > BODY_MAX {
            return Err(too_large());
        }
        let head = StageHead { sha256: digest(&body), length: body.len() as u64 };
        let head = Bytes::from(serde_json::to_vec(&head).map_err(|_| Error::of(Code::Internal))?);
        match self.send(&head, &body).await {
            // Keeping a body twice is keeping it once: ask for the place again and try the other replica.
            Err(error) if error.code == Code::Unavailable => {
                self.places.forget(&());
                self.send(&head, &body).await
            }
            other => other,
        }
    }
}

#[cfg(test)]
#[path = "stage_tests.rs"]
mod tests;
