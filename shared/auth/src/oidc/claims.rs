//! What a provider's token must say before it is believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq as _;

use super::ProviderKeys;
use crate::jws::LEEWAY_SECONDS;
use crate::{Error, Result};

/// Longest token that is looked at: an ID token with some hundred groups has about 12 KiB.
const TOKEN_MAX: usize = 32 * 1024;
/// How old an ID token may be: it was made while the browser waited.
const AGE_MAX_SECONDS: i64 = 600;
/// How old a logout token may be (the specification advises two minutes at most).
const LOGOUT_AGE_MAX_SECONDS: i64 = 300;
/// Longest subject (OpenID Connect Core §2: 255 ASCII characters).
const SUBJECT_MAX: usize = 255;
/// The one event of a logout token.
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// What a token is compared with.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The provider, exactly as configured.
    pub issuer: &'a str,
    /// Who we are to it.
    pub client_id: &'a str,
    /// The nonce of the login; `None` only where the protocol has none (device flow).
    pub nonce: Option<&'a str>,
    /// The access token that came with it.
    pub access_token: Option<&'a str>,
}

/// What an ID token says of a person.
#[derive(Debug, Clone, PartialEq)]
pub struct IdToken {
    /// Who it is to the provider, for good.
    pub subject: String,
    /// The provider's own session.
    pub session: Option<String>,
    /// E-mail address.
    pub email: Option<String>,
    /// Whether the provider says that the address is the person's.
    pub email_verified: bool,
    /// What the person wants to be called.
    pub preferred_username: Option<String>,
    /// First name.
    pub given_name: Option<String>,
    /// Last name.
    pub family_name: Option<String>,
    /// Everything it says, for claims of groups and roles.
    pub all: Map<String, Value>,
}

/// What a logout token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogoutToken {
    /// Whose sessions end.
    pub subject: Option<String>,
    /// Which of the provider's sessions ended.
    pub session: Option<String>,
    /// Its own id: a token counts once.
    pub id: String,
    /// When it is over.
    pub expires_at: i64,
}

/// One audience or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// A claim that providers write as a truth or as a word.
#[derive(Deserialize, Clone, Copy)]
#[serde(try_from = "Value")]
struct Truth(bool);

impl TryFrom<Value> for Truth {
    type Error = &'static str;
    fn try_from(value: Value) -> std::result::Result<Self, Self::Error> {
        match value {
            Value::Bool(truth) => Ok(Self(truth)),
            Value::String(text) => Ok(Self(text == "true")),
            _ => Ok(Self(false)),
        }
    }
}

#[derive(Deserialize)]
struct IdClaims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: i64,
    iat: i64,
    #[serde(default)]
    nbf: Option<i64>,
    #[serde(default)]
    azp: Option<String>,
    #[serde(default)]
    nonce: Option<String>,
    #[serde(default)]
    at_hash: Option<String>,
    #[serde(default)]
    sid: Option<String>,
    #[serde(default)]
    events: Option<Value>,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    email_verified: Option<Truth>,
    #[serde(default)]
    preferred_username: Option<String>,
    #[serde(default)]
    given_name: Option<String>,
    #[serde(default)]
    family_name: Option<String>,
}

#[derive(Deserialize)]
struct LogoutClaims {
    iss: String,
    aud: Audience,
    iat: i64,
    #[serde(default)]
    exp: Option<i64>,
    jti: String,
    events: Map<String, Value>,
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    sid: Option<String>,
    #[serde(default)]
    nonce: Option<Value>,
}

/// Checks an ID token.
pub fn verify_id_token(
    token: &str,
    keys: &ProviderKeys,
    expected: &Expected<'_>,
    now: DateTime<Utc>,
) -> Result<IdToken> {
    let (header, all) = signed(token, keys, &["JWT"])?;
    let claims: IdClaims = serde_json::from_value(Value::Object(all.clone())).map_err(|_| Error::Invalid)?;
    let subject = (1..=SUBJECT_MAX).contains(&claims.sub.len()) && !claims.sub.chars().any(char::is_control);
    // A logout token is signed by the same keys; its event keeps it from passing as a login.
    if claims.iss != expected.issuer || !subject || claims.events.is_some() {
        return Err(Error::Invalid);
    }
    check_audience(&claims.aud, claims.azp.as_deref(), expected.client_id)?;
    match (expected.nonce, claims.nonce.as_deref()) {
        (Some(sent), Some(said)) if equal(sent, said) => {}
        (None, _) => {}
        _ => return Err(Error::Invalid),
    }
    if let (Some(said), Some(access_token)) = (&claims.at_hash, expected.access_token)
        && !equal(said, &left_half(header.alg, access_token)?)
    {
        return Err(Error::Invalid);
    }
    let now = now.timestamp();
    crate::jws::in_time(now, claims.iat, claims.nbf.unwrap_or(claims.iat), claims.exp)?;
    if now > claims.iat.saturating_add(AGE_MAX_SECONDS + LEEWAY_SECONDS) {
        return Err(Error::OutOfTime);
    }
    Ok(IdToken {
        subject: claims.sub,
        session: claims.sid,
        email: claims.email,
        email_verified: claims.email_verified.is_some_and(|truth| truth.0),
        preferred_username: claims.preferred_username,
        given_name: claims.given_name,
        family_name: claims.family_name,
        all,
    })
}

/// Checks a logout token.
pub fn verify_logout_token(
    token: &str,
    keys: &ProviderKeys,
    expected: &Expected<'_>,
    now: DateTime<Utc>,
) -> Result<LogoutToken> {
    let (_, all) = signed(token, keys, &["logout+jwt", "JWT"])?;
    let claims: LogoutClaims = serde_json::from_value(Value::Object(all)).map_err(|_| Error::Invalid)?;
    let is_logout = claims.events.get(LOGOUT_EVENT).is_some_and(Value::is_object);
    let names_one = claims.sub.is_some() || claims.sid.is_some();
    // A nonce would make an ID token of it.
    if claims.iss != expected.issuer || !is_logout || !names_one || claims.nonce.is_some() || claims.jti.is_empty() {
        return Err(Error::Invalid);
    }
    check_audience(&claims.aud, None, expected.client_id)?;
    let latest = claims.iat.saturating_add(LOGOUT_AGE_MAX_SECONDS);
    let expires_at = claims.exp.map_or(latest, |end| end.min(latest));
    crate::jws::in_time(now.timestamp(), claims.iat, claims.iat, expires_at)?;
    Ok(LogoutToken { subject: claims.sub, session: claims.sid, id: claims.jti, expires_at })
}

/// Who a token says it is from, unchecked: only to look up whose keys to check it with.
pub fn issuer_of(token: &str) -> Option<String> {
    if token.len() > TOKEN_MAX {
        return None;
    }
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    claims.get("iss")?.as_str().map(str::to_owned)
}

/// Checks form, header and signature, and reads the claims.
fn signed(token: &str, keys: &ProviderKeys, types: &[&str]) -> Result<(Header, Map<String, Value>)> {
    if token.len() > TOKEN_MAX || !token.is_ascii() {
        return Err(Error::Invalid);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| Error::Invalid)?;
    crate::jws::brings_nothing(&header)?;
    if header.typ.as_deref().is_some_and(|typ| !types.iter().any(|known| known.eq_ignore_ascii_case(typ))) {
        return Err(Error::Invalid);
    }
    let key = keys.find(&header)?;
    let claims = jsonwebtoken::decode(token, &key, &unchecked(header.alg)).map_err(|_| Error::Invalid)?.claims;
    Ok((header, claims))
}

/// The signature only: times, issuer and audience are checked here.
fn unchecked(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    validation
}

/// We are among the audience; where others are too, or the provider names one party, that party is us.
fn check_audience(audience: &Audience, party: Option<&str>, client_id: &str) -> Result<()> {
    let all = audience.all();
    let ours = all.iter().any(|one| one == client_id);
    let alone = all.iter().all(|one| one == client_id);
    let party_fits = match party {
        Some(party) => party == client_id,
        None => alone,
    };
    if ours && party_fits { Ok(()) } else { Err(Error::Invalid) }
}

fn equal(left: &str, right: &str) -> bool {
    left.as_bytes().ct_eq(right.as_bytes()).into()
}

/// `at_hash` of an access token (OpenID Connect Core §3.1.3.6).
fn left_half(algorithm: Algorithm, access_token: &str) -> Result<String> {
    let digest: Vec<u8> = match algorithm {
        Algorithm::RS256 | Algorithm::PS256 | Algorithm::ES256 => Sha256::digest(access_token).to_vec(),
        Algorithm::ES384 => Sha384::digest(access_token).to_vec(),
        Algorithm::RS512 | Algorithm::EdDSA => Sha512::digest(access_token).to_vec(),
        _ => return Err(Error::Invalid),
    };
    let half = digest.get(..digest.len() / 2).unwrap_or_default();
    Ok(URL_SAFE_NO_PAD.encode(half))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_an_access_token_is_by_the_algorithm_of_the_id_token() {
        // Left halves of SHA-256, SHA-384 and SHA-512, computed apart.
        let (short, middle, long) = (
            "Pxa-1wifRlPl7yG_0oJNfw",
            "fPnQAsvCEwe-sRB6O4tsdPgfI-EaOvsY",
            "Rb10lsqrobcpd02MQ_878ctvfDDbaRese_Z50nFw5Jw",
        );
        for (algorithm, half) in [
            (Algorithm::RS256, short),
            (Algorithm::PS256, short),
            (Algorithm::ES256, short),
            (Algorithm::ES384, middle),
            (Algorithm::RS512, long),
            (Algorithm::EdDSA, long),
        ] {
            assert_eq!(left_half(algorithm, "access-token").as_deref(), Ok(half), "{algorithm:?}");
        }
        for odd in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            assert_eq!(left_half(odd, "access-token"), Err(Error::Invalid));
        }
    }

    #[test]
    fn the_issuer_is_read_up_to_the_bound_of_a_token() {
        let claims = URL_SAFE_NO_PAD.encode(r#"{"iss":"https://id.example"}"#);
        let of = |length: usize| format!("e30.{claims}.{}", "A".repeat(length - claims.len() - 5));
        assert_eq!(issuer_of(&of(TOKEN_MAX)).as_deref(), Some("https://id.example"));
        assert_eq!(issuer_of(&of(TOKEN_MAX + 1)), None);
        assert_eq!(issuer_of(&of(TOKEN_MAX * 2)), None);
    }
}
