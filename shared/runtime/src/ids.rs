//! Ids and randomness as a parameter.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use roadstead_contracts::ids::TypedId;
use uuid::Uuid;

use crate::{Secret, SharedClock};

/// Source of ids, tokens and jitter. The system's is a cryptographic generator; a seeded one repeats itself for tests.
#[derive(Clone)]
pub struct Ids {
    clock: SharedClock,
    source: Source,
}

#[derive(Clone)]
enum Source {
    System,
    Seeded(Arc<Mutex<StdRng>>),
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ids")
    }
}

impl Ids {
    /// The process's source: a cryptographic generator seeded by the operating system.
    pub fn system(clock: SharedClock) -> Self {
        Self { clock, source: Source::System }
    }

    /// A source that repeats itself. For tests only.
    pub fn seeded(clock: SharedClock, seed: u64) -> Self {
        Self { clock, source: Source::Seeded(Arc::new(Mutex::new(StdRng::seed_from_u64(seed)))) }
    }

    /// A new UUIDv7 of the asked kind (RFC 9562 §5.7): sorts by time.
    pub fn next<T: TypedId>(&self) -> T {
        T::from_uuid(self.uuid())
    }

    /// A new UUIDv7.
    pub fn uuid(&self) -> Uuid {
        let milliseconds = u64::try_from(self.clock.now().timestamp_millis()).unwrap_or(0);
        let mut random = [0; 10];
        self.fill(&mut random);
        uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid()
    }

    /// Random bytes.
    pub fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A secret of so many random bytes, as base64url without padding.
    pub fn token(&self, bytes: usize) -> Secret {
        let mut buffer = vec![0; bytes];
        self.fill(&mut buffer);
        Secret::new(URL_SAFE_NO_PAD.encode(buffer))
    }

    /// A duration from zero to `max`, both included.
    pub fn jitter(&self, max: Duration) -> Duration {
        let top = u64::try_from(max.as_micros()).unwrap_or(u64::MAX);
        let micros = match &self.source {
            Source::System => rand::rng().random_range(0..=top),
            Source::Seeded(rng) => rng.lock().unwrap_or_else(PoisonError::into_inner).random_range(0..=top),
        };
        Duration::from_micros(micros)
    }

    fn fill(&self, bytes: &mut [u8]) {
        match &self.source {
            Source::System => rand::rng().fill_bytes(bytes),
            Source::Seeded(rng) => rng.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use roadstead_contracts::ids::ClusterId;

    use super::*;
    use crate::SystemClock;

    #[test]
    fn ids_differ_and_seeds_repeat() {
        let ids = Ids::system(SystemClock::shared());
        assert_ne!(ids.next::<ClusterId>(), ids.next::<ClusterId>());
        assert_eq!(ids.uuid().get_version_num(), 7);
        let clock = SystemClock::shared();
        let (one, two) = (Ids::seeded(clock.clone(), 7), Ids::seeded(clock, 7));
        assert_eq!(one.random_bytes::<16>(), two.random_bytes::<16>());
        assert_eq!(one.token(32).expose(), two.token(32).expose());
        assert_eq!(one.token(32).expose().len(), 43);
    }
}
