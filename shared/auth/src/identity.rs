//! Identities signed for a cluster: the user service says who is asking, the agent checks it without asking back.
//!
//! Agents pin the root's public key when they are enrolled. The keys that sign identities come as a set that the root
//! has signed; the newest set wins, an older one is never taken back.

use std::sync::Arc;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use jsonwebtoken::Algorithm;
use roadstead_contracts::agent::IdentityClaims;
use roadstead_contracts::ids::ClusterId;
use serde::{Deserialize, Serialize};

use crate::ed25519::{PrivateKey, PublicKey};
use crate::jwt::{Jwk, KeySet};
use crate::{Error, Result, jws};

/// Longest life of an identity, seconds.
pub const LIFETIME_MAX_SECONDS: i64 = 60;
/// `typ` of an identity's header.
const IDENTITY_TYP: &str = "roadstead-identity+jwt";
/// `typ` of a key set's header.
const KEY_SET_TYP: &str = "roadstead-keys+jwt";
/// Issuer of a key set.
const KEY_SET_ISSUER: &str = "roadstead-root";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct KeySetClaims {
    iss: String,
    iat: i64,
    keys: Vec<Jwk>,
}

/// The key that agents pin. It signs key sets and nothing else.
#[derive(Debug, Clone)]
pub struct RootKey(PrivateKey);

impl RootKey {
    /// Makes this key the root.
    pub fn new(key: PrivateKey) -> Self {
        Self(key)
    }

    /// The public half, base64url: what agents pin.
    pub fn public_base64url(&self) -> String {
        self.0.public().base64url()
    }

    /// Signs the set of keys that may sign identities.
    pub fn sign_key_set(&self, keys: &KeySet, now: DateTime<Utc>) -> Result<String> {
        let claims = KeySetClaims { iss: KEY_SET_ISSUER.to_owned(), iat: now.timestamp(), keys: keys.jwks() };
        jws::sign(Algorithm::EdDSA, KEY_SET_TYP, Some(self.0.kid()), self.0.encoding(), &claims)
    }
}

/// The keys that sign identities: one that signs now, and the others that agents should still or already know.
#[derive(Debug, Clone)]
pub struct SigningKeys {
    current: PrivateKey,
    published: KeySet,
}

impl SigningKeys {
    /// Signs with `current`; `others` are published beside it.
    pub fn new(current: PrivateKey, others: impl IntoIterator<Item = PublicKey>) -> Self {
        let published = KeySet::of(std::iter::once(current.public()).chain(others));
        Self { current, published }
    }

    /// The keys to publish.
    pub fn key_set(&self) -> &KeySet {
        &self.published
    }

    /// Signs an identity.
    pub fn sign(&self, claims: &IdentityClaims) -> Result<String> {
        jws::sign(Algorithm::EdDSA, IDENTITY_TYP, Some(self.current.kid()), self.current.encoding(), claims)
    }
}

/// Checks identities: the agent's side.
#[derive(Debug)]
pub struct Verifier {
    root: PublicKey,
    known: ArcSwap<Known>,
}

#[derive(Debug, Default)]
struct Known {
    issued_at: i64,
    keys: KeySet,
}

impl Verifier {
    /// Trusts this root (base64url, as pinned) and knows no signing key yet.
    pub fn new(root: &str) -> Result<Self> {
        Ok(Self { root: PublicKey::parse(root)?, known: ArcSwap::default() })
    }

    /// Takes a key set that the root has signed. One that is older than the known one is refused.
    pub fn update_keys(&self, key_set: &str, now: DateTime<Utc>) -> Result<()> {
        let root = self.root;
        let claims: KeySetClaims = jws::verify(key_set, Algorithm::EdDSA, KEY_SET_TYP, |kid| {
            if kid == Some(root.kid().as_str()) { Ok(root.decoding()) } else { Err(Error::UnknownKey) }
        })?;
        if claims.iss != KEY_SET_ISSUER {
            return Err(Error::Invalid);
        }
        if claims.iat > now.timestamp().saturating_add(jws::LEEWAY_SECONDS) || claims.iat < self.known.load().issued_at
        {
            return Err(Error::OutOfTime);
        }
        let keys = KeySet::from_jwks(&claims.keys);
        if keys == KeySet::default() {
            return Err(Error::Invalid);
        }
        self.known.store(Arc::new(Known { issued_at: claims.iat, keys }));
        Ok(())
    }

    /// Checks an identity for this cluster at this time.
    pub fn verify(&self, assertion: &str, cluster_id: ClusterId, now: DateTime<Utc>) -> Result<IdentityClaims> {
        let claims: IdentityClaims =
            jws::verify(assertion, Algorithm::EdDSA, IDENTITY_TYP, |kid| self.known.load().keys.find(kid))?;
        if claims.aud != cluster_id.to_string() {
            return Err(Error::Invalid);
        }
        // A longer life than we ever sign is not ours, whoever signed it.
        if claims.exp.saturating_sub(claims.iat) > LIFETIME_MAX_SECONDS {
            return Err(Error::Invalid);
        }
        jws::in_time(now.timestamp(), claims.iat, claims.iat, claims.exp)?;
        Ok(claims)
    }
}
