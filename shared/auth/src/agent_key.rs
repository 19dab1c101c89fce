//! The agent's key pair: the private half never leaves the cluster, each dial carries a short-lived assertion signed
//! with it. The hub keeps the public half only.

use chrono::{DateTime, Utc};
use jsonwebtoken::Algorithm;
use roadstead_contracts::agent::{DIAL_AUDIENCE, DialClaims};
use roadstead_runtime::Secret;

use crate::ed25519::{PrivateKey, PublicKey};
use crate::{Error, Result, jws};

/// Life of an assertion, seconds.
pub const DIAL_LIFETIME_SECONDS: i64 = 60;
/// `typ` of its header.
const DIAL_TYP: &str = "roadstead-dial+jwt";
/// Longest `jti` and agent id that are taken: the hub remembers them until the assertion ends.
const TEXT_MAX: usize = 128;

/// An agent's key pair.
#[derive(Debug, Clone)]
pub struct AgentKey(PrivateKey);

impl AgentKey {
    /// A new key pair.
    pub fn generate() -> Result<Self> {
        PrivateKey::generate().map(Self)
    }

    /// Reads the PEM text that [`AgentKey::pem`] gave.
    pub fn load(pem: &str) -> Result<Self> {
        PrivateKey::from_pem(pem).map(Self)
    }

    /// The private key as PKCS#8 PEM, for the agent's Secret or its 0600 file.
    pub fn pem(&self) -> Secret {
        self.0.pem()
    }

    /// The public half, as enrolled.
    pub fn public_base64url(&self) -> String {
        self.0.public().base64url()
    }

    /// Signs an assertion for one dial.
    pub fn sign_dial(&self, agent_id: &str, now: DateTime<Utc>, jti: &str) -> Result<String> {
        let iat = now.timestamp();
        let claims = DialClaims {
            sub: agent_id.to_owned(),
            aud: DIAL_AUDIENCE.to_owned(),
            iat,
            exp: iat.saturating_add(DIAL_LIFETIME_SECONDS),
            jti: jti.to_owned(),
        };
        jws::sign(Algorithm::EdDSA, DIAL_TYP, None, self.0.encoding(), &claims)
    }
}

/// Checks an assertion against the enrolled public key. The caller also refuses a `jti` it has seen before.
pub fn verify_dial(token: &str, public_key: &str, now: DateTime<Utc>) -> Result<DialClaims> {
    let key = PublicKey::parse(public_key)?;
    let claims: DialClaims = jws::verify(token, Algorithm::EdDSA, DIAL_TYP, |_| Ok(key.decoding()))?;
    let short = |text: &str| !text.is_empty() && text.len() <= TEXT_MAX;
    if claims.aud != DIAL_AUDIENCE
        || claims.exp.saturating_sub(claims.iat) > DIAL_LIFETIME_SECONDS
        || !short(&claims.jti)
        || !short(&claims.sub)
    {
        return Err(Error::Invalid);
    }
    jws::in_time(now.timestamp(), claims.iat, claims.iat, claims.exp)?;
    Ok(claims)
}

/// The agent id that a token claims, unproved: only to look up the key with which [`verify_dial`] then checks it.
pub fn claimed_agent(token: &str) -> Option<String> {
    if token.len() > jws::TOKEN_MAX {
        return None;
    }
    let claims: DialClaims = jsonwebtoken::dangerous::insecure_decode_claims(token).ok()?;
    (claims.aud == DIAL_AUDIENCE && claims.sub.len() <= TEXT_MAX).then_some(claims.sub)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn claims() -> DialClaims {
        let iat = start().timestamp();
        DialClaims {
            sub: "a".repeat(TEXT_MAX),
            aud: DIAL_AUDIENCE.to_owned(),
            iat,
            exp: iat + DIAL_LIFETIME_SECONDS,
            jti: "j".repeat(TEXT_MAX),
        }
    }

    fn signed(key: &AgentKey, claims: &DialClaims) -> String {
        jws::sign(Algorithm::EdDSA, DIAL_TYP, None, key.0.encoding(), claims).unwrap()
    }

    /// An agent signs whatever it likes with its own key.
    #[test]
    fn a_good_signature_over_odd_claims_is_not_enough() {
        let key = AgentKey::generate().unwrap();
        let check = |claims: &DialClaims| verify_dial(&signed(&key, claims), &key.public_base64url(), start());
        assert_eq!(check(&claims()).map(|read| read.sub), Ok(claims().sub));
        let iat = claims().iat;
        for (what, odd, fault) in [
            ("another audience", DialClaims { aud: "roadstead-api".to_owned(), ..claims() }, Error::Invalid),
            ("a longer life", DialClaims { exp: claims().exp + 1, ..claims() }, Error::Invalid),
            ("a life without end", DialClaims { iat: i64::MIN, exp: i64::MAX, ..claims() }, Error::Invalid),
            ("no jti", DialClaims { jti: String::new(), ..claims() }, Error::Invalid),
            ("a long jti", DialClaims { jti: "j".repeat(TEXT_MAX + 1), ..claims() }, Error::Invalid),
            ("no agent", DialClaims { sub: String::new(), ..claims() }, Error::Invalid),
            ("a long agent", DialClaims { sub: "a".repeat(TEXT_MAX + 1), ..claims() }, Error::Invalid),
            ("from the future", DialClaims { iat: iat + 31, ..claims() }, Error::OutOfTime),
            ("over", DialClaims { iat: iat - 60, exp: iat - 31, ..claims() }, Error::OutOfTime),
        ] {
            assert_eq!(check(&odd).unwrap_err(), fault, "{what}");
        }
        assert!(
            check(&DialClaims { iat: iat + 30, ..claims() }).is_ok()
                && check(&DialClaims { exp: iat, ..claims() }).is_ok()
        );
    }

    #[test]
    fn what_a_token_claims_is_short_and_for_this_door() {
        let key = AgentKey::generate().unwrap();
        assert_eq!(claimed_agent(&signed(&key, &claims())), Some(claims().sub));
        for odd in [
            DialClaims { aud: "roadstead-api".to_owned(), ..claims() },
            DialClaims { sub: "a".repeat(TEXT_MAX + 1), ..claims() },
        ] {
            assert_eq!(claimed_agent(&signed(&key, &odd)), None);
        }
        // The signature is not looked at here, the length is.
        let token = signed(&key, &claims());
        let padded = |length: usize| format!("{token}{}", "A".repeat(length - token.len()));
        assert_eq!(claimed_agent(&padded(jws::TOKEN_MAX)), Some(claims().sub));
        assert_eq!(claimed_agent(&padded(jws::TOKEN_MAX + 1)), None);
        assert_eq!(claimed_agent(&padded(jws::TOKEN_MAX * 2)), None);
    }
}
