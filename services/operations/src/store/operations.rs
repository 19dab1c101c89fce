//! Operations: made, read, listed, removed.

use roadstead_contracts::audit::AuditRecord;
use roadstead_contracts::ids::{OperationId, TypedId};
use roadstead_contracts::message::{OperationStep, StepKind};
use roadstead_contracts::operation::OperationKind;
use roadstead_runtime::kill;
use roadstead_store::receipts::keep;
use roadstead_store::sqlx;
use roadstead_store::sqlx::types::Json;
use roadstead_store::{Dialect as _, Result, Window, audit, outbox};
use uuid::Uuid;

use super::bodies::CLAIM;
use super::rows::{Row, StepRow, json, select_operations, total};
use super::{Change, Created, Filter, NewOperation, OperationStore};
use crate::domain::{Record, View};
use crate::limits::ACTIVE_PER_CLUSTER;

pub(super) const FIND: &str = concat!(select_operations!(), "WHERE o.id = $1");
/// Whether two operations of a cluster take turns ([`crate::domain::lane`]).
macro_rules! takes_turns {
    ($one:literal, $other:literal) => {
        concat!(
            "(",
            $one,
            ".lane = ",
            $other,
            ".lane OR (",
            $one,
            ".lane = '' AND ",
            $other,
            ".lane NOT LIKE '=%') OR (",
            $other,
            ".lane = '' AND ",
            $one,
            ".lane NOT LIKE '=%'))"
        )
    };
}
pub(super) use takes_turns;

/// Before it as `DispatchStore::claim` takes them.
const WAITED_FOR: &str = concat!(
    select_operations!(),
    "JOIN operations q ON q.cluster_id = o.cluster_id AND q.id <> o.id
    WHERE q.id = $1 AND q.state = 'queued' AND o.finished_at IS NULL AND ",
    takes_turns!("o", "q"),
    "
        AND (o.state <> 'queued' OR o.priority > q.priority OR (o.priority = q.priority AND o.seq < q.seq))
    ORDER BY CASE WHEN o.state = 'queued' THEN 1 ELSE 0 END, o.priority DESC, o.seq LIMIT 1 OFFSET $2"
);
pub(super) const INSERT: &str =
    "INSERT INTO operations (id, cluster_id, cluster_owner_id, lane, kind, state, priority, rollout_id,
    body_sha256, doc, deadline, next_try_at, created_at, sealed_webhook)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
    RETURNING seq";
pub(super) const INSERT_STEP: &str = "INSERT INTO steps (operation_id, number, at, what) VALUES ($1, 1, $2, $3)";
pub(super) const FIND_KEY: &str = "SELECT digest, subject_id FROM idempotency WHERE user_id = $1 AND key = $2";
pub(super) const FORGET_KEY: &str = "DELETE FROM idempotency WHERE user_id = $1 AND key = $2";
pub(super) const INSERT_KEY: &str =
    "INSERT INTO idempotency (user_id, key, digest, subject_id, created_at) VALUES ($1, $2, $3, $4, $5)";
const COUNT_ACTIVE: &str = "SELECT count(*) FROM operations WHERE cluster_id = $1 AND finished_at IS NULL";

/// Whether an operation is in a view and passes the filter: `$1` all, `$2` owner, `$3` granted, `$4` bound, `$5` within,
/// `$6` cluster, `$7` states, `$8` kind, `$9` rollout.
macro_rules! in_view {
    (postgres) => {
        "WHERE ($1 OR o.cluster_owner_id = $2 OR o.cluster_id IN (SELECT value::uuid FROM jsonb_array_elements_text($3)))
            AND (NOT $4 OR o.cluster_id IN (SELECT value::uuid FROM jsonb_array_elements_text($5)))
            AND ($6::uuid IS NULL OR o.cluster_id = $6)
            AND (jsonb_array_length($7) = 0 OR o.state IN (SELECT value FROM jsonb_array_elements_text($7)))
            AND ($8::text IS NULL OR o.kind = $8) AND ($9::uuid IS NULL OR o.rollout_id = $9) "
    };
    (sqlite) => {
        "WHERE ($1 OR o.cluster_owner_id = $2 OR o.cluster_id IN (SELECT unhex(value) FROM json_each($3)))
            AND (NOT $4 OR o.cluster_id IN (SELECT unhex(value) FROM json_each($5)))
            AND ($6 IS NULL OR o.cluster_id = $6)
            AND (json_array_length($7) = 0 OR o.state IN (SELECT value FROM json_each($7)))
            AND ($8 IS NULL OR o.kind = $8) AND ($9 IS NULL OR o.rollout_id = $9) "
    };
}

const LIST_POSTGRES: &str =
    concat!(select_operations!(), in_view!(postgres), "AND o.seq < $10 ORDER BY o.seq DESC LIMIT $11 OFFSET $12");
const LIST_SQLITE: &str =
    concat!(select_operations!(), in_view!(sqlite), "AND o.seq < $10 ORDER BY o.seq DESC LIMIT $11 OFFSET $12");
const COUNT_POSTGRES: &str = concat!("SELECT count(*) FROM operations o ", in_view!(postgres));
const COUNT_SQLITE: &str = concat!("SELECT count(*) FROM operations o ", in_view!(sqlite));
const STEPS: &str =
    "SELECT number, at, what FROM steps WHERE operation_id = $1 AND number > $2 ORDER BY number LIMIT $3";
const DELETE: &str = "DELETE FROM operations WHERE id = $1 AND finished_at IS NOT NULL AND settle_at IS NULL";

/// The first step of a new operation.
pub(super) fn first_step(record: &Record) -> StepKind {
    StepKind::State { state: record.state(), reason: record.doc.shown.reason.clone() }
}

/// Inserts an operation with its first step, its event and its audit records. Stamped into the bodies for both pools.
macro_rules! insert_operation {
    ($tx:ident, $new:ident, $change:ident) => {{
        let record = &$new.record;
        let shown = &record.doc.shown;
        let seq: i64 = sqlx::query_scalar(crate::store::operations::INSERT)
            .bind(shown.id.uuid())
            .bind(shown.cluster_id.uuid())
            .bind(record.doc.cluster_owner.map(TypedId::uuid))
            .bind(crate::domain::lane(&record.doc))
            .bind(shown.kind.as_str())
            .bind(shown.state.as_str())
            .bind(i64::from(shown.priority))
            .bind(shown.rollout_id.map(TypedId::uuid))
            .bind(record.doc.body.as_ref().map(|body| body.sha256.clone()))
            .bind(json(&record.doc)?)
            .bind(shown.deadline)
            .bind(record.next_try_at)
            .bind(shown.created_at)
            .bind(&record.sealed_webhook)
            .fetch_one(&mut *$tx)
            .await?;
        sqlx::query(crate::store::operations::INSERT_STEP)
            .bind(shown.id.uuid())
            .bind(shown.created_at)
            .bind(json(&crate::store::operations::first_step(record))?)
            .execute(&mut *$tx)
            .await?;
        for entry in &$new.audit {
            audit::write(&mut $tx, entry).await?;
        }
        outbox::push(&mut $tx, &$change.event(crate::store::updated(record))).await?;
        seq
    }};
}
pub(super) use insert_operation;

roadstead_store::for_pools! {
    impl OperationStore for [PgPool, SqlitePool] {
        async fn create_operation(&self, new: &NewOperation, change: &Change) -> Result<Created> {
            let shown = &new.record.doc.shown;
            let mut tx = self.begin_write().await?;
            if let Some(key) = &new.key {
                let before: Option<(String, Uuid)> = sqlx::query_as(FIND_KEY)
                    .bind(key.user.uuid())
                    .bind(&key.key)
                    .fetch_optional(&mut *tx)
                    .await?;
                if let Some((digest, subject)) = before {
                    let row: Option<Row> = sqlx::query_as(FIND).bind(subject).fetch_optional(&mut *tx).await?;
                    match row {
                        Some(_) if digest != key.digest => return Ok(Created::Mismatch),
                        Some(row) => return Ok(Created::Before(Box::new(row.into()))),
                        None => {}
                    }
                    // Its operation was deleted meanwhile: the key is free.
                    sqlx::query(FORGET_KEY).bind(key.user.uuid()).bind(&key.key).execute(&mut *tx).await?;
                }
            }
            let active: i64 =
                sqlx::query_scalar(COUNT_ACTIVE).bind(shown.cluster_id.uuid()).fetch_one(&mut *tx).await?;
            if active >= ACTIVE_PER_CLUSTER {
                return Ok(Created::Full);
            }
            if let Some(body) = &new.record.doc.body
                && sqlx::query(CLAIM).bind(&body.sha256).bind(true).execute(&mut *tx).await?.rows_affected() == 0
            {
                return Ok(Created::NoBody);
            }
            let seq = insert_operation!(tx, new, change);
            if let Some(key) = &new.key {
                sqlx::query(INSERT_KEY)
                    .bind(key.user.uuid())
                    .bind(&key.key)
                    .bind(&key.digest)
                    .bind(shown.id.uuid())
                    .bind(change.at)
                    .execute(&mut *tx)
                    .await?;
            }
            let mut record = new.record.clone();
            record.doc.shown.seq = seq;
            keep(&mut tx, change.message, &record.doc.shown, change.at).await?;
            kill::point("operations.create_uncommitted");
            tx.commit().await?;
            kill::point("operations.create_committed");
            Ok(Created::New(Box::new(record)))
        }

        async fn find_operation(&self, id: OperationId) -> Result<Option<Record>> {
            let row: Option<Row> = sqlx::query_as(FIND).bind(id.uuid()).fetch_optional(self).await?;
            Ok(row.map(Record::from))
        }

        async fn waited_for(&self, id: OperationId, per_lane: i64) -> Result<Option<Record>> {
            // Of those before it, all but the last run beside each other.
            let passed = per_lane.max(1) - 1;
            let row: Option<Row> = sqlx::query_as(WAITED_FOR).bind(id.uuid()).bind(passed).fetch_optional(self).await?;
            Ok(row.map(Record::from))
        }

        async fn list_operations(
            &self,
            view: &View,
            filter: &Filter,
            window: Window,
        ) -> Result<(Vec<Record>, u64)> {
            let states: Vec<&str> = filter.states.iter().map(|state| state.as_str()).collect();
            let kind = filter.kind.map(OperationKind::as_str);
            let count: i64 = sqlx::query_scalar(Self::pick(COUNT_POSTGRES, COUNT_SQLITE))
                .bind(view.all)
                .bind(view.owner.uuid())
                .bind(Json(&view.granted))
                .bind(view.bound)
                .bind(Json(&view.within))
                .bind(filter.cluster.map(TypedId::uuid))
                .bind(Json(&states))
                .bind(kind)
                .bind(filter.rollout.map(TypedId::uuid))
                .fetch_one(self)
                .await?;
            let rows: Vec<Row> = sqlx::query_as(Self::pick(LIST_POSTGRES, LIST_SQLITE))
                .bind(view.all)
                .bind(view.owner.uuid())
                .bind(Json(&view.granted))
                .bind(view.bound)
                .bind(Json(&view.within))
                .bind(filter.cluster.map(TypedId::uuid))
                .bind(Json(&states))
                .bind(kind)
                .bind(filter.rollout.map(TypedId::uuid))
                .bind(window.before)
                .bind(window.fetch)
                .bind(window.offset)
                .fetch_all(self)
                .await?;
            Ok((rows.into_iter().map(Record::from).collect(), total(count)))
        }

        async fn list_steps(&self, id: OperationId, after: i64, limit: u32) -> Result<Vec<OperationStep>> {
            let rows: Vec<StepRow> = sqlx::query_as(STEPS)
                .bind(id.uuid())
                .bind(after)
                .bind(i64::from(limit))
                .fetch_all(self)
                .await?;
            Ok(rows.into_iter().map(OperationStep::from).collect())
        }

        async fn delete_operation(&self, id: OperationId, entry: &AuditRecord, change: &Change) -> Result<bool> {
            let mut tx = self.begin_write().await?;
            let deleted = sqlx::query(DELETE).bind(id.uuid()).execute(&mut *tx).await?.rows_affected() > 0;
            if deleted {
                audit::write(&mut tx, entry).await?;
                keep(&mut tx, change.message, &(), change.at).await?;
            }
            tx.commit().await?;
            Ok(deleted)
        }
    }
}
