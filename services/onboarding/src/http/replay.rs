//! Assertions are good once. Shared between replicas through the key-value store; this one remembers them while that is
//! away.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::limits::REPLAY_MAX;

/// Hashes of assertions' ids, and when they end.
#[derive(Debug)]
pub(super) struct Replay {
    seen: Mutex<HashMap<u64, i64>>,
    hasher: std::collections::hash_map::RandomState,
}

impl Replay {
    pub(super) fn new() -> Self {
        Self { seen: Mutex::default(), hasher: std::collections::hash_map::RandomState::new() }
    }

    /// Remembers an id until its end (seconds since 1970). `false`: seen before, or there is no room to remember.
    pub(super) fn first(&self, agent: &str, jti: &str, ends_at: i64, now: i64) -> bool {
        use std::hash::BuildHasher as _;
        let key = self.hasher.hash_one((agent, jti));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.get(&key).is_some_and(|end| *end >= now) {
            return false;
        }
        if seen.len() >= REPLAY_MAX {
            seen.retain(|_, end| *end >= now);
            if seen.len() >= REPLAY_MAX {
                return false;
            }
        }
        seen.insert(key, ends_at);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_and_bounded() {
        let replay = Replay::new();
        assert!(replay.first("a", "1", 100, 50));
        assert!(!replay.first("a", "1", 100, 60));
        assert!(replay.first("b", "1", 100, 60));
        for number in 0..REPLAY_MAX {
            replay.first("a", &format!("x{number}"), 200, 60);
        }
        assert!(!replay.first("a", "new", 200, 60));
        assert!(replay.first("a", "new", 300, 201));
    }
}
