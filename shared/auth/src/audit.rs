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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_row_is_pinned() {
        // Computed apart: an export must verify with every build that comes.
        let hash = row_hash(GENESIS, 7, r#"{"n":7}"#).unwrap();
        assert_eq!(hash, "c61fb86299c3f24dc9a97aaeb531bde8fa156c0b3249b592625b6477998fbcab");
        for odd in ["", "00", &GENESIS[1..], &format!("{GENESIS}00"), &"G".repeat(64)] {
            assert_eq!(row_hash(odd, 7, "{}"), Err(Error::Invalid), "{odd}");
        }
    }

    #[test]
    fn a_checkpoint_says_what_was_signed() {
        let key = CheckpointKey::new(PrivateKey::generate().unwrap());
        let public = PublicKey::parse(&key.public_base64url()).unwrap();
        let now = DateTime::from_timestamp(1_800_000_000, 500_000_000).unwrap();
        let good = key.sign(7, GENESIS, now).unwrap();
        assert_eq!((good.seq, good.hash.as_str(), good.at.timestamp()), (7, GENESIS, now.timestamp()));
        assert_eq!(verify_checkpoint(&good, &public), Ok(()));
        let other = "1".repeat(64);
        for odd in [
            AuditCheckpoint { seq: 8, ..good.clone() },
            AuditCheckpoint { hash: other.clone(), ..good.clone() },
            AuditCheckpoint { at: now + chrono::TimeDelta::seconds(1), ..good.clone() },
            AuditCheckpoint { signed: key.sign(7, &other, now).unwrap().signed, ..good.clone() },
        ] {
            assert_eq!(verify_checkpoint(&odd, &public), Err(Error::Invalid), "{odd:?}");
        }
        let stranger = PrivateKey::generate().unwrap().public();
        assert_eq!(verify_checkpoint(&good, &stranger), Err(Error::UnknownKey));
    }
}
