//! One dead cluster costs its callers little: after a few exchanges in a row that were never answered, the next ones are
//! refused at once for a while, but for one that tries.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::{Code, Error, Result};
use tokio::time::Instant;

/// Failures in a row that open the circuit: one or two happen while an agent moves.
const FAILURES: u32 = 3;
/// How long callers are refused before one may try: kubectl's own retry after `Retry-After` finds it closed again.
const OPEN_FOR: Duration = Duration::from_secs(5);
/// Clusters remembered; only failing ones are, so this is a guard and no limit.
const CLUSTERS_MAX: usize = 20_000;

#[derive(Debug, Clone, Copy)]
struct State {
    failures: u32,
    open_until: Option<Instant>,
}

/// The circuits of all clusters. Those that work have no entry.
#[derive(Debug, Default)]
pub(crate) struct Breakers {
    states: Mutex<HashMap<ClusterId, State>>,
}

impl Breakers {
    /// Whether an exchange may be tried.
    pub(crate) fn check(&self, cluster: ClusterId) -> Result<()> {
        let now = Instant::now();
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(State { open_until: Some(until), .. }) = states.get_mut(&cluster) else { return Ok(()) };
        if *until > now {
            let seconds = u32::try_from((*until - now).as_secs()).unwrap_or(0) + 1;
            return Err(Error::new(Code::Unavailable, "the cluster does not answer").retry_after(seconds));
        }
        // This one tries; the others wait for what comes of it.
        *until = now + OPEN_FOR;
        Ok(())
    }

    /// The cluster answered, whatever it said.
    pub(crate) fn answered(&self, cluster: ClusterId) {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).remove(&cluster);
    }

    /// The exchange failed. Only silence and absence count; a refusal of the agent is an answer.
    pub(crate) fn failed(&self, cluster: ClusterId, error: &Error) {
        if !matches!(error.code, Code::Timeout | Code::AgentOffline) {
            return;
        }
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if states.len() >= CLUSTERS_MAX {
            states.clear();
        }
        let state = states.entry(cluster).or_insert(State { failures: 0, open_until: None });
        state.failures += 1;
        if state.failures >= FAILURES {
            state.open_until = Some(Instant::now() + OPEN_FOR);
        }
    }
}

#[cfg(test)]
mod tests {
    use roadstead_contracts::ids::TypedId as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_cluster_is_left_alone_for_a_while() {
        let (breakers, cluster) = (Breakers::default(), ClusterId::from_uuid(uuid::Uuid::from_u128(1)));
        for _ in 0..FAILURES {
            breakers.check(cluster).unwrap();
            breakers.failed(cluster, &Code::Timeout.into());
        }
        let refused = breakers.check(cluster).unwrap_err();
        assert_eq!(refused.code, Code::Unavailable);
        assert!((1..=6).contains(&refused.retry_after.unwrap()));
        tokio::time::advance(OPEN_FOR).await;
        breakers.check(cluster).unwrap();
        assert!(breakers.check(cluster).is_err(), "one tries, not all");
        breakers.answered(cluster);
        breakers.check(cluster).unwrap();
        breakers.failed(cluster, &Code::AgentBusy.into());
        breakers.check(cluster).unwrap();
    }
}
