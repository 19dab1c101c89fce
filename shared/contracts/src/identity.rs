//! Who is asking, and what roles and permission words mean.
//!
//! The words are MCKMT's (seed 000); KubeSage's role names map onto them (`seed::kubesage`).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::{ApiKeyId, ClusterId, SessionId, UserId};

/// A role of the hub, least first: the order is the order of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads what was granted; never secrets, credentials or the audit log.
    Viewer,
    /// Changes clusters and runs operations on what was granted.
    Operator,
    /// Everything, every cluster.
    Admin,
}

impl Role {
    /// Every role, least first.
    pub const ALL: [Role; 3] = [Role::Viewer, Role::Operator, Role::Admin];

    /// The role's name: also the last part of the cluster group `roadstead:<name>`.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }

    /// Reads one of ours by its exact name.
    pub fn parse(text: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// The permission words a role holds.
    pub fn permissions(self) -> &'static [&'static str] {
        match self {
            Role::Viewer => &["*:read"],
            Role::Operator => &["clusters:*", "operations:*", "*:read"],
            Role::Admin => &["*:*"],
        }
    }

    /// Whether the role holds `resource:verb`.
    pub fn allows(self, action: Action) -> bool {
        let (resource, verb) = action.words();
        self.permissions().iter().any(|permission| {
            permission.split_once(':').is_some_and(|(object, act)| {
                // `*:read` never reaches users or the system: those hold secrets and credentials (DESIGN, first admin).
                let object_matches =
                    object == resource || (object == "*" && (act == "*" || !matches!(resource, "users" | "system")));
                object_matches && (act == "*" || act == verb)
            })
        })
    }
}

macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $resource:literal $verb:literal;)*) => {
        /// What a route does, in MCKMT's permission words.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Action {
            $($(#[$doc])* $variant,)*
        }
        impl Action {
            /// Every action.
            pub const ALL: &'static [Action] = &[$(Action::$variant,)*];
            /// `(resource, verb)`.
            pub fn words(self) -> (&'static str, &'static str) {
                match self { $(Action::$variant => ($resource, $verb),)* }
            }
        }
    };
}

actions! {
    /// List and read clusters, agents, namespaces.
    ClustersRead = "clusters" "read";
    /// Create and change clusters.
    ClustersWrite = "clusters" "write";
    /// Remove clusters.
    ClustersDelete = "clusters" "delete";
    /// Join tokens, agents, manifests.
    ClustersManage = "clusters" "manage";
    /// Read operations.
    OperationsRead = "operations" "read";
    /// Start operations.
    OperationsWrite = "operations" "write";
    /// Cancel operations.
    OperationsCancel = "operations" "cancel";
    /// Read other accounts.
    UsersRead = "users" "read";
    /// Change other accounts.
    UsersWrite = "users" "write";
    /// Remove other accounts.
    UsersDelete = "users" "delete";
    /// Read the hub's own state (full metrics).
    SystemRead = "system" "read";
    /// Change the hub itself.
    SystemWrite = "system" "write";
}

/// Which clusters a caller can see at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "clusters")]
pub enum Reach {
    /// Every cluster (admins; everyone under `--dev`).
    All,
    /// Those granted, besides the ones the caller owns.
    Granted(BTreeSet<ClusterId>),
}

/// What proved the identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "id")]
pub enum CredentialKind {
    /// An API key.
    ApiKey(ApiKeyId),
    /// A session's access token.
    Session(SessionId),
    /// A peer of the seeds on the broker, mapped to a service account.
    QueuePeer(String),
}

/// A known caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// The account.
    pub user_id: UserId,
    /// The account's integer number, shown to clients of seeds 001 and 004.
    pub user_seq: i64,
    /// User name.
    pub username: String,
    /// E-mail address.
    pub email: String,
    /// Roles held.
    pub roles: BTreeSet<Role>,
    /// Clusters that can be seen.
    pub reach: Reach,
    /// What proved it.
    pub credential: CredentialKind,
}

impl Principal {
    /// Whether any role allows the action. What it reaches is [`Principal::can_see`].
    pub fn allows(&self, action: Action) -> bool {
        self.roles.iter().any(|role| role.allows(action))
    }

    /// The most powerful role, viewer when there is none.
    pub fn highest_role(&self) -> Role {
        self.roles.iter().next_back().copied().unwrap_or(Role::Viewer)
    }

    /// Whether a cluster with this owner exists for the caller.
    pub fn can_see(&self, cluster: ClusterId, owner: Option<UserId>) -> bool {
        match &self.reach {
            Reach::All => true,
            Reach::Granted(clusters) => owner == Some(self.user_id) || clusters.contains(&cluster),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_mean_what_the_seed_says() {
        assert!(Action::ALL.iter().all(|action| Role::Admin.allows(*action)));
        assert!(Role::Viewer.allows(Action::ClustersRead) && !Role::Viewer.allows(Action::ClustersWrite));
        assert!(Role::Operator.allows(Action::ClustersDelete) && Role::Operator.allows(Action::OperationsCancel));
        assert!(!Role::Viewer.allows(Action::UsersRead) && !Role::Operator.allows(Action::SystemRead));
    }
}
