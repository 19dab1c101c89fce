//! The signature that services put on bus messages and on the headers of requests they forward to each other.
//!
//! HMAC-SHA256 with one key that all services of a mesh share. Every part is signed with its length, so that no two
//! different lists of parts have the same bytes; the context keeps a signature made for one door from use at another.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use roadstead_runtime::{Ids, Secret};
use sha2::Sha256;

use crate::{Error, Result, hex};

/// Least bytes of the secret: the output size of the hash (RFC 2104 §3).
pub const SECRET_MIN: usize = 32;
/// Length of a signature's text.
pub const SIGNATURE_LEN: usize = 64;

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub struct SignedParts<'a> {
    /// The door it is for: `bus.v1`, `forwarded.v1`.
    pub context: &'a str,
    /// The parts, in the order both sides agree on.
    pub parts: &'a [&'a [u8]],
}

/// The key of a mesh.
#[derive(Clone)]
pub struct MeshKey {
    // The keyed state: a clone of it saves hashing the key for each message.
    state: Hmac<Sha256>,
}

impl fmt::Debug for MeshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeshKey(***)")
    }
}

impl MeshKey {
    /// Takes the secret from the settings.
    pub fn new(secret: &Secret) -> Result<Self> {
        Self::from_bytes(secret.expose().as_bytes())
    }

    /// A key of its own, for one process that talks only to itself.
    pub fn random(ids: &Ids) -> Result<Self> {
        Self::from_bytes(&ids.random_bytes::<SECRET_MIN>())
    }

    fn from_bytes(secret: &[u8]) -> Result<Self> {
        if secret.len() < SECRET_MIN {
            return Err(Error::BadKey("the mesh secret is shorter than 32 bytes"));
        }
        let state = Hmac::new_from_slice(secret).map_err(|_| Error::BadKey("the mesh secret is not usable"))?;
        Ok(Self { state })
    }

    /// Signs: 64 lower-case hex digits.
    pub fn sign(&self, signed: &SignedParts<'_>) -> String {
        hex::encode(&self.keyed(signed).finalize().into_bytes())
    }

    /// The 32 bytes of a signature, as the seed of another key. The context says of which.
    pub(crate) fn derive(&self, signed: &SignedParts<'_>) -> [u8; 32] {
        self.keyed(signed).finalize().into_bytes().into()
    }

    /// Whether the signature is right, in a time that does not depend on where it is wrong.
    pub fn verify(&self, signed: &SignedParts<'_>, signature: &str) -> bool {
        if signature.len() != SIGNATURE_LEN {
            return false;
        }
        hex::decode(signature).is_some_and(|bytes| self.keyed(signed).verify_slice(&bytes).is_ok())
    }

    fn keyed(&self, signed: &SignedParts<'_>) -> Hmac<Sha256> {
        let mut state = self.state.clone();
        for part in std::iter::once(signed.context.as_bytes()).chain(signed.parts.iter().copied()) {
            // `usize` is at most 64 bits on every target, so nothing is cut.
            state.update(&(part.len() as u64).to_be_bytes());
            state.update(part);
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> MeshKey {
        MeshKey::new(&Secret::new("k".repeat(SECRET_MIN))).unwrap()
    }

    #[test]
    fn a_short_secret_is_refused() {
        assert!(matches!(MeshKey::new(&Secret::new("short".to_owned())), Err(Error::BadKey(_))));
    }

    #[test]
    fn parts_cannot_be_shifted_and_contexts_differ() {
        let signature = key().sign(&SignedParts { context: "bus.v1", parts: &[b"ab", b"c"] });
        assert!(key().verify(&SignedParts { context: "bus.v1", parts: &[b"ab", b"c"] }, &signature));
        assert!(!key().verify(&SignedParts { context: "bus.v1", parts: &[b"a", b"bc"] }, &signature));
        assert!(!key().verify(&SignedParts { context: "bus.v1", parts: &[b"ab", b"c", b""] }, &signature));
        assert!(!key().verify(&SignedParts { context: "forwarded.v1", parts: &[b"ab", b"c"] }, &signature));
        let other = MeshKey::new(&Secret::new("o".repeat(SECRET_MIN))).unwrap();
        assert!(!other.verify(&SignedParts { context: "bus.v1", parts: &[b"ab", b"c"] }, &signature));
    }

    #[test]
    fn a_key_does_not_print_itself_and_lengths_count() {
        assert_eq!(format!("{:?}", key()), "MeshKey(***)");
        let parts = SignedParts { context: "bus.v1", parts: &[b"body"] };
        let signature = key().sign(&parts);
        for odd in [signature.to_uppercase(), format!("{signature}00"), signature[..62].to_owned(), "0".repeat(64)] {
            assert!(!key().verify(&parts, &odd), "{odd}");
        }
        assert!(MeshKey::new(&Secret::new("k".repeat(SECRET_MIN - 1))).is_err());
    }

    #[test]
    fn the_bytes_are_pinned() {
        // HMAC-SHA256 over length-prefixed parts; another order or prefix would split a mesh of two versions.
        let signature = key().sign(&SignedParts { context: "bus.v1", parts: &[b"body"] });
        assert_eq!(signature, "4eaeb0ee28c62fad6bc3999515bac41574c7ad119cb1a5086a7deac290d3a19c");
    }

    proptest! {
        #[test]
        fn garbage_is_no_signature(text in ".{0,80}") {
            let verified = key().verify(&SignedParts { context: "bus.v1", parts: &[] }, &text);
            prop_assert!(!verified);
        }
    }
}
