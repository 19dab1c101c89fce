//! Access tokens: signed by the user service, checked by the front door. EdDSA with a published key set by default;
//! HS256 with a shared secret where a seed's settings ask for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use roadstead_contracts::identity::Role;
use roadstead_contracts::ids::{SessionId, UserId};
use roadstead_contracts::message::CredentialProof;
use roadstead_runtime::Secret;
use serde::{Deserialize, Serialize};

use crate::ed25519::{PrivateKey, PublicKey};
use crate::{Error, Result, jws};

/// `typ` of an access token's header (RFC 9068 §2.1).
const HEADER_TYP: &str = "at+jwt";
/// `typ` claim: keeps refresh tokens and identities from passing as access tokens.
pub const ACCESS: &str = "access";
/// Least bytes of an HS256 secret (RFC 7518 §3.2).
pub const HS256_SECRET_MIN: usize = 32;
/// Most keys of a set that are kept: current, next and a few old ones.
pub const KEYS_MAX: usize = 16;
/// Longest key set that is read (reliability row A18).
pub const KEY_SET_BYTES_MAX: usize = 64 * 1024;

/// What an access token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// The account.
    pub sub: UserId,
    /// The session.
    pub sid: SessionId,
    /// The account's integer number.
    pub seq: i64,
    /// User name.
    pub username: String,
    /// E-mail address.
    pub email: String,
    /// Roles held when it was signed. For display: what counts is asked of the user service.
    pub roles: BTreeSet<Role>,
    /// Issuer.
    pub iss: String,
    /// Audience.
    pub aud: String,
    /// Seconds since 1970.
    pub iat: i64,
    /// Seconds since 1970.
    pub nbf: i64,
    /// Seconds since 1970.
    pub exp: i64,
    /// Id of the pair of tokens it was issued in.
    pub jti: String,
    /// [`ACCESS`].
    pub typ: String,
}

impl AccessClaims {
    /// What to ask the user service with: whether the session behind the token still stands.
    pub fn proof(&self) -> CredentialProof {
        CredentialProof::Session { session_id: self.sid, user_id: self.sub, pair_id: self.jti.parse().ok() }
    }
}

/// A public key as it stands in a set (RFC 7517, RFC 8037).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// `OKP`.
    pub kty: String,
    /// `Ed25519`.
    #[serde(default)]
    pub crv: String,
    /// The public key.
    #[serde(default)]
    pub x: String,
    /// Its name.
    #[serde(default)]
    pub kid: String,
    /// `sig`.
    #[serde(default, rename = "use")]
    pub usage: String,
    /// `EdDSA`.
    #[serde(default)]
    pub alg: String,
}

impl Jwk {
    /// A key of ours.
    pub fn of(key: &PublicKey) -> Self {
        Self {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            x: key.base64url(),
            kid: key.kid(),
            usage: "sig".to_owned(),
            alg: "EdDSA".to_owned(),
        }
    }

    fn public(&self) -> Option<PublicKey> {
        let ours = self.kty == "OKP"
            && self.crv == "Ed25519"
            && matches!(self.usage.as_str(), "" | "sig")
            && matches!(self.alg.as_str(), "" | "EdDSA");
        let key = PublicKey::parse(&self.x).ok()?;
        (ours && self.kid == key.kid()).then_some(key)
    }
}

#[derive(Serialize, Deserialize)]
struct JwkSet {
    keys: Vec<Jwk>,
}

/// The public keys by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeySet(BTreeMap<String, PublicKey>);

impl KeySet {
    /// A set of these keys.
    pub fn of(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        Self(keys.into_iter().take(KEYS_MAX).map(|key| (key.kid(), key)).collect())
    }

    /// Reads a JWK set. Keys of other kinds are left out; a set without one of ours is an error.
    pub fn parse(json: &[u8]) -> Result<Self> {
        if json.len() > KEY_SET_BYTES_MAX {
            return Err(Error::BadKey("the key set is too long"));
        }
        let set: JwkSet = serde_json::from_slice(json).map_err(|_| Error::BadKey("not a JWK set"))?;
        let keys = Self::from_jwks(&set.keys);
        if keys.0.is_empty() { Err(Error::BadKey("the key set holds no Ed25519 key")) } else { Ok(keys) }
    }

    pub(crate) fn from_jwks(jwks: &[Jwk]) -> Self {
        Self::of(jwks.iter().filter_map(Jwk::public))
    }

    /// The JWK set as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "keys": self.jwks() })
    }

    pub(crate) fn jwks(&self) -> Vec<Jwk> {
        self.0.values().map(Jwk::of).collect()
    }

    pub(crate) fn find(&self, kid: Option<&str>) -> Result<DecodingKey> {
        let kid = kid.ok_or(Error::Invalid)?;
        self.0.get(kid).map(PublicKey::decoding).ok_or(Error::UnknownKey)
    }
}

/// Signs access tokens.
pub struct Signer {
    kind: SignerKind,
    issuer: String,
    audience: String,
}

enum SignerKind {
    EdDsa(PrivateKey),
    Hs256(EncodingKey),
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("jwt::Signer")
    }
}

/// Who an access token is for.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The account.
    pub user_id: UserId,
    /// Its integer number.
    pub seq: i64,
    /// The session.
    pub session_id: SessionId,
    /// User name.
    pub username: String,
    /// E-mail address.
    pub email: String,
    /// Roles.
    pub roles: BTreeSet<Role>,
}

impl Signer {
    /// Signs with this key.
    pub fn eddsa(key: PrivateKey, issuer: &str, audience: &str) -> Self {
        Self { kind: SignerKind::EdDsa(key), issuer: issuer.to_owned(), audience: audience.to_owned() }
    }

    /// Signs with this secret.
    pub fn hs256(secret: &Secret, issuer: &str, audience: &str) -> Result<Self> {
        check_secret(secret)?;
        let key = EncodingKey::from_secret(secret.expose().as_bytes());
        Ok(Self { kind: SignerKind::Hs256(key), issuer: issuer.to_owned(), audience: audience.to_owned() })
    }

    /// Signs a token for the subject that lives for `lifetime`. Gives the claims too, for their times.
    pub fn issue(
        &self,
        subject: Subject,
        now: DateTime<Utc>,
        lifetime: std::time::Duration,
        jti: &str,
    ) -> Result<(Secret, AccessClaims)> {
        let iat = now.timestamp();
        let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        let claims = AccessClaims {
            sub: subject.user_id,
            sid: subject.session_id,
            seq: subject.seq,
            username: subject.username,
            email: subject.email,
            roles: subject.roles,
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            iat,
            nbf: iat,
            exp: iat.saturating_add(seconds),
            jti: jti.to_owned(),
            typ: ACCESS.to_owned(),
        };
        Ok((Secret::new(self.sign(&claims)?), claims))
    }

    /// Signs these claims as they are.
    pub fn sign(&self, claims: &AccessClaims) -> Result<String> {
        match &self.kind {
            SignerKind::EdDsa(key) => jws::sign(Algorithm::EdDSA, HEADER_TYP, Some(key.kid()), key.encoding(), claims),
            SignerKind::Hs256(key) => jws::sign(Algorithm::HS256, HEADER_TYP, None, key, claims),
        }
    }
}

/// Checks access tokens.
pub struct Verifier {
    kind: VerifierKind,
    issuer: String,
    audience: String,
}

enum VerifierKind {
    EdDsa(ArcSwap<KeySet>),
    Hs256(DecodingKey),
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("jwt::Verifier")
    }
}

impl Verifier {
    /// Checks with a set of public keys; start with an empty one where it is still to be fetched.
    pub fn eddsa(keys: KeySet, issuer: &str, audience: &str) -> Self {
        let kind = VerifierKind::EdDsa(ArcSwap::from_pointee(keys));
        Self { kind, issuer: issuer.to_owned(), audience: audience.to_owned() }
    }

    /// Checks with a shared secret.
    pub fn hs256(secret: &Secret, issuer: &str, audience: &str) -> Result<Self> {
        check_secret(secret)?;
        let key = DecodingKey::from_secret(secret.expose().as_bytes());
        Ok(Self { kind: VerifierKind::Hs256(key), issuer: issuer.to_owned(), audience: audience.to_owned() })
    }

    /// Puts a new key set in place. Nothing to do for HS256.
    pub fn update_keys(&self, keys: KeySet) {
        if let VerifierKind::EdDsa(current) = &self.kind {
            current.store(Arc::new(keys));
        }
    }

    /// Checks a token at this time. [`Error::UnknownKey`] means that a fresh key set may help.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<AccessClaims> {
        let claims: AccessClaims = match &self.kind {
            VerifierKind::EdDsa(keys) => jws::verify(token, Algorithm::EdDSA, HEADER_TYP, |kid| keys.load().find(kid))?,
            VerifierKind::Hs256(key) => jws::verify(token, Algorithm::HS256, HEADER_TYP, |_| Ok(key.clone()))?,
        };
        if claims.typ != ACCESS || claims.iss != self.issuer || claims.aud != self.audience {
            return Err(Error::Invalid);
        }
        jws::in_time(now.timestamp(), claims.iat, claims.nbf, claims.exp)?;
        Ok(claims)
    }
}

fn check_secret(secret: &Secret) -> Result<()> {
    if secret.expose().len() < HS256_SECRET_MIN {
        return Err(Error::BadKey("the HS256 secret is shorter than 32 bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> PrivateKey {
        PrivateKey::generate().unwrap()
    }

    #[test]
    fn only_a_key_that_is_what_it_says_counts() {
        let public = key().public();
        let good = Jwk::of(&public);
        assert_eq!(good.public(), Some(public));
        let silent = Jwk { usage: String::new(), alg: String::new(), ..good.clone() };
        assert_eq!(silent.public(), Some(public));
        let text = |text: &str| text.to_owned();
        for odd in [
            Jwk { kty: text("EC"), ..good.clone() },
            Jwk { crv: text("X25519"), ..good.clone() },
            Jwk { usage: text("enc"), ..good.clone() },
            Jwk { alg: text("HS256"), ..good.clone() },
            Jwk { kid: key().public().kid(), ..good.clone() },
            Jwk { kid: String::new(), ..good.clone() },
            Jwk { x: key().public().base64url(), ..good.clone() },
        ] {
            assert_eq!(odd.public(), None, "{odd:?}");
            let both = format!(r#"{{"keys":[{},{}]}}"#, json(&odd), json(&good));
            assert_eq!(KeySet::parse(both.as_bytes()), Ok(KeySet::of([public])), "the good one beside it stays");
        }
    }

    fn json(jwk: &Jwk) -> String {
        serde_json::to_string(jwk).unwrap()
    }

    #[test]
    fn sets_are_bounded_in_bytes_and_number() {
        let text = KeySet::of([key().public()]).to_json().to_string();
        let padded = |length: usize| format!("{text}{}", " ".repeat(length - text.len()));
        assert_eq!(KEY_SET_BYTES_MAX, 65_536);
        assert!(KeySet::parse(padded(KEY_SET_BYTES_MAX).as_bytes()).is_ok());
        assert!(KeySet::parse(padded(KEY_SET_BYTES_MAX + 1).as_bytes()).is_err());
        assert!(KeySet::parse(padded(KEY_SET_BYTES_MAX * 2).as_bytes()).is_err());
        assert_eq!(KeySet::of((0..KEYS_MAX + 3).map(|_| key().public())).0.len(), KEYS_MAX);
    }

    #[test]
    fn signers_and_verifiers_print_no_key() {
        let secret = Secret::new("canary-".repeat(5));
        let signer = Signer::hs256(&secret, "i", "a").unwrap();
        let verifier = Verifier::hs256(&secret, "i", "a").unwrap();
        assert_eq!(format!("{signer:?} {verifier:?}"), "jwt::Signer jwt::Verifier");
    }
}
