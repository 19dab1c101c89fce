//! Quotas by GCRA (the leaky bucket as a meter): one number per key, the time at which the bucket would be empty.
//!
//! Both back ends do the same sum, in whole microseconds; the Redis one does it in [`crate::redis`]'s script by the
//! server's clock, so that replicas with clocks apart share one truth.

use std::time::Duration;

/// `limit` each `per`, of which `burst` at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The period.
    pub per: Duration,
    /// How many in it.
    pub limit: u32,
    /// How many at once after a pause, at least 1.
    pub burst: u32,
}

impl Quota {
    /// So many a minute, all of them at once if need be.
    pub fn per_minute(limit: u32) -> Self {
        Self { per: Duration::from_secs(60), limit, burst: limit }
    }

    /// So many a second with a larger burst.
    pub fn per_second(limit: u32, burst: u32) -> Self {
        Self { per: Duration::from_secs(1), limit, burst }
    }

    /// Microseconds that one unit costs.
    pub(crate) fn interval(self) -> i64 {
        let per = i64::try_from(self.per.as_micros()).unwrap_or(i64::MAX);
        (per / i64::from(self.limit.max(1))).max(1)
    }

    /// Most of them at once.
    pub(crate) fn capacity(self) -> u32 {
        self.burst.max(1)
    }
}

/// What came of taking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Whether there was enough; if not, nothing was taken.
    pub allowed: bool,
    /// How many are left.
    pub remaining: u32,
    /// How many there can be.
    pub limit: u32,
    /// Until it is full again.
    pub reset_after: Duration,
    /// Until the same taking would be allowed; zero when it was.
    pub retry_after: Duration,
}

/// The sum: `empty_at` and `now` in microseconds. Answers the new `empty_at` (unchanged when refused) and the outcome.
pub(crate) fn take(empty_at: Option<i64>, now: i64, quota: Quota, cost: u32) -> (i64, Taken) {
    let interval = quota.interval();
    let tolerance = interval.saturating_mul(i64::from(quota.capacity()));
    // Times far ahead come from garbage or a clock that went back: never further than a full bucket.
    let before = empty_at.unwrap_or(now).clamp(now, now.saturating_add(tolerance));
    let after = before.saturating_add(interval.saturating_mul(i64::from(cost)));
    let over = after.saturating_sub(tolerance).saturating_sub(now);
    let allowed = over <= 0;
    let kept = if allowed { after } else { before };
    (kept, outcome(allowed, kept - now, over, quota))
}

pub(crate) fn outcome(allowed: bool, full_in: i64, over: i64, quota: Quota) -> Taken {
    let interval = quota.interval();
    let capacity = quota.capacity();
    let tolerance = interval.saturating_mul(i64::from(capacity));
    let micros = |number: i64| Duration::from_micros(u64::try_from(number).unwrap_or(0));
    Taken {
        allowed,
        remaining: u32::try_from(((tolerance - full_in) / interval).max(0)).unwrap_or(capacity).min(capacity),
        limit: capacity,
        reset_after: micros(full_in),
        retry_after: if allowed { Duration::ZERO } else { micros(over) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_each_interval() {
        let quota = Quota::per_minute(60);
        let mut empty_at = None;
        for left in (0..60).rev() {
            let (next, taken) = take(empty_at, 0, quota, 1);
            assert!(taken.allowed);
            assert_eq!((taken.remaining, taken.limit), (left, 60));
            empty_at = Some(next);
        }
        let (next, taken) = take(empty_at, 0, quota, 1);
        assert!(!taken.allowed);
        assert_eq!(taken.retry_after, Duration::from_secs(1));
        assert_eq!(taken.reset_after, Duration::from_secs(60));
        assert!(take(Some(next), 1_000_000, quota, 1).1.allowed);
        assert!(!take(Some(next), 999_999, quota, 1).1.allowed);
    }

    #[test]
    fn garbage_never_locks_for_longer_than_a_full_bucket() {
        let quota = Quota::per_second(10, 20);
        for odd in [i64::MAX, i64::MIN, 0, 10_i64.pow(17)] {
            let (_, taken) = take(Some(odd), 1_700_000_000_000_000, quota, 1);
            assert!(taken.reset_after <= Duration::from_secs(2), "{odd}: {taken:?}");
        }
        assert!(!take(None, 0, quota, 21).1.allowed);
    }
}
