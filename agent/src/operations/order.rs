//! An order as it comes over a stream, and whether it is one.

use std::io;

use roadstead_auth::identity::{OrderedRun, Verifier};
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::operation::{BODY_MAX, OBJECTS_MAX, RUN_HEAD_MAX, RunOperation};
use roadstead_contracts::{Code, Error};
use roadstead_runtime::SharedClock;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::core::Identity;

/// An order that was checked: who it is done as, and what is to be done.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) head: RunOperation,
    /// Over the work and the body.
    pub(super) digest: String,
    pub(super) person: Identity,
    pub(super) body: Vec<u8>,
}

/// Reads an order: a line, then the body. The answer's error may be told to the hub.
pub(super) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Result<(Vec<u8>, Vec<u8>), Error>> {
    let mut line = Vec::new();
    let mut rest = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let length = stream.read(&mut piece).await?;
        if length == 0 {
            return Ok(Err(Error::new(Code::BadRequest, "the order is cut off")));
        }
        let read = piece.get(..length).unwrap_or_default();
        if let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            line.extend_from_slice(read.get(..end).unwrap_or_default());
            rest.extend_from_slice(read.get(end + 1..).unwrap_or_default());
            break;
        }
        line.extend_from_slice(read);
        if line.len() > RUN_HEAD_MAX {
            return Ok(Err(Error::of(Code::PayloadTooLarge)));
        }
    }
    if line.len() > RUN_HEAD_MAX {
        return Ok(Err(Error::of(Code::PayloadTooLarge)));
    }
    let limit = (BODY_MAX + 1).saturating_sub(rest.len()) as u64;
    stream.take(limit).read_to_end(&mut rest).await?;
    if rest.len() > BODY_MAX {
        return Ok(Err(Error::of(Code::PayloadTooLarge)));
    }
    Ok(Ok((line, rest)))
}

/// Checks an order. Without the user service's signature over exactly this work for exactly this cluster nothing is done.
pub(super) fn check(
    (line, body): (Vec<u8>, Vec<u8>),
    verifier: &Verifier,
    cluster_id: ClusterId,
    clock: &SharedClock,
) -> Result<Order, Error> {
    let head: RunOperation = serde_json::from_slice(&line).map_err(|_| Error::of(Code::BadJson))?;
    if head.cluster_id != cluster_id {
        return Err(refused("the order is for another cluster"));
    }
    if head.only.as_ref().is_some_and(|only| only.len() > OBJECTS_MAX) {
        return Err(Error::new(Code::Validation, "the order names more objects than an operation has"));
    }
    let body_digest = hex(&Sha256::digest(&body));
    if body.len() as u64 != head.body_length || body_digest != head.body_sha256 {
        return Err(Error::new(Code::BadRequest, "the body is not the one that the order names"));
    }
    let run = OrderedRun {
        cluster: cluster_id,
        operation: head.operation_id,
        epoch: head.epoch,
        work: &head.work,
        body_sha256: &head.body_sha256,
    };
    let claims = verifier.verify_operation(&head.order, run, clock.now()).map_err(|error| {
        tracing::warn!(operation = %head.operation_id, "an order was refused: {error}");
        match error {
            roadstead_auth::Error::OutOfTime => refused("the order has expired, or the cluster's clock is wrong"),
            roadstead_auth::Error::UnknownKey => refused("the order is signed with a key the agent does not know"),
            _ => refused("the order cannot be verified, or was signed for something else"),
        }
    })?;
    let person = Identity::from_order(&claims)?;
    Ok(Order { head, digest: claims.digest, person, body })
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn refused(detail: &'static str) -> Error {
    Error::new(Code::IdentityRefused, detail)
}
