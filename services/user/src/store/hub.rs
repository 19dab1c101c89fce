//! Which key file this database belongs to.

use roadstead_store::{Dialect as _, Result, async_trait};

/// The hub's own row.
#[async_trait]
pub trait HubStore: Send + Sync {
    /// Notes the root public key of the hub if none is noted yet; answers the one that is noted.
    async fn pin_root(&self, root: &str) -> Result<String>;
}

roadstead_store::for_pools! {
    impl HubStore for [PgPool, SqlitePool] {
        async fn pin_root(&self, root: &str) -> Result<String> {
            let _turn = self.turn().await?;
            sqlx::query("INSERT INTO hub (id, root) VALUES (1, $1) ON CONFLICT (id) DO NOTHING")
                .bind(root)
                .execute(self).await?;
            Ok(sqlx::query_scalar("SELECT root FROM hub WHERE id = 1").fetch_one(self).await?)
        }
    }
}
