//! Passwords: argon2id, a bounded number at a time, away from the async threads.

use std::fmt;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use roadstead_runtime::Secret;
use tokio::sync::Semaphore;

use crate::{Error, Result};

/// Memory in KiB, passes and lanes: OWASP's first recommendation for argon2id (about 20 ms on one core).
const COST: (u32, u32, u32) = (19_456, 2, 1);
/// Largest costs of a stored hash that are honoured: a hash from elsewhere must not take the machine.
const COST_MAX: (u32, u32, u32) = (262_144, 16, 16);
/// Longest password that is hashed. Longer ones are refused before any work (reliability row A13).
pub const PASSWORD_MAX: usize = 1_024;
/// Passwords that may wait for their turn: about a second and a half of work for one core.
const WAITING_MAX: usize = 64;
/// Most that run at a time, whatever the machine: each takes 19 MiB.
const RUNNING_MAX: usize = 8;

fn engine() -> Result<Argon2<'static>> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).map_err(|_| Error::BadKey("argon2 parameters"))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// Hashes a password with a salt of its own, as a PHC string. Takes tens of milliseconds: use [`Hasher`] in services.
pub fn hash(password: &Secret) -> Result<String> {
    if password.expose().len() > PASSWORD_MAX {
        return Err(Error::Invalid);
    }
    let hash = engine()?.hash_password(password.expose().as_bytes()).map_err(|_| Error::BadKey("argon2 failed"))?;
    Ok(hash.to_string())
}

/// Whether the password belongs to the PHC string. Takes tens of milliseconds: use [`Hasher`] in services.
pub fn verify(password: &Secret, hash: &str) -> bool {
    if password.expose().len() > PASSWORD_MAX {
        return false;
    }
    let Ok(parsed) = PasswordHash::new(hash) else { return false };
    let Ok(params) = Params::try_from(&parsed) else { return false };
    if is_too_costly(&params) {
        return false;
    }
    engine().is_ok_and(|engine| engine.verify_password(password.expose().as_bytes(), &parsed).is_ok())
}

fn is_too_costly(params: &Params) -> bool {
    let (memory, passes, lanes) = COST_MAX;
    params.m_cost() > memory || params.t_cost() > passes || params.p_cost() > lanes
}

/// Whether a stored hash was made with other costs than ours: hash again at the next good login.
pub fn is_outdated(hash: &str) -> bool {
    let params = PasswordHash::new(hash).ok().and_then(|parsed| Params::try_from(&parsed).ok());
    params.is_none_or(|params| (params.m_cost(), params.t_cost(), params.p_cost()) != COST)
}

/// Hashes and checks a bounded number of passwords at a time on the blocking pool.
#[derive(Clone)]
pub struct Hasher {
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
    // A hash of nobody's password: unknown users cost as much time as known ones.
    dummy: Arc<str>,
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").field("free", &self.running.available_permits()).finish_non_exhaustive()
    }
}

impl Hasher {
    /// As many at a time as the machine has cores, less one for everything else.
    pub fn new() -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::with_limits(cores.saturating_sub(1).clamp(1, RUNNING_MAX), WAITING_MAX)
    }

    /// So many at a time, so many waiting.
    pub fn with_limits(running: usize, waiting: usize) -> Result<Self> {
        let dummy = hash(&Secret::new("nobody's password"))?;
        Ok(Self {
            running: Arc::new(Semaphore::new(running)),
            admitted: Arc::new(Semaphore::new(running + waiting)),
            dummy: dummy.into(),
        })
    }

    /// [`hash`], when its turn comes. [`Error::Busy`] when too many wait.
    pub async fn hash(&self, password: Secret) -> Result<String> {
        self.run(move || hash(&password)).await?
    }

    /// [`verify`], when its turn comes; with no stored hash (unknown user) the same work is done and the answer is no.
    pub async fn verify(&self, password: Secret, stored: Option<String>) -> Result<bool> {
        let dummy = Arc::clone(&self.dummy);
        self.run(move || {
            let matches = verify(&password, stored.as_deref().unwrap_or(&dummy));
            matches && stored.is_some()
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| Error::Busy)?;
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|_| Error::Busy)?;
        // The permits go with the work: a caller that leaves does not make room for another one.
        let task = tokio::task::spawn_blocking(move || {
            let done = work();
            drop((running, admitted));
            done
        });
        task.await.map_err(|_| Error::Busy)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hash_and_verify() {
        let password = Secret::new("password123");
        let stored = hash(&password).unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert_ne!(stored, hash(&password).unwrap(), "each has its own salt");
        assert!(verify(&password, &stored));
        assert!(!verify(&Secret::new("password124"), &stored));
        assert!(!is_outdated(&stored) && is_outdated("$argon2id$v=19$m=65536,t=4,p=2$c2FsdHNhbHQ$aGFzaA"));
    }

    #[test]
    fn too_long_or_too_costly_is_refused_at_once() {
        let long = Secret::new("x".repeat(PASSWORD_MAX + 1));
        assert_eq!(hash(&long), Err(Error::Invalid));
        let costly = "$argon2id$v=19$m=4194304,t=2,p=1$c2FsdHNhbHRzYWx0$MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE";
        assert!(!verify(&Secret::new("x"), costly));
    }

    #[test]
    fn passwords_are_taken_up_to_their_bound() {
        let longest = Secret::new("x".repeat(PASSWORD_MAX));
        let stored = hash(&longest).unwrap();
        assert!(verify(&longest, &stored));
        // A hash that another program made of a longer one is not looked at.
        let longer = Secret::new("x".repeat(PASSWORD_MAX + 1));
        let stored = engine().unwrap().hash_password(longer.expose().as_bytes()).unwrap().to_string();
        assert!(!verify(&longer, &stored));
    }

    #[test]
    fn costs_of_stored_hashes_have_bounds() {
        let (memory, passes, lanes) = COST_MAX;
        let costly = |memory, passes, lanes| is_too_costly(&Params::new(memory, passes, lanes, None).unwrap());
        assert!(!costly(memory, passes, lanes) && !costly(COST.0, COST.1, COST.2));
        assert!(costly(memory + 1, 1, 1) && costly(memory * 2, 1, 1));
        assert!(costly(1_024, passes + 1, 1) && costly(1_024, passes * 2, 1));
        assert!(costly(1_024, 1, lanes + 1) && costly(1_024, 1, lanes * 2));
    }

    #[tokio::test]
    async fn a_hasher_knows_a_password_and_does_not_print_it() {
        let hasher = Hasher::with_limits(1, 1).unwrap();
        assert!(format!("{hasher:?}").starts_with("Hasher { free: 1"), "{hasher:?}");
        let stored = hasher.hash(Secret::new("password123")).await.unwrap();
        assert_eq!(hasher.verify(Secret::new("password123"), Some(stored.clone())).await, Ok(true));
        assert_eq!(hasher.verify(Secret::new("password124"), Some(stored)).await, Ok(false));
    }

    #[tokio::test]
    async fn surplus_is_refused_and_unknown_users_cost_the_same_work() {
        let hasher = Hasher::with_limits(1, 1).unwrap();
        assert!(!hasher.verify(Secret::new("nobody's password"), None).await.unwrap());
        let attempts = (0..8).map(|_| {
            let hasher = hasher.clone();
            async move { hasher.verify(Secret::new("x"), None).await }
        });
        let answers = join(attempts).await;
        assert_eq!(answers.iter().filter(|answer| matches!(answer, Err(Error::Busy))).count(), 6);
        assert!(hasher.hash(Secret::new("password123")).await.is_ok(), "permits come back");
    }

    async fn join<F: std::future::Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
        let mut futures: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
        std::future::poll_fn(|context| {
            let mut pending = false;
            for (future, output) in &mut futures {
                if output.is_none() {
                    match future.as_mut().poll(context) {
                        std::task::Poll::Ready(value) => *output = Some(value),
                        std::task::Poll::Pending => pending = true,
                    }
                }
            }
            if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
        })
        .await;
        futures.into_iter().filter_map(|(_, output)| output).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn garbage_hashes_do_not_panic(text in ".{0,120}", tail in "[$a-z0-9=,+/]{0,80}") {
            let _ = verify(&Secret::new("x"), &text);
            let _ = is_outdated(&text);
            let _ = is_outdated(&format!("$argon2id$v=19${tail}"));
        }
    }
}
