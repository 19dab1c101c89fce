//! A token bucket without a clock of its own.

/// Lets `burst` events pass at once and one more each `every_us` microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    burst: u32,
    every_us: u64,
    left: u32,
    since_us: u64,
}

impl Bucket {
    /// A full bucket.
    pub(crate) const fn new(burst: u32, every_us: u64) -> Self {
        Self { burst, every_us, left: burst, since_us: 0 }
    }

    /// Takes one token; `false` when there is none.
    pub(crate) fn take(&mut self, now_us: u64) -> bool {
        let earned = now_us.saturating_sub(self.since_us) / self.every_us;
        if earned > 0 {
            self.left = self.left.saturating_add(u32::try_from(earned).unwrap_or(u32::MAX)).min(self.burst);
            self.since_us += earned * self.every_us;
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut bucket = Bucket::new(3, 1_000);
        assert!((0..3).all(|_| bucket.take(0)));
        assert!(!bucket.take(999));
        assert!(bucket.take(1_000) && !bucket.take(1_500));
        assert!((0..3).all(|_| bucket.take(1_000_000)));
        assert!(!bucket.take(1_000_000));
    }
}
