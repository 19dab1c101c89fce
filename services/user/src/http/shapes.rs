//! Bodies that several routes share.

use chrono::{DateTime, Utc};
use roadstead_contracts::identity::Role;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{SEED_ROLES, User, seed_names};

/// One sentence for people.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Message {
    /// The sentence.
    pub(super) message: &'static str,
}

/// Body of every refusal (RFC 9457, with `error` for clients of MCKMT and `detail` for clients of KubeSage).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// A URN of the code.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Title of the code.
    pub(super) title: String,
    /// HTTP status.
    pub(super) status: u16,
    /// One sentence.
    pub(super) detail: String,
    /// The same sentence.
    pub(super) error: String,
    /// Stable code.
    pub(super) code: String,
    /// Id of the request.
    pub(super) request_id: String,
}

/// A role as MCKMT shows it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct RoleShape {
    /// Id.
    pub(super) id: &'static str,
    /// Name.
    pub(super) name: &'static str,
    /// What it is for.
    pub(super) description: &'static str,
    /// When it was made.
    pub(super) created_at: &'static str,
    /// When it was last changed.
    pub(super) updated_at: &'static str,
}

/// When the built-in roles were made; the migration says the same.
const ROLES_SINCE: &str = "2026-01-01T00:00:00Z";

impl From<Role> for RoleShape {
    fn from(role: Role) -> Self {
        // Ids and texts of the migration `000001_accounts`.
        let (id, description) = match role {
            Role::Viewer => ("0198c5b0-0000-7000-8000-000000000001", "Reads what was granted"),
            Role::Operator => ("0198c5b0-0000-7000-8000-000000000002", "Changes what was granted"),
            Role::Admin => ("0198c5b0-0000-7000-8000-000000000003", "Everything, every cluster"),
        };
        Self { id, name: role.as_str(), description, created_at: ROLES_SINCE, updated_at: ROLES_SINCE }
    }
}

/// An account as MCKMT shows it after login and register.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MckmtUser {
    /// Id.
    pub(super) id: String,
    /// Name.
    pub(super) username: String,
    /// E-mail address.
    pub(super) email: String,
    /// `password` or `oidc`.
    pub(super) auth_source: String,
    /// Whether it may be used.
    pub(super) active: bool,
    /// When it was made.
    pub(super) created_at: DateTime<Utc>,
    /// When it was last changed.
    pub(super) updated_at: DateTime<Utc>,
    /// Roles.
    pub(super) roles: Vec<RoleShape>,
}

impl From<User> for MckmtUser {
    fn from(user: User) -> Self {
        Self {
            id: user.id.to_string(),
            roles: user.roles.iter().map(|role| RoleShape::from(*role)).collect(),
            username: user.username,
            email: user.email,
            auth_source: user.auth_source,
            active: user.active,
            created_at: user.created_at,
            updated_at: user.updated_at,
        }
    }
}

/// An account as KubeSage shows it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KubesageUser {
    /// Integer number.
    pub(super) id: i64,
    /// Name.
    pub(super) username: String,
    /// E-mail address.
    pub(super) email: String,
    /// First name.
    pub(super) first_name: Option<String>,
    /// Last name.
    pub(super) last_name: Option<String>,
    /// Whether it may be used.
    pub(super) is_active: bool,
    /// KubeSage's role names, joined by commas.
    pub(super) roles: Option<String>,
    /// When it was made.
    pub(super) created_at: DateTime<Utc>,
    /// When it was last changed.
    pub(super) updated_at: DateTime<Utc>,
    /// Always true: accounts need no confirmation here.
    pub(super) confirmed: bool,
}

impl From<User> for KubesageUser {
    fn from(user: User) -> Self {
        Self {
            id: user.seq,
            roles: seed_names(&user.roles),
            username: user.username,
            email: user.email,
            first_name: user.first_name,
            last_name: user.last_name,
            is_active: user.active,
            created_at: user.created_at,
            updated_at: user.updated_at,
            confirmed: true,
        }
    }
}

/// The role names that KubeSage's web UI offers.
pub(super) fn roles_options() -> Vec<&'static str> {
    SEED_ROLES.iter().map(|(name, _)| *name).collect()
}

/// Role names as clients send them: `"A,B"` or `["A","B"]`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum RoleNames {
    /// Joined by commas.
    Text(String),
    /// A list.
    List(Vec<String>),
}

impl RoleNames {
    /// Our roles, or a refusal that names the field.
    pub(super) fn roles(&self) -> roadstead_contracts::Result<std::collections::BTreeSet<Role>> {
        let parsed = match self {
            Self::Text(text) => crate::domain::parse_roles([text.as_str()]),
            Self::List(names) => crate::domain::parse_roles(names.iter().map(String::as_str)),
        };
        parsed.ok_or_else(|| {
            roadstead_contracts::Error::field(
                &["body", "roles"],
                "value_error",
                "roles names a role that does not exist",
            )
        })
    }
}
