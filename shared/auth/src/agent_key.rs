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
