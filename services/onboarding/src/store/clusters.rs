//! Clusters.

use chrono::{DateTime, Utc};
use roadstead_contracts::event::Fact;
use roadstead_contracts::ids::{AgentId, ClusterId, TypedId, UserId};
use roadstead_contracts::message::{Cluster, ClusterCount, ClusterFacts};
use roadstead_contracts::names::{ClusterName, Labels};
use roadstead_contracts::policy;
use roadstead_store::sqlx;
use roadstead_store::sqlx::types::Json;
use roadstead_store::{Dialect as _, Result, Window};
use uuid::Uuid;

use super::receipts::finish;
use super::rows::{ClusterRow, all, in_view, mode_from, mode_word, select_clusters, total, unreadable};
use super::tokens::{INSERT_TOKEN, insert_token};
use super::{Change, ClusterPatch, ClusterStore, NewCluster, NewToken};
use crate::domain::{ClusterRecord, ClusterRef, View, profile_word, status_of};
use crate::limits::RULED_CLUSTERS_MAX;

macro_rules! listed {
    (postgres) => {
        concat!(" WHERE ", in_view!(postgres, "c.owner_id", "c.id"), " AND c.labels @> $5")
    };
    (sqlite) => {
        concat!(
            " WHERE ",
            in_view!(sqlite, "c.owner_id", "c.id"),
            " AND NOT EXISTS (SELECT 1 FROM json_each($5) want WHERE NOT EXISTS
                (SELECT 1 FROM json_each(c.labels) have WHERE have.key = want.key AND have.value = want.value))"
        )
    };
}

const LIST_POSTGRES: &str =
    concat!(select_clusters!(), listed!(postgres), " AND c.seq < $6 ORDER BY c.seq DESC LIMIT $7 OFFSET $8");
const LIST_SQLITE: &str =
    concat!(select_clusters!(), listed!(sqlite), " AND c.seq < $6 ORDER BY c.seq DESC LIMIT $7 OFFSET $8");
const COUNT_POSTGRES: &str = concat!("SELECT count(*) FROM clusters c", listed!(postgres));
const COUNT_SQLITE: &str = concat!("SELECT count(*) FROM clusters c", listed!(sqlite));
pub(super) const FIND_ID: &str = concat!(select_clusters!(), "WHERE c.id = $2");
const FIND_SEQ: &str = concat!(select_clusters!(), "WHERE c.seq = $2");
const FIND_NAME: &str = concat!(select_clusters!(), "WHERE c.name = $2");
pub(super) const INSERT_CLUSTER: &str = "INSERT INTO clusters
    (id, name, description, labels, mode, owner_id, owner_seq, details, created_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)";
const UPDATE: &str = "UPDATE clusters SET name = COALESCE($2, name), description = COALESCE($3, description),
    labels = COALESCE($4, labels), updated_at = $5 WHERE id = $1";
const TALLY: &str = "SELECT mode, direct, connected, ever, health, count(*) AS count FROM (
        SELECT c.mode, c.endpoint IS NOT NULL AS direct, c.last_seen_at IS NOT NULL AS ever, c.facts ->> 'health' AS health,
            EXISTS (SELECT 1 FROM agents a JOIN replicas r ON r.id = a.connected_replica AND r.seen_at > $1
                WHERE a.cluster_id = c.id AND a.revoked_at IS NULL) AS connected
        FROM clusters c) each_cluster
    GROUP BY mode, direct, connected, ever, health";

/// Writes a [`NewCluster`]'s row. A macro, because the two databases' drivers have no query type in common.
macro_rules! insert_cluster {
    ($tx:expr, $new:expr, $change:expr) => {
        sqlx::query(INSERT_CLUSTER)
            .bind($new.id.uuid())
            .bind($new.name.as_str())
            .bind(&$new.description)
            .bind(Json(&$new.labels))
            .bind(mode_word($new.mode))
            .bind($new.owner_id.uuid())
            .bind($new.owner_seq)
            .bind($new.details.as_ref().map(Json))
            .bind($change.at)
            .execute(&mut *$tx)
            .await?
    };
}

pub(super) use insert_cluster;

#[derive(Debug, sqlx::FromRow)]
struct TallyRow {
    mode: String,
    direct: bool,
    connected: bool,
    ever: bool,
    health: Option<String>,
    count: i64,
}

roadstead_store::for_pools! {
    impl ClusterStore for [PgPool, SqlitePool] {
        async fn list_clusters(&self, view: &View, labels: &Labels, window: Window, cutoff: DateTime<Utc>)
        -> Result<(Vec<ClusterRecord>, u64)> {
            let count: i64 = sqlx::query_scalar(Self::pick(COUNT_POSTGRES, COUNT_SQLITE))
                .bind(cutoff)
                .bind(view.all)
                .bind(view.owner.uuid())
                .bind(Json(&view.granted))
                .bind(Json(labels))
                .fetch_one(self)
                .await?;
            let rows: Vec<ClusterRow> = sqlx::query_as(Self::pick(LIST_POSTGRES, LIST_SQLITE))
                .bind(cutoff)
                .bind(view.all)
                .bind(view.owner.uuid())
                .bind(Json(&view.granted))
                .bind(Json(labels))
                .bind(window.before)
                .bind(window.fetch)
                .bind(window.offset)
                .fetch_all(self)
                .await?;
            Ok((all(rows)?, total(count)))
        }

        async fn find_cluster(&self, by: &ClusterRef, cutoff: DateTime<Utc>) -> Result<Option<ClusterRecord>> {
            let row: Option<ClusterRow> = match by {
                ClusterRef::Id(id) => sqlx::query_as(FIND_ID).bind(cutoff).bind(id.uuid()).fetch_optional(self).await?,
                ClusterRef::Seq(seq) => sqlx::query_as(FIND_SEQ).bind(cutoff).bind(seq).fetch_optional(self).await?,
                ClusterRef::Name(name) => sqlx::query_as(FIND_NAME).bind(cutoff).bind(name).fetch_optional(self).await?,
            };
            row.map(ClusterRecord::try_from).transpose()
        }

        async fn create_cluster(&self, new: &NewCluster, token: Option<&NewToken>, change: &Change) -> Result<ClusterRecord> {
            let mut tx = self.begin_write().await?;
            insert_cluster!(tx, new, change);
            if let Some(new) = token {
                insert_token!(tx, new, change);
            }
            let row: ClusterRow = sqlx::query_as(FIND_ID).bind(change.at).bind(new.id.uuid()).fetch_one(&mut *tx).await?;
            let record = ClusterRecord::try_from(row)?;
            finish(&mut tx, change, &record.cluster, vec![Fact::ClusterCreated { cluster_id: new.id }]).await?;
            tx.commit().await?;
            Ok(record)
        }

        async fn update_cluster(&self, id: ClusterId, patch: &ClusterPatch, cutoff: DateTime<Utc>, change: &Change)
        -> Result<Option<ClusterRecord>> {
            let mut tx = self.begin_write().await?;
            sqlx::query(UPDATE)
                .bind(id.uuid())
                .bind(patch.name.as_ref().map(ClusterName::as_str))
                .bind(patch.description.as_deref())
                .bind(patch.labels.as_ref().map(Json))
                .bind(change.at)
                .execute(&mut *tx)
                .await?;
            let row: Option<ClusterRow> =
                sqlx::query_as(FIND_ID).bind(cutoff).bind(id.uuid()).fetch_optional(&mut *tx).await?;
            let Some(row) = row else { return Ok(None) };
            let record = ClusterRecord::try_from(row)?;
            finish(&mut tx, change, &record.cluster, vec![Fact::ClusterUpdated { cluster_id: id }]).await?;
            tx.commit().await?;
            Ok(Some(record))
        }

        async fn delete_cluster(&self, shown: &Cluster, change: &Change) -> Result<Option<Vec<AgentId>>> {
            let mut tx = self.begin_write().await?;
            let agents: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM agents WHERE cluster_id = $1")
                .bind(shown.id.uuid())
                .fetch_all(&mut *tx)
                .await?;
            let gone = sqlx::query("DELETE FROM clusters WHERE id = $1")
                .bind(shown.id.uuid())
                .execute(&mut *tx)
                .await?
                .rows_affected();
            if gone == 0 {
                return Ok(None);
            }
            let agents: Vec<AgentId> = agents.into_iter().map(AgentId::from_uuid).collect();
            let mut facts = vec![Fact::ClusterDeleted { cluster_id: shown.id }];
            facts.extend(agents.iter().map(|agent| Fact::AgentRevoked { agent_id: agent.to_string() }));
            finish(&mut tx, change, shown, facts).await?;
            tx.commit().await?;
            Ok(Some(agents))
        }

        async fn policy_facts(&self) -> Result<Vec<policy::ClusterFacts>> {
            let rows: Vec<(Uuid, String, Json<Labels>, Option<Uuid>)> =
                sqlx::query_as("SELECT id, name, labels, owner_id FROM clusters ORDER BY seq LIMIT $1")
                    .bind(RULED_CLUSTERS_MAX)
                    .fetch_all(self)
                    .await?;
            let facts = rows.into_iter().map(|(id, name, labels, owner)| policy::ClusterFacts {
                id: ClusterId::from_uuid(id),
                name: Some(name),
                labels: Some(labels.0),
                owner: owner.map(UserId::from_uuid),
            });
            Ok(facts.collect())
        }

        async fn count_clusters(&self, cutoff: DateTime<Utc>) -> Result<Vec<ClusterCount>> {
            let rows: Vec<TallyRow> = sqlx::query_as(TALLY).bind(cutoff).fetch_all(self).await?;
            let mut counts: Vec<ClusterCount> = Vec::new();
            for row in rows {
                let mode = mode_from(&row.mode, row.direct).ok_or_else(|| unreadable("mode", &row.mode))?;
                let facts = ClusterFacts { health: row.health, ..ClusterFacts::default() };
                let status = status_of(row.connected, row.ever, &facts);
                match counts.iter_mut().find(|count| count.mode == mode && count.status == status) {
                    Some(count) => count.count += total(row.count),
                    None => counts.push(ClusterCount { mode, status, count: total(row.count) }),
                }
            }
            Ok(counts)
        }
    }
}
