//! Rows, and what they mean.

use chrono::{DateTime, Utc};
use roadstead_contracts::ids::{AgentId, ClusterId, JoinTokenId, ReplicaId, TypedId, UserId};
use roadstead_contracts::message::{Agent, Cluster, ClusterFacts, ClusterMode, JoinToken, SeedClusterDetails};
use roadstead_contracts::names::{ClusterName, Labels, Namespace};
use roadstead_contracts::policy;
use roadstead_store::sqlx::FromRow;
use roadstead_store::sqlx::types::Json;
use roadstead_store::{Error, Result};
use uuid::Uuid;

use crate::domain::{AgentKind, AgentRecord, ClusterRecord, TokenRecord, profile_from, status_of};

/// Columns of [`ClusterRow`]; `$1` is the cutoff.
macro_rules! select_clusters {
    () => {
        "SELECT c.seq, c.id, c.name, c.description, c.labels, c.mode, c.owner_id, c.owner_seq, c.facts, c.details,
            c.endpoint, c.last_seen_at, c.created_at, c.updated_at,
            (SELECT a.id FROM agents a
                LEFT JOIN replicas r ON r.id = a.connected_replica AND r.seen_at > $1
                WHERE a.cluster_id = c.id AND a.revoked_at IS NULL
                ORDER BY (r.id IS NOT NULL) DESC, COALESCE(a.connected_at, a.created_at) DESC, a.seq DESC LIMIT 1) AS agent_id,
            EXISTS (SELECT 1 FROM agents a
                JOIN replicas r ON r.id = a.connected_replica AND r.seen_at > $1
                WHERE a.cluster_id = c.id AND a.revoked_at IS NULL) AS connected
        FROM clusters c "
    };
}

/// Columns of [`AgentRow`]; `$1` is the cutoff.
macro_rules! select_agents {
    () => {
        "SELECT a.seq, a.id, a.cluster_id, a.owner_id, a.kind, a.public_key, a.version, a.revoked_at, a.last_seen_at,
            a.created_at, r.id AS replica, c.seq AS cluster_seq, c.name AS cluster_name, c.owner_id AS cluster_owner_id,
            c.labels AS cluster_labels
        FROM agents a
        LEFT JOIN replicas r ON r.id = a.connected_replica AND r.seen_at > $1
        LEFT JOIN clusters c ON c.id = a.cluster_id "
    };
}

/// Columns of [`TokenRow`].
macro_rules! select_tokens {
    () => {
        "SELECT t.seq, t.id, t.digest, t.cluster_id, t.owner_id, t.labels, t.profile, t.uses_left, t.expires_at,
            t.revoked_at, t.created_at, t.namespaces, c.name AS cluster_name, c.owner_id AS cluster_owner_id
        FROM join_tokens t LEFT JOIN clusters c ON c.id = t.cluster_id "
    };
}

/// Whether a cluster-like row is in a view: `$2` all, `$3` owner, `$4` granted ids.
macro_rules! in_view {
    (postgres, $owner:literal, $cluster:literal) => {
        concat!(
            "($2 OR ",
            $owner,
            " = $3 OR ",
            $cluster,
            " IN (SELECT value::uuid FROM jsonb_array_elements_text($4)))"
        )
    };
    (sqlite, $owner:literal, $cluster:literal) => {
        concat!("($2 OR ", $owner, " = $3 OR ", $cluster, " IN (SELECT unhex(value) FROM json_each($4)))")
    };
}

pub(super) use {in_view, select_agents, select_clusters, select_tokens};

#[derive(Debug, FromRow)]
pub(super) struct ClusterRow {
    seq: i64,
    id: Uuid,
    name: String,
    description: String,
    labels: Json<Labels>,
    mode: String,
    owner_id: Option<Uuid>,
    owner_seq: i64,
    facts: Json<ClusterFacts>,
    details: Option<Json<SeedClusterDetails>>,
    endpoint: Option<String>,
    last_seen_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    agent_id: Option<Uuid>,
    connected: bool,
}

impl TryFrom<ClusterRow> for ClusterRecord {
    type Error = Error;

    fn try_from(row: ClusterRow) -> Result<Self> {
        Ok(Self {
            cluster: Cluster {
                id: ClusterId::from_uuid(row.id),
                seq: row.seq,
                name: name(&row.name)?,
                description: row.description,
                labels: row.labels.0,
                mode: mode_from(&row.mode, row.endpoint.is_some()).ok_or_else(|| unreadable("mode", &row.mode))?,
                endpoint: row.endpoint,
                status: status_of(row.connected, row.last_seen_at.is_some(), &row.facts.0),
                owner_id: row.owner_id.map(UserId::from_uuid),
                agent_id: row.agent_id.map(AgentId::from_uuid),
                facts: row.facts.0,
                last_seen_at: row.last_seen_at,
                created_at: row.created_at,
                updated_at: row.updated_at,
            },
            owner_seq: row.owner_seq,
            details: row.details.map(|Json(details)| details).unwrap_or_default(),
        })
    }
}

#[derive(Debug, FromRow)]
pub(super) struct AgentRow {
    pub(super) seq: i64,
    id: Uuid,
    cluster_id: Option<Uuid>,
    owner_id: Option<Uuid>,
    kind: String,
    public_key: Option<String>,
    version: Option<String>,
    revoked_at: Option<DateTime<Utc>>,
    last_seen_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    replica: Option<Uuid>,
    cluster_seq: Option<i64>,
    cluster_name: Option<String>,
    cluster_owner_id: Option<Uuid>,
    cluster_labels: Option<Json<Labels>>,
}

impl TryFrom<AgentRow> for AgentRecord {
    type Error = Error;

    fn try_from(row: AgentRow) -> Result<Self> {
        let id = AgentId::from_uuid(row.id);
        let revoked = row.revoked_at.is_some();
        let owner = row.cluster_owner_id.map(UserId::from_uuid);
        let cluster = row.cluster_id.map(|cluster| policy::ClusterFacts {
            id: ClusterId::from_uuid(cluster),
            name: row.cluster_name.clone(),
            labels: row.cluster_labels.map(|Json(labels)| labels),
            owner,
        });
        let kind = AgentKind::parse(&row.kind).ok_or_else(|| unreadable("kind", &row.kind))?;
        Ok(Self {
            agent: Agent {
                agent_id: id.to_string(),
                cluster_id: row.cluster_id.map(ClusterId::from_uuid),
                cluster_seq: row.cluster_seq,
                cluster_name: row.cluster_name.as_deref().map(name).transpose()?,
                connected: row.replica.is_some() && !revoked,
                revoked,
                version: row.version,
                last_seen_at: row.last_seen_at,
                created_at: row.created_at,
                commands_only: kind == AgentKind::Seed,
                cluster,
            },
            id,
            kind,
            owner_id: row.owner_id.map(UserId::from_uuid),
            replica: row.replica.filter(|_| !revoked).map(ReplicaId::from_uuid),
            public_key: row.public_key,
        })
    }
}

#[derive(Debug, FromRow)]
pub(super) struct TokenRow {
    pub(super) seq: i64,
    id: Uuid,
    digest: String,
    cluster_id: Option<Uuid>,
    owner_id: Uuid,
    labels: Json<Labels>,
    profile: String,
    uses_left: i64,
    expires_at: DateTime<Utc>,
    revoked_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    namespaces: Json<Vec<Namespace>>,
    cluster_name: Option<String>,
    cluster_owner_id: Option<Uuid>,
}

impl TryFrom<TokenRow> for TokenRecord {
    type Error = Error;

    fn try_from(row: TokenRow) -> Result<Self> {
        Ok(Self {
            token: JoinToken {
                id: JoinTokenId::from_uuid(row.id),
                cluster_id: row.cluster_id.map(ClusterId::from_uuid),
                cluster_name: row.cluster_name.as_deref().map(name).transpose()?,
                labels: row.labels.0,
                profile: profile_from(&row.profile).ok_or_else(|| unreadable("profile", &row.profile))?,
                namespaces: row.namespaces.0,
                uses_left: u32::try_from(row.uses_left).map_err(|_| unreadable("uses_left", "a negative number"))?,
                expires_at: row.expires_at,
                revoked_at: row.revoked_at,
                created_at: row.created_at,
            },
            digest: row.digest,
            owner_id: UserId::from_uuid(row.owner_id),
            cluster_owner_id: row.cluster_owner_id.map(UserId::from_uuid),
        })
    }
}

pub(super) fn name(text: &str) -> Result<ClusterName> {
    ClusterName::parse(text).map_err(|_| unreadable("cluster name", text))
}

pub(super) fn unreadable(what: &str, text: &str) -> Error {
    Error::Corrupt(format!("{what} {text:?}"))
}

pub(super) fn mode_word(mode: ClusterMode) -> &'static str {
    match mode {
        ClusterMode::Agent => "agent",
        // The same to the database: an endpoint tells them apart.
        ClusterMode::Hosted | ClusterMode::Direct => "hosted",
    }
}

pub(super) fn mode_from(word: &str, has_endpoint: bool) -> Option<ClusterMode> {
    match (word, has_endpoint) {
        ("agent", _) => Some(ClusterMode::Agent),
        ("hosted", false) => Some(ClusterMode::Hosted),
        ("hosted", true) => Some(ClusterMode::Direct),
        _ => None,
    }
}

/// Turns every row, or says which cannot be read.
pub(super) fn all<R, T: TryFrom<R, Error = Error>>(rows: Vec<R>) -> Result<Vec<T>> {
    rows.into_iter().map(T::try_from).collect()
}

pub(super) fn total(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
