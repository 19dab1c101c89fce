//! Public keys of authenticators (RFC 9052, 9053, 8230): three kinds, each with the parameters that it must have and no other
//! (§6.5.1).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    VerificationAlgorithm,
};
use ciborium::Value;

use super::cbor;

/// ECDSA on P-256 with SHA-256.
const ES256: i64 = -7;
/// Ed25519.
const EDDSA: i64 = -8;
/// RSA PKCS#1 v1.5 with SHA-256.
const RS256: i64 = -257;
/// What is asked for, the dearest first. Windows knows RSA only on older machines.
pub const ALGORITHMS: [i64; 3] = [ES256, EDDSA, RS256];

/// Names of parameters, and their values.
const KIND: i64 = 1;
const ALGORITHM: i64 = 3;
const KIND_OKP: i64 = 1;
const KIND_EC2: i64 = 2;
const KIND_RSA: i64 = 3;
const P256: i64 = 1;
const CURVE_ED25519: i64 = 6;
/// Bytes of a coordinate, and of an Ed25519 key.
const COORDINATE: usize = 32;
/// Bytes of an RSA modulus: 2048 to 8192 bits, as for identity providers.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;
/// The one exponent that is used (65537).
const EXPONENT: [u8; 3] = [1, 0, 1];

/// A key that can check.
pub(super) enum Key {
    Es256(ParsedPublicKey),
    EdDsa(ParsedPublicKey),
    Rs256(Vec<u8>),
}

impl Key {
    /// Reads a key that is the whole of `bytes`.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (value, rest) = cbor::read(bytes)?;
        let mut map = cbor::members(value).filter(|_| rest.is_empty())?;
        let mut number = |name: i64| -> Option<i64> { take(&mut map, name)?.into_integer().ok()?.try_into().ok() };
        let (kind, algorithm) = (number(KIND)?, number(ALGORITHM)?);
        match (kind, algorithm) {
            (KIND_EC2, ES256) => {
                (number(-1)? == P256).then_some(())?;
                let (x, y) = (coordinate(&mut map, -2)?, coordinate(&mut map, -3)?);
                let point = [&[4][..], x.as_slice(), y.as_slice()].concat();
                parsed(&ECDSA_P256_SHA256_ASN1, &point).filter(|_| map.is_empty()).map(Self::Es256)
            }
            (KIND_OKP, EDDSA) => {
                (number(-1)? == CURVE_ED25519).then_some(())?;
                let x = coordinate(&mut map, -2)?;
                parsed(&ED25519, &x).filter(|_| map.is_empty()).map(Self::EdDsa)
            }
            (KIND_RSA, RS256) => {
                let modulus = take(&mut map, -1)?.into_bytes().ok()?;
                let exponent = take(&mut map, -2)?.into_bytes().ok()?;
                let whole = MODULUS.contains(&modulus.len()) && modulus.first().is_some_and(|byte| *byte != 0);
                (whole && exponent == EXPONENT && map.is_empty()).then_some(Self::Rs256(modulus))
            }
            _ => None,
        }
    }

    pub(super) fn algorithm(&self) -> i64 {
        match self {
            Self::Es256(_) => ES256,
            Self::EdDsa(_) => EDDSA,
            Self::Rs256(_) => RS256,
        }
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Es256(key) | Self::EdDsa(key) => key.verify_sig(message, signature).is_ok(),
            Self::Rs256(modulus) => {
                let key = RsaPublicKeyComponents { n: modulus.as_slice(), e: EXPONENT.as_slice() };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }
        }
    }
}

fn take(map: &mut Vec<(Value, Value)>, name: i64) -> Option<Value> {
    cbor::take(map, &Value::from(name))
}

fn coordinate(map: &mut Vec<(Value, Value)>, name: i64) -> Option<Vec<u8>> {
    take(map, name)?.into_bytes().ok().filter(|bytes| bytes.len() == COORDINATE)
}

/// A point that is not on the curve is no key.
fn parsed(algorithm: &'static dyn VerificationAlgorithm, bytes: &[u8]) -> Option<ParsedPublicKey> {
    ParsedPublicKey::new(algorithm, bytes).ok()
}
