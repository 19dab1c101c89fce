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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::ed25519::PrivateKey;

    const TYP: &str = "roadstead-test+jwt";

    fn key() -> PrivateKey {
        PrivateKey::from_seed(&[9; 32]).unwrap()
    }

    fn check(token: &str) -> Result<Value> {
        verify(token, Algorithm::EdDSA, TYP, |_| Ok(key().public().decoding()))
    }

    fn signed(typ: &str, kid: Option<&str>, claims: &Value) -> String {
        sign(Algorithm::EdDSA, typ, kid, key().encoding(), claims).unwrap()
    }

    /// A token whose header says more, signed by the holder of the key: only what is added can be wrong.
    fn with_header(name: &str, value: Value) -> String {
        let mut header = json!({"alg": "EdDSA", "typ": TYP});
        header[name] = value;
        let header: Header = serde_json::from_value(header).unwrap();
        jsonwebtoken::encode(&header, &json!({"a": 1}), key().encoding()).unwrap()
    }

    #[test]
    fn a_token_for_one_purpose_is_none_for_another() {
        assert_eq!(check(&signed(TYP, None, &json!({"a": 1}))), Ok(json!({"a": 1})));
        for typ in ["JWT", "roadstead-test", "ROADSTEAD-TEST+JWT", ""] {
            assert_eq!(check(&signed(typ, None, &json!({"a": 1}))), Err(Error::Invalid), "{typ}");
        }
        assert_eq!(check(&with_header("typ", Value::Null)), Err(Error::Invalid));
    }

    #[test]
    fn names_of_keys_are_plain_and_short() {
        for good in ["k", "A-b_9", "", &"k".repeat(KID_MAX)] {
            assert!(check(&signed(TYP, Some(good), &json!({"a": 1}))).is_ok(), "{good}");
        }
        for odd in ["../k", "k k", "k'", "k\n", "schlüssel", &"k".repeat(KID_MAX + 1)] {
            let mut asked = false;
            let token = signed(TYP, Some(odd), &json!({"a": 1}));
            let found: Result<Value> = verify(&token, Algorithm::EdDSA, TYP, |_| {
                asked = true;
                Ok(key().public().decoding())
            });
            assert_eq!(found, Err(Error::Invalid), "{odd}");
            assert!(!asked, "no key is looked for under {odd}");
        }
    }

    #[test]
    fn a_header_brings_no_key_and_asks_for_nothing_unknown() {
        for (name, value) in [
            ("jwk", serde_json::to_value(crate::jwt::Jwk::of(&key().public())).unwrap()),
            ("jku", json!("https://evil.example/keys")),
            ("x5u", json!("https://evil.example/x5")),
            ("x5c", json!(["AAAA"])),
            ("crit", json!(["b64"])),
            ("zip", json!("DEF")),
            ("enc", json!("A256GCM")),
        ] {
            assert_eq!(check(&with_header(name, value)), Err(Error::Invalid), "{name}");
        }
        assert!(check(&with_header("cty", json!("JWT"))).is_ok());
    }

    #[test]
    fn tokens_are_read_up_to_their_bound() {
        let of = |text: usize| signed(TYP, None, &json!({"a": "x".repeat(text)}));
        assert_eq!(TOKEN_MAX, 8_192);
        let longest = (5_000..6_500).map(of).find(|token| token.len() == TOKEN_MAX).unwrap();
        assert!(check(&longest).is_ok());
        let longer = (5_000..6_500).map(of).find(|token| token.len() == TOKEN_MAX + 1 || token.len() == TOKEN_MAX + 2);
        assert_eq!(check(&longer.unwrap()), Err(Error::Invalid));
        assert_eq!(check(&of(TOKEN_MAX)), Err(Error::Invalid));
    }

    #[test]
    fn each_time_counts_by_itself() {
        let now = 1_800_000_000;
        for (issued_at, not_before, expires_at, good) in [
            (now, now, now, true),
            (now + 30, now, now + 60, true),
            (now + 31, now, now + 60, false),
            (now, now + 30, now + 60, true),
            (now, now + 31, now + 60, false),
            (now - 60, now - 60, now - 30, true),
            (now - 60, now - 60, now - 31, false),
            (i64::MIN, i64::MIN, i64::MAX, true),
            (i64::MAX, i64::MIN, i64::MAX, false),
        ] {
            let judged = in_time(now, issued_at, not_before, expires_at);
            assert_eq!(
                judged,
                if good { Ok(()) } else { Err(Error::OutOfTime) },
                "{issued_at} {not_before} {expires_at}"
            );
        }
    }
}
