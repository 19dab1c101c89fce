//! The store of one process.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use roadstead_runtime::SharedClock;

use crate::quota::{Quota, Taken, take};
use crate::{Error, Kv, Result, check};

/// Locks, so that keys do not wait for each other.
const SHARDS: usize = 16;
/// Most keys of a shard. Times 16 and 200 bytes: 26 MB at the very worst with small values.
const SHARD_KEYS_MAX: usize = 8 * 1024;
/// Most bytes of values of a shard.
const SHARD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Values in memory: expiring, bounded. A full shard first drops what has expired, then refuses values
/// ([`Error::Full`]); of quotas it drops the one that is full again soonest, because a limiter must go on limiting.
#[derive(Debug)]
pub struct MemoryKv {
    clock: SharedClock,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    entries: HashMap<Box<str>, Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    value: Value,
    /// Microseconds since 1970; `i64::MAX` for good.
    ends_at: i64,
}

#[derive(Debug)]
enum Value {
    Bytes(Box<[u8]>),
    EmptyAt(i64),
}

impl Value {
    fn size(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::EmptyAt(_) => 0,
        }
    }
}

impl MemoryKv {
    /// An empty store.
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, hasher: RandomState::new(), shards: std::array::from_fn(|_| Mutex::default()) }
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, Shard> {
        let index = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> i64 {
        self.clock.now().timestamp_micros()
    }

    fn put(&self, key: &str, value: &[u8], ttl: Option<Duration>, only_if_absent: bool) -> Result<bool> {
        check(key, value)?;
        let now = self.now();
        let mut shard = self.shard(key);
        if only_if_absent && shard.get(key, now).is_some() {
            return Ok(false);
        }
        shard.remove(key);
        if !shard.has_room(value.len()) {
            shard.sweep(now);
            if !shard.has_room(value.len()) {
                return Err(Error::Full);
            }
        }
        shard.insert(key, Value::Bytes(value.into()), ends_at(now, ttl));
        Ok(true)
    }
}

fn ends_at(now: i64, ttl: Option<Duration>) -> i64 {
    ttl.map_or(i64::MAX, |ttl| now.saturating_add(i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX)))
}

impl Shard {
    fn get(&self, key: &str, now: i64) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| entry.ends_at > now)
    }

    fn remove(&mut self, key: &str) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.bytes -= entry.value.size();
        Some(entry)
    }

    fn insert(&mut self, key: &str, value: Value, ends_at: i64) {
        self.bytes += value.size();
        self.entries.insert(key.into(), Entry { value, ends_at });
    }

    fn has_room(&self, more: usize) -> bool {
        self.entries.len() < SHARD_KEYS_MAX && self.bytes + more <= SHARD_BYTES_MAX
    }

    fn sweep(&mut self, now: i64) {
        let mut freed = 0;
        self.entries.retain(|_, entry| {
            let stays = entry.ends_at > now;
            if !stays {
                freed += entry.value.size();
            }
            stays
        });
        self.bytes -= freed;
    }

    /// Drops the quota that is full again soonest: forgetting it gives the least away.
    fn drop_one_quota(&mut self) {
        let soonest = self
            .entries
            .iter()
            .filter(|(_, entry)| matches!(entry.value, Value::EmptyAt(_)))
            .min_by_key(|(_, entry)| entry.ends_at)
            .map(|(key, _)| key.clone());
        if let Some(key) = soonest {
            self.remove(&key);
        }
    }
}

#[async_trait]
impl Kv for MemoryKv {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let now = self.now();
        Ok(self.shard(key).get(key, now).and_then(|entry| match &entry.value {
            Value::Bytes(bytes) => Some(bytes.to_vec()),
            Value::EmptyAt(_) => None,
        }))
    }

    async fn set(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<()> {
        self.put(key, value, ttl, false).map(drop)
    }

    async fn set_if_absent(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<bool> {
        self.put(key, value, ttl, true)
    }

    async fn delete(&self, key: &str) -> Result<bool> {
        let now = self.now();
        Ok(self.shard(key).remove(key).is_some_and(|entry| entry.ends_at > now))
    }

    async fn take(&self, key: &str, quota: Quota, cost: u32) -> Result<Taken> {
        check(key, &[])?;
        let now = self.now();
        let mut shard = self.shard(key);
        let before = shard.get(key, now).and_then(|entry| match entry.value {
            Value::EmptyAt(at) => Some(at),
            Value::Bytes(_) => None,
        });
        let (after, taken) = take(before, now, quota, cost);
        // What is counted often is here already.
        if let Some(entry) = shard.entries.get_mut(key)
            && let Value::EmptyAt(at) = &mut entry.value
        {
            (*at, entry.ends_at) = (after, after);
            return Ok(taken);
        }
        if shard.remove(key).is_none() && shard.entries.len() >= SHARD_KEYS_MAX {
            shard.sweep(now);
            if shard.entries.len() >= SHARD_KEYS_MAX {
                shard.drop_one_quota();
            }
        }
        shard.insert(key, Value::EmptyAt(after), after);
        Ok(taken)
    }

    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use roadstead_runtime::{Clock as _, ManualClock, SystemClock};

    use super::*;

    #[tokio::test]
    async fn it_is_bounded_and_expires() {
        let clock = ManualClock::at(SystemClock.now());
        let kv = MemoryKv::new(Arc::new(clock.clone()));
        let big = vec![0; 60 * 1024];
        let mut refused = 0;
        for number in 0..2_000 {
            if kv.set(&format!("key-{number}"), &big, Some(Duration::from_secs(5))).await.is_err() {
                refused += 1;
            }
        }
        assert!(refused > 500);
        clock.advance(chrono::TimeDelta::seconds(5));
        assert_eq!(kv.get("key-0").await.unwrap(), None);
        for number in 0..500 {
            kv.set(&format!("new-{number}"), &big, None).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_limiter_with_too_many_keys_goes_on_limiting() {
        let kv = MemoryKv::new(SystemClock::shared());
        let quota = Quota::per_minute(1);
        kv.take("mine", Quota { per: Duration::from_secs(3600), limit: 1, burst: 1 }, 1).await.unwrap();
        for number in 0..(SHARDS * SHARD_KEYS_MAX / 4) {
            kv.take(&format!("other-{number}"), quota, 1).await.unwrap();
        }
        assert!(
            !kv.take("mine", Quota { per: Duration::from_secs(3600), limit: 1, burst: 1 }, 1).await.unwrap().allowed
        );
    }
}
