//! How fast agents are let in. Beyond that they are turned away at once with a time to come back, never by a time-out:
//! ten thousand agents that return together must not stand on each other's feet (reliability row F17).

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::config::Agents;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::limits::{HANDSHAKES, TURNED_AWAY_MAX, TURNED_AWAY_SECONDS};

/// The lower half of a word.
const LOWER: u64 = 0xffff_ffff;

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
    rate: u32,
    /// The second since `began` in the upper half, how many were turned away in it in the lower.
    turned_away: AtomicU64,
}

impl Admission {
    pub(super) fn new(settings: &Agents) -> Self {
        let rate = settings.admit_per_second.max(1);
        Self {
            permits: Semaphore::new(HANDSHAKES),
            began: Instant::now(),
            empty_at: AtomicI64::new(0),
            interval: 1_000_000 / i64::from(rate),
            // Half a second's worth at once.
            tolerance: 500_000,
            sessions_max: usize::try_from(settings.max_sessions).unwrap_or(usize::MAX),
            rate,
            turned_away: AtomicU64::new(0),
        }
    }

    /// A place for one handshake, or when to come back.
    pub(super) fn enter(&self, sessions: usize) -> Result<SemaphorePermit<'_>> {
        if sessions >= self.sessions_max {
            return Err(away(TURNED_AWAY_MAX));
        }
        let permit = self.permits.try_acquire().map_err(|_| self.turn_away())?;
        let now = micros(self.began.elapsed());
        let taken = self.empty_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |empty_at| {
            let after = empty_at.max(now) + self.interval;
            (after - now <= self.tolerance).then_some(after)
        });
        if taken.is_err() {
            return Err(self.turn_away());
        }
        Ok(permit)
    }

    /// The more knock in the same second, the later they are asked back: all of them at once would only meet again.
    fn turn_away(&self) -> Error {
        let second = self.began.elapsed().as_secs() << 32;
        let count = |word: u64| if word & !LOWER == second { word + 1 } else { second + 1 };
        let before = self.turned_away.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| Some(count(word)));
        let turned_away = u32::try_from(count(before.unwrap_or(second)) & LOWER).unwrap_or(u32::MAX);
        away((TURNED_AWAY_SECONDS + turned_away / self.rate).min(TURNED_AWAY_MAX))
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

fn away(seconds: u32) -> Error {
    Error::new(Code::Unavailable, "too many agents connect at once, come back later").retry_after(seconds)
}

#[cfg(test)]
mod tests {
    use roadstead_runtime::config::{MapEnv, ServiceRole, Settings};

    use super::*;

    #[tokio::test]
    async fn a_crowd_is_asked_back_later_than_a_few() {
        let env = MapEnv::new([("ROADSTEAD_DEV", "true"), ("ROADSTEAD_AGENTS_ADMIT_PER_SECOND", "100")]);
        let settings = Settings::load(ServiceRole::Up, None, &env).unwrap_or_else(|faults| panic!("{faults}"));
        let admission = Admission::new(&settings.agents);
        let mut waits = Vec::new();
        let mut admitted = 0;
        for _ in 0..1_000 {
            match admission.enter(0) {
                Ok(_) => admitted += 1,
                Err(fault) => waits.push(fault.retry_after.unwrap()),
            }
        }
        assert!((50..200).contains(&admitted), "{admitted}");
        assert_eq!(waits[0], TURNED_AWAY_SECONDS);
        assert!(waits.iter().max().unwrap() > &(TURNED_AWAY_SECONDS + 3));
        assert!(admission.enter(1_000_000).is_err());
    }
}
