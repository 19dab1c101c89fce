//! Agents.

use chrono::{DateTime, Utc};
use roadstead_contracts::event::Fact;
use roadstead_contracts::ids::{AgentId, ClusterId, TypedId};
use roadstead_contracts::message::{SeedCluster, SeedClusterDetails};
use roadstead_contracts::names::Namespace;
use roadstead_store::sqlx;
use roadstead_store::sqlx::types::Json;
use roadstead_store::{Dialect as _, Result, Window};

use super::clusters::{FIND_ID as FIND_CLUSTER, INSERT_CLUSTER, insert_cluster};
use super::receipts::finish;
use super::rows::{AgentRow, ClusterRow, in_view, mode_word, select_agents, total};
use super::{AgentStore, Change, NewAgent, NewCluster};
use crate::domain::{AgentRecord, ClusterRecord, View, profile_word};

macro_rules! listed {
    ($dialect:ident) => {
        concat!(
            " WHERE (",
            in_view!($dialect, "c.owner_id", "a.cluster_id"),
            " OR (a.cluster_id IS NULL AND a.owner_id = $3)) AND ($5 = FALSE OR (r.id IS NOT NULL AND a.revoked_at IS NULL))"
        )
    };
}
macro_rules! counted {
    ($dialect:ident) => {
        concat!(
            "SELECT count(*) FROM agents a LEFT JOIN replicas r ON r.id = a.connected_replica AND r.seen_at > $1
             LEFT JOIN clusters c ON c.id = a.cluster_id",
            listed!($dialect)
        )
    };
}

const PAGE_POSTGRES: &str =
    concat!(select_agents!(), listed!(postgres), " AND a.seq < $6 ORDER BY a.seq DESC LIMIT $7 OFFSET $8");
const PAGE_SQLITE: &str =
    concat!(select_agents!(), listed!(sqlite), " AND a.seq < $6 ORDER BY a.seq DESC LIMIT $7 OFFSET $8");
const COUNT_POSTGRES: &str = counted!(postgres);
const COUNT_SQLITE: &str = counted!(sqlite);
const FIND: &str = concat!(select_agents!(), "WHERE a.id = $2");
const ACTIVE: &str = concat!(
    select_agents!(),
    "WHERE a.cluster_id = $2 AND a.revoked_at IS NULL
     ORDER BY (r.id IS NOT NULL) DESC, COALESCE(a.connected_at, a.created_at) DESC, a.seq DESC LIMIT 1"
);
pub(super) const INSERT: &str = "INSERT INTO agents (id, cluster_id, owner_id, kind, profile, created_at, namespaces)
    VALUES ($1, $2, $3, $4, $5, $6, $7)";
const REVOKE: &str = "UPDATE agents SET revoked_at = COALESCE(revoked_at, $2), connected_replica = NULL WHERE id = $1";

roadstead_store::for_pools! {
    impl AgentStore for [PgPool, SqlitePool] {
        async fn list_agents(&self, view: &View, connected_only: bool, window: Window, cutoff: DateTime<Utc>)
        -> Result<(Vec<(i64, AgentRecord)>, u64)> {
            let count: i64 = sqlx::query_scalar(Self::pick(COUNT_POSTGRES, COUNT_SQLITE))
                .bind(cutoff)
                .bind(view.all)
                .bind(view.owner.uuid())
                .bind(Json(&view.granted))
                .bind(connected_only)
                .fetch_one(self)
                .await?;
            let rows: Vec<AgentRow> = sqlx::query_as(Self::pick(PAGE_POSTGRES, PAGE_SQLITE))
                .bind(cutoff)
                .bind(view.all)
                .bind(view.owner.uuid())
                .bind(Json(&view.granted))
                .bind(connected_only)
                .bind(window.before)
                .bind(window.fetch)
                .bind(window.offset)
                .fetch_all(self)
                .await?;
            let records = rows.into_iter().map(|row| Ok((row.seq, AgentRecord::try_from(row)?))).collect::<Result<_>>()?;
            Ok((records, total(count)))
        }

        async fn find_agent(&self, id: AgentId, cutoff: DateTime<Utc>) -> Result<Option<AgentRecord>> {
            let row: Option<AgentRow> = sqlx::query_as(FIND).bind(cutoff).bind(id.uuid()).fetch_optional(self).await?;
            row.map(AgentRecord::try_from).transpose()
        }

        async fn active_agent(&self, cluster: ClusterId, cutoff: DateTime<Utc>) -> Result<Option<AgentRecord>> {
            let row: Option<AgentRow> =
                sqlx::query_as(ACTIVE).bind(cutoff).bind(cluster.uuid()).fetch_optional(self).await?;
            row.map(AgentRecord::try_from).transpose()
        }

        async fn create_agent(&self, new: &NewAgent, change: &Change) -> Result<AgentRecord> {
            let mut tx = self.begin_write().await?;
            sqlx::query(INSERT)
                .bind(new.id.uuid())
                .bind(new.cluster_id.map(TypedId::uuid))
                .bind(new.owner_id.uuid())
                .bind(new.kind.as_str())
                .bind(profile_word(new.profile))
                .bind(change.at)
                .bind(Json(&[] as &[Namespace]))
                .execute(&mut *tx)
                .await?;
            let row: AgentRow = sqlx::query_as(FIND).bind(change.at).bind(new.id.uuid()).fetch_one(&mut *tx).await?;
            let record = AgentRecord::try_from(row)?;
            finish(&mut tx, change, &record.agent, Vec::new()).await?;
            tx.commit().await?;
            Ok(record)
        }

        async fn onboard(&self, agent: AgentId, new: &NewCluster, change: &Change) -> Result<ClusterRecord> {
            let mut tx = self.begin_write().await?;
            insert_cluster!(tx, new, change);
            sqlx::query("UPDATE agents SET cluster_id = $2 WHERE id = $1 AND cluster_id IS NULL")
                .bind(agent.uuid())
                .bind(new.id.uuid())
                .execute(&mut *tx)
                .await?;
            let row: ClusterRow = sqlx::query_as(FIND_CLUSTER).bind(change.at).bind(new.id.uuid()).fetch_one(&mut *tx).await?;
            let record = ClusterRecord::try_from(row)?;
            finish(&mut tx, change, &SeedCluster::from(record.clone()), vec![Fact::ClusterCreated { cluster_id: new.id }]).await?;
            tx.commit().await?;
            Ok(record)
        }

        async fn describe(&self, cluster: ClusterId, details: &SeedClusterDetails, cutoff: DateTime<Utc>, change: &Change)
        -> Result<Option<ClusterRecord>> {
            let mut tx = self.begin_write().await?;
            sqlx::query("UPDATE clusters SET details = $2, updated_at = $3 WHERE id = $1")
                .bind(cluster.uuid())
                .bind(Json(details))
                .bind(change.at)
                .execute(&mut *tx)
                .await?;
            let row: Option<ClusterRow> =
                sqlx::query_as(FIND_CLUSTER).bind(cutoff).bind(cluster.uuid()).fetch_optional(&mut *tx).await?;
            let Some(row) = row else { return Ok(None) };
            let record = ClusterRecord::try_from(row)?;
            finish(&mut tx, change, &SeedCluster::from(record.clone()), vec![Fact::ClusterUpdated { cluster_id: cluster }]).await?;
            tx.commit().await?;
            Ok(Some(record))
        }

        async fn revoke_agent(&self, id: AgentId, change: &Change) -> Result<Option<AgentRecord>> {
            let mut tx = self.begin_write().await?;
            let before: Option<Option<uuid::Uuid>> = sqlx::query_scalar("SELECT connected_replica FROM agents WHERE id = $1")
                .bind(id.uuid())
                .fetch_optional(&mut *tx)
                .await?;
            sqlx::query(REVOKE).bind(id.uuid()).bind(change.at).execute(&mut *tx).await?;
            let row: Option<AgentRow> =
                sqlx::query_as(FIND).bind(change.at).bind(id.uuid()).fetch_optional(&mut *tx).await?;
            let Some(row) = row else { return Ok(None) };
            let record = AgentRecord::try_from(row)?;
            let mut facts = vec![Fact::AgentRevoked { agent_id: id.to_string() }];
            if let (Some(Some(_)), Some(cluster_id)) = (before, record.agent.cluster_id) {
                facts.push(Fact::AgentDisconnected { cluster_id, agent_id: id.to_string() });
            }
            finish(&mut tx, change, &record.agent, facts).await?;
            tx.commit().await?;
            Ok(Some(record))
        }
    }
}
