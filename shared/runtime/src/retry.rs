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
        ids.jitter(self.whole(attempt))
    }

    fn whole(&self, attempt: u32) -> Duration {
        let factor = 1u32.checked_shl(attempt.min(20)).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// The wait before the same try, of which a quarter more or less is drawn and no more: for tries that are to last a known
    /// time all together, whatever is drawn.
    pub fn steady(&self, attempt: u32, ids: &Ids) -> Duration {
        let whole = self.whole(attempt);
        whole * 3 / 4 + ids.jitter(whole / 2)
    }

    /// The same as [`Self::delay`], but never longer than the trouble has lasted: tries that drew short waits count up fast, and a hub that was
    /// away for four seconds should not be missed for half a minute.
    pub fn delay_after(&self, attempt: u32, away: Duration, ids: &Ids) -> Duration {
        Self { base: self.base, cap: self.cap.min(away.max(self.base)) }.delay(attempt, ids)
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

    #[test]
    fn steady_waits_are_near_the_whole() {
        let ids = Ids::seeded(SystemClock::shared(), 1);
        let backoff = Backoff { base: Duration::from_secs(8), cap: Duration::from_secs(100) };
        for attempt in 0..64 {
            let whole = backoff.whole(attempt);
            assert!((whole * 3 / 4..=whole * 5 / 4).contains(&backoff.steady(attempt, &ids)), "{attempt}");
        }
    }

    #[test]
    fn regression_a_short_outage_is_not_followed_by_a_long_wait() {
        let ids = Ids::seeded(SystemClock::shared(), 1);
        let backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(30) };
        let away = Duration::from_secs(4);
        assert!((0..256).all(|_| backoff.delay_after(6, away, &ids) <= away));
        assert!((0..256).any(|_| backoff.delay_after(6, Duration::from_secs(600), &ids) > Duration::from_secs(20)));
        assert!((0..256).all(|_| backoff.delay_after(6, Duration::ZERO, &ids) <= backoff.base));
    }
}
