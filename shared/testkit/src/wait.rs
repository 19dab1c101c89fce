//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at: often enough not to slow a test, seldom enough not to load two cores.
const POLL: Duration = Duration::from_millis(50);

/// Asks `condition` until it answers `Ok`, and says its last objection when `limit` has passed.
pub fn until<T, E: std::fmt::Display>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<T, E>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(objection) if started.elapsed() >= limit => {
                bail!("{what}: not so after {limit:?}, last seen: {objection:#}")
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

/// As [`until`], for an async condition; with the answer, how long it took.
#[cfg(feature = "async")]
pub async fn eventually<T, E, F>(what: &str, limit: Duration, mut condition: impl FnMut() -> F) -> Result<(T, Duration)>
where
    E: std::fmt::Display,
    F: Future<Output = Result<T, E>>,
{
    let started = Instant::now();
    let mut objection = String::new();
    loop {
        let left = limit.saturating_sub(started.elapsed());
        // A condition that never answers is not met either.
        match tokio::time::timeout(left.max(POLL), condition()).await {
            Ok(Ok(value)) => return Ok((value, started.elapsed())),
            Ok(Err(error)) => objection = format!("{error:#}"),
            Err(_) => objection.push_str(" (and then no answer)"),
        }
        if started.elapsed() >= limit {
            bail!("{what}: not so after {limit:?}, last seen: {objection}");
        }
        tokio::time::sleep(POLL).await;
    }
}
