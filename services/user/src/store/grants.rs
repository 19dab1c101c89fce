//! Which account may see which cluster.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use roadstead_contracts::event::Event;
use roadstead_contracts::ids::{ClusterId, TypedId, UserId};
use roadstead_store::{Dialect, Result, async_trait, outbox};
use uuid::Uuid;

/// Grants.
#[async_trait]
pub trait GrantStore: Send + Sync {
    /// Lets an account see a cluster. Again is the same as once.
    async fn grant(
        &self,
        user: UserId,
        cluster: ClusterId,
        by: UserId,
        now: DateTime<Utc>,
        event: &Event,
    ) -> Result<()>;
    /// Takes it back.
    async fn revoke(&self, user: UserId, cluster: ClusterId, event: &Event) -> Result<()>;
    /// Clusters that an account was granted.
    async fn grants(&self, user: UserId) -> Result<BTreeSet<ClusterId>>;
    /// Forgets the grants of a cluster that is gone.
    async fn forget_cluster(&self, cluster: ClusterId) -> Result<()>;
}

roadstead_store::for_pools! {
    impl GrantStore for [PgPool, SqlitePool] {
        async fn grant(
            &self,
            user: UserId,
            cluster: ClusterId,
            by: UserId,
            now: DateTime<Utc>,
            event: &Event,
        ) -> Result<()> {
            let mut tx = self.begin_write().await?;
            sqlx::query(
                "INSERT INTO user_clusters (user_id, cluster_id, granted_at, granted_by) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (user_id, cluster_id) DO NOTHING",
            )
            .bind(user.uuid()).bind(cluster.uuid()).bind(now).bind(by.uuid())
            .execute(&mut *tx).await?;
            outbox::push(&mut tx, event).await?;
            tx.commit().await?;
            Ok(())
        }

        async fn revoke(&self, user: UserId, cluster: ClusterId, event: &Event) -> Result<()> {
            let mut tx = self.begin_write().await?;
            sqlx::query("DELETE FROM user_clusters WHERE user_id = $1 AND cluster_id = $2")
                .bind(user.uuid()).bind(cluster.uuid())
                .execute(&mut *tx).await?;
            outbox::push(&mut tx, event).await?;
            tx.commit().await?;
            Ok(())
        }

        async fn grants(&self, user: UserId) -> Result<BTreeSet<ClusterId>> {
            let rows: Vec<Uuid> = sqlx::query_scalar("SELECT cluster_id FROM user_clusters WHERE user_id = $1")
                .bind(user.uuid())
                .fetch_all(self).await?;
            Ok(rows.into_iter().map(ClusterId::from_uuid).collect())
        }

        async fn forget_cluster(&self, cluster: ClusterId) -> Result<()> {
            let _turn = self.turn().await?;
            sqlx::query("DELETE FROM user_clusters WHERE cluster_id = $1").bind(cluster.uuid()).execute(self).await?;
            Ok(())
        }
    }
}
