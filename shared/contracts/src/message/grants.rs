//! Grants of clusters to accounts: asked of the user service.

use serde::{Deserialize, Serialize};

use crate::identity::Principal;
use crate::ids::{ClusterId, UserId};

/// Lets an account see a cluster, with its own roles.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GrantCluster {
    /// Who asks: an admin.
    pub principal: Principal,
    /// The cluster.
    pub cluster_id: ClusterId,
    /// User name or id of the account.
    pub account: String,
}

/// Takes the grant back. Succeeds when there was none.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RevokeCluster {
    /// Who asks: an admin.
    pub principal: Principal,
    /// The cluster.
    pub cluster_id: ClusterId,
    /// User name or id of the account.
    pub account: String,
}

/// A grant that stands (or stood).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterGrant {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The account.
    pub user_id: UserId,
    /// Its name.
    pub username: String,
}

super::requests! {
    crate::queue::GRANT_CHANGE: {
        GrantCluster = "grant_cluster.v1" -> ClusterGrant;
        RevokeCluster = "revoke_cluster.v1" -> ClusterGrant;
    }
}
