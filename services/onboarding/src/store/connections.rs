//! Clusters that this service reaches by itself, and which replica does so now.

use chrono::{DateTime, Utc};
use roadstead_contracts::event::Fact;
use roadstead_contracts::ids::{AgentId, ClusterId, ReplicaId, TypedId};
use roadstead_contracts::message::ConnectionLimits;
use roadstead_contracts::names::Namespace;
use roadstead_store::sqlx;
use roadstead_store::sqlx::types::Json;
use roadstead_store::{Dialect as _, Result};
use uuid::Uuid;

use super::agents::INSERT as INSERT_AGENT;
use super::clusters::{FIND_ID, INSERT_CLUSTER, insert_cluster};
use super::receipts::finish;
use super::rows::{ClusterRow, mode_word, unreadable};
use super::{Change, ConnectionStore, Kept, Leased, NewCluster, NewConnection, Rights};
use crate::domain::{AgentKind, ClusterRecord, profile_from, profile_word};

const INSERT: &str = "INSERT INTO connections (cluster_id, agent_id, limits, sealed_credentials, updated_at)
    VALUES ($1, $2, $3, $4, $5)";
const ENDPOINT: &str = "UPDATE clusters SET endpoint = $2, updated_at = $3 WHERE id = $1";
const REPLACE: &str =
    "UPDATE connections SET limits = $2, sealed_credentials = $3, updated_at = $4, revision = revision + 1
    WHERE cluster_id = $1";
const READ: &str = "SELECT n.agent_id, n.limits, n.sealed_credentials, n.revision, a.profile, a.namespaces
    FROM connections n JOIN agents a ON a.id = n.agent_id WHERE n.cluster_id = $1";
// Leases go by the database's clock: the length is what the caller's two times are apart.
const RENEW_POSTGRES: &str =
    "UPDATE connections SET held_until = clock_timestamp() + ($3::timestamptz - $2::timestamptz)
    WHERE holder = $1 RETURNING cluster_id, agent_id, revision";
const RENEW_SQLITE: &str = "UPDATE connections SET held_until = $3
    WHERE holder = $1 AND $2 IS NOT NULL RETURNING cluster_id, agent_id, revision";
const TAKE_POSTGRES: &str = "UPDATE connections
    SET holder = $1, held_until = clock_timestamp() + ($3::timestamptz - $2::timestamptz)
    WHERE cluster_id IN (SELECT cluster_id FROM connections
        WHERE holder IS NULL OR held_until <= clock_timestamp() ORDER BY cluster_id LIMIT $4 FOR UPDATE SKIP LOCKED)
    RETURNING cluster_id, agent_id, revision";
const TAKE_SQLITE: &str = "UPDATE connections SET holder = $1, held_until = $3
    WHERE cluster_id IN (SELECT cluster_id FROM connections
        WHERE holder IS NULL OR held_until <= $2 ORDER BY cluster_id LIMIT $4)
    RETURNING cluster_id, agent_id, revision";
const LET_GO: &str = "UPDATE connections SET holder = NULL, held_until = NULL WHERE holder = $1";

#[derive(Debug, sqlx::FromRow)]
struct KeptRow {
    agent_id: Uuid,
    limits: Json<ConnectionLimits>,
    sealed_credentials: String,
    revision: i64,
    profile: String,
    namespaces: Json<Vec<Namespace>>,
}

impl TryFrom<KeptRow> for Kept {
    type Error = roadstead_store::Error;

    fn try_from(row: KeptRow) -> Result<Self> {
        Ok(Self {
            agent: AgentId::from_uuid(row.agent_id),
            limits: row.limits.0,
            sealed: row.sealed_credentials,
            rights: Rights {
                profile: profile_from(&row.profile).ok_or_else(|| unreadable("profile", &row.profile))?,
                namespaces: row.namespaces.0,
            },
            revision: row.revision,
        })
    }
}

type LeasedRow = (Uuid, Uuid, i64);

fn leased(rows: Vec<LeasedRow>) -> impl Iterator<Item = Leased> {
    rows.into_iter().map(|(cluster, agent, revision)| Leased {
        cluster: ClusterId::from_uuid(cluster),
        agent: AgentId::from_uuid(agent),
        revision,
    })
}

roadstead_store::for_pools! {
    impl ConnectionStore for [PgPool, SqlitePool] {
        async fn connect_cluster(&self, new: &NewCluster, connection: &NewConnection, rights: &Rights, change: &Change)
        -> Result<ClusterRecord> {
            let mut tx = self.begin_write().await?;
            insert_cluster!(tx, new, change);
            sqlx::query(ENDPOINT).bind(new.id.uuid()).bind(&connection.endpoint).bind(change.at).execute(&mut *tx).await?;
            sqlx::query(INSERT_AGENT)
                .bind(connection.agent.uuid())
                .bind(Some(new.id.uuid()))
                .bind(new.owner_id.uuid())
                .bind(AgentKind::Hosted.as_str())
                .bind(profile_word(rights.profile))
                .bind(change.at)
                .bind(Json(&rights.namespaces))
                .execute(&mut *tx)
                .await?;
            sqlx::query(INSERT)
                .bind(new.id.uuid())
                .bind(connection.agent.uuid())
                .bind(Json(&connection.limits))
                .bind(&connection.sealed)
                .bind(change.at)
                .execute(&mut *tx)
                .await?;
            let row: ClusterRow = sqlx::query_as(FIND_ID).bind(change.at).bind(new.id.uuid()).fetch_one(&mut *tx).await?;
            let record = ClusterRecord::try_from(row)?;
            finish(&mut tx, change, &record.cluster, vec![Fact::ClusterCreated { cluster_id: new.id }]).await?;
            tx.commit().await?;
            Ok(record)
        }

        async fn reconnect_cluster(&self, cluster: ClusterId, connection: &NewConnection, cutoff: DateTime<Utc>, change: &Change)
        -> Result<Option<ClusterRecord>> {
            let mut tx = self.begin_write().await?;
            let replaced = sqlx::query(REPLACE)
                .bind(cluster.uuid())
                .bind(Json(&connection.limits))
                .bind(&connection.sealed)
                .bind(change.at)
                .execute(&mut *tx)
                .await?
                .rows_affected();
            if replaced == 0 {
                return Ok(None);
            }
            sqlx::query(ENDPOINT).bind(cluster.uuid()).bind(&connection.endpoint).bind(change.at).execute(&mut *tx).await?;
            let row: ClusterRow = sqlx::query_as(FIND_ID).bind(cutoff).bind(cluster.uuid()).fetch_one(&mut *tx).await?;
            let record = ClusterRecord::try_from(row)?;
            finish(&mut tx, change, &record.cluster, vec![Fact::ClusterUpdated { cluster_id: cluster }]).await?;
            tx.commit().await?;
            Ok(Some(record))
        }

        async fn connection(&self, cluster: ClusterId) -> Result<Option<Kept>> {
            let row: Option<KeptRow> =
                sqlx::query_as(Self::pick(READ, READ)).bind(cluster.uuid()).fetch_optional(self).await?;
            row.map(Kept::try_from).transpose()
        }

        async fn lease_connections(&self, replica: ReplicaId, now: DateTime<Utc>, until: DateTime<Utc>, most: i64)
        -> Result<Vec<Leased>> {
            let mut tx = self.begin_write().await?;
            let kept: Vec<LeasedRow> = sqlx::query_as(Self::pick(RENEW_POSTGRES, RENEW_SQLITE))
                .bind(replica.uuid())
                .bind(now)
                .bind(until)
                .fetch_all(&mut *tx)
                .await?;
            let taken: Vec<LeasedRow> = sqlx::query_as(Self::pick(TAKE_POSTGRES, TAKE_SQLITE))
                .bind(replica.uuid())
                .bind(now)
                .bind(until)
                .bind(most)
                .fetch_all(&mut *tx)
                .await?;
            tx.commit().await?;
            Ok(leased(kept).chain(leased(taken)).collect())
        }

        async fn let_connections_go(&self, replica: ReplicaId) -> Result<()> {
            let mut tx = self.begin_write().await?;
            sqlx::query(LET_GO).bind(replica.uuid()).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(())
        }
    }
}
