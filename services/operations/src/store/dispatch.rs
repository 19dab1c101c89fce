//! Who carries which operation. Leases and pauses count by the database's own time: replicas' clocks may differ (reliability
//! row F14).

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use roadstead_contracts::ids::{ClusterId, OperationId, ReplicaId, TypedId};
use roadstead_contracts::operation::OperationState;
use roadstead_store::sqlx;
use roadstead_store::sqlx::types::Json;
use roadstead_store::{Dialect as _, Error, Result};
use tokio::time::Instant;
use uuid::Uuid;

use super::DispatchStore;
use super::operations::takes_turns;
use super::rows::{Row, hex, select_operations};
use crate::domain::Record;
use crate::limits::{LEASE, REST_MAX, SETTLE_LIFE, SWEEP_ROWS};

/// Who wants work, and how much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    pub holder: ReplicaId,
    /// Now, where the database does not tell.
    pub at: DateTime<Utc>,
    /// Most operations.
    pub most: i64,
    /// Operations at once in one lane of a cluster.
    pub per_lane: i64,
}

/// A lease that still counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Renewed {
    pub id: OperationId,
    pub token: i64,
    pub state: OperationState,
}

/// One replica claims at a time: whether a lane is free is decided over several rows.
const TURN: i64 = 6_077_135_413_213;

/// What can go on now. First what was begun and nobody carries, then the queue: urgent before patient, clusters with little
/// under way before busy ones (`turn`), old before new. In a lane an operation waits for those before it. What is further
/// away than anything is ever laid aside ($4) or leased ($5) is of a time before the clock was put back: it does not wait.
const READY: &str = concat!(
    select_operations!(),
    "JOIN (SELECT q.id, row_number() OVER (PARTITION BY q.cluster_id ORDER BY q.priority DESC, q.seq)
            + (SELECT count(*) FROM operations r
                WHERE r.cluster_id = q.cluster_id AND r.finished_at IS NULL AND r.lease_until > $1) AS turn
        FROM operations q
        WHERE q.finished_at IS NULL AND (q.next_try_at <= $1 OR q.next_try_at > $4) AND q.deadline > $1
            AND (q.lease_until IS NULL OR q.lease_until <= $1 OR q.lease_until > $5)
            AND (q.state <> 'queued' OR (SELECT count(*) FROM operations p
                WHERE p.cluster_id = q.cluster_id AND p.finished_at IS NULL AND p.id <> q.id AND ",
    takes_turns!("p", "q"),
    "
                    AND (p.state <> 'queued' OR p.lease_until > $1 OR p.priority > q.priority
                        OR (p.priority = q.priority AND p.seq < q.seq))) < $2)
    ) AS ready ON ready.id = o.id
    ORDER BY CASE WHEN o.state = 'queued' THEN 1 ELSE 0 END, o.priority DESC, ready.turn, o.seq LIMIT $3"
);
const TAKE_POSTGRES: &str = "UPDATE operations SET lease_holder = $1, lease_token = lease_token + 1, lease_until = $2
    WHERE id IN (SELECT value::uuid FROM jsonb_array_elements_text($3))";
const TAKE_SQLITE: &str = "UPDATE operations SET lease_holder = $1, lease_token = lease_token + 1, lease_until = $2
    WHERE id IN (SELECT unhex(value) FROM json_each($3))";
const RENEW_POSTGRES: &str = "UPDATE operations SET lease_until = $2 WHERE lease_holder = $1 AND finished_at IS NULL
    AND id IN (SELECT value::uuid FROM jsonb_array_elements_text($3)) RETURNING id, lease_token, state";
const RENEW_SQLITE: &str = "UPDATE operations SET lease_until = $2 WHERE lease_holder = $1 AND finished_at IS NULL
    AND id IN (SELECT unhex(value) FROM json_each($3)) RETURNING id, lease_token, state";
const FREE: &str = "UPDATE operations SET lease_holder = NULL, lease_until = NULL, lease_token = lease_token + 1
    WHERE finished_at IS NULL AND lease_until IS NOT NULL";
const REST: &str = "UPDATE operations SET lease_holder = NULL, lease_until = NULL, next_try_at = $3
    WHERE id = $1 AND lease_token = $2 AND finished_at IS NULL";
const PARK: &str = "UPDATE operations SET next_try_at = $2
    WHERE cluster_id = $1 AND finished_at IS NULL AND state = 'queued' AND next_try_at < $2";
const WAKE: &str =
    "UPDATE operations SET next_try_at = $2 WHERE cluster_id = $1 AND finished_at IS NULL AND next_try_at > $2";
const WAKE_SETTLE: &str = "UPDATE operations SET settle_at = $2 WHERE cluster_id = $1 AND settle_at > $2";
const WAITING: &str = "SELECT EXISTS (SELECT 1 FROM operations WHERE cluster_id = $1 AND finished_at IS NULL)";
const OVERDUE: &str = "SELECT id FROM operations WHERE finished_at IS NULL
    AND ((state = 'queued' AND deadline <= $1) OR deadline <= $2) ORDER BY deadline LIMIT $3";
const SETTLE_DUE: &str =
    concat!(select_operations!(), "WHERE o.settle_at IS NOT NULL AND o.settle_at <= $1 ORDER BY o.settle_at LIMIT $2");
const SETTLE_LATER_POSTGRES: &str = "UPDATE operations SET settle_at = CASE WHEN finished_at < $2 THEN NULL ELSE $1 END
    WHERE id IN (SELECT value::uuid FROM jsonb_array_elements_text($3))";
const SETTLE_LATER_SQLITE: &str = "UPDATE operations SET settle_at = CASE WHEN finished_at < $2 THEN NULL ELSE $1 END
    WHERE id IN (SELECT unhex(value) FROM json_each($3))";
const SETTLED: &str = "UPDATE operations SET settle_at = NULL WHERE id = $1";
const ACTIVE: &str = "SELECT state, count(*) FROM operations WHERE finished_at IS NULL GROUP BY state";

fn delta(time: Duration) -> TimeDelta {
    TimeDelta::from_std(time).unwrap_or_default()
}

roadstead_store::for_pools! {
    impl DispatchStore for [PgPool, SqlitePool] {
        async fn claim(&self, claim: &Claim) -> Result<Vec<Record>> {
            let began = Instant::now();
            let ready = |now: DateTime<Utc>, most: i64| {
                // Twice as long: others may have written since this time was read.
                let (rested, leased) = (now + delta(REST_MAX) * 2, now + delta(LEASE) * 2);
                sqlx::query_as(READY).bind(now).bind(claim.per_lane).bind(most).bind(rested).bind(leased)
            };
            // Asked without the lock first: most looks find nothing.
            let now = self.now(claim.at).await?;
            let rows: Vec<Row> = ready(now, 1).fetch_all(self).await?;
            if rows.is_empty() {
                return Ok(Vec::new());
            }
            let mut tx = self.begin_write().await?;
            Self::take_turn(&mut tx, TURN).await?;
            // The turn may have been long in coming: what was renewed meanwhile is not of a time that is to come.
            let at = claim.at + delta(began.elapsed());
            let now = Self::now_within(&mut tx, at).await?;
            let rows: Vec<Row> = ready(now, claim.most).fetch_all(&mut *tx).await?;
            let until = now + delta(LEASE);
            let mut records: Vec<Record> = rows.into_iter().map(Record::from).collect();
            let ids: Vec<String> = records.iter().map(|record| hex(record.doc.shown.id.uuid())).collect();
            sqlx::query(Self::pick(TAKE_POSTGRES, TAKE_SQLITE))
                .bind(claim.holder.uuid())
                .bind(until)
                .bind(Json(&ids))
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            for record in &mut records {
                record.lease.token += 1;
                record.lease.holder = Some(claim.holder);
                record.lease.until = Some(until);
            }
            Ok(records)
        }

        async fn renew(&self, holder: ReplicaId, held: &[OperationId], at: DateTime<Utc>) -> Result<Vec<Renewed>> {
            let mut tx = self.begin_write().await?;
            let now = Self::now_within(&mut tx, at).await?;
            let ids: Vec<String> = held.iter().map(|id| hex(id.uuid())).collect();
            let rows: Vec<(Uuid, i64, String)> = sqlx::query_as(Self::pick(RENEW_POSTGRES, RENEW_SQLITE))
                .bind(holder.uuid())
                .bind(now + delta(LEASE))
                .bind(Json(&ids))
                .fetch_all(&mut *tx)
                .await?;
            tx.commit().await?;
            rows.into_iter()
                .map(|(id, token, state)| {
                    let state = OperationState::parse(&state).ok_or_else(|| Error::Corrupt(format!("state {state:?}")))?;
                    Ok(Renewed { id: OperationId::from_uuid(id), token, state })
                })
                .collect()
        }

        async fn free(&self) -> Result<()> {
            let mut tx = self.begin_write().await?;
            sqlx::query(FREE).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(())
        }

        async fn rest(&self, id: OperationId, token: i64, at: DateTime<Utc>, pause: Duration) -> Result<()> {
            let mut tx = self.begin_write().await?;
            let now = Self::now_within(&mut tx, at).await?;
            sqlx::query(REST).bind(id.uuid()).bind(token).bind(now + delta(pause)).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(())
        }

        async fn park(&self, cluster: ClusterId, at: DateTime<Utc>, pause: Duration) -> Result<()> {
            let mut tx = self.begin_write().await?;
            let now = Self::now_within(&mut tx, at).await?;
            sqlx::query(PARK).bind(cluster.uuid()).bind(now + delta(pause)).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(())
        }

        async fn wake(&self, cluster: ClusterId, at: DateTime<Utc>) -> Result<bool> {
            let mut tx = self.begin_write().await?;
            let now = Self::now_within(&mut tx, at).await?;
            sqlx::query(WAKE).bind(cluster.uuid()).bind(now).execute(&mut *tx).await?;
            sqlx::query(WAKE_SETTLE).bind(cluster.uuid()).bind(at).execute(&mut *tx).await?;
            let waiting: bool = sqlx::query_scalar(WAITING).bind(cluster.uuid()).fetch_one(&mut *tx).await?;
            tx.commit().await?;
            Ok(waiting)
        }

        async fn overdue(
            &self,
            queued_before: DateTime<Utc>,
            running_before: DateTime<Utc>,
        ) -> Result<Vec<OperationId>> {
            let ids: Vec<Uuid> = sqlx::query_scalar(OVERDUE)
                .bind(queued_before)
                .bind(running_before)
                .bind(SWEEP_ROWS)
                .fetch_all(self)
                .await?;
            Ok(ids.into_iter().map(OperationId::from_uuid).collect())
        }

        async fn claim_settlements(&self, at: DateTime<Utc>, again: DateTime<Utc>) -> Result<Vec<Record>> {
            let due: Vec<Row> = sqlx::query_as(SETTLE_DUE).bind(at).bind(1_i64).fetch_all(self).await?;
            if due.is_empty() {
                return Ok(Vec::new());
            }
            let mut tx = self.begin_write().await?;
            let rows: Vec<Row> = sqlx::query_as(SETTLE_DUE).bind(at).bind(SWEEP_ROWS).fetch_all(&mut *tx).await?;
            let records: Vec<Record> = rows.into_iter().map(Record::from).collect();
            let ids: Vec<String> = records.iter().map(|record| hex(record.doc.shown.id.uuid())).collect();
            sqlx::query(Self::pick(SETTLE_LATER_POSTGRES, SETTLE_LATER_SQLITE))
                .bind(again)
                .bind(at - SETTLE_LIFE)
                .bind(Json(&ids))
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            Ok(records)
        }

        async fn settled(&self, id: OperationId) -> Result<()> {
            let mut tx = self.begin_write().await?;
            sqlx::query(SETTLED).bind(id.uuid()).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(())
        }

        async fn count_active(&self) -> Result<Vec<(String, i64)>> {
            Ok(sqlx::query_as(ACTIVE).fetch_all(self).await?)
        }
    }
}
