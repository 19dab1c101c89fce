//! The store of small values of a mesh.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use roadstead_kv::{Kv, RedisKv};
use roadstead_runtime::client_tls::ClientTls;
use roadstead_runtime::config::Settings;
use roadstead_runtime::{ReadyPart, Tasks};

/// Between two looks: `/readyz` tells within 5 s.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

pub(super) fn redis(settings: &Settings) -> Result<Arc<dyn Kv>> {
    let url = settings.redis.url.as_ref().context("redis.url is not set")?;
    let connections = usize::try_from(settings.redis.pool_size)?;
    let redis = &settings.redis;
    let tls = ClientTls::read(redis.ca_file.as_deref(), redis.cert_file.as_deref(), redis.key_file.as_deref())
        .context("TLS to Redis cannot be set up")?;
    Ok(Arc::new(RedisKv::with_tls(url, tls, connections).context("failed to set up Redis")?))
}

/// Says how it is. Redis holds no truth, so a process without it still works, slower: the part stays ready and its detail
/// tells (reliability row F08).
pub(super) fn watch(kv: Arc<dyn Kv>, part: ReadyPart, tasks: &Tasks) {
    let stopping = tasks.stopping();
    tasks.spawn("kv-probe", async move {
        loop {
            match kv.ping().await {
                Ok(()) => part.set(true, "ok"),
                Err(_) => part.set(true, "away: quotas are counted per process"),
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(PROBE_INTERVAL) => {}
            }
        }
    });
}
