//! Recorded sessions.

use chrono::{DateTime, Utc};
use roadstead_contracts::ids::{RecordingId, TypedId, UserId};
use roadstead_store::sqlx;
use roadstead_store::{Dialect as _, Result, Window};
use uuid::Uuid;

use super::rows::total;
use super::{KeptRecording, NewRecording, RecordingStore};

const INSERT: &str = "INSERT INTO recordings (id, user_id, cluster_id, request_id, sealed_facts, started_at)
    VALUES ($1, $2, $3, $4, $5, $6)";
const INSERT_PART: &str = "INSERT INTO recording_parts (recording_id, part, sealed_lines) VALUES ($1, $2, $3)";
const GROW: &str = "UPDATE recordings SET bytes = bytes + $2 WHERE id = $1";
const END: &str = "UPDATE recordings SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL";
const COUNT: &str = "SELECT count(*) FROM recordings WHERE ($1 OR user_id = $2)";
const LIST: &str = "SELECT seq, id, user_id, request_id, sealed_facts, bytes, started_at, ended_at FROM recordings
    WHERE ($1 OR user_id = $2) AND seq < $3 ORDER BY seq DESC LIMIT $4 OFFSET $5";
const FIND: &str = "SELECT seq, id, user_id, request_id, sealed_facts, bytes, started_at, ended_at FROM recordings
    WHERE id = $1";
const PART: &str = "SELECT sealed_lines, EXISTS (SELECT 1 FROM recording_parts later
        WHERE later.recording_id = $1 AND later.part = $2 + 1)
    FROM recording_parts WHERE recording_id = $1 AND part = $2";
/// The oldest that stays when there are too many.
const PRUNE: &str = "DELETE FROM recordings WHERE started_at < $1
    OR seq <= COALESCE((SELECT seq FROM recordings ORDER BY seq DESC LIMIT 1 OFFSET $2), 0)";

#[derive(Debug, sqlx::FromRow)]
struct Row {
    seq: i64,
    id: Uuid,
    user_id: Uuid,
    request_id: String,
    sealed_facts: String,
    bytes: i64,
    started_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
}

impl From<Row> for KeptRecording {
    fn from(row: Row) -> Self {
        Self {
            seq: row.seq,
            id: RecordingId::from_uuid(row.id),
            user: UserId::from_uuid(row.user_id),
            request_id: row.request_id,
            facts: row.sealed_facts,
            bytes: total(row.bytes),
            started_at: row.started_at,
            ended_at: row.ended_at,
        }
    }
}

roadstead_store::for_pools! {
    impl RecordingStore for [PgPool, SqlitePool] {
        async fn begin_recording(&self, new: &NewRecording) -> Result<()> {
            let mut tx = self.begin_write().await?;
            sqlx::query(INSERT)
                .bind(new.id.uuid())
                .bind(new.user.uuid())
                .bind(new.cluster.uuid())
                .bind(&new.request_id)
                .bind(&new.facts)
                .bind(new.at)
                .execute(&mut *tx)
                .await?;
            sqlx::query(INSERT_PART).bind(new.id.uuid()).bind(0_i64).bind(&new.lines).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(())
        }

        async fn add_recording_part(&self, id: RecordingId, part: u32, lines: &str, bytes: u64) -> Result<bool> {
            let mut tx = self.begin_write().await?;
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            let grown = sqlx::query(GROW).bind(id.uuid()).bind(bytes).execute(&mut *tx).await?.rows_affected();
            if grown == 0 {
                return Ok(false);
            }
            sqlx::query(INSERT_PART).bind(id.uuid()).bind(i64::from(part)).bind(lines).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(true)
        }

        async fn end_recording(&self, id: RecordingId, at: DateTime<Utc>) -> Result<()> {
            let mut tx = self.begin_write().await?;
            sqlx::query(END).bind(id.uuid()).bind(at).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(())
        }

        async fn list_recordings(&self, user: Option<UserId>, window: Window) -> Result<(Vec<KeptRecording>, u64)> {
            let whose = user.map_or(Uuid::nil(), TypedId::uuid);
            let count: i64 =
                sqlx::query_scalar(COUNT).bind(user.is_none()).bind(whose).fetch_one(self).await?;
            let rows: Vec<Row> = sqlx::query_as(LIST)
                .bind(user.is_none())
                .bind(whose)
                .bind(window.before)
                .bind(window.fetch)
                .bind(window.offset)
                .fetch_all(self)
                .await?;
            Ok((rows.into_iter().map(KeptRecording::from).collect(), total(count)))
        }

        async fn find_recording(&self, id: RecordingId) -> Result<Option<KeptRecording>> {
            let row: Option<Row> = sqlx::query_as(FIND).bind(id.uuid()).fetch_optional(self).await?;
            Ok(row.map(KeptRecording::from))
        }

        async fn recording_part(&self, id: RecordingId, part: u32) -> Result<Option<(String, bool)>> {
            let row: Option<(String, bool)> = sqlx::query_as(Self::pick(PART, PART))
                .bind(id.uuid())
                .bind(i64::from(part))
                .fetch_optional(self)
                .await?;
            Ok(row)
        }

        async fn prune_recordings(&self, before: DateTime<Utc>, most: i64) -> Result<u64> {
            let mut tx = self.begin_write().await?;
            let gone = sqlx::query(PRUNE).bind(before).bind(most).execute(&mut *tx).await?.rows_affected();
            tx.commit().await?;
            Ok(gone)
        }
    }
}
