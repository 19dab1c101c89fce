//! Identities signed for a cluster: the user service says who is asking, the agent checks it without asking back.
//!
//! Agents pin the root's public key when they are enrolled. The keys that sign identities come as a set that the root
//! has signed; the newest set wins, an older one is never taken back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use jsonwebtoken::Algorithm;
use roadstead_contracts::agent::IdentityClaims;
use roadstead_contracts::ids::{ClusterId, OperationId};
use roadstead_contracts::operation::{OperationClaims, Work};
use serde::{Deserialize, Serialize};

use crate::ed25519::{PrivateKey, PublicKey};
use crate::jwt::{Jwk, KeySet};
use crate::{Error, Result, jws};

/// Longest life of an identity, seconds.
pub const LIFETIME_MAX_SECONDS: i64 = 60;
/// Longest time an order for an operation is good for, seconds: an agent that lost its stream goes on by itself, and asks
/// nobody while it does.
pub const ORDER_LIFETIME_MAX_SECONDS: i64 = 15 * 60;
/// `typ` of an order's header.
const ORDER_TYP: &str = "roadstead-operation+jwt";
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

    /// Signs an order for an operation.
    pub fn sign_operation(&self, claims: &OperationClaims) -> Result<String> {
        jws::sign(Algorithm::EdDSA, ORDER_TYP, Some(self.current.kid()), self.current.encoding(), claims)
    }
}

/// What an order is signed over: the work as JSON, a line feed, and the digest of the body. The JSON is that of this crate's
/// own types, so that both sides, which read the work into them, write the same text.
pub fn operation_digest(work: &Work, body_sha256: &str) -> Result<String> {
    let mut text = serde_json::to_vec(work).map_err(|_| Error::Invalid)?;
    text.push(b'\n');
    text.extend_from_slice(body_sha256.as_bytes());
    Ok(crate::hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text).as_ref()))
}

/// What an agent was asked to do, to compare with an order.
#[derive(Debug, Clone, Copy)]
pub struct OrderedRun<'a> {
    /// The cluster that the agent serves.
    pub cluster: ClusterId,
    /// The operation.
    pub operation: OperationId,
    /// The attempt.
    pub epoch: i64,
    /// The work.
    pub work: &'a Work,
    /// SHA-256 of the body, hex.
    pub body_sha256: &'a str,
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
    /// Identities whose signature was found good with these keys. The hub sends one for up to a minute with every request of
    /// a person, and checking its signature was a third of what a request costs an agent. It goes when the keys go.
    seen: Mutex<HashMap<String, Arc<IdentityClaims>>>,
}

/// Most identities that are remembered: people at work in one cluster within a minute.
const SEEN_MAX: usize = 256;
/// Longest identity that is remembered, bytes: one with every role has some 500.
const SEEN_LENGTH_MAX: usize = 2 * 1024;

impl Known {
    /// The claims of an identity with a good signature. Time and cluster are not looked at.
    fn identity(&self, assertion: &str, now: DateTime<Utc>) -> Result<Arc<IdentityClaims>> {
        if let Some(claims) = self.seen().get(assertion) {
            return Ok(Arc::clone(claims));
        }
        let claims: IdentityClaims = jws::verify(assertion, Algorithm::EdDSA, IDENTITY_TYP, |kid| self.keys.find(kid))?;
        let claims = Arc::new(claims);
        if assertion.len() <= SEEN_LENGTH_MAX {
            let mut seen = self.seen();
            if seen.len() >= SEEN_MAX {
                seen.retain(|_, claims| claims.exp > now.timestamp());
            }
            if seen.len() >= SEEN_MAX {
                seen.clear();
            }
            seen.insert(assertion.to_owned(), Arc::clone(&claims));
        }
        Ok(claims)
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<String, Arc<IdentityClaims>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        self.known.store(Arc::new(Known { issued_at: claims.iat, keys, seen: Mutex::default() }));
        Ok(())
    }

    /// Checks that an order is for this run, at this time.
    pub fn verify_operation(&self, order: &str, run: OrderedRun<'_>, now: DateTime<Utc>) -> Result<OperationClaims> {
        let claims: OperationClaims =
            jws::verify(order, Algorithm::EdDSA, ORDER_TYP, |kid| self.known.load().keys.find(kid))?;
        let same = claims.aud == run.cluster.to_string()
            && claims.operation == run.operation.to_string()
            && claims.epoch == run.epoch
            && claims.digest == operation_digest(run.work, run.body_sha256)?;
        if !same || claims.exp.saturating_sub(claims.iat) > ORDER_LIFETIME_MAX_SECONDS {
            return Err(Error::Invalid);
        }
        jws::in_time(now.timestamp(), claims.iat, claims.iat, claims.exp)?;
        Ok(claims)
    }

    /// Checks an identity for this cluster at this time. The signature of one that was seen before is not checked again while the
    /// keys stay the same; cluster and time are.
    pub fn verify(&self, assertion: &str, cluster_id: ClusterId, now: DateTime<Utc>) -> Result<IdentityClaims> {
        let claims = self.known.load().identity(assertion, now)?;
        if claims.aud != cluster_id.to_string() {
            return Err(Error::Invalid);
        }
        // A longer life than we ever sign is not ours, whoever signed it.
        if claims.exp.saturating_sub(claims.iat) > LIFETIME_MAX_SECONDS {
            return Err(Error::Invalid);
        }
        jws::in_time(now.timestamp(), claims.iat, claims.iat, claims.exp)?;
        Ok(Arc::unwrap_or_clone(claims))
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use roadstead_contracts::ids::TypedId as _;

    use super::*;

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn cluster() -> ClusterId {
        ClusterId::from_uuid(uuid::Uuid::from_u128(7))
    }

    fn pair() -> (SigningKeys, Verifier) {
        let root = RootKey::new(PrivateKey::generate().unwrap());
        let signing = SigningKeys::new(PrivateKey::generate().unwrap(), []);
        let agent = Verifier::new(&root.public_base64url()).unwrap();
        agent.update_keys(&root.sign_key_set(signing.key_set(), start()).unwrap(), start()).unwrap();
        (signing, agent)
    }

    fn claims(sub: &str, exp: i64) -> IdentityClaims {
        IdentityClaims {
            sub: sub.to_owned(),
            uid: "u".to_owned(),
            roles: vec!["viewer".to_owned()],
            aud: cluster().to_string(),
            iat: exp - LIFETIME_MAX_SECONDS,
            exp,
            actor: None,
            only: None,
        }
    }

    fn seen(agent: &Verifier) -> usize {
        agent.known.load().seen().len()
    }

    #[test]
    fn what_is_remembered_is_bounded_in_number_and_length() {
        let (signing, agent) = pair();
        let now = start();
        let end = now.timestamp() + LIFETIME_MAX_SECONDS;
        let take = |sub: &str, exp: i64, now| {
            agent.verify(&signing.sign(&claims(sub, exp)).unwrap(), cluster(), now).unwrap();
        };
        take(&"long".repeat(512), end, now);
        assert_eq!(seen(&agent), 0, "a long one costs its check each time");
        take(&"long".repeat(256), end, now);
        assert_eq!(seen(&agent), 1, "one of some 2,000 bytes does not");
        agent.known.load().seen().clear();
        // The last is good for ten seconds more than the others.
        for number in 0..SEEN_MAX - 1 {
            take(&format!("person-{number}"), end, now);
        }
        take("person-0", end, now);
        assert_eq!(seen(&agent), SEEN_MAX - 1, "one twice is one");
        let later = now + TimeDelta::seconds(LIFETIME_MAX_SECONDS);
        take("last", end + 10, later);
        assert_eq!(seen(&agent), SEEN_MAX);
        take("fresh", end + 10, later);
        assert_eq!(seen(&agent), 2, "only what is over makes room");
        for number in 0..SEEN_MAX {
            take(&format!("other-{number}"), end + 10, later);
        }
        assert!(seen(&agent) <= SEEN_MAX, "when nothing is over, all of it does");
    }

    #[test]
    fn key_sets_are_not_from_the_future_and_name_their_issuer() {
        let root = RootKey::new(PrivateKey::generate().unwrap());
        let keys = KeySet::of([PrivateKey::generate().unwrap().public()]);
        let agent = || Verifier::new(&root.public_base64url()).unwrap();
        let at = |seconds| root.sign_key_set(&keys, start() + TimeDelta::seconds(seconds)).unwrap();
        assert_eq!(agent().update_keys(&at(jws::LEEWAY_SECONDS), start()), Ok(()));
        assert_eq!(agent().update_keys(&at(jws::LEEWAY_SECONDS + 1), start()), Err(Error::OutOfTime));
        assert_eq!(agent().update_keys(&at(3_600), start()), Err(Error::OutOfTime));
        let held = agent();
        assert_eq!(held.update_keys(&at(0), start()), Ok(()));
        assert_eq!(held.update_keys(&at(0), start()), Ok(()), "the same set again, after a reconnect");
        assert_eq!(held.update_keys(&at(-1), start()), Err(Error::OutOfTime));
        let empty = root.sign_key_set(&KeySet::default(), start()).unwrap();
        assert_eq!(agent().update_keys(&empty, start()), Err(Error::Invalid));
        let other = KeySetClaims { iss: "somebody".to_owned(), iat: start().timestamp(), keys: keys.jwks() };
        let other = jws::sign(Algorithm::EdDSA, KEY_SET_TYP, Some(root.0.kid()), root.0.encoding(), &other).unwrap();
        assert_eq!(agent().update_keys(&other, start()), Err(Error::Invalid));
    }

    /// The same keys sign identities and orders: the kind is in the header, not in the shape of the claims.
    #[test]
    fn an_identity_signed_as_an_order_is_none() {
        let (signing, agent) = pair();
        let good = claims("ada", start().timestamp() + LIFETIME_MAX_SECONDS);
        let key = &signing.current;
        let sign = |typ| jws::sign(Algorithm::EdDSA, typ, Some(key.kid()), key.encoding(), &good).unwrap();
        assert_eq!(agent.verify(&sign(IDENTITY_TYP), cluster(), start()), Ok(good.clone()));
        for typ in [ORDER_TYP, KEY_SET_TYP, "JWT"] {
            assert_eq!(agent.verify(&sign(typ), cluster(), start()), Err(Error::Invalid), "{typ}");
        }
    }
}
