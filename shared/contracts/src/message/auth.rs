//! Authentication and signed identities: asked of the user service.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::agent::RequestKind;
use crate::identity::{Principal, Role};
use crate::ids::{ApiKeyId, ClusterId, OperationId, SessionId, TokenPairId, UserId};
use crate::policy;

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
    /// Sign for this one request, with what the policy gives for it beyond the account's own roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raise: Option<Raise>,
}

/// A request for which a rule of the policy gives more than the account's own roles do. The user service decides again, and
/// signs for no other request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raise {
    /// The cluster as the registry has it.
    pub cluster: policy::ClusterFacts,
    /// What is asked of it.
    pub request: RequestKind,
}

/// Is this credential good, and may it act as somebody else at a cluster ([`Principal::may_impersonate`])? Signs that
/// somebody, with the caller's own name beside.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuthenticateAs {
    /// What was shown.
    pub credential: CredentialProof,
    /// For this cluster.
    pub cluster_id: ClusterId,
    /// Who is asked for.
    pub acts_as: ActsAs,
    /// What is asked of the cluster: decided on again, for the caller and for who is asked for, and the identity is good for
    /// nothing else. A front door of before does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raise: Option<Raise>,
}

/// Somebody as whom a caller asks to act, in the hub's own names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ActsAs {
    /// User name, without the hub's prefix.
    pub user: String,
    /// Roles whose groups are asked for; the cluster sees no others.
    #[serde(default)]
    pub roles: BTreeSet<Role>,
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
    /// As in [`Authenticate`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raise: Option<Raise>,
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

/// May this account still have this operation done, now? Asked at each dispatch; the answer is signed for the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignOperation {
    /// The account that made the operation.
    pub user_id: UserId,
    /// The operation.
    pub operation_id: OperationId,
    /// The attempt.
    pub epoch: i64,
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Whether the account owns the cluster, as the operations service learned it when the operation was made.
    #[serde(default)]
    pub owner: bool,
    /// What the credential was held to with which it was made.
    #[serde(default)]
    pub scope: Option<crate::scope::Scope>,
    /// Digest of what is to be done, see [`crate::operation::OperationClaims::digest`].
    pub digest: String,
    /// Seconds the order is good for; the user service cuts it.
    pub lifetime_seconds: u32,
    /// The cluster as the registry had it when the operation was made: what rules look at beside its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<policy::ClusterFacts>,
    /// What the work does to the cluster, each kind of change once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<RequestKind>,
}

/// Answer to [`SignOperation`]. A refusal is `permission_revoked`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedOperation {
    /// The order ([`crate::operation::OperationClaims`]).
    pub order: String,
    /// Who asks, for the stream's head ([`crate::agent::IdentityClaims`]).
    pub assertion: String,
}

super::requests! {
    crate::queue::CLUSTER_AUTH: {
        Authenticate = "authenticate.v1" -> Authenticated;
        AuthenticateAs = "authenticate_as.v1" -> Authenticated;
    }
    crate::queue::IDENTITY: {
        IdentifyPeer = "identify_peer.v1" -> Authenticated;
        IdentityKeys = "identity_keys.v1" -> IdentityKeySet;
        SignOperation = "sign_operation.v1" -> SignedOperation;
    }
}
