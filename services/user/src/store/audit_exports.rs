//! How far receivers outside have the audit trail.

use chrono::{DateTime, Utc};
use roadstead_store::{Dialect as _, Result, async_trait};
use uuid::Uuid;

/// The cursors of the trail's receivers.
#[async_trait]
pub trait AuditExportStore: Send + Sync {
    /// Takes a receiver until a time; answers the last row it has. `None`: another replica sends to it.
    async fn hold_export(
        &self,
        sink: &str,
        holder: Uuid,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<Option<i64>>;
    /// Moves the cursor on; never back, and only by who holds the receiver.
    async fn export_reached(&self, sink: &str, holder: Uuid, seq: i64, now: DateTime<Utc>) -> Result<bool>;
    /// Gives a receiver back.
    async fn release_export(&self, sink: &str, holder: Uuid) -> Result<()>;
    /// The last row that a receiver has; 0 when nothing was ever sent.
    async fn export_cursor(&self, sink: &str) -> Result<i64>;
}

const MAKE: &str = "INSERT INTO audit_exports (sink, seq, updated_at) VALUES ($1, 0, $2) ON CONFLICT (sink) DO NOTHING";
const HOLD: &str = "UPDATE audit_exports SET holder = $2, held_until = $4 \
    WHERE sink = $1 AND (holder IS NULL OR holder = $2 OR held_until < $3) RETURNING seq";
const REACHED: &str = "UPDATE audit_exports SET seq = $3, updated_at = $4 WHERE sink = $1 AND holder = $2 AND seq < $3";

roadstead_store::for_pools! {
    impl AuditExportStore for [PgPool, SqlitePool] {
        async fn hold_export(&self, sink: &str, holder: Uuid, now: DateTime<Utc>, until: DateTime<Utc>)
            -> Result<Option<i64>>
        {
            let mut tx = self.begin_write().await?;
            sqlx::query(MAKE).bind(sink).bind(now).execute(&mut *tx).await?;
            let seq: Option<i64> = sqlx::query_scalar(HOLD)
                .bind(sink).bind(holder).bind(now).bind(until)
                .fetch_optional(&mut *tx).await?;
            tx.commit().await?;
            Ok(seq)
        }

        async fn export_reached(&self, sink: &str, holder: Uuid, seq: i64, now: DateTime<Utc>) -> Result<bool> {
            let mut tx = self.begin_write().await?;
            let done = sqlx::query(REACHED).bind(sink).bind(holder).bind(seq).bind(now).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(done.rows_affected() > 0)
        }

        async fn release_export(&self, sink: &str, holder: Uuid) -> Result<()> {
            let mut tx = self.begin_write().await?;
            sqlx::query("UPDATE audit_exports SET holder = NULL, held_until = NULL WHERE sink = $1 AND holder = $2")
                .bind(sink).bind(holder)
                .execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(())
        }

        async fn export_cursor(&self, sink: &str) -> Result<i64> {
            let seq: Option<i64> = sqlx::query_scalar("SELECT seq FROM audit_exports WHERE sink = $1")
                .bind(sink)
                .fetch_optional(self).await?;
            Ok(seq.unwrap_or(0))
        }
    }
}
