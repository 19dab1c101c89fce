//! Rows as the databases give them, and what they become.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use roadstead_contracts::identity::Role;
use roadstead_contracts::ids::{ApiKeyId, SessionId, TypedId, UserId};
use roadstead_store::{Error, Result};
use uuid::Uuid;

use crate::domain::{ApiKey, Session, SessionOrigin, User};

/// Columns of [`UserRow`]; the table must be called `u`.
macro_rules! user_columns {
    () => {
        "u.id AS user_id, u.seq AS user_seq, u.username, u.email, u.first_name, u.last_name, u.auth_source, \
         u.active AS user_active, u.created_at AS user_created_at, u.updated_at AS user_updated_at, \
         (SELECT string_agg(r.role, ',') FROM user_roles r WHERE r.user_id = u.id) AS roles"
    };
}
pub(super) use user_columns;

#[derive(Debug, sqlx::FromRow)]
pub(super) struct UserRow {
    user_id: Uuid,
    user_seq: i64,
    username: String,
    email: String,
    first_name: Option<String>,
    last_name: Option<String>,
    auth_source: String,
    user_active: bool,
    user_created_at: DateTime<Utc>,
    user_updated_at: DateTime<Utc>,
    roles: Option<String>,
}

impl TryFrom<UserRow> for User {
    type Error = Error;

    fn try_from(row: UserRow) -> Result<Self> {
        Ok(Self {
            id: UserId::from_uuid(row.user_id),
            seq: row.user_seq,
            username: row.username,
            email: row.email,
            first_name: row.first_name,
            last_name: row.last_name,
            auth_source: row.auth_source,
            active: row.user_active,
            roles: read_roles(row.roles.as_deref())?,
            created_at: row.user_created_at,
            updated_at: row.user_updated_at,
        })
    }
}

fn read_roles(text: Option<&str>) -> Result<BTreeSet<Role>> {
    let unknown = |name: &str| Error::Corrupt(format!("unknown role {name}"));
    text.unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| Role::parse(name).ok_or_else(|| unknown(name)))
        .collect()
}

/// Columns of [`SessionRow`]; the table must be called `s`.
macro_rules! session_columns {
    () => {
        "s.id AS session_id, s.user_id AS session_user_id, s.source, s.user_agent, s.device, \
         s.created_at AS session_created_at, s.last_used_at AS session_last_used_at, s.expires_at AS session_expires_at"
    };
}
pub(super) use session_columns;

#[derive(Debug, sqlx::FromRow)]
pub(super) struct SessionRow {
    session_id: Uuid,
    session_user_id: Uuid,
    source: Option<String>,
    user_agent: Option<String>,
    device: Option<String>,
    session_created_at: DateTime<Utc>,
    session_last_used_at: DateTime<Utc>,
    session_expires_at: DateTime<Utc>,
}

impl From<SessionRow> for Session {
    fn from(row: SessionRow) -> Self {
        Self {
            id: SessionId::from_uuid(row.session_id),
            user_id: UserId::from_uuid(row.session_user_id),
            origin: SessionOrigin { source: row.source, user_agent: row.user_agent, device: row.device },
            created_at: row.session_created_at,
            last_used_at: row.session_last_used_at,
            expires_at: row.session_expires_at,
        }
    }
}

/// Columns of [`ApiKeyRow`]; the table must be called `k`.
macro_rules! api_key_columns {
    () => {
        "k.id AS key_id, k.seq AS key_seq, k.user_id AS key_user_id, k.name AS key_name, k.preview, \
         k.active AS key_active, k.expires_at AS key_expires_at, k.last_used_at AS key_last_used_at, \
         k.created_at AS key_created_at, k.updated_at AS key_updated_at, k.scope AS key_scope, \
         k.previous_until AS key_previous_until"
    };
}
pub(super) use api_key_columns;

#[derive(Debug, sqlx::FromRow)]
pub(super) struct ApiKeyRow {
    key_id: Uuid,
    key_seq: i64,
    key_user_id: Uuid,
    key_name: String,
    preview: String,
    key_active: bool,
    key_expires_at: Option<DateTime<Utc>>,
    key_last_used_at: Option<DateTime<Utc>>,
    key_created_at: DateTime<Utc>,
    key_updated_at: DateTime<Utc>,
    key_scope: Option<String>,
    key_previous_until: Option<DateTime<Utc>>,
}

impl TryFrom<ApiKeyRow> for ApiKey {
    type Error = Error;

    fn try_from(row: ApiKeyRow) -> Result<Self> {
        // A scope that cannot be read must not be taken for none.
        let scope = row.key_scope.as_deref().map(serde_json::from_str).transpose();
        let scope = scope.map_err(|_| Error::Corrupt("a key's scope".to_owned()))?;
        Ok(Self {
            id: ApiKeyId::from_uuid(row.key_id),
            seq: row.key_seq,
            user_id: UserId::from_uuid(row.key_user_id),
            name: row.key_name,
            preview: row.preview,
            active: row.key_active,
            expires_at: row.key_expires_at,
            last_used_at: row.key_last_used_at,
            created_at: row.key_created_at,
            updated_at: row.key_updated_at,
            scope,
            previous_until: row.key_previous_until,
        })
    }
}
