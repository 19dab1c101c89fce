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

    fn okp(curve: &str) -> serde_json::Value {
        json!({"kty": "OKP", "crv": curve, "kid": "e", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
    }

    fn ec(curve: &str, bytes: usize) -> serde_json::Value {
        use base64::Engine as _;
        let part = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(vec![7; bytes]);
        json!({"kty": "EC", "crv": curve, "kid": "p", "x": part, "y": part})
    }

    #[test]
    fn each_kind_of_key_signs_with_its_own_algorithms() {
        roadstead_runtime::install_crypto();
        for (key, kind, algorithms) in [
            (rsa(256), Kind::Rsa, &[Algorithm::RS256, Algorithm::PS256, Algorithm::RS512][..]),
            (rsa(1024), Kind::Rsa, &[Algorithm::RS256, Algorithm::PS256, Algorithm::RS512]),
            (ec("P-256", 32), Kind::P256, &[Algorithm::ES256]),
            (ec("P-384", 48), Kind::P384, &[Algorithm::ES384]),
            (okp("Ed25519"), Kind::Ed25519, &[Algorithm::EdDSA]),
        ] {
            let keys = parse(&json!([key.clone()])).unwrap();
            assert!(keys.0[0].kind == kind && !keys.is_empty(), "{key}");
            for algorithm in [Algorithm::HS256, Algorithm::HS512, Algorithm::RS384].iter().chain(&ALLOWED) {
                let found = keys.find(&Header::new(*algorithm)).is_ok();
                assert_eq!(found, algorithms.contains(algorithm), "{key} {algorithm:?}");
                assert_eq!(kind.fits(*algorithm), algorithms.contains(algorithm), "{key} {algorithm:?}");
            }
        }
        for odd in [okp("P-256"), okp("X25519"), ec("P-521", 66), ec("secp256k1", 32), ec("Ed25519", 32)] {
            assert!(parse(&json!([odd.clone()])).is_err(), "{odd}");
        }
        assert!(ProviderKeys::default().is_empty());
    }

    #[test]
    fn lengths_of_rsa_keys_are_those_of_their_numbers() {
        use base64::Engine as _;
        roadstead_runtime::install_crypto();
        for (bytes, good) in [(255, false), (256, true), (1024, true), (1025, false)] {
            assert_eq!(parse(&json!([rsa(bytes)])).is_ok(), good, "{bytes}");
        }
        // Zeros before it make a number no longer.
        let modulus = [vec![0; 200], vec![0xc5; 100]].concat();
        let mut padded = rsa(256);
        padded["n"] = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(modulus).into();
        assert!(parse(&json!([padded])).is_err());
    }

    #[test]
    fn a_name_finds_its_key_and_no_name_the_only_one_that_fits() {
        roadstead_runtime::install_crypto();
        let long = "k".repeat(KID_MAX);
        let mut named = okp("Ed25519");
        named["kid"] = long.as_str().into();
        named["alg"] = "EdDSA".into();
        let keys = parse(&json!([named, ec("P-256", 32)])).unwrap();
        let header = |algorithm, kid: Option<&str>| {
            let mut header = Header::new(algorithm);
            header.kid = kid.map(str::to_owned);
            header
        };
        let find = |algorithm, kid: Option<&str>| keys.find(&header(algorithm, kid)).map(|_| ());
        assert_eq!(find(Algorithm::EdDSA, Some(&long)), Ok(()));
        assert_eq!(find(Algorithm::EdDSA, None), Ok(()));
        assert_eq!(find(Algorithm::ES256, None), Ok(()));
        assert_eq!(find(Algorithm::ES256, Some(&long)), Err(Error::Invalid), "the key is of another kind");
        assert_eq!(find(Algorithm::EdDSA, Some("k")), Err(Error::UnknownKey));
        for length in [KID_MAX + 1, KID_MAX * 2] {
            assert_eq!(find(Algorithm::EdDSA, Some(&"k".repeat(length))), Err(Error::Invalid), "{length}");
        }
        let shown = format!("{keys:?}");
        assert!(shown.contains(&long) && shown.contains("\"p\"") && !shown.contains("11qYAYKx"), "{shown}");
        let mut other = okp("Ed25519");
        other["alg"] = "ES256".into();
        assert!(parse(&json!([other])).unwrap().find(&header(Algorithm::EdDSA, Some("e"))).is_err());
    }

    #[test]
    fn a_long_set_is_not_read() {
        let text = json!({"keys": [rsa(256)]}).to_string();
        let padded = |length: usize| format!("{text}{}", " ".repeat(length - text.len()));
        assert_eq!(KEY_SET_BYTES_MAX, 131_072);
        assert!(ProviderKeys::parse(padded(KEY_SET_BYTES_MAX).as_bytes()).is_ok());
        assert!(ProviderKeys::parse(padded(KEY_SET_BYTES_MAX + 1).as_bytes()).is_err());
        assert!(ProviderKeys::parse(padded(KEY_SET_BYTES_MAX * 2).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn garbage_does_not_panic(text in "\\PC{0,200}") {
            let _ = ProviderKeys::parse(text.as_bytes());
        }
    }
}
