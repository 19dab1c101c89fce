//! The one way tokens are signed and checked here: a fixed algorithm, a fixed `typ` per purpose, and a key that the
//! header may name but never bring along. Times are checked by the callers, with the time they are given.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// Longest token that is looked at. Ours have about 700 bytes, a key set with sixteen keys about 3 KiB.
pub(crate) const TOKEN_MAX: usize = 8 * 1024;
/// Longest key name: ours have 43 characters.
const KID_MAX: usize = 64;
/// Clocks may differ by so many seconds (reliability row A05: at most 60).
pub(crate) const LEEWAY_SECONDS: i64 = 30;

/// Signs claims.
pub(crate) fn sign<T: Serialize>(
    algorithm: Algorithm,
    typ: &str,
    kid: Option<&str>,
    key: &EncodingKey,
    claims: &T,
) -> Result<String> {
    let mut header = Header::new(algorithm);
    header.typ = Some(typ.to_owned());
    header.kid = kid.map(str::to_owned);
    jsonwebtoken::encode(&header, claims, key).map_err(|_| Error::BadKey("the token could not be signed"))
}

/// Checks form, header and signature, and reads the claims. `find` gives the key for the name in the header.
pub(crate) fn verify<T: DeserializeOwned + Clone>(
    token: &str,
    algorithm: Algorithm,
    typ: &str,
    find: impl FnOnce(Option<&str>) -> Result<DecodingKey>,
) -> Result<T> {
    if token.len() > TOKEN_MAX || !token.is_ascii() {
        return Err(Error::Invalid);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| Error::Invalid)?;
    if header.alg != algorithm || header.typ.as_deref() != Some(typ) {
        return Err(Error::Invalid);
    }
    brings_nothing(&header)?;
    let odd_kid = header.kid.as_deref().is_some_and(|kid| {
        kid.len() > KID_MAX || !kid.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    });
    if odd_kid {
        return Err(Error::Invalid);
    }
    let key = find(header.kid.as_deref())?;
    let mut validation = Validation::new(algorithm);
    // The library would read the machine's clock; the callers check times, issuer and audience themselves.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    jsonwebtoken::decode::<T>(token, &key, &validation).map(|data| data.claims).map_err(|_| Error::Invalid)
}

/// A key or an address of one in the header is the sender's choice; `crit` asks for what we do not know (RFC 7515).
pub(crate) fn brings_nothing(header: &Header) -> Result<()> {
    let brings = header.jwk.is_some()
        || header.jku.is_some()
        || header.x5u.is_some()
        || header.x5c.is_some()
        || header.crit.is_some()
        || header.zip.is_some()
        || header.enc.is_some();
    if brings { Err(Error::Invalid) } else { Ok(()) }
}

/// Whether now lies in the times of a token, give or take [`LEEWAY_SECONDS`].
pub(crate) fn in_time(now: i64, issued_at: i64, not_before: i64, expires_at: i64) -> Result<()> {
    let latest_start = now.saturating_add(LEEWAY_SECONDS);
    if issued_at > latest_start || not_before > latest_start || now > expires_at.saturating_add(LEEWAY_SECONDS) {
        return Err(Error::OutOfTime);
    }
    Ok(())
}
