//! Authentication and signed identities: asked of the user service.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::identity::Principal;
use crate::ids::{ApiKeyId, ClusterId, SessionId, TokenPairId, UserId};

/// What the caller showed, as far as a message may say it: never the secret itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum CredentialProof {
    /// An API key of ours: its id and the SHA-256 of its secret, hex.
    ApiKey {
        /// Public half of the key.
        id: ApiKeyId,
        /// SHA-256 of the secret half, lower-case hex.
        digest: String,
    },
    /// A key of the predecessors' form (`ks_…`), known by digest alone.
    LegacyApiKey {
        /// SHA-256 of the whole key, lower-case hex.
        digest: String,
    },
    /// An access token whose signature the asker has checked.
    Session {
        /// `sid` of the token.
        session_id: SessionId,
        /// `sub` of the token.
        user_id: UserId,
        /// `jti` of the token: which pair of tokens of the session it belongs to.
        #[serde(default)]
        pair_id: Option<TokenPairId>,
    },
}

/// Is this credential good, and whose is it? With a cluster: also sign who is asking, for that cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Authenticate {
    /// What was shown.
    pub credential: CredentialProof,
    /// Sign an identity for this cluster.
    #[serde(default)]
    pub cluster_id: Option<ClusterId>,
    /// Address of the caller, for last-used records.
    #[serde(default)]
    pub source: Option<String>,
}

/// A known caller.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Authenticated {
    /// Who it is.
    pub principal: Principal,
    /// When the credential ends, if it does.
    #[serde(default)]
    pub expires_at: Option<DateTime<Utc>>,
    /// Signed identity for the cluster that was named (at most a minute of life).
    #[serde(default)]
    pub assertion: Option<String>,
}

/// Who a queue peer of the seeds stands for, signed for a cluster. Asked by onboarding.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IdentifyPeer {
    /// The service account that `compat.queue_peers` maps the broker user to.
    pub account: String,
    /// The cluster the identity is for.
    #[serde(default)]
    pub cluster_id: Option<ClusterId>,
}

/// The public keys with which agents check identities: the root and a key set signed by it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IdentityKeys {}

/// Answer to [`IdentityKeys`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityKeySet {
    /// Root public key, Ed25519, base64url of the 32 bytes. Agents pin it at enrolment.
    pub root: String,
    /// A JWT signed by the root whose claims hold the signing keys as a JWK set.
    pub key_set: String,
}

super::requests! {
    crate::queue::CLUSTER_AUTH: {
        Authenticate = "authenticate.v1" -> Authenticated;
    }
    crate::queue::IDENTITY: {
        IdentifyPeer = "identify_peer.v1" -> Authenticated;
        IdentityKeys = "identity_keys.v1" -> IdentityKeySet;
    }
}
