//! The audit chain: how a row is hashed, how a checkpoint is signed, and how both are checked without the hub.
//!
//! A row's hash covers its number, the hash of the row before, and the exact text of its record. A checkpoint is a signed
//! statement that the chain had a certain hash at a certain row: who can write the database can hash rows anew, but cannot
//! sign, so an edited chain breaks at the next checkpoint, and a cut one ends before the last.

mod verify;

use chrono::{DateTime, Utc};
use jsonwebtoken::Algorithm;
use roadstead_contracts::audit::AuditCheckpoint;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use verify::{Fault, Report, Verifier};

use crate::ed25519::{PrivateKey, PublicKey};
use crate::{Error, Result, hex, jws};

/// Hash before the first row.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Domain of a row's hash.
const ROW: &[u8] = b"roadstead audit row 1\n";
/// `typ` of a checkpoint's header.
const TYP: &str = "roadstead-audit-checkpoint+jwt";

/// Hash of a row, lower-case hex.
pub fn row_hash(prev: &str, seq: i64, record: &str) -> Result<String> {
    let prev = hex::decode(prev).filter(|bytes| bytes.len() == 32).ok_or(Error::Invalid)?;
    let mut state = Sha256::new();
    state.update(ROW);
    state.update(seq.to_be_bytes());
    state.update(&prev);
    state.update(record.as_bytes());
    Ok(hex::encode(&state.finalize()))
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Claims {
    seq: i64,
    hash: String,
    iat: i64,
}

/// The key that signs checkpoints.
#[derive(Debug, Clone)]
pub struct CheckpointKey(PrivateKey);

impl CheckpointKey {
    /// Makes this key the one that signs.
    pub fn new(key: PrivateKey) -> Self {
        Self(key)
    }

    /// The public half, base64url: what a verifier is given.
    pub fn public_base64url(&self) -> String {
        self.0.public().base64url()
    }

    /// Signs that the chain has this hash at this row.
    pub fn sign(&self, seq: i64, hash: &str, now: DateTime<Utc>) -> Result<AuditCheckpoint> {
        let claims = Claims { seq, hash: hash.to_owned(), iat: now.timestamp() };
        let signed = jws::sign(Algorithm::EdDSA, TYP, Some(self.0.kid()), self.0.encoding(), &claims)?;
        let at = DateTime::from_timestamp(claims.iat, 0).unwrap_or(now);
        Ok(AuditCheckpoint { seq, hash: claims.hash, at, signed })
    }
}

/// Checks a checkpoint: its signature, and that it says what stands beside it.
pub fn verify_checkpoint(checkpoint: &AuditCheckpoint, key: &PublicKey) -> Result<()> {
    let kid = key.kid();
    let claims: Claims = jws::verify(&checkpoint.signed, Algorithm::EdDSA, TYP, |named| {
        if named == Some(kid.as_str()) { Ok(key.decoding()) } else { Err(Error::UnknownKey) }
    })?;
    let same =
        claims.seq == checkpoint.seq && claims.hash == checkpoint.hash && claims.iat == checkpoint.at.timestamp();
    if same { Ok(()) } else { Err(Error::Invalid) }
}
