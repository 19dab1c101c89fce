//! The public keys of a provider.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header};
use serde::Deserialize;

use crate::{Error, Result};

/// Longest key set that is read (reliability row A18): Microsoft's, with certificates, has about 30 KiB.
pub const KEY_SET_BYTES_MAX: usize = 128 * 1024;
/// Most keys of a set that are kept.
const KEYS_MAX: usize = 64;
/// Longest key name that is compared.
const KID_MAX: usize = 256;
/// Fewest bytes of an RSA modulus: 2048 bits (NIST SP 800-131A; row A18).
const RSA_BYTES_MIN: usize = 256;
/// Most bytes of one: 8192 bits. Checking a signature with a longer one costs time that a stranger would choose.
const RSA_BYTES_MAX: usize = 1024;

/// Algorithms that an ID token may be signed with: asymmetric ones only. `none` and HMAC are not among them, so a public
/// key can never be taken for a shared secret (row A03).
const ALLOWED: [Algorithm; 6] =
    [Algorithm::RS256, Algorithm::PS256, Algorithm::RS512, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];

/// The keys of a provider with which tokens may be signed.
#[derive(Clone, Default)]
pub struct ProviderKeys(Vec<Key>);

#[derive(Clone)]
struct Key {
    kid: Option<String>,
    /// What the set says that the key is for, when it does.
    algorithm: Option<KeyAlgorithm>,
    kind: Kind,
    key: DecodingKey,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Kind {
    fn fits(self, algorithm: Algorithm) -> bool {
        match self {
            Self::Rsa => matches!(algorithm, Algorithm::RS256 | Algorithm::PS256 | Algorithm::RS512),
            Self::P256 => algorithm == Algorithm::ES256,
            Self::P384 => algorithm == Algorithm::ES384,
            Self::Ed25519 => algorithm == Algorithm::EdDSA,
        }
    }
}

impl std::fmt::Debug for ProviderKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.kid)).finish()
    }
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

impl ProviderKeys {
    /// Reads a JWK set. Keys for encryption, of other kinds, and too short ones are left out; a set without one that may
    /// be used is an error.
    pub fn parse(json: &[u8]) -> Result<Self> {
        if json.len() > KEY_SET_BYTES_MAX {
            return Err(Error::BadKey("the key set is too long"));
        }
        let set: Set = serde_json::from_slice(json).map_err(|_| Error::BadKey("not a JWK set"))?;
        let keys: Vec<Key> = set.keys.into_iter().filter_map(read).take(KEYS_MAX).collect();
        if keys.is_empty() { Err(Error::BadKey("the key set holds no key that may be used")) } else { Ok(Self(keys)) }
    }

    /// Whether it holds no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key for a token's header. [`Error::UnknownKey`] means that a fresh set may help.
    pub(super) fn find(&self, header: &Header) -> Result<DecodingKey> {
        if !ALLOWED.contains(&header.alg) {
            return Err(Error::Invalid);
        }
        if header.kid.as_ref().is_some_and(|kid| kid.len() > KID_MAX) {
            return Err(Error::Invalid);
        }
        let mut named = self.0.iter().filter(|key| header.kid.is_none() || key.kid == header.kid).peekable();
        if named.peek().is_none() {
            return Err(Error::UnknownKey);
        }
        let mut fitting = named.filter(|key| {
            key.kind.fits(header.alg)
                && key.algorithm.is_none_or(|said| said.to_string() == format!("{:?}", header.alg))
        });
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key.key.clone()),
            // A name whose key is of another kind is a forgery; no name and several keys is a guess.
            _ => Err(Error::Invalid),
        }
    }
}

fn read(value: serde_json::Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let kind = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            let modulus = decode(&rsa.n)?;
            let length = modulus.iter().skip_while(|byte| **byte == 0).count();
            (RSA_BYTES_MIN..=RSA_BYTES_MAX).contains(&length).then_some(Kind::Rsa)?
        }
        AlgorithmParameters::EllipticCurve(ec) => match ec.curve {
            EllipticCurve::P256 => Kind::P256,
            EllipticCurve::P384 => Kind::P384,
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => Kind::Ed25519,
        _ => return None,
    };
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some(Key { kid: jwk.common.key_id, algorithm: jwk.common.key_algorithm, kind, key })
}

fn decode(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn rsa(bytes: usize) -> serde_json::Value {
        use base64::Engine as _;
        let modulus = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(vec![0xc5; bytes]);
        json!({"kty": "RSA", "kid": "r", "n": modulus, "e": "AQAB"})
    }

    fn parse(keys: &serde_json::Value) -> Result<ProviderKeys> {
        ProviderKeys::parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    #[test]
    fn what_may_not_sign_is_left_out() {
        roadstead_runtime::install_crypto();
        assert_eq!(parse(&json!([rsa(256)])).unwrap().0.len(), 1);
        let mut encrypting = rsa(256);
        encrypting["use"] = "enc".into();
        let short = rsa(64);
        let long = rsa(2048);
        let secret = json!({"kty": "oct", "kid": "s", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75"});
        let odd = json!({"kty": "XYZ", "kid": "o"});
        for key in [encrypting, short, long, secret, odd, json!(7)] {
            assert!(parse(&json!([key.clone()])).is_err(), "{key}");
            assert_eq!(parse(&json!([key.clone(), rsa(256)])).unwrap().0.len(), 1, "{key}");
        }
    }

    #[test]
    fn a_long_set_is_not_read() {
        let mut text = json!({"keys": [rsa(256)]}).to_string();
        text.push_str(&" ".repeat(KEY_SET_BYTES_MAX));
        assert!(ProviderKeys::parse(text.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn garbage_does_not_panic(text in "\\PC{0,200}") {
            let _ = ProviderKeys::parse(text.as_bytes());
        }
    }
}
