//! Join tokens: asked of onboarding. Their secrets are drawn at the door and never ride a message.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Page, PageRequest};
use crate::identity::Principal;
use crate::ids::{ClusterId, JoinTokenId};
use crate::names::{ClusterName, Labels, Namespace};

/// A join token whose secret the door made. Only the digest travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewJoinToken {
    /// Public half.
    pub id: JoinTokenId,
    /// SHA-256 of the secret half, lower-case hex.
    pub digest: String,
    /// Seconds of life, at most [`JOIN_TOKEN_SECONDS_MAX`].
    pub lifetime_seconds: u32,
    /// How often it may be used, 1 to [`JOIN_TOKEN_USES_MAX`].
    pub uses: u32,
    /// Labels given to clusters that join with it.
    #[serde(default)]
    pub labels: Labels,
    /// Rights profile of the agents that join with it.
    #[serde(default)]
    pub profile: RightsProfile,
    /// Namespaces of the profile [`RightsProfile::Namespaced`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<Namespace>,
}

/// Longest life of a join token: a day (reliability rule 1).
pub const JOIN_TOKEN_SECONDS_MAX: u32 = 24 * 3600;
/// Most namespaces of one join token: each becomes three bindings.
pub const JOIN_TOKEN_NAMESPACES_MAX: usize = 64;
/// Most uses of one join token: an autoscaled fleet in one go.
pub const JOIN_TOKEN_USES_MAX: u32 = 10_000;

/// What the agent may do in its cluster; decides the rules of the import manifest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RightsProfile {
    /// Viewers, operators and admins of the hub may all only read.
    ReadOnly,
    /// In named namespaces only: viewers read, operators edit, admins administer them. Nothing anywhere else.
    Namespaced,
    /// Viewers read, operators and admins edit.
    Operator,
    /// Viewers read, operators edit, admins are cluster-admin.
    #[default]
    Admin,
}

impl RightsProfile {
    /// Every profile, least first.
    pub const ALL: [Self; 4] = [Self::ReadOnly, Self::Namespaced, Self::Operator, Self::Admin];

    /// The word on the wire and in databases.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "read_only",
            Self::Namespaced => "namespaced",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// Creates a join token: for one cluster that exists, or for any new one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreateJoinToken {
    /// Who asks; owns the clusters that join with it.
    pub principal: Principal,
    /// The token.
    pub token: NewJoinToken,
    /// Bind it to this cluster (id, integer or name).
    #[serde(default)]
    pub cluster: Option<String>,
}

/// Lists join tokens, without anything secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListJoinTokens {
    /// Who asks.
    pub principal: Principal,
    /// Which page.
    pub page: PageRequest,
}

/// Revokes a join token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RevokeJoinToken {
    /// Who asks.
    pub principal: Principal,
    /// Which.
    pub id: JoinTokenId,
}

/// A join token, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Public half.
    pub id: JoinTokenId,
    /// The cluster it is bound to.
    pub cluster_id: Option<ClusterId>,
    /// That cluster's name.
    pub cluster_name: Option<ClusterName>,
    /// Labels it gives.
    pub labels: Labels,
    /// Rights profile it gives.
    pub profile: RightsProfile,
    /// Namespaces of that profile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<Namespace>,
    /// Uses left.
    pub uses_left: u32,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// Is this join token good now? For the import manifest; spends no use.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckJoinToken {
    /// Public half.
    pub id: JoinTokenId,
    /// SHA-256 of the secret half, lower-case hex.
    pub digest: String,
}

super::requests! {
    crate::queue::CLUSTER_REGISTRY: {
        ListJoinTokens = "list_join_tokens.v1" -> Page<JoinToken>;
        CheckJoinToken = "check_join_token.v1" -> JoinToken;
    }
    crate::queue::CLUSTER_REGISTRY_CHANGE: {
        CreateJoinToken = "create_join_token.v1" -> JoinToken;
        RevokeJoinToken = "revoke_join_token.v1" -> JoinToken;
    }
}
