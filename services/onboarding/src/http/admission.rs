//! How fast agents are let in. Beyond that they are turned away at once with a time to come back, never by a time-out:
//! ten thousand agents that return together must not stand on each other's feet (reliability row F17).

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::config::Agents;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::limits::{HANDSHAKES, TURNED_AWAY_SECONDS};

/// Permits for handshakes at once, and a bucket of handshakes a second.
#[derive(Debug)]
pub(super) struct Admission {
    permits: Semaphore,
    began: Instant,
    /// When the bucket would be empty, microseconds since `began` (GCRA).
    empty_at: AtomicI64,
    interval: i64,
    tolerance: i64,
    sessions_max: usize,
}

impl Admission {
    pub(super) fn new(settings: &Agents) -> Self {
        let rate = i64::from(settings.admit_per_second.max(1));
        Self {
            permits: Semaphore::new(HANDSHAKES),
            began: Instant::now(),
            empty_at: AtomicI64::new(0),
            interval: 1_000_000 / rate,
            // Half a second's worth at once.
            tolerance: 500_000,
            sessions_max: usize::try_from(settings.max_sessions).unwrap_or(usize::MAX),
        }
    }

    /// A place for one handshake, or when to come back.
    pub(super) fn enter(&self, sessions: usize) -> Result<SemaphorePermit<'_>> {
        if sessions >= self.sessions_max {
            return Err(away(TURNED_AWAY_SECONDS * 5));
        }
        let permit = self.permits.try_acquire().map_err(|_| away(TURNED_AWAY_SECONDS))?;
        let now = micros(self.began.elapsed());
        let taken = self.empty_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |empty_at| {
            let after = empty_at.max(now) + self.interval;
            (after - now <= self.tolerance).then_some(after)
        });
        if taken.is_err() {
            return Err(away(TURNED_AWAY_SECONDS));
        }
        Ok(permit)
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

fn away(seconds: u32) -> Error {
    Error::new(Code::Unavailable, "too many agents connect at once, come back later").retry_after(seconds)
}
