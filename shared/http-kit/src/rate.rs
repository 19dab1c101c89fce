//! How often a caller may ask. A shared count (Redis in the mesh) decides, behind a count of this process that saves the
//! round trip for a caller who is over it anyway and stands in when the shared one is away (reliability row F08).

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use async_trait::async_trait;
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use roadstead_contracts::message::CredentialProof;
use roadstead_contracts::{Code, Error, Result};

/// Every class counts over a minute, as the seeds' limits are written.
const PERIOD: Duration = Duration::from_secs(60);
/// Forget idle keys after so many counts.
const SWEEP_EVERY: u32 = 4_096;
/// Most keys a process counts apart (16 bytes each), as of the last sweep; beyond it callers share one count until a sweep.
const KEYS_MAX: usize = 200_000;
/// Most keys remembered as refused just now.
const REFUSED_MAX: usize = 10_000;

/// Which quota a route counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RateClass {
    /// Not counted: probes.
    Free,
    /// The seeds' routes.
    Seed,
    /// `/api/v1` and our own routes.
    Api,
    /// Log in, refresh, register.
    Login,
    /// A quota of its own, with its name: so many a minute.
    Own(&'static str, u32),
}

/// Sizes of the classes, per minute.
#[derive(Debug, Clone, Copy)]
pub struct RateSettings {
    /// Off: nothing is counted.
    pub enabled: bool,
    /// Of [`RateClass::Seed`], and of failed log-ins from one address.
    pub seed: u32,
    /// Of [`RateClass::Api`].
    pub api: u32,
    /// Of [`RateClass::Login`].
    pub login: u32,
}

impl Default for RateSettings {
    fn default() -> Self {
        Self { enabled: true, seed: 60, api: 1_200, login: 10 }
    }
}

/// Whose requests are counted together.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Counted<'a> {
    /// Everybody behind an address.
    Address(IpAddr),
    /// The credential, not the address it came from; a key also while two secrets of it are good.
    Credential(&'a CredentialProof),
}

impl Hash for Counted<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Address(address) => (b'a', address).hash(state),
            Self::Credential(CredentialProof::ApiKey { id, .. }) => (b'k', id).hash(state),
            Self::Credential(CredentialProof::LegacyApiKey { digest }) => (b'l', digest).hash(state),
            Self::Credential(CredentialProof::Session { session_id, .. }) => (b's', session_id).hash(state),
        }
    }
}

/// As the shared count knows it.
impl fmt::Display for Counted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Credential(CredentialProof::ApiKey { id, .. }) => write!(f, "k{id}"),
            Self::Credential(CredentialProof::LegacyApiKey { digest }) => write!(f, "l{digest}"),
            Self::Credential(CredentialProof::Session { session_id, .. }) => write!(f, "s{session_id}"),
        }
    }
}

/// What the count says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Whether the request may go on.
    pub allowed: bool,
    /// How many more may.
    pub remaining: u32,
    /// When the quota is whole again.
    pub reset_after: Duration,
    /// When the next one may, if this one may not.
    pub retry_after: Duration,
}

/// The count that replicas share.
#[async_trait]
pub trait Quotas: Send + Sync {
    /// Takes one of `limit` per `period` under `key`; nothing when the store is away.
    async fn take(&self, key: &str, limit: u32, period: Duration) -> Option<Taken>;
}

type Keyed = RateLimiter<u64, DashMapStateStore<u64>, DefaultClock, StateInformationMiddleware>;

/// Counts requests by class and caller.
pub struct Limiter {
    settings: RateSettings,
    shared: Option<Arc<dyn Quotas>>,
    // Keys are hashed with a secret of the process: 8 bytes a key, and nobody can aim at another's.
    hasher: RandomState,
    local: by_limit::ByLimit,
    refused: Mutex<HashMap<u64, Instant>>,
    clock: DefaultClock,
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// One governor per quota size, because a governor has one quota.
mod by_limit {
    use std::sync::{Arc, PoisonError, RwLock};

    use super::{AtomicBool, AtomicU32, Keyed};

    /// A handful, so that looking at each is quicker than hashing one.
    #[derive(Default)]
    pub(super) struct ByLimit(RwLock<Vec<(u32, Arc<Local>)>>);

    pub(super) struct Local {
        pub(super) keyed: Keyed,
        pub(super) counted: AtomicU32,
        /// As of the last sweep there were too many keys.
        pub(super) full: AtomicBool,
    }

    impl ByLimit {
        pub(super) fn get(&self, limit: u32, make: impl FnOnce() -> Keyed) -> Arc<Local> {
            let find = |list: &[(u32, Arc<Local>)]| {
                list.iter().find(|(known, _)| *known == limit).map(|(_, local)| Arc::clone(local))
            };
            if let Some(found) = find(&self.0.read().unwrap_or_else(PoisonError::into_inner)) {
                return found;
            }
            let mut list = self.0.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = find(&list) {
                return found;
            }
            let made = Arc::new(Local { keyed: make(), counted: AtomicU32::new(0), full: AtomicBool::new(false) });
            list.push((limit, Arc::clone(&made)));
            made
        }
    }
}

impl Limiter {
    /// Counts here, and in the shared count when there is one.
    pub fn new(settings: RateSettings, shared: Option<Arc<dyn Quotas>>) -> Self {
        Self {
            settings,
            shared,
            hasher: RandomState::new(),
            local: by_limit::ByLimit::default(),
            refused: Mutex::default(),
            clock: DefaultClock::default(),
        }
    }

    /// The name and size of a class; nothing when it is not counted.
    pub fn quota(&self, class: RateClass) -> Option<(&'static str, u32)> {
        if !self.settings.enabled {
            return None;
        }
        match class {
            RateClass::Free => None,
            RateClass::Seed => Some(("seed", self.settings.seed)),
            RateClass::Api => Some(("api", self.settings.api)),
            RateClass::Login => Some(("login", self.settings.login)),
            RateClass::Own(name, limit) => Some((name, limit)),
        }
    }

    /// Counts one request. The headers to answer with are in the error's response too: see [`RateHeaders`].
    pub(crate) async fn take(&self, class: RateClass, whose: Counted<'_>) -> Option<RateHeaders> {
        let (name, limit) = self.quota(class)?;
        let hash = self.hasher.hash_one((name, whose));
        let local = self.take_local(hash, limit);
        let taken = match (&self.shared, local.allowed) {
            (Some(shared), true) => shared.take(&format!("{name}:{whose}"), limit, PERIOD).await.unwrap_or(local),
            _ => local,
        };
        if !taken.allowed {
            self.remember(hash, taken.retry_after);
        }
        Some(RateHeaders { name, limit, taken })
    }

    /// The refusal, when this process' count under `key` is used up; takes nothing.
    pub(crate) fn peek(&self, class: RateClass, whose: Counted<'_>) -> Option<RateHeaders> {
        let (name, limit) = self.quota(class)?;
        let hash = self.hasher.hash_one((name, whose));
        let until = self.refused.lock().unwrap_or_else(PoisonError::into_inner).get(&hash).copied()?;
        let retry_after = until.checked_duration_since(Instant::now())?;
        let taken = Taken { allowed: false, remaining: 0, reset_after: PERIOD, retry_after };
        Some(RateHeaders { name, limit, taken })
    }

    fn remember(&self, hash: u64, retry_after: Duration) {
        let now = Instant::now();
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() >= REFUSED_MAX {
            refused.retain(|_, until| *until > now);
        }
        // Still full: the count itself goes on refusing, only the short cut is missing.
        if refused.len() < REFUSED_MAX {
            refused.insert(hash, now + retry_after);
        }
    }

    fn take_local(&self, hash: u64, limit: u32) -> Taken {
        let limit = NonZeroU32::new(limit).unwrap_or(NonZeroU32::MIN);
        let local = self.local.get(limit.get(), || {
            let quota = Quota::per_minute(limit).allow_burst(limit);
            RateLimiter::dashmap(quota).with_middleware::<StateInformationMiddleware>()
        });
        if local.counted.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            local.keyed.retain_recent();
            // Counting the keys takes every lock of the map, so it is done with the sweep.
            local.full.store(local.keyed.len() > KEYS_MAX, Ordering::Relaxed);
        }
        let hash = if local.full.load(Ordering::Relaxed) { 0 } else { hash };
        let each = PERIOD / limit.get();
        match local.keyed.check_key(&hash) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                let missing = limit.get().saturating_sub(remaining);
                Taken { allowed: true, remaining, reset_after: each * missing, retry_after: Duration::ZERO }
            }
            Err(refused) => {
                let retry_after = refused.wait_time_from(self.clock.now());
                Taken { allowed: false, remaining: 0, reset_after: PERIOD, retry_after }
            }
        }
    }
}

/// What a counted answer says about its quota (headers of the IETF draft "RateLimit header fields for HTTP", as
/// separate fields, which clients read most).
#[derive(Debug, Clone, Copy)]
pub(crate) struct RateHeaders {
    pub(crate) name: &'static str,
    limit: u32,
    taken: Taken,
}

impl RateHeaders {
    /// The refusal when the quota is used up, in the seed's words.
    pub(crate) fn verdict(&self) -> Result<()> {
        if self.taken.allowed {
            return Ok(());
        }
        let detail = format!("Rate limit exceeded. Maximum {} requests per {} seconds.", self.limit, PERIOD.as_secs());
        Err(Error::new(Code::RateLimited, detail).retry_after(whole_seconds(self.taken.retry_after).max(1)))
    }

    /// Writes the headers.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let values = [
            ("ratelimit-limit", self.limit),
            ("ratelimit-remaining", self.taken.remaining),
            ("ratelimit-reset", whole_seconds(self.taken.reset_after)),
        ];
        for (name, value) in values {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        }
    }
}

/// Rounded up: a client that waits so long is not refused again.
fn whole_seconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Away;

    #[async_trait]
    impl Quotas for Away {
        async fn take(&self, _: &str, _: u32, _: Duration) -> Option<Taken> {
            None
        }
    }

    #[actix_web::test]
    async fn the_quota_ends_and_says_so() {
        for shared in [None, Some(Arc::new(Away) as Arc<dyn Quotas>)] {
            let limiter = Limiter::new(RateSettings { seed: 3, ..RateSettings::default() }, shared);
            let [one, two] = [1, 2].map(|last| Counted::Address(IpAddr::from([192, 0, 2, last])));
            for left in [2, 1, 0] {
                let headers = limiter.take(RateClass::Seed, one).await.unwrap();
                assert!(headers.verdict().is_ok());
                assert_eq!(headers.taken.remaining, left);
            }
            let refused = limiter.take(RateClass::Seed, one).await.unwrap().verdict().unwrap_err();
            assert_eq!(refused.detail, "Rate limit exceeded. Maximum 3 requests per 60 seconds.");
            assert!((1..=20).contains(&refused.retry_after.unwrap()));
            assert!(limiter.take(RateClass::Seed, two).await.unwrap().verdict().is_ok());
            assert!(limiter.take(RateClass::Own("seed-too", 3), one).await.unwrap().verdict().is_ok());
        }
    }

    #[actix_web::test]
    async fn too_many_callers_share_one_count_until_a_sweep() {
        let limiter = Limiter::new(RateSettings { api: 1_000_000_000, ..RateSettings::default() }, None);
        let callers = u32::try_from(KEYS_MAX).unwrap() + 2 * SWEEP_EVERY;
        for number in 0..callers {
            limiter.take(RateClass::Api, Counted::Address(IpAddr::from(number.to_be_bytes()))).await.unwrap();
        }
        let most = KEYS_MAX + SWEEP_EVERY as usize + 1;
        let kept = limiter.local.get(1_000_000_000, || unreachable!()).keyed.len();
        assert!(kept <= most, "{kept}");
    }

    #[actix_web::test]
    async fn free_and_disabled_are_not_counted() {
        let one = Counted::Address(IpAddr::from([192, 0, 2, 1]));
        let limiter = Limiter::new(RateSettings::default(), None);
        assert!(limiter.take(RateClass::Free, one).await.is_none());
        let limiter = Limiter::new(RateSettings { enabled: false, ..RateSettings::default() }, None);
        assert!(limiter.take(RateClass::Seed, one).await.is_none());
    }
}
