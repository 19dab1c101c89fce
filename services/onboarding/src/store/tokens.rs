//! Join tokens.

use roadstead_contracts::ids::{JoinTokenId, TypedId};
use roadstead_store::sqlx;
use roadstead_store::sqlx::types::Json;
use roadstead_store::{Dialect as _, Result, Window};

use super::receipts::finish;
use super::rows::{TokenRow, in_view, select_tokens, total};
use super::{Change, NewToken, TokenStore};
use crate::domain::{TokenRecord, View, profile_word};

pub(super) const INSERT_TOKEN: &str = "INSERT INTO join_tokens
    (id, digest, cluster_id, owner_id, owner_seq, labels, profile, uses_left, expires_at, created_at, namespaces)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
const FIND: &str = concat!(select_tokens!(), "WHERE t.id = $1");
const LIST_POSTGRES: &str = concat!(
    select_tokens!(),
    "WHERE ",
    in_view!(postgres, "t.owner_id", "t.cluster_id"),
    " AND t.seq < $5 ORDER BY t.seq DESC LIMIT $6 OFFSET $7"
);
const LIST_SQLITE: &str = concat!(
    select_tokens!(),
    "WHERE ",
    in_view!(sqlite, "t.owner_id", "t.cluster_id"),
    " AND t.seq < $5 ORDER BY t.seq DESC LIMIT $6 OFFSET $7"
);
const COUNT_POSTGRES: &str =
    concat!("SELECT count(*) FROM join_tokens t WHERE ", in_view!(postgres, "t.owner_id", "t.cluster_id"));
const COUNT_SQLITE: &str =
    concat!("SELECT count(*) FROM join_tokens t WHERE ", in_view!(sqlite, "t.owner_id", "t.cluster_id"));
const REVOKE: &str = "UPDATE join_tokens SET revoked_at = COALESCE(revoked_at, $2) WHERE id = $1";

/// Writes a [`NewToken`]'s row. A macro, because the two databases' drivers have no query type in common.
macro_rules! insert_token {
    ($tx:expr, $new:expr, $change:expr) => {
        sqlx::query(INSERT_TOKEN)
            .bind($new.token.id.uuid())
            .bind(&$new.token.digest)
            .bind($new.cluster_id.map(TypedId::uuid))
            .bind($new.owner_id.uuid())
            .bind($new.owner_seq)
            .bind(Json(&$new.token.labels))
            .bind(profile_word($new.token.profile))
            .bind(i64::from($new.token.uses))
            .bind($new.expires_at)
            .bind($change.at)
            .bind(Json(&$new.token.namespaces))
            .execute(&mut *$tx)
            .await?
    };
}

pub(super) use insert_token;

roadstead_store::for_pools! {
    impl TokenStore for [PgPool, SqlitePool] {
        async fn list_tokens(&self, view: &View, window: Window) -> Result<(Vec<(i64, TokenRecord)>, u64)> {
            let count: i64 = sqlx::query_scalar(Self::pick(COUNT_POSTGRES, COUNT_SQLITE))
                .bind(0_i64)
                .bind(view.all)
                .bind(view.owner.uuid())
                .bind(Json(&view.granted))
                .fetch_one(self)
                .await?;
            let rows: Vec<TokenRow> = sqlx::query_as(Self::pick(LIST_POSTGRES, LIST_SQLITE))
                .bind(0_i64)
                .bind(view.all)
                .bind(view.owner.uuid())
                .bind(Json(&view.granted))
                .bind(window.before)
                .bind(window.fetch)
                .bind(window.offset)
                .fetch_all(self)
                .await?;
            let records = rows.into_iter().map(|row| Ok((row.seq, TokenRecord::try_from(row)?))).collect::<Result<_>>()?;
            Ok((records, total(count)))
        }

        async fn find_token(&self, id: JoinTokenId) -> Result<Option<TokenRecord>> {
            let row: Option<TokenRow> = sqlx::query_as(FIND).bind(id.uuid()).fetch_optional(self).await?;
            row.map(TokenRecord::try_from).transpose()
        }

        async fn create_token(&self, new: &NewToken, change: &Change) -> Result<TokenRecord> {
            let mut tx = self.begin_write().await?;
            insert_token!(tx, new, change);
            let row: TokenRow = sqlx::query_as(FIND).bind(new.token.id.uuid()).fetch_one(&mut *tx).await?;
            let record = TokenRecord::try_from(row)?;
            finish(&mut tx, change, &record.token, Vec::new()).await?;
            tx.commit().await?;
            Ok(record)
        }

        async fn revoke_token(&self, id: JoinTokenId, change: &Change) -> Result<Option<TokenRecord>> {
            let mut tx = self.begin_write().await?;
            sqlx::query(REVOKE).bind(id.uuid()).bind(change.at).execute(&mut *tx).await?;
            let row: Option<TokenRow> = sqlx::query_as(FIND).bind(id.uuid()).fetch_optional(&mut *tx).await?;
            let Some(row) = row else { return Ok(None) };
            let record = TokenRecord::try_from(row)?;
            finish(&mut tx, change, &record.token, Vec::new()).await?;
            tx.commit().await?;
            Ok(Some(record))
        }
    }
}
