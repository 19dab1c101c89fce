//! Clusters that this service reaches by itself, and which replica does so now.

use chrono::{DateTime, Utc};
use roadstead_contracts::event::Fact;
use roadstead_contracts::ids::{AgentId, ClusterId, ReplicaId, TypedId};
use roadstead_contracts::message::{ConnectionLimits, RightsProfile};
use roadstead_store::sqlx;
use roadstead_store::sqlx::types::Json;
use roadstead_store::{Dialect as _, Result};
use uuid::Uuid;

use super::agents::INSERT as INSERT_AGENT;
use super::clusters::{FIND_ID, INSERT_CLUSTER};
use super::receipts::finish;
use super::rows::{ClusterRow, mode_word};
use super::{Change, ConnectionStore, Kept, Leased, NewCluster, NewConnection};
use crate::domain::{AgentKind, ClusterRecord, profile_word};

const INSERT: &str = "INSERT INTO connections (cluster_id, agent_id, limits, sealed_credentials, updated_at)
    VALUES ($1, $2, $3, $4, $5)";
const ENDPOINT: &str = "UPDATE clusters SET endpoint = $2, updated_at = $3 WHERE id = $1";
const REPLACE: &str =
    "UPDATE connections SET limits = $2, sealed_credentials = $3, updated_at = $4, revision = revision + 1
    WHERE cluster_id = $1";
const READ: &str = "SELECT agent_id, limits, sealed_credentials, revision FROM connections WHERE cluster_id = $1";
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
        async fn connect_cluster(&self, new: &NewCluster, connection: &NewConnection, change: &Change) -> Result<ClusterRecord> {
            let mut tx = self.begin_write().await?;
            sqlx::query(INSERT_CLUSTER)
                .bind(new.id.uuid())
                .bind(new.name.as_str())
                .bind(&new.description)
                .bind(Json(&new.labels))
                .bind(mode_word(new.mode))
                .bind(new.owner_id.uuid())
                .bind(new.owner_seq)
                .bind(new.details.as_ref().map(Json))
                .bind(change.at)
                .execute(&mut *tx)
                .await?;
            sqlx::query(ENDPOINT).bind(new.id.uuid()).bind(&connection.endpoint).bind(change.at).execute(&mut *tx).await?;
            sqlx::query(INSERT_AGENT)
                .bind(connection.agent.uuid())
                .bind(Some(new.id.uuid()))
                .bind(new.owner_id.uuid())
                .bind(AgentKind::Hosted.as_str())
                .bind(profile_word(RightsProfile::default()))
                .bind(change.at)
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
            let row: Option<(Uuid, Json<ConnectionLimits>, String, i64)> =
                sqlx::query_as(Self::pick(READ, READ)).bind(cluster.uuid()).fetch_optional(self).await?;
            Ok(row.map(|(agent, Json(limits), sealed, revision)| Kept {
                agent: AgentId::from_uuid(agent),
                limits,
                sealed,
                revision,
            }))
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
