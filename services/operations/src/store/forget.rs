//! What is removed because its time is over, in batches. The row goes and the record of it is written in one transaction.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use roadstead_contracts::ids::{RolloutId, TypedId as _};
use roadstead_store::sqlx;
use roadstead_store::sqlx::types::Json;
use roadstead_store::{Dialect as _, Result, audit};
use uuid::Uuid;

use super::rows::{Row, hex, select_operations};
use super::{ForgetStore, Forgotten, Kept, Told};
use crate::domain::{Record, RolloutDoc};
use crate::limits::{FORGET_ROWS, SWEEP_ROWS};

/// Whether a rollout `r` ended before `$1` and nothing of it is looked at any more.
macro_rules! rollout_over {
    (postgres) => {
        "r.created_at < $1 AND r.next_at IS NULL AND COALESCE((r.doc ->> 'finished_at')::timestamptz < $1, false)"
    };
    (sqlite) => {
        "r.created_at < $1 AND r.next_at IS NULL
            AND COALESCE(julianday(r.doc ->> '$.finished_at') < julianday($1), 0)"
    };
}
/// Whether the time of an operation `o` is over: it ended before `$1`, its agent and its webhook were told, and its rollout,
/// which is shown with all of its operations and may take up those that failed, ended before `$1` too.
macro_rules! operation_over {
    ($database:ident) => {
        concat!(
            "o.finished_at < $1 AND o.settle_at IS NULL
            AND NOT EXISTS (SELECT 1 FROM webhooks w WHERE w.operation_id = o.id)
            AND NOT EXISTS (SELECT 1 FROM rollouts r WHERE r.id = o.rollout_id AND NOT (",
            rollout_over!($database),
            "))"
        )
    };
}
macro_rules! operations_due {
    ($database:ident) => {
        concat!(select_operations!(), "WHERE ", operation_over!($database), " ORDER BY o.finished_at LIMIT $2")
    };
}
const OPERATIONS_POSTGRES: &str = operations_due!(postgres);
const OPERATIONS_LOCKED: &str = concat!(operations_due!(postgres), " FOR UPDATE OF o SKIP LOCKED");
const OPERATIONS_SQLITE: &str = operations_due!(sqlite);
/// Whoever changes one of the rollouts is waited for, and then waits. Looked at whether they are over once they are held.
const HOLD_POSTGRES: &str = "SELECT r.id FROM rollouts r
    WHERE r.id IN (SELECT value::uuid FROM jsonb_array_elements_text($1)) ORDER BY r.id FOR SHARE";
/// Whoever writes has the whole file.
const HOLD_SQLITE: &str = "SELECT $1";
const REMOVE_OPERATIONS_POSTGRES: &str = concat!(
    "DELETE FROM operations AS o WHERE o.id IN (SELECT value::uuid FROM jsonb_array_elements_text($2)) AND ",
    operation_over!(postgres),
    " RETURNING id"
);
const REMOVE_OPERATIONS_SQLITE: &str = concat!(
    "DELETE FROM operations AS o WHERE o.id IN (SELECT unhex(value) FROM json_each($2)) AND ",
    operation_over!(sqlite),
    " RETURNING id"
);
macro_rules! rollouts_due {
    ($database:ident) => {
        concat!(
            "SELECT r.doc FROM rollouts r WHERE ",
            rollout_over!($database),
            " AND NOT EXISTS (SELECT 1 FROM operations o WHERE o.rollout_id = r.id) ORDER BY r.created_at LIMIT $2"
        )
    };
}
const ROLLOUTS_POSTGRES: &str = rollouts_due!(postgres);
const ROLLOUTS_LOCKED: &str = concat!(rollouts_due!(postgres), " FOR UPDATE OF r SKIP LOCKED");
const ROLLOUTS_SQLITE: &str = rollouts_due!(sqlite);
const REMOVE_ROLLOUT: &str = "DELETE FROM rollouts WHERE id = $1";

impl Kept {
    /// What ended before this goes; none = nothing is so old.
    fn before(self, by_database: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.at.min(by_database).checked_sub_signed(self.time)
    }
}

/// As many of them as one transaction takes, at least one.
fn batch(rows: Vec<Row>) -> Vec<Record> {
    let mut left = FORGET_ROWS;
    let mut records: Vec<Record> = rows.into_iter().map(Record::from).collect();
    let fits = records.iter().position(|record| {
        let shown = &record.doc.shown;
        left -= shown.last_step.saturating_add(i64::from(shown.objects));
        left < 0
    });
    if let Some(fits) = fits {
        records.truncate(fits.max(1));
    }
    records
}

roadstead_store::for_pools! {
    impl ForgetStore for [PgPool, SqlitePool] {
        async fn forget_operations(&self, kept: Kept, told: Told<'_, Record>) -> Result<Forgotten> {
            let Some(before) = kept.before(self.now(kept.at).await?) else { return Ok(Forgotten::default()) };
            // Asked without a transaction first: most looks find nothing.
            let due: Vec<Row> = sqlx::query_as(Self::pick(OPERATIONS_POSTGRES, OPERATIONS_SQLITE))
                .bind(before)
                .bind(1_i64)
                .fetch_all(self)
                .await?;
            if due.is_empty() {
                return Ok(Forgotten::default());
            }
            let mut tx = self.begin_write().await?;
            let rows: Vec<Row> = sqlx::query_as(Self::pick(OPERATIONS_LOCKED, OPERATIONS_SQLITE))
                .bind(before)
                .bind(SWEEP_ROWS)
                .fetch_all(&mut *tx)
                .await?;
            let records = batch(rows);
            let rollouts: BTreeSet<RolloutId> =
                records.iter().filter_map(|record| record.doc.shown.rollout_id).collect();
            let rollouts: Vec<String> = rollouts.into_iter().map(|id| hex(id.uuid())).collect();
            sqlx::query(Self::pick(HOLD_POSTGRES, HOLD_SQLITE)).bind(Json(&rollouts)).execute(&mut *tx).await?;
            let ids: Vec<String> = records.iter().map(|record| hex(record.doc.shown.id.uuid())).collect();
            let gone: Vec<Uuid> =
                sqlx::query_scalar(Self::pick(REMOVE_OPERATIONS_POSTGRES, REMOVE_OPERATIONS_SQLITE))
                    .bind(before)
                    .bind(Json(&ids))
                    .fetch_all(&mut *tx)
                    .await?;
            let gone: BTreeSet<Uuid> = gone.into_iter().collect();
            let mut bodies = BTreeSet::new();
            for record in records.iter().filter(|record| gone.contains(&record.doc.shown.id.uuid())) {
                audit::write(&mut tx, &told(record)).await?;
                bodies.extend(record.doc.body.iter().map(|body| body.sha256.clone()));
            }
            tx.commit().await?;
            Ok(Forgotten { count: gone.len(), bodies: bodies.into_iter().collect() })
        }

        async fn forget_rollouts(&self, kept: Kept, told: Told<'_, RolloutDoc>) -> Result<Forgotten> {
            let Some(before) = kept.before(self.now(kept.at).await?) else { return Ok(Forgotten::default()) };
            let due: Vec<(Json<RolloutDoc>,)> = sqlx::query_as(Self::pick(ROLLOUTS_POSTGRES, ROLLOUTS_SQLITE))
                .bind(before)
                .bind(1_i64)
                .fetch_all(self)
                .await?;
            if due.is_empty() {
                return Ok(Forgotten::default());
            }
            let mut tx = self.begin_write().await?;
            let docs: Vec<(Json<RolloutDoc>,)> = sqlx::query_as(Self::pick(ROLLOUTS_LOCKED, ROLLOUTS_SQLITE))
                .bind(before)
                .bind(SWEEP_ROWS)
                .fetch_all(&mut *tx)
                .await?;
            let mut forgotten = Forgotten::default();
            for (Json(doc),) in docs {
                sqlx::query(REMOVE_ROLLOUT).bind(doc.id.uuid()).execute(&mut *tx).await?;
                audit::write(&mut tx, &told(&doc)).await?;
                forgotten.count += 1;
                forgotten.bodies.extend(doc.body.map(|body| body.sha256));
            }
            tx.commit().await?;
            Ok(forgotten)
        }
    }
}
