//! What agents say has drifted: the latest word of each cluster, one row each.

use chrono::{DateTime, Utc};
use roadstead_contracts::drift::DriftCounts;
use roadstead_contracts::event::Fact;
use roadstead_contracts::ids::{AgentId, ClusterId, TypedId as _};
use roadstead_contracts::message::Drifted;
use roadstead_store::sqlx;
use roadstead_store::sqlx::types::Json;
use roadstead_store::{Dialect as _, Result, outbox};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::rows::json;
use super::{Change, DriftStore};
use crate::limits::DRIFTED_CLUSTERS_MAX;

/// What a cluster's agent said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DriftDoc {
    pub counts: DriftCounts,
    /// By key.
    pub objects: Vec<Drifted>,
}

/// A report to store.
#[derive(Debug, Clone)]
pub(crate) struct NewDrift {
    pub cluster: ClusterId,
    pub agent: AgentId,
    pub epoch: i64,
    pub revision: i64,
    /// Since when, as if it were all new.
    pub doc: DriftDoc,
}

macro_rules! find {
    () => {
        "SELECT agent_id, epoch, revision, doc FROM drifts WHERE cluster_id = $1"
    };
}
const LOCK_POSTGRES: &str = concat!(find!(), " FOR UPDATE");
const LOCK_SQLITE: &str = find!();
/// Two first reports at once: the later one counts, whichever is written last.
const KEEP: &str = "INSERT INTO drifts (cluster_id, agent_id, epoch, revision, drifted, doc, reported_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (cluster_id) DO UPDATE SET agent_id = excluded.agent_id, epoch = excluded.epoch,
        revision = excluded.revision, drifted = excluded.drifted, doc = excluded.doc, reported_at = excluded.reported_at
    WHERE drifts.epoch <> $8 AND (drifts.agent_id <> excluded.agent_id OR drifts.epoch < excluded.epoch
        OR (drifts.epoch = excluded.epoch AND drifts.revision < excluded.revision))";
const READ: &str = "SELECT doc, reported_at FROM drifts WHERE cluster_id = $1 AND epoch <> $2";
/// The row of a cluster that is gone stays for as long as a report of it may be under way.
const FORGET: &str = "INSERT INTO drifts (cluster_id, agent_id, epoch, revision, drifted, doc, reported_at)
    VALUES ($1, $2, $3, 0, 0, $4, $5)
    ON CONFLICT (cluster_id) DO UPDATE SET agent_id = excluded.agent_id, epoch = excluded.epoch,
        revision = excluded.revision, drifted = excluded.drifted, doc = excluded.doc, reported_at = excluded.reported_at";
/// Epoch of such a row. No session comes so far.
const GONE: i64 = i64::MAX;
/// Removes rows of clusters that went before a moment ($1).
pub(super) const FORGET_GONE: &str = "DELETE FROM drifts WHERE reported_at < $1 AND epoch = 9223372036854775807";
const COUNT: &str = "SELECT cluster_id, drifted FROM drifts WHERE drifted > 0 ORDER BY drifted DESC LIMIT $1";

roadstead_store::for_pools! {
    impl DriftStore for [PgPool, SqlitePool] {
        async fn report_drift(&self, new: &NewDrift, change: &Change) -> Result<bool> {
            let mut tx = self.begin_write().await?;
            let known: Option<(Uuid, i64, i64, Json<DriftDoc>)> =
                sqlx::query_as(Self::pick(LOCK_POSTGRES, LOCK_SQLITE))
                    .bind(new.cluster.uuid())
                    .fetch_optional(&mut *tx)
                    .await?;
            let mut doc = new.doc.clone();
            let mut before = DriftDoc::default();
            if let Some((agent, epoch, revision, Json(known))) = known {
                let is_old = agent == new.agent.uuid() && (epoch, revision) >= (new.epoch, new.revision);
                if is_old || epoch == GONE {
                    return Ok(false);
                }
                for object in &mut doc.objects {
                    if let Some(known) = known.objects.iter().find(|known| known.object.key == object.object.key) {
                        object.since = known.since;
                    }
                }
                before = known;
            }
            let stored = sqlx::query(KEEP)
                .bind(new.cluster.uuid())
                .bind(new.agent.uuid())
                .bind(new.epoch)
                .bind(new.revision)
                .bind(i64::from(doc.counts.drifted))
                .bind(json(&doc)?)
                .bind(change.at)
                .bind(GONE)
                .execute(&mut *tx)
                .await?
                .rows_affected()
                > 0;
            // Figures alone are no news.
            let is_news = before.objects != doc.objects || before.counts.drifted != doc.counts.drifted;
            if stored && is_news {
                let fact = Fact::DriftChanged { cluster_id: new.cluster, drifted: doc.counts.drifted };
                outbox::push(&mut tx, &change.event(fact)).await?;
            }
            tx.commit().await?;
            Ok(stored)
        }

        async fn find_drift(&self, cluster: ClusterId) -> Result<Option<(DriftDoc, DateTime<Utc>)>> {
            let row: Option<(Json<DriftDoc>, DateTime<Utc>)> =
                sqlx::query_as(READ).bind(cluster.uuid()).bind(GONE).fetch_optional(self).await?;
            Ok(row.map(|(Json(doc), at)| (doc, at)))
        }

        async fn forget_drift(&self, cluster: ClusterId, at: DateTime<Utc>) -> Result<()> {
            let mut tx = self.begin_write().await?;
            sqlx::query(FORGET)
                .bind(cluster.uuid())
                .bind(Uuid::nil())
                .bind(GONE)
                .bind(json(&DriftDoc::default())?)
                .bind(at)
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            Ok(())
        }

        async fn count_drifted(&self) -> Result<Vec<(ClusterId, i64)>> {
            let rows: Vec<(Uuid, i64)> = sqlx::query_as(COUNT).bind(DRIFTED_CLUSTERS_MAX).fetch_all(self).await?;
            Ok(rows.into_iter().map(|(cluster, drifted)| (ClusterId::from_uuid(cluster), drifted)).collect())
        }
    }
}
