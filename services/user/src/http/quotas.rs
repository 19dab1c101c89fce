//! The quotas that replicas share, kept in the key-value store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use roadstead_http_kit::{Quotas, Taken};
use roadstead_kv::{Kv, Quota};

/// The service's own counts: the front door has counted a forwarded request once already, under another name.
const PREFIX: &str = "rate:user:";

pub(super) struct Shared {
    kv: Arc<dyn Kv>,
}

impl Shared {
    pub(super) fn new(kv: Arc<dyn Kv>) -> Self {
        Self { kv }
    }
}

#[async_trait]
impl Quotas for Shared {
    async fn take(&self, key: &str, limit: u32, period: Duration) -> Option<Taken> {
        let quota = Quota { per: period, limit, burst: limit };
        let taken = self.kv.take(&format!("{PREFIX}{key}"), quota, 1).await.ok()?;
        Some(Taken {
            allowed: taken.allowed,
            remaining: taken.remaining,
            reset_after: taken.reset_after,
            retry_after: taken.retry_after,
        })
    }
}
