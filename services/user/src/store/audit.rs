//! The audit chain.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use roadstead_auth::audit::row_hash;
use roadstead_contracts::audit::{AuditCheckpoint, AuditRecord, AuditStart, Text};
use roadstead_contracts::ids::TypedId;
use roadstead_store::sqlx::QueryBuilder;
use roadstead_store::{Dialect, Error, Result, async_trait};
use uuid::Uuid;

use crate::domain::audit::{AuditFilter, ChainRow, Head};

/// The chain, its head and its checkpoints.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// Chains records that are not in the chain yet, in their order; answers how many were not.
    async fn append_audit(&self, records: &[AuditRecord]) -> Result<u32>;
    /// Where the chain ends and begins.
    async fn audit_head(&self) -> Result<Head>;
    /// Rows that match, newest first, before a number.
    async fn search_audit(&self, filter: &AuditFilter, before: i64, limit: i64) -> Result<Vec<ChainRow>>;
    /// Rows after a number, oldest first.
    async fn audit_after(&self, after: i64, limit: i64) -> Result<Vec<ChainRow>>;
    /// Keeps a checkpoint; answers whether it was not there.
    async fn insert_checkpoint(&self, checkpoint: &AuditCheckpoint) -> Result<bool>;
    /// Checkpoints after a number, oldest first.
    async fn checkpoints_after(&self, after: i64, limit: i64) -> Result<Vec<AuditCheckpoint>>;
    /// The last checkpoint.
    async fn last_checkpoint(&self) -> Result<Option<AuditCheckpoint>>;
    /// Removes the rows up to the next checkpoint, when all of them are older than a time and none is after the row
    /// `up_to`. Answers the new start.
    async fn prune_audit(&self, older_than: DateTime<Utc>, up_to: i64) -> Result<Option<AuditStart>>;
}

const HEAD: &str = "SELECT seq, hash, removed_to, removed_hash FROM audit_head WHERE id = 1";
const HEAD_POSTGRES: &str = "SELECT seq, hash, removed_to, removed_hash FROM audit_head WHERE id = 1 FOR UPDATE";
const KNOWN_POSTGRES: &str =
    "SELECT id FROM audit_chain WHERE id IN (SELECT value::uuid FROM jsonb_array_elements_text($1))";
// SQLite keeps a uuid as its sixteen bytes.
const KNOWN_SQLITE: &str = "SELECT id FROM audit_chain WHERE id IN \
    (SELECT unhex(replace(value, '-', '')) FROM json_each($1))";
const INSERT: &str = "INSERT INTO audit_chain (seq, id, prev, hash, record, at, phase, action, outcome, actor_id, actor_name, \
    resource_kind, resource_name, cluster_id, namespace, source, request_id) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
const ROWS: &str = "SELECT seq, prev, hash, record FROM audit_chain";
const CHECKPOINTS: &str = "SELECT seq, hash, at, signed FROM audit_checkpoints";
// A checkpoint whose row, and so every row before it, is older than the time.
const NEXT_PRUNE: &str = "SELECT c.seq, c.hash FROM audit_checkpoints c JOIN audit_chain r ON r.seq = c.seq \
    WHERE c.seq > $1 AND c.seq <= $3 AND r.at < $2 AND NOT EXISTS (SELECT 1 FROM audit_chain o WHERE o.seq > $1 AND o.seq <= c.seq AND o.at >= $2) \
    ORDER BY c.seq LIMIT 1";

#[derive(sqlx::FromRow)]
struct HeadRow {
    seq: i64,
    hash: String,
    removed_to: i64,
    removed_hash: String,
}

#[derive(sqlx::FromRow)]
struct CheckpointRow {
    seq: i64,
    hash: String,
    at: DateTime<Utc>,
    signed: String,
}

impl From<CheckpointRow> for AuditCheckpoint {
    fn from(row: CheckpointRow) -> Self {
        Self { seq: row.seq, hash: row.hash, at: row.at, signed: row.signed }
    }
}

/// Number, hash before, hash, record.
type Row = (i64, String, String, String);

fn chain_row((seq, prev, hash, record): Row) -> ChainRow {
    ChainRow { seq, prev, hash, record }
}

/// The word of a plain enum, as in JSON.
fn word<T: serde::Serialize>(value: T) -> Option<String> {
    serde_json::to_value(value).ok()?.as_str().map(str::to_owned)
}

roadstead_store::for_pools! {
    impl AuditStore for [PgPool, SqlitePool] {
        async fn append_audit(&self, records: &[AuditRecord]) -> Result<u32> {
            let mut tx = self.begin_write().await?;
            // Whoever appends takes turns: there is one chain.
            let head: HeadRow = sqlx::query_as(Self::pick(HEAD_POSTGRES, HEAD)).fetch_one(&mut *tx).await?;
            let ids: Vec<String> = records.iter().map(|record| record.id.to_string()).collect();
            let known: Vec<Uuid> = sqlx::query_scalar(Self::pick(KNOWN_POSTGRES, KNOWN_SQLITE))
                .bind(sqlx::types::Json(ids))
                .fetch_all(&mut *tx).await?;
            let mut known: HashSet<Uuid> = known.into_iter().collect();
            let (mut seq, mut hash) = (head.seq, head.hash);
            for record in records {
                if !known.insert(record.id.uuid()) {
                    continue;
                }
                let text = serde_json::to_string(record).map_err(|fault| Error::Corrupt(fault.to_string()))?;
                seq += 1;
                let next = row_hash(&hash, seq, &text).map_err(|_| Error::Corrupt("the head of the audit chain".to_owned()))?;
                sqlx::query(INSERT)
                    .bind(seq).bind(record.id.uuid()).bind(&hash).bind(&next).bind(&text)
                    .bind(record.at)
                    .bind(word(record.phase))
                    .bind(record.action.as_str())
                    .bind(record.outcome.and_then(|outcome| word(outcome.result)))
                    .bind(record.actor.id.as_ref().map(Text::as_str))
                    .bind(record.actor.name.as_ref().map(Text::as_str))
                    .bind(record.resource.kind.as_str())
                    .bind(record.resource.name.as_ref().map(Text::as_str))
                    .bind(record.resource.cluster_id.map(|id| id.to_string()))
                    .bind(record.resource.namespace.as_ref().map(Text::as_str))
                    .bind(record.origin.source.map(|address| address.to_string()))
                    .bind(record.origin.request_id.as_str())
                    .execute(&mut *tx).await?;
                hash = next;
            }
            let fresh = u32::try_from(seq - head.seq).unwrap_or(u32::MAX);
            if fresh > 0 {
                sqlx::query("UPDATE audit_head SET seq = $1, hash = $2 WHERE id = 1")
                    .bind(seq).bind(&hash)
                    .execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(fresh)
        }

        async fn audit_head(&self) -> Result<Head> {
            let row: HeadRow = sqlx::query_as(HEAD).fetch_one(self).await?;
            let start = AuditStart { seq: row.removed_to, hash: row.removed_hash };
            Ok(Head { seq: row.seq, hash: row.hash, start })
        }

        async fn search_audit(&self, filter: &AuditFilter, before: i64, limit: i64) -> Result<Vec<ChainRow>> {
            let mut query = QueryBuilder::<<Self as Dialect>::Database>::new(ROWS);
            query.push(" WHERE seq < ").push_bind(before);
            match filter.action.as_deref().map(|action| (action, action.strip_suffix('*'))) {
                Some((_, Some(beginning))) => {
                    // The first text after every one that begins so.
                    query.push(" AND action >= ").push_bind(beginning.to_owned());
                    query.push(" AND action < ").push_bind(format!("{beginning}\u{10ffff}"));
                }
                Some((action, None)) => {
                    query.push(" AND action = ").push_bind(action.to_owned());
                }
                None => {}
            }
            if let Some(actor) = &filter.actor {
                query.push(" AND (actor_name = ").push_bind(actor.clone());
                query.push(" OR actor_id = ").push_bind(actor.clone()).push(")");
            }
            for (column, wanted) in [
                ("resource_kind", &filter.resource_kind),
                ("resource_name", &filter.resource),
                ("cluster_id", &filter.cluster_id),
                ("namespace", &filter.namespace),
                ("phase", &filter.phase),
                ("outcome", &filter.outcome),
                ("source", &filter.source),
                ("request_id", &filter.request_id),
            ] {
                if let Some(wanted) = wanted {
                    query.push(format!(" AND {column} = ")).push_bind(wanted.clone());
                }
            }
            if let Some(since) = filter.since {
                query.push(" AND at >= ").push_bind(since);
            }
            if let Some(until) = filter.until {
                query.push(" AND at < ").push_bind(until);
            }
            query.push(" ORDER BY seq DESC LIMIT ").push_bind(limit);
            let rows: Vec<Row> = query.build_query_as().fetch_all(self).await?;
            Ok(rows.into_iter().map(chain_row).collect())
        }

        async fn audit_after(&self, after: i64, limit: i64) -> Result<Vec<ChainRow>> {
            let sql = "SELECT seq, prev, hash, record FROM audit_chain WHERE seq > $1 ORDER BY seq LIMIT $2";
            let rows: Vec<Row> = sqlx::query_as(sql).bind(after).bind(limit).fetch_all(self).await?;
            Ok(rows.into_iter().map(chain_row).collect())
        }

        async fn insert_checkpoint(&self, checkpoint: &AuditCheckpoint) -> Result<bool> {
            let _turn = self.turn().await?;
            let done = sqlx::query(
                "INSERT INTO audit_checkpoints (seq, hash, at, signed) VALUES ($1, $2, $3, $4) ON CONFLICT (seq) DO NOTHING",
            )
            .bind(checkpoint.seq).bind(&checkpoint.hash).bind(checkpoint.at).bind(&checkpoint.signed)
            .execute(self).await?;
            Ok(done.rows_affected() > 0)
        }

        async fn checkpoints_after(&self, after: i64, limit: i64) -> Result<Vec<AuditCheckpoint>> {
            let mut query = QueryBuilder::<<Self as Dialect>::Database>::new(CHECKPOINTS);
            query.push(" WHERE seq > ").push_bind(after).push(" ORDER BY seq LIMIT ").push_bind(limit);
            let rows: Vec<CheckpointRow> = query.build_query_as().fetch_all(self).await?;
            Ok(rows.into_iter().map(AuditCheckpoint::from).collect())
        }

        async fn last_checkpoint(&self) -> Result<Option<AuditCheckpoint>> {
            let sql = "SELECT seq, hash, at, signed FROM audit_checkpoints ORDER BY seq DESC LIMIT 1";
            let row: Option<CheckpointRow> = sqlx::query_as(sql).fetch_optional(self).await?;
            Ok(row.map(AuditCheckpoint::from))
        }

        async fn prune_audit(&self, older_than: DateTime<Utc>, up_to: i64) -> Result<Option<AuditStart>> {
            let mut tx = self.begin_write().await?;
            let head: HeadRow = sqlx::query_as(Self::pick(HEAD_POSTGRES, HEAD)).fetch_one(&mut *tx).await?;
            let next: Option<(i64, String)> = sqlx::query_as(NEXT_PRUNE)
                .bind(head.removed_to).bind(older_than).bind(up_to)
                .fetch_optional(&mut *tx).await?;
            let Some((seq, hash)) = next else { return Ok(None) };
            sqlx::query("DELETE FROM audit_chain WHERE seq <= $1").bind(seq).execute(&mut *tx).await?;
            sqlx::query("UPDATE audit_head SET removed_to = $1, removed_hash = $2 WHERE id = 1")
                .bind(seq).bind(&hash)
                .execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(Some(AuditStart { seq, hash }))
        }
    }
}
