//! Enrolment: a join token's use becomes an agent, in one transaction.

use chrono::{DateTime, Utc};
use roadstead_contracts::event::Fact;
use roadstead_contracts::ids::{AgentId, ClusterId, JoinTokenId, TypedId as _};
use roadstead_contracts::message::{ClusterMode, RightsProfile, SeedClusterDetails};
use roadstead_contracts::names::{ClusterName, Labels, Namespace};
use roadstead_store::sqlx;
use roadstead_store::sqlx::types::Json;
use roadstead_store::{Dialect as _, Result};
use uuid::Uuid;

use super::clusters::INSERT_CLUSTER;
use super::receipts::finish;
use super::rows::{mode_word, name, unreadable};
use super::{Change, EnrolStore};
use crate::domain::{AgentKind, profile_from};

/// What an agent asks for with its token. Checked by the caller, but for what the token says.
#[derive(Debug, Clone)]
pub(crate) struct Enrolment {
    pub token: JoinTokenId,
    /// SHA-256 of the token's secret half.
    pub digest: String,
    /// Id of the agent to be.
    pub agent: AgentId,
    /// Id of the cluster to be, when the token is not bound to one.
    pub cluster: ClusterId,
    pub name: Option<ClusterName>,
    pub labels: Labels,
    pub public_key: String,
    pub agent_version: String,
}

/// An agent that may dial now.
#[derive(Debug, Clone)]
pub(crate) struct Enrolled {
    pub agent: AgentId,
    pub cluster: ClusterId,
    pub name: ClusterName,
    pub profile: RightsProfile,
    pub namespaces: Vec<Namespace>,
}

/// How an enrolment ended.
#[derive(Debug, Clone)]
pub(crate) enum EnrolOutcome {
    /// Done, now or by an earlier try with the same key whose answer was lost.
    Done(Enrolled),
    /// The token is unknown, wrong, expired, revoked or used up.
    BadToken,
    /// The token is not bound to a cluster and the agent gave no name.
    NameMissing,
    /// The name is taken.
    NameTaken,
    /// The key is enrolled already, with another token.
    KeyTaken,
}

/// Single use is one statement: of two agents with the last use, one finds no row (threat rule 10).
const SPEND: &str = "UPDATE join_tokens SET uses_left = uses_left - 1
    WHERE id = $1 AND digest = $2 AND revoked_at IS NULL AND expires_at > $3 AND uses_left > 0
    RETURNING cluster_id, owner_id, owner_seq, labels, profile, namespaces";
/// An earlier enrolment of the same key with the same, still living token: its answer was lost on the way.
const EARLIER: &str = "SELECT a.id, a.profile, a.namespaces, c.id AS cluster_id, c.name AS cluster_name
    FROM agents a JOIN join_tokens t ON t.id = a.join_token_id JOIN clusters c ON c.id = a.cluster_id
    WHERE a.public_key = $4 AND a.revoked_at IS NULL AND t.id = $1 AND t.digest = $2 AND t.revoked_at IS NULL AND t.expires_at > $3";
const INSERT_AGENT: &str = "INSERT INTO agents
    (id, cluster_id, owner_id, kind, public_key, join_token_id, profile, version, created_at, namespaces)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

#[derive(Debug, sqlx::FromRow)]
struct Spent {
    cluster_id: Option<Uuid>,
    owner_id: Uuid,
    owner_seq: i64,
    labels: Json<Labels>,
    profile: String,
    namespaces: Json<Vec<Namespace>>,
}

#[derive(Debug, sqlx::FromRow)]
struct Earlier {
    id: Uuid,
    profile: String,
    namespaces: Json<Vec<Namespace>>,
    cluster_id: Uuid,
    cluster_name: String,
}

impl TryFrom<Earlier> for Enrolled {
    type Error = roadstead_store::Error;

    fn try_from(row: Earlier) -> Result<Self> {
        Ok(Self {
            agent: AgentId::from_uuid(row.id),
            cluster: ClusterId::from_uuid(row.cluster_id),
            name: name(&row.cluster_name)?,
            profile: profile_from(&row.profile).ok_or_else(|| unreadable("profile", &row.profile))?,
            namespaces: row.namespaces.0,
        })
    }
}

/// What the token says wins over what the agent says.
fn merged(agent: &Labels, token: Labels) -> Labels {
    let mut labels = agent.clone();
    labels.0.extend(token.0);
    labels
}

fn outcome(fault: roadstead_store::Error) -> Result<EnrolOutcome> {
    if fault.is_conflict("clusters_name_key") {
        Ok(EnrolOutcome::NameTaken)
    } else if fault.is_conflict("agents_public_key_key") {
        Ok(EnrolOutcome::KeyTaken)
    } else {
        Err(fault)
    }
}

roadstead_store::for_pools! {
    impl EnrolStore for [PgPool, SqlitePool] {
        async fn enrol(&self, enrolment: &Enrolment, change: &Change) -> Result<EnrolOutcome> {
            let now: DateTime<Utc> = change.at;
            let mut tx = self.begin_write().await?;
            let earlier: Option<Earlier> = sqlx::query_as(EARLIER)
                .bind(enrolment.token.uuid())
                .bind(&enrolment.digest)
                .bind(now)
                .bind(&enrolment.public_key)
                .fetch_optional(&mut *tx)
                .await?;
            if let Some(earlier) = earlier {
                return Ok(EnrolOutcome::Done(earlier.try_into()?));
            }
            let spent: Option<Spent> = sqlx::query_as(SPEND)
                .bind(enrolment.token.uuid())
                .bind(&enrolment.digest)
                .bind(now)
                .fetch_optional(&mut *tx)
                .await?;
            let Some(spent) = spent else { return Ok(EnrolOutcome::BadToken) };
            let profile = profile_from(&spent.profile).ok_or_else(|| unreadable("profile", &spent.profile))?;
            let mut facts = Vec::new();
            let (cluster, cluster_name) = if let Some(id) = spent.cluster_id {
                let bound: String =
                    sqlx::query_scalar("SELECT name FROM clusters WHERE id = $1").bind(id).fetch_one(&mut *tx).await?;
                (ClusterId::from_uuid(id), name(&bound)?)
            } else {
                let Some(wanted) = &enrolment.name else { return Ok(EnrolOutcome::NameMissing) };
                let made = sqlx::query(INSERT_CLUSTER)
                    .bind(enrolment.cluster.uuid())
                    .bind(wanted.as_str())
                    .bind("")
                    .bind(Json(merged(&enrolment.labels, spent.labels.0)))
                    .bind(mode_word(ClusterMode::Agent))
                    .bind(spent.owner_id)
                    .bind(spent.owner_seq)
                    .bind(None::<Json<SeedClusterDetails>>)
                    .bind(now)
                    .execute(&mut *tx)
                    .await;
                if let Err(fault) = made {
                    return outcome(fault.into());
                }
                facts.push(Fact::ClusterCreated { cluster_id: enrolment.cluster });
                (enrolment.cluster, wanted.clone())
            };
            let made = sqlx::query(INSERT_AGENT)
                .bind(enrolment.agent.uuid())
                .bind(cluster.uuid())
                .bind(spent.owner_id)
                .bind(AgentKind::Tunnel.as_str())
                .bind(&enrolment.public_key)
                .bind(enrolment.token.uuid())
                .bind(&spent.profile)
                .bind(&enrolment.agent_version)
                .bind(now)
                .bind(Json(&spent.namespaces.0))
                .execute(&mut *tx)
                .await;
            if let Err(fault) = made {
                return outcome(fault.into());
            }
            finish(&mut tx, change, &(), facts).await?;
            tx.commit().await?;
            let namespaces = spent.namespaces.0;
            Ok(EnrolOutcome::Done(Enrolled { agent: enrolment.agent, cluster, name: cluster_name, profile, namespaces }))
        }
    }
}
