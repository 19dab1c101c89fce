//! What vouches for a new key: nothing, or the key itself (§8.2, §8.7). Certificates were not asked for.

use ciborium::Value;

use super::cose::Key;
use super::{Refusal, cbor};

/// An attestation object, taken apart (§6.5.4).
pub(super) struct Attestation {
    format: String,
    statement: Vec<(Value, Value)>,
    /// What the authenticator says.
    pub(super) data: Vec<u8>,
}

impl Attestation {
    /// Reads all of `bytes`.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        Self::parts(bytes).ok_or(Refusal::Malformed)
    }

    fn parts(bytes: &[u8]) -> Option<Self> {
        let (value, rest) = cbor::read(bytes)?;
        let mut map = cbor::members(value).filter(|_| rest.is_empty())?;
        let format = cbor::take(&mut map, &"fmt".into())?.into_text().ok()?;
        let statement = cbor::members(cbor::take(&mut map, &"attStmt".into())?)?;
        let data = cbor::take(&mut map, &"authData".into())?.into_bytes().ok()?;
        map.is_empty().then_some(Self { format, statement, data })
    }

    /// Whether what vouches for the key is acceptable. Browsers leave a key's own signature in although none was asked for (§5.1.3).
    pub(super) fn check(&self, key: &Key, client_hash: &[u8]) -> Result<(), Refusal> {
        let good = match self.format.as_str() {
            "none" => self.statement.is_empty(),
            "packed" => self.is_own(key, client_hash).unwrap_or(false),
            _ => false,
        };
        if good { Ok(()) } else { Err(Refusal::Attestation) }
    }

    /// Whether the statement is the key's own signature and nothing else.
    fn is_own(&self, key: &Key, client_hash: &[u8]) -> Option<bool> {
        let member = |name: &str| self.statement.iter().find(|(known, _)| known.as_text() == Some(name));
        let (algorithm, signature) = (member("alg")?.1.as_integer()?, member("sig")?.1.as_bytes()?);
        let signed = [self.data.as_slice(), client_hash].concat();
        let same = i128::from(algorithm) == i128::from(key.algorithm());
        Some(self.statement.len() == 2 && same && key.verify(&signed, signature))
    }
}
