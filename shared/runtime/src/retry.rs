//! How long to wait before trying again.

use std::time::Duration;

use crate::Ids;

/// Exponential back-off with full jitter: after the cap is applied, a time between zero and it is drawn, so that many
/// clients that failed together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Longest first wait.
    pub base: Duration,
    /// Longest wait ever.
    pub cap: Duration,
}

impl Backoff {
    /// The wait before try number `attempt`, counted from 0.
    pub fn delay(&self, attempt: u32, ids: &Ids) -> Duration {
        let factor = 1u32.checked_shl(attempt.min(20)).unwrap_or(u32::MAX);
        ids.jitter(self.base.saturating_mul(factor).min(self.cap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemClock;

    #[test]
    fn delays_stay_under_the_cap() {
        let ids = Ids::seeded(SystemClock::shared(), 1);
        let backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(5) };
        for attempt in 0..64 {
            assert!(backoff.delay(attempt, &ids) <= backoff.cap);
        }
        assert!((0..32).any(|_| backoff.delay(10, &ids) > Duration::from_secs(1)));
    }
}
