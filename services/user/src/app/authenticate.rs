//! Is this credential good, and whose is it? The service's most frequent question.

use chrono::{DateTime, Utc};
use roadstead_auth::token::digests_equal;
use roadstead_contracts::identity::{CredentialKind, Principal};
use roadstead_contracts::message::{Authenticate, Authenticated, CredentialProof};
use roadstead_contracts::{Code, Result};

use super::{App, invalid_credential};
use crate::domain::{ApiKey, User};
use crate::store::KnownKey;

/// Why a key of ours is not good; only its holder gets to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFault {
    /// No such key, or the secret is wrong, or it was switched off.
    Unknown,
    /// It is over.
    Expired,
    /// Its account may not be used.
    Disabled,
}

impl App {
    /// Answers [`Authenticate`].
    pub async fn authenticate(&self, request: &Authenticate) -> Result<Authenticated> {
        let known = self.whose(&request.credential).await;
        let refused = matches!(&known, Err(error) if error.code == Code::InvalidCredential);
        if refused || known.is_ok() {
            self.count(kind_of(&request.credential), !refused);
        }
        let mut known = known?;
        if let Some(cluster) = request.cluster_id {
            known.assertion = Some(match &request.raise {
                None => self.sign_identity(&known.principal, cluster)?,
                Some(raise) => self.sign_raised(&known.principal, cluster, raise)?,
            });
        }
        Ok(known)
    }

    pub(super) async fn whose(&self, proof: &CredentialProof) -> Result<Authenticated> {
        let now = self.clock.now();
        let mut scope = None;
        let (user, credential, expires_at) = match proof {
            CredentialProof::Session { session_id, user_id, pair_id } => {
                let known = self.store.known_session(*session_id, *user_id, *pair_id, now).await?;
                let known = known.ok_or_else(invalid_credential)?;
                if let (Some(pair), false) = (pair_id, known.pair_seen) {
                    // From here on the refresh token before this pair is spent for good.
                    self.store.mark_pair_used(*pair, now).await?;
                }
                self.last_used.session(&known.session, now);
                (known.user, CredentialKind::Session(*session_id), Some(known.session.expires_at))
            }
            CredentialProof::ApiKey { .. } | CredentialProof::LegacyApiKey { .. } => {
                let known = self.known_key(proof, now).await?.map_err(|_| invalid_credential())?;
                self.last_used.api_key(&known.key, now);
                scope = known.key.scope;
                (known.user, CredentialKind::ApiKey(known.key.id), known.key.expires_at)
            }
        };
        // The one place where a scope meets its account; from here on it travels with the caller.
        let principal = Principal { scope, ..self.principal(&user, credential).await? };
        Ok(Authenticated { principal, expires_at, assertion: None })
    }

    /// Whose an API key is, or why it is not good.
    pub async fn key_holder(&self, proof: &CredentialProof) -> Result<std::result::Result<User, KeyFault>> {
        let now = self.clock.now();
        Ok(self.known_key(proof, now).await?.map(|known| {
            self.last_used.api_key(&known.key, now);
            known.user
        }))
    }

    /// The key of a proof, or why it is not good. Expired keys are refused on every path.
    pub(super) async fn known_key(
        &self,
        proof: &CredentialProof,
        now: DateTime<Utc>,
    ) -> Result<std::result::Result<KnownKey, KeyFault>> {
        let (known, digest) = match proof {
            CredentialProof::ApiKey { id, digest } => (self.store.known_key(*id).await?, self.keys.seal(digest)?),
            CredentialProof::LegacyApiKey { digest } => {
                let digest = self.keys.seal(digest)?;
                (self.store.known_legacy_key(&digest).await?, digest)
            }
            CredentialProof::Session { .. } => return Ok(Err(KeyFault::Unknown)),
        };
        let Some(known) = known.filter(|known| is_secret(known, &digest, now) && known.key.active) else {
            return Ok(Err(KeyFault::Unknown));
        };
        Ok(match judge(&known.key, known.user.active, now) {
            Some(fault) => Err(fault),
            None => Ok(known),
        })
    }
}

/// The key's secret, or the one before it while that still works.
fn is_secret(known: &KnownKey, digest: &str, now: DateTime<Utc>) -> bool {
    let before = known.previous.as_ref().filter(|(_, until)| now < *until);
    digests_equal(&known.digest, digest) | before.is_some_and(|(before, _)| digests_equal(before, digest))
}

fn kind_of(proof: &CredentialProof) -> &'static str {
    match proof {
        CredentialProof::ApiKey { .. } | CredentialProof::LegacyApiKey { .. } => "api_key",
        CredentialProof::Session { .. } => "session",
    }
}

fn judge(key: &ApiKey, user_active: bool, now: DateTime<Utc>) -> Option<KeyFault> {
    if key.expires_at.is_some_and(|end| now >= end) {
        return Some(KeyFault::Expired);
    }
    (!user_active).then_some(KeyFault::Disabled)
}
