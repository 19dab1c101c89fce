//! Rollouts. One changes under its row's lock, together with the operations that it begins.

use chrono::{DateTime, Utc};
use roadstead_contracts::audit::AuditRecord;
use roadstead_contracts::ids::{OperationId, RolloutId, TypedId, UserId};
use roadstead_contracts::operation::OperationState;
use roadstead_store::receipts::keep;
use roadstead_store::sqlx;
use roadstead_store::sqlx::types::Json;
use roadstead_store::{Dialect as _, Error, Result, Window, audit, outbox};
use serde_json::Value;
use uuid::Uuid;

use super::bodies::CLAIM;
use super::operations::{FIND_KEY, INSERT_KEY, insert_operation};
use super::rows::{json, total};
use super::{Change, Created, DecideRollout, Key, RolloutStore, States};
use crate::domain::RolloutDoc;
use crate::limits::SWEEP_ROWS;

const INSERT: &str = "INSERT INTO rollouts (id, created_by, state, body_sha256, doc, next_at, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $6)";
const FIND: &str = "SELECT doc FROM rollouts WHERE id = $1";
const FIND_LOCKED: &str = "SELECT doc FROM rollouts WHERE id = $1 FOR UPDATE";
const STATES: &str = "SELECT id, state FROM operations WHERE rollout_id = $1";
const UPDATE: &str = "UPDATE rollouts SET state = $2, doc = $3, next_at = $4 WHERE id = $1";
const DUE: &str = "SELECT id FROM rollouts WHERE next_at <= $1 ORDER BY next_at LIMIT $2";
const LIST_POSTGRES: &str = "SELECT seq, doc FROM rollouts WHERE ($1::uuid IS NULL OR created_by = $1) AND seq < $2
    ORDER BY seq DESC LIMIT $3 OFFSET $4";
const LIST_SQLITE: &str = "SELECT seq, doc FROM rollouts WHERE ($1 IS NULL OR created_by = $1) AND seq < $2
    ORDER BY seq DESC LIMIT $3 OFFSET $4";
const COUNT_POSTGRES: &str = "SELECT count(*) FROM rollouts WHERE $1::uuid IS NULL OR created_by = $1";
const COUNT_SQLITE: &str = "SELECT count(*) FROM rollouts WHERE $1 IS NULL OR created_by = $1";

fn states(rows: Vec<(Uuid, String)>) -> Result<States> {
    rows.into_iter()
        .map(|(id, state)| {
            let state = OperationState::parse(&state).ok_or_else(|| Error::Corrupt(format!("state {state:?}")))?;
            Ok((OperationId::from_uuid(id), state))
        })
        .collect()
}

fn word(doc: &RolloutDoc) -> Result<String> {
    match serde_json::to_value(doc.state) {
        Ok(Value::String(word)) => Ok(word),
        _ => Err(Error::Corrupt("a rollout's state has no word".to_owned())),
    }
}

roadstead_store::for_pools! {
    impl RolloutStore for [PgPool, SqlitePool] {
        async fn create_rollout(
            &self,
            doc: &RolloutDoc,
            key: Option<&Key>,
            entries: &[AuditRecord],
            reply: &Value,
            change: &Change,
        ) -> Result<std::result::Result<RolloutDoc, Created>> {
            let mut tx = self.begin_write().await?;
            if let Some(key) = key {
                let before: Option<(String, Uuid)> = sqlx::query_as(FIND_KEY)
                    .bind(key.user.uuid())
                    .bind(&key.key)
                    .fetch_optional(&mut *tx)
                    .await?;
                if let Some((digest, subject)) = before {
                    let found: Option<(Json<RolloutDoc>,)> =
                        sqlx::query_as(FIND).bind(subject).fetch_optional(&mut *tx).await?;
                    return Ok(match found {
                        Some((Json(doc),)) if digest == key.digest => Ok(doc),
                        _ => Err(Created::Mismatch),
                    });
                }
            }
            if let Some(body) = &doc.body
                && sqlx::query(CLAIM).bind(&body.sha256).bind(true).execute(&mut *tx).await?.rows_affected() == 0
            {
                return Ok(Err(Created::NoBody));
            }
            sqlx::query(INSERT)
                .bind(doc.id.uuid())
                .bind(doc.principal.user_id.uuid())
                .bind(word(doc)?)
                .bind(doc.body.as_ref().map(|body| body.sha256.clone()))
                .bind(json(doc)?)
                .bind(change.at)
                .execute(&mut *tx)
                .await?;
            if let Some(key) = key {
                sqlx::query(INSERT_KEY)
                    .bind(key.user.uuid())
                    .bind(&key.key)
                    .bind(&key.digest)
                    .bind(doc.id.uuid())
                    .bind(change.at)
                    .execute(&mut *tx)
                    .await?;
            }
            for entry in entries {
                audit::write(&mut tx, entry).await?;
            }
            keep(&mut tx, change.message, reply, change.at).await?;
            tx.commit().await?;
            Ok(Ok(doc.clone()))
        }

        async fn find_rollout(
            &self,
            id: RolloutId,
        ) -> Result<Option<(RolloutDoc, States)>> {
            let doc: Option<(Json<RolloutDoc>,)> = sqlx::query_as(FIND).bind(id.uuid()).fetch_optional(self).await?;
            let Some((Json(doc),)) = doc else { return Ok(None) };
            let rows: Vec<(Uuid, String)> = sqlx::query_as(STATES).bind(id.uuid()).fetch_all(self).await?;
            Ok(Some((doc, states(rows)?)))
        }

        async fn list_rollouts(
            &self,
            user: Option<UserId>,
            window: Window,
        ) -> Result<(Vec<(i64, RolloutDoc, States)>, u64)> {
            let user = user.map(TypedId::uuid);
            let count: i64 =
                sqlx::query_scalar(Self::pick(COUNT_POSTGRES, COUNT_SQLITE)).bind(user).fetch_one(self).await?;
            let rows: Vec<(i64, Json<RolloutDoc>)> = sqlx::query_as(Self::pick(LIST_POSTGRES, LIST_SQLITE))
                .bind(user)
                .bind(window.before)
                .bind(window.fetch)
                .bind(window.offset)
                .fetch_all(self)
                .await?;
            let mut found = Vec::with_capacity(rows.len());
            for (seq, Json(doc)) in rows {
                let rows: Vec<(Uuid, String)> = sqlx::query_as(STATES).bind(doc.id.uuid()).fetch_all(self).await?;
                found.push((seq, doc, states(rows)?));
            }
            Ok((found, total(count)))
        }

        async fn change_rollout(
            &self,
            id: RolloutId,
            change: &Change,
            decide: DecideRollout<'_>,
        ) -> Result<Option<RolloutDoc>> {
            let mut tx = self.begin_write().await?;
            let doc: Option<(Json<RolloutDoc>,)> = sqlx::query_as(Self::pick(FIND_LOCKED, FIND))
                .bind(id.uuid())
                .fetch_optional(&mut *tx)
                .await?;
            let Some((Json(mut doc),)) = doc else { return Ok(None) };
            let rows: Vec<(Uuid, String)> = sqlx::query_as(STATES).bind(id.uuid()).fetch_all(&mut *tx).await?;
            let effects = decide(&mut doc, &states(rows)?);
            if !effects.touched {
                tx.rollback().await?;
                return Ok(Some(doc));
            }
            doc.updated_at = change.at;
            for new in &effects.create {
                let _seq: i64 = insert_operation!(tx, new, change);
            }
            sqlx::query(UPDATE)
                .bind(id.uuid())
                .bind(word(&doc)?)
                .bind(json(&doc)?)
                .bind(effects.next_at)
                .execute(&mut *tx)
                .await?;
            for entry in &effects.audit {
                audit::write(&mut tx, entry).await?;
            }
            if let Some(reply) = &effects.reply {
                keep(&mut tx, change.message, reply, change.at).await?;
            }
            tx.commit().await?;
            Ok(Some(doc))
        }

        async fn due_rollouts(&self, before: DateTime<Utc>) -> Result<Vec<RolloutId>> {
            let ids: Vec<Uuid> = sqlx::query_scalar(DUE).bind(before).bind(SWEEP_ROWS).fetch_all(self).await?;
            Ok(ids.into_iter().map(RolloutId::from_uuid).collect())
        }
    }
}
