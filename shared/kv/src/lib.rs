//! Small values with a life, and quotas: in memory for one process, in Redis for the mesh.
//!
//! Nothing here may be the only copy of a truth: Redis may be empty, gone or full of garbage at any time, and the worst that
//! may follow is slowness (reliability row F08). Read [`quota`] for how `take` counts.

pub mod memory;
pub mod quota;
pub mod redis;

use std::time::Duration;

use async_trait::async_trait;

pub use memory::MemoryKv;
pub use quota::{Quota, Taken};
pub use redis::RedisKv;

/// Longest key: keys are made of our own words and ids.
pub const KEY_MAX: usize = 512;
/// Longest value.
pub const VALUE_MAX: usize = 64 * 1024;

/// Result of a store of small values.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why it could not.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server is away or too slow.
    #[error("the key-value server is not available: {0}")]
    Unavailable(String),
    /// The memory store holds as much as it may.
    #[error("the key-value store is full")]
    Full,
    /// Key or value is longer than allowed.
    #[error("key or value is too long")]
    TooLong,
    /// The configured address is not one.
    #[error("the redis URL is not valid")]
    Address,
    /// TLS was asked for, and the address has none or a certificate cannot be used.
    #[error("the redis URL must begin with rediss:// and the certificates must be PEM where TLS is asked for")]
    Tls,
}

/// A store of small values. Keys are namespaced by their users: `rate:`, `cache:`.
#[async_trait]
pub trait Kv: Send + Sync {
    /// The value, when there is one.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>>;

    /// Sets a value, for good or for a time (whole milliseconds, at least one).
    async fn set(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<()>;

    /// Sets a value when there is none; answers whether it did.
    async fn set_if_absent(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<bool>;

    /// Removes a value; answers whether there was one.
    async fn delete(&self, key: &str) -> Result<bool>;

    /// Takes `cost` out of a quota, atomically.
    async fn take(&self, key: &str, quota: Quota, cost: u32) -> Result<Taken>;

    /// Answers, or says why not.
    async fn ping(&self) -> Result<()>;
}

pub(crate) fn check(key: &str, value: &[u8]) -> Result<()> {
    if key.len() > KEY_MAX || value.len() > VALUE_MAX { Err(Error::TooLong) } else { Ok(()) }
}
