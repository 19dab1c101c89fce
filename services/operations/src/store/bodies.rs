//! Bodies of operations, sealed, and what is forgotten after its time.

use chrono::{DateTime, Utc};
use roadstead_store::sqlx;
use roadstead_store::sqlx::types::Json;
use roadstead_store::{Dialect as _, Result};

use super::BodyStore;
use super::drifts::FORGET_GONE;
use super::rows::total;
use crate::limits::{KEY_LIFE, RECEIPT_LIFE, UNCLAIMED_BYTES_MAX, UNCLAIMED_LIFE, UNCLAIMED_MAX};

const TOUCH: &str = "UPDATE bodies SET staged_at = $2 WHERE sha256 = $1";
macro_rules! unclaimed {
    () => {
        "NOT EXISTS (SELECT 1 FROM operations o WHERE o.body_sha256 = bodies.sha256)
            AND NOT EXISTS (SELECT 1 FROM rollouts r WHERE r.body_sha256 = bodies.sha256)"
    };
}
/// Over an index of these alone: there are few, and they are counted at every upload.
const WAITING_POSTGRES: &str = "SELECT count(*), COALESCE(sum(length), 0)::bigint FROM bodies WHERE NOT claimed";
const WAITING_SQLITE: &str = "SELECT count(*), COALESCE(sum(length), 0) FROM bodies WHERE claimed = 0";
/// Something names it now; without a row there is no such body. `$2` is true.
pub(super) const CLAIM: &str = "UPDATE bodies SET claimed = $2 WHERE sha256 = $1";
const INSERT: &str =
    "INSERT INTO bodies (sha256, length, staged_at) VALUES ($1, $2, $3) ON CONFLICT (sha256) DO NOTHING";
const INSERT_PART: &str = "INSERT INTO body_parts (sha256, part, sealed_part) VALUES ($1, $2, $3)";
const LENGTH: &str = "SELECT length FROM bodies WHERE sha256 = $1";
const PARTS: &str = "SELECT sealed_part FROM body_parts WHERE sha256 = $1 ORDER BY part";
const FORGET: &str = concat!("DELETE FROM bodies WHERE staged_at < $1 AND ", unclaimed!());
/// Locked in one order, so that whoever names one of them meanwhile is waited for.
const HOLD_POSTGRES: &str = "SELECT sha256 FROM bodies
    WHERE sha256 IN (SELECT value FROM jsonb_array_elements_text($1)) ORDER BY sha256 FOR UPDATE";
/// Whoever writes has the whole file.
const HOLD_SQLITE: &str = "SELECT $1";
const FORGET_THESE_POSTGRES: &str = concat!(
    "DELETE FROM bodies WHERE sha256 IN (SELECT value FROM jsonb_array_elements_text($2)) AND staged_at < $1 AND ",
    unclaimed!()
);
const FORGET_THESE_SQLITE: &str = concat!(
    "DELETE FROM bodies WHERE sha256 IN (SELECT value FROM json_each($2)) AND staged_at < $1 AND ",
    unclaimed!()
);
const FORGET_KEYS: &str = "DELETE FROM idempotency WHERE created_at < $1";
const FORGET_RECEIPTS: &str = "DELETE FROM handled WHERE at < $1";

roadstead_store::for_pools! {
    impl BodyStore for [PgPool, SqlitePool] {
        async fn stage(&self, sha256: &str, length: u64, sealed_parts: &[String], at: DateTime<Utc>) -> Result<bool> {
            let mut tx = self.begin_write().await?;
            if sqlx::query(TOUCH).bind(sha256).bind(at).execute(&mut *tx).await?.rows_affected() > 0 {
                tx.commit().await?;
                return Ok(true);
            }
            let length = i64::try_from(length).unwrap_or(i64::MAX);
            let (count, bytes): (i64, i64) =
                sqlx::query_as(Self::pick(WAITING_POSTGRES, WAITING_SQLITE)).fetch_one(&mut *tx).await?;
            if count >= UNCLAIMED_MAX || bytes.saturating_add(length) > UNCLAIMED_BYTES_MAX {
                return Ok(false);
            }
            let made = sqlx::query(INSERT).bind(sha256).bind(length).bind(at).execute(&mut *tx).await?.rows_affected();
            // Another replica kept the same body in the same moment.
            if made > 0 {
                for (part, sealed) in (0_i64..).zip(sealed_parts) {
                    sqlx::query(INSERT_PART).bind(sha256).bind(part).bind(sealed).execute(&mut *tx).await?;
                }
            }
            tx.commit().await?;
            Ok(true)
        }

        async fn body_length(&self, sha256: &str) -> Result<Option<u64>> {
            let length: Option<i64> = sqlx::query_scalar(LENGTH).bind(sha256).fetch_optional(self).await?;
            Ok(length.map(total))
        }

        async fn body(&self, sha256: &str) -> Result<Option<(u64, Vec<String>)>> {
            let length: Option<i64> = sqlx::query_scalar(LENGTH).bind(sha256).fetch_optional(self).await?;
            let Some(length) = length else { return Ok(None) };
            let parts: Vec<String> = sqlx::query_scalar(PARTS).bind(sha256).fetch_all(self).await?;
            Ok(Some((total(length), parts)))
        }

        async fn claim_body(&self, sha256: &str) -> Result<()> {
            sqlx::query(CLAIM).bind(sha256).bind(true).execute(self).await?;
            Ok(())
        }

        async fn forget_bodies(&self, sha256s: &[String], at: DateTime<Utc>) -> Result<()> {
            if sha256s.is_empty() {
                return Ok(());
            }
            let mut tx = self.begin_write().await?;
            sqlx::query(Self::pick(HOLD_POSTGRES, HOLD_SQLITE)).bind(Json(sha256s)).execute(&mut *tx).await?;
            sqlx::query(Self::pick(FORGET_THESE_POSTGRES, FORGET_THESE_SQLITE))
                .bind(at - UNCLAIMED_LIFE)
                .bind(Json(sha256s))
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            Ok(())
        }

        async fn tidy(&self, at: DateTime<Utc>) -> Result<u64> {
            let mut tx = self.begin_write().await?;
            let mut gone = 0;
            for (statement, before) in [
                (FORGET, at - UNCLAIMED_LIFE),
                (FORGET_KEYS, at - KEY_LIFE),
                (FORGET_RECEIPTS, at - RECEIPT_LIFE),
                (FORGET_GONE, at - RECEIPT_LIFE),
            ] {
                gone += sqlx::query(statement).bind(before).execute(&mut *tx).await?.rows_affected();
            }
            tx.commit().await?;
            Ok(gone)
        }
    }
}
