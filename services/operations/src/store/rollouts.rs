//! Rollouts. One changes under its row's lock, together with the operations that it begins.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use roadstead_contracts::audit::AuditRecord;
use roadstead_contracts::ids::{OperationId, RolloutId, TypedId};
use roadstead_contracts::operation::OperationState;
use roadstead_store::receipts::keep;
use roadstead_store::sqlx;
use roadstead_store::sqlx::types::Json;
use roadstead_store::{Dialect as _, Error, Result, Window, audit, outbox};
use serde_json::Value;
use uuid::Uuid;

use super::bodies::CLAIM;
use super::operations::{FIND_KEY, FORGET_KEY, INSERT_KEY, insert_operation};
use super::rows::{json, total};
use super::{Change, Created, DecideRollout, Key, RolloutStore, Seal, States};
use crate::domain::life_cycle::AWAY;
use crate::domain::{Known, RolloutDoc, View};
use crate::limits::SWEEP_ROWS;

const INSERT: &str =
    "INSERT INTO rollouts (id, created_by, state, body_sha256, doc, next_at, created_at, sealed_overrides)
    VALUES ($1, $2, $3, $4, $5, $6, $6, $7)";
const FIND: &str = "SELECT doc FROM rollouts WHERE id = $1";
/// With what the patches of its plan say: for those who begin clusters.
const FIND_WHOLE: &str = "SELECT doc, sealed_overrides FROM rollouts WHERE id = $1";
const FIND_LOCKED: &str = "SELECT doc FROM rollouts WHERE id = $1 FOR UPDATE";
/// With whether each waits for an agent that is away: it, or what is before it in the queue of its cluster, was told so.
const STATES: &str = "SELECT o.id, o.state, o.created_at, o.state = 'queued' AND EXISTS (SELECT 1 FROM operations a
        WHERE a.cluster_id = o.cluster_id AND a.finished_at IS NULL AND a.state = 'queued'
            AND a.doc -> 'shown' ->> 'reason' = $2)
    FROM operations o WHERE o.rollout_id = $1";
const UPDATE: &str = "UPDATE rollouts SET state = $2, doc = $3, next_at = $4 WHERE id = $1";
/// As the index of them has it.
const UNSEALED_POSTGRES: &str =
    "SELECT id FROM rollouts WHERE (doc #> '{plan,overrides,0,patch}') IS NOT NULL ORDER BY seq LIMIT $1";
const UNSEALED_SQLITE: &str =
    "SELECT id FROM rollouts WHERE json_type(doc, '$.plan.overrides[0].patch') IS NOT NULL ORDER BY seq LIMIT $1";
const SEAL: &str = "UPDATE rollouts SET doc = $2, sealed_overrides = $3 WHERE id = $1";
const DUE: &str = "SELECT id FROM rollouts WHERE next_at <= $1 ORDER BY next_at LIMIT $2";
/// Whether every cluster of a rollout is in a view: `$1` all, `$2` owner, `$3` granted, `$4` bound, `$5` within. Rollouts are
/// few, and only those whose view is not everything have them read.
macro_rules! in_view {
    (postgres) => {
        "FROM rollouts r WHERE (($1 AND NOT $4) OR NOT EXISTS (
            SELECT 1 FROM jsonb_path_query(r.doc, '$.waves[*].targets[*]') AS target
            WHERE NOT ($1 OR COALESCE(target ->> 'owner', '') = $2
                    OR (target ->> 'cluster_id')::uuid IN (SELECT value::uuid FROM jsonb_array_elements_text($3)))
                OR ($4 AND (target ->> 'cluster_id')::uuid NOT IN
                    (SELECT value::uuid FROM jsonb_array_elements_text($5))))) "
    };
    (sqlite) => {
        "FROM rollouts r WHERE (($1 AND NOT $4) OR NOT EXISTS (
            SELECT 1 FROM json_each(r.doc, '$.waves') wave, json_each(wave.value, '$.targets') target
            WHERE NOT ($1 OR COALESCE(target.value ->> 'owner', '') = $2
                    OR replace(target.value ->> 'cluster_id', '-', '') IN (SELECT value FROM json_each($3)))
                OR ($4 AND replace(target.value ->> 'cluster_id', '-', '') NOT IN (SELECT value FROM json_each($5))))) "
    };
}

const LIST_POSTGRES: &str =
    concat!("SELECT r.seq, r.doc ", in_view!(postgres), "AND r.seq < $6 ORDER BY r.seq DESC LIMIT $7 OFFSET $8");
const LIST_SQLITE: &str =
    concat!("SELECT r.seq, r.doc ", in_view!(sqlite), "AND r.seq < $6 ORDER BY r.seq DESC LIMIT $7 OFFSET $8");
const COUNT_POSTGRES: &str = concat!("SELECT count(*) ", in_view!(postgres));
const COUNT_SQLITE: &str = concat!("SELECT count(*) ", in_view!(sqlite));

type StateRow = (Uuid, String, DateTime<Utc>, bool);

fn states(rows: Vec<StateRow>) -> Result<States> {
    rows.into_iter()
        .map(|(id, state, made, away)| {
            let state = OperationState::parse(&state).ok_or_else(|| Error::Corrupt(format!("state {state:?}")))?;
            Ok((OperationId::from_uuid(id), Known { state, away_since: away.then_some(made) }))
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
                    match found {
                        Some(_) if digest != key.digest => return Ok(Err(Created::Mismatch)),
                        Some((Json(doc),)) => return Ok(Ok(doc)),
                        None => {}
                    }
                    // Its rollout was deleted meanwhile: the key is free.
                    sqlx::query(FORGET_KEY).bind(key.user.uuid()).bind(&key.key).execute(&mut *tx).await?;
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
                .bind(&doc.sealed_overrides)
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
            let found: Option<(Json<RolloutDoc>, Option<String>)> =
                sqlx::query_as(FIND_WHOLE).bind(id.uuid()).fetch_optional(self).await?;
            let Some((Json(doc), sealed_overrides)) = found else { return Ok(None) };
            let doc = RolloutDoc { sealed_overrides, ..doc };
            let rows: Vec<StateRow> = sqlx::query_as(STATES).bind(id.uuid()).bind(AWAY).fetch_all(self).await?;
            Ok(Some((doc, states(rows)?)))
        }

        async fn list_rollouts(
            &self,
            view: &View,
            window: Window,
        ) -> Result<(Vec<(i64, RolloutDoc, States)>, u64)> {
            let count: i64 = sqlx::query_scalar(Self::pick(COUNT_POSTGRES, COUNT_SQLITE))
                .bind(view.all)
                .bind(view.owner.to_string())
                .bind(Json(&view.granted))
                .bind(view.bound)
                .bind(Json(&view.within))
                .fetch_one(self)
                .await?;
            let rows: Vec<(i64, Json<RolloutDoc>)> = sqlx::query_as(Self::pick(LIST_POSTGRES, LIST_SQLITE))
                .bind(view.all)
                .bind(view.owner.to_string())
                .bind(Json(&view.granted))
                .bind(view.bound)
                .bind(Json(&view.within))
                .bind(window.before)
                .bind(window.fetch)
                .bind(window.offset)
                .fetch_all(self)
                .await?;
            let mut found = Vec::with_capacity(rows.len());
            for (seq, Json(doc)) in rows {
                let rows: Vec<StateRow> = sqlx::query_as(STATES).bind(doc.id.uuid()).bind(AWAY).fetch_all(self).await?;
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
            let rows: Vec<StateRow> = sqlx::query_as(STATES).bind(id.uuid()).bind(AWAY).fetch_all(&mut *tx).await?;
            let effects = decide(&mut doc, &states(rows)?);
            if !effects.touched {
                tx.rollback().await?;
                return Ok(Some(doc));
            }
            doc.updated_at = change.at;
            // A body with patches was staged for them: named now, it does not count among those that wait.
            let bodies = effects.create.iter().filter_map(|new| new.record.doc.body.as_ref());
            let named: BTreeSet<&str> = bodies.map(|body| body.sha256.as_str()).collect();
            for sha256 in named {
                sqlx::query(CLAIM).bind(sha256).bind(true).execute(&mut *tx).await?;
            }
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

        async fn unsealed_rollouts(&self) -> Result<Vec<RolloutId>> {
            let ids: Vec<Uuid> = sqlx::query_scalar(Self::pick(UNSEALED_POSTGRES, UNSEALED_SQLITE))
                .bind(SWEEP_ROWS)
                .fetch_all(self)
                .await?;
            Ok(ids.into_iter().map(RolloutId::from_uuid).collect())
        }

        async fn seal_rollout(&self, id: RolloutId, seal: Seal<'_>) -> Result<bool> {
            let mut tx = self.begin_write().await?;
            let doc: Option<(Json<RolloutDoc>,)> = sqlx::query_as(Self::pick(FIND_LOCKED, FIND))
                .bind(id.uuid())
                .fetch_optional(&mut *tx)
                .await?;
            let Some((Json(mut doc),)) = doc else { return Ok(false) };
            if !seal(&mut doc) {
                tx.rollback().await?;
                return Ok(false);
            }
            sqlx::query(SEAL)
                .bind(id.uuid())
                .bind(json(&doc)?)
                .bind(&doc.sealed_overrides)
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            Ok(true)
        }

        async fn due_rollouts(&self, before: DateTime<Utc>) -> Result<Vec<RolloutId>> {
            let ids: Vec<Uuid> = sqlx::query_scalar(DUE).bind(before).bind(SWEEP_ROWS).fetch_all(self).await?;
            Ok(ids.into_iter().map(RolloutId::from_uuid).collect())
        }
    }
}

#[cfg(test)]
#[path = "rollouts_tests.rs"]
mod tests;
