//! How much a cluster's API is asked: `qps` and `burst` of seed 003, as client-go means them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A bucket that fills with `qps` turns a second and holds `burst` of them (GCRA: one instant instead of a counter).
#[derive(Debug)]
pub(crate) struct Pace {
    every: Duration,
    room: Duration,
    /// When the bucket would be full again.
    full_at: Mutex<Option<Instant>>,
}

impl Pace {
    pub(crate) fn new(qps: f64, burst: u32) -> Self {
        let every = Duration::from_secs_f64(1.0 / qps.max(0.001));
        Self { every, room: every * burst.max(1), full_at: Mutex::new(None) }
    }

    /// Waits for a turn; `false` at once when it would come later than that.
    pub(crate) async fn turn(&self, longest: Duration) -> bool {
        let Some(wait) = self.book(Instant::now(), longest) else { return false };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        true
    }

    fn book(&self, now: Instant, longest: Duration) -> Option<Duration> {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let after = full_at.map_or(now, |at| at.max(now)) + self.every;
        let wait = after.saturating_duration_since(now + self.room);
        if wait > longest {
            return None;
        }
        *full_at = Some(after);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_and_the_rest_in_turn() {
        let (pace, second) = (Pace::new(10.0, 5), Duration::from_secs(1));
        let began = Instant::now();
        for _ in 0..5 {
            assert!(pace.turn(Duration::ZERO).await);
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert!(!pace.turn(Duration::from_millis(50)).await, "the sixth comes after 100 ms");
        for _ in 0..10 {
            assert!(pace.turn(second).await);
        }
        let took = began.elapsed();
        assert!(took >= second && took < second + Duration::from_millis(20), "{took:?}");
    }
}
