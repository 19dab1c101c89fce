//! The quotas that replicas share, in the store of small values.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use roadstead_http_kit::{Quotas, Taken};
use roadstead_kv::{Kv, Quota};

/// A store that does not answer in this time counts as away: a quota must not cost more than the request.
const PATIENCE: Duration = Duration::from_millis(250);

/// Counts in the store; says nothing when it is away, and the caller counts by itself.
pub(crate) struct KvQuotas(pub(crate) Arc<dyn Kv>);

#[async_trait]
impl Quotas for KvQuotas {
    async fn take(&self, key: &str, limit: u32, period: Duration) -> Option<Taken> {
        let quota = Quota { per: period, limit, burst: limit };
        // A key of its own: the user service counts forwarded requests too, and one request must not count twice.
        let key = format!("rate:door:{key}");
        let taken = match tokio::time::timeout(PATIENCE, self.0.take(&key, quota, 1)).await {
            Ok(Ok(taken)) => taken,
            Ok(Err(fault)) => {
                tracing::debug!("a quota is counted in this process alone: {fault}");
                return None;
            }
            Err(_) => return None,
        };
        Some(Taken {
            allowed: taken.allowed,
            remaining: taken.remaining,
            reset_after: taken.reset_after,
            retry_after: taken.retry_after,
        })
    }
}
