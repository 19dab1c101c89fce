//! The one way in which an operation changes.

use std::collections::BTreeSet;

use roadstead_contracts::ids::{OperationId, TypedId};
use roadstead_runtime::kill;
use roadstead_store::receipts::keep;
use roadstead_store::sqlx;
use roadstead_store::sqlx::types::Json;
use roadstead_store::{Dialect as _, Result, audit, outbox};

use super::operations::FIND;
use super::rows::{Row, json, objects_json, select_operations};
use super::{Change, ChangeStore, Decide, updated};
use crate::domain::Record;

const FIND_LOCKED: &str = concat!(select_operations!(), "WHERE o.id = $1 FOR UPDATE");
const KNOWN_POSTGRES: &str = "SELECT position FROM objects WHERE operation_id = $1 AND epoch = $2
    AND position IN (SELECT value::bigint FROM jsonb_array_elements_text($3))";
const KNOWN_SQLITE: &str = "SELECT position FROM objects WHERE operation_id = $1 AND epoch = $2
    AND position IN (SELECT value FROM json_each($3))";
const UPDATE: &str = "UPDATE operations SET state = $2, priority = $3, doc = $4, deadline = $5, next_try_at = $6,
    lease_holder = $7, lease_token = $8, lease_until = $9, settle_at = $10, finished_at = $11 WHERE id = $1";
const STEPS_POSTGRES: &str = "INSERT INTO steps (operation_id, number, at, what)
    SELECT $1, $2 + place, $3, value FROM jsonb_array_elements($4) WITH ORDINALITY AS given (value, place)";
const STEPS_SQLITE: &str = "INSERT INTO steps (operation_id, number, at, what)
    SELECT $1, $2 + key + 1, $3, value FROM json_each($4)";
const OBJECTS_POSTGRES: &str =
    "INSERT INTO objects (operation_id, epoch, position, key, outcome, undoable, existed, left_version)
    SELECT $1, $2, (value ->> 'position')::bigint, value -> 'key', value ->> 'outcome', (value ->> 'undoable')::int = 1,
        (value ->> 'existed')::int = 1, value ->> 'left_version' FROM jsonb_array_elements($3)";
const OBJECTS_SQLITE: &str =
    "INSERT INTO objects (operation_id, epoch, position, key, outcome, undoable, existed, left_version)
    SELECT $1, $2, json_extract(value, '$.position'), json_extract(value, '$.key'), json_extract(value, '$.outcome'),
        json_extract(value, '$.undoable'), json_extract(value, '$.existed'), json_extract(value, '$.left_version')
    FROM json_each($3)";
const PARTS_POSTGRES: &str = "INSERT INTO object_parts (operation_id, epoch, position, part, sealed_before)
    SELECT $1, $2, (value ->> 'position')::bigint, (value ->> 'part')::bigint, value ->> 'sealed'
    FROM jsonb_array_elements($3)";
const PARTS_SQLITE: &str = "INSERT INTO object_parts (operation_id, epoch, position, part, sealed_before)
    SELECT $1, $2, json_extract(value, '$.position'), json_extract(value, '$.part'), json_extract(value, '$.sealed')
    FROM json_each($3)";
const WEBHOOK: &str = "INSERT INTO webhooks (id, operation_id, body, next_at, created_at) VALUES ($1, $2, $3, $4, $4)";

roadstead_store::for_pools! {
    impl ChangeStore for [PgPool, SqlitePool] {
        async fn change(
            &self,
            id: OperationId,
            positions: &[u32],
            change: &Change,
            decide: Decide<'_>,
        ) -> Result<Option<Record>> {
            let mut tx = self.begin_write().await?;
            let row: Option<Row> =
                sqlx::query_as(Self::pick(FIND_LOCKED, FIND)).bind(id.uuid()).fetch_optional(&mut *tx).await?;
            let Some(row) = row else { return Ok(None) };
            let mut record = Record::from(row);
            let known: BTreeSet<u32> = if positions.is_empty() {
                BTreeSet::new()
            } else {
                let known: Vec<i64> = sqlx::query_scalar(Self::pick(KNOWN_POSTGRES, KNOWN_SQLITE))
                    .bind(id.uuid())
                    .bind(record.doc.shown.epoch)
                    .bind(Json(positions))
                    .fetch_all(&mut *tx)
                    .await?;
                known.into_iter().filter_map(|position| u32::try_from(position).ok()).collect()
            };
            let effects = decide(&mut record, &known);
            if !effects.touched {
                tx.rollback().await?;
                return Ok(Some(record));
            }
            let first = record.doc.shown.last_step;
            record.doc.shown.last_step += i64::try_from(effects.steps.len()).unwrap_or(0);
            record.doc.shown.updated_at = change.at;
            let shown = &record.doc.shown;
            sqlx::query(UPDATE)
                .bind(id.uuid())
                .bind(shown.state.as_str())
                .bind(i64::from(shown.priority))
                .bind(json(&record.doc)?)
                .bind(shown.deadline)
                .bind(record.next_try_at)
                .bind(record.lease.holder.map(TypedId::uuid))
                .bind(record.lease.token)
                .bind(record.lease.until)
                .bind(record.settle_at)
                .bind(shown.finished_at)
                .execute(&mut *tx)
                .await?;
            if !effects.steps.is_empty() {
                sqlx::query(Self::pick(STEPS_POSTGRES, STEPS_SQLITE))
                    .bind(id.uuid())
                    .bind(first)
                    .bind(change.at)
                    .bind(json(&effects.steps)?)
                    .execute(&mut *tx)
                    .await?;
            }
            if !effects.objects.is_empty() {
                let (objects, parts) = objects_json(&effects.objects)?;
                sqlx::query(Self::pick(OBJECTS_POSTGRES, OBJECTS_SQLITE))
                    .bind(id.uuid())
                    .bind(shown.epoch)
                    .bind(objects)
                    .execute(&mut *tx)
                    .await?;
                sqlx::query(Self::pick(PARTS_POSTGRES, PARTS_SQLITE))
                    .bind(id.uuid())
                    .bind(shown.epoch)
                    .bind(parts)
                    .execute(&mut *tx)
                    .await?;
            }
            if let Some(webhook) = &effects.webhook {
                sqlx::query(WEBHOOK)
                    .bind(webhook.id)
                    .bind(id.uuid())
                    .bind(json(&webhook.body)?)
                    .bind(change.at)
                    .execute(&mut *tx)
                    .await?;
            }
            for entry in &effects.audit {
                audit::write(&mut tx, entry).await?;
            }
            if let Some(reply) = &effects.reply {
                keep(&mut tx, change.message, reply, change.at).await?;
            }
            outbox::push(&mut tx, &change.event(updated(&record))).await?;
            kill::point("operations.change_uncommitted");
            tx.commit().await?;
            kill::point("operations.change_committed");
            Ok(Some(record))
        }
    }
}
