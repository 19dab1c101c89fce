//! Who waits for the next step of which operation. The process listens to `operation.updated` once and wakes those who
//! follow that operation; they read the steps themselves, as themselves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use roadstead_bus::{Bus, Subscriber};
use roadstead_contracts::event::Fact;
use roadstead_contracts::ids::{OperationId, UserId};
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::Tasks;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Most followers of one account: a terminal and a dashboard for each of a few dozen clusters.
const PER_CALLER_MAX: usize = 64;
/// Most followers in all: with some 20 KiB for each connection 80 MiB.
const ALL_MAX: usize = 4_096;
/// When a place may be free again.
const RETRY_SECONDS: u32 = 5;

/// Everybody who follows an operation through this process.
pub(crate) struct Live {
    stopping: CancellationToken,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    operations: HashMap<OperationId, Followed>,
    callers: HashMap<UserId, usize>,
    all: usize,
}

struct Followed {
    /// The highest step that was told of.
    step: watch::Sender<i64>,
    followers: usize,
}

impl Live {
    pub(crate) fn new(tasks: &Tasks) -> Arc<Self> {
        Arc::new(Self { stopping: tasks.stopping(), state: Mutex::default() })
    }

    /// Listens, until the process ends.
    pub(crate) async fn follow_events(self: &Arc<Self>, bus: &Bus) -> roadstead_bus::Result<()> {
        let this = Arc::clone(self);
        bus.subscribe(Subscriber::Own, &["operation.*"], move |event| {
            if let Fact::OperationUpdated { operation_id, step, .. } = event.fact {
                this.wake(operation_id, step);
            }
            std::future::ready(Ok(()))
        })
        .await
    }

    fn wake(&self, operation: OperationId, step: i64) {
        let state = self.lock();
        if let Some(followed) = state.operations.get(&operation) {
            // Events may come twice and out of order: only a higher step is news.
            followed.step.send_if_modified(|known| {
                let news = step > *known;
                *known = step.max(*known);
                news
            });
        }
    }

    /// A place among the followers of an operation. Taken before the first look, so that no step falls between.
    pub(crate) fn follow(self: &Arc<Self>, caller: UserId, operation: OperationId) -> Result<Place> {
        let mut state = self.lock();
        if state.all >= ALL_MAX {
            let full = Error::new(Code::Unavailable, "this front door has as many followers as it takes");
            return Err(full.retry_after(RETRY_SECONDS));
        }
        let own = state.callers.entry(caller).or_default();
        if *own >= PER_CALLER_MAX {
            let full = format!("an account follows at most {PER_CALLER_MAX} operations at a time");
            return Err(Error::new(Code::RateLimited, full).retry_after(RETRY_SECONDS));
        }
        *own += 1;
        state.all += 1;
        let followed =
            state.operations.entry(operation).or_insert_with(|| Followed { step: watch::Sender::new(0), followers: 0 });
        followed.followers += 1;
        let step = followed.step.subscribe();
        Ok(Place { live: Arc::clone(self), caller, operation, step })
    }

    fn leave(&self, caller: UserId, operation: OperationId) {
        let mut state = self.lock();
        state.all -= 1;
        if let Some(own) = state.callers.get_mut(&caller) {
            *own -= 1;
            if *own == 0 {
                state.callers.remove(&caller);
            }
        }
        if let Some(followed) = state.operations.get_mut(&operation) {
            followed.followers -= 1;
            if followed.followers == 0 {
                state.operations.remove(&operation);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A follower's place; free again when it is dropped.
pub(crate) struct Place {
    live: Arc<Live>,
    caller: UserId,
    operation: OperationId,
    step: watch::Receiver<i64>,
}

impl Place {
    /// Until a higher step was told of.
    pub(crate) async fn woken(&mut self) {
        if self.step.changed().await.is_err() {
            // The sender lives as long as this place does.
            std::future::pending::<()>().await;
        }
    }

    /// Fires when the process takes no new work.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.live.stopping.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.live.leave(self.caller, self.operation);
    }
}

#[cfg(test)]
mod tests {
    use roadstead_contracts::ids::TypedId;

    use super::*;

    fn id<T: TypedId>(text: &str) -> T {
        T::from_uuid(format!("0198c5b0-0000-7000-8000-0000000000{text}").parse().unwrap())
    }

    fn counts(live: &Live) -> (usize, usize, usize) {
        let state = live.lock();
        (state.all, state.callers.len(), state.operations.len())
    }

    #[tokio::test]
    async fn only_higher_steps_wake_and_places_are_given_back() {
        let live = Live::new(&Tasks::new());
        let (ada, one, two): (UserId, OperationId, OperationId) = (id("01"), id("02"), id("03"));
        let mut place = live.follow(ada, one).unwrap();
        let _other = live.follow(ada, two).unwrap();
        live.wake(one, 3);
        place.woken().await;
        live.wake(one, 3);
        live.wake(one, 2);
        live.wake(two, 9);
        let quiet = tokio::time::timeout(std::time::Duration::from_millis(20), place.woken()).await;
        assert!(quiet.is_err());
        drop(place);
        assert_eq!(counts(&live), (1, 1, 1));
    }

    #[test]
    fn places_are_bounded() {
        let live = Live::new(&Tasks::new());
        let one: OperationId = id("02");
        let mut places: Vec<Place> = (0..PER_CALLER_MAX).map(|_| live.follow(id("01"), one).unwrap()).collect();
        assert_eq!(live.follow(id("01"), one).err().unwrap().code, Code::RateLimited);
        places.extend((0..PER_CALLER_MAX).map(|_| live.follow(id("04"), one).unwrap()));
        places.clear();
        assert_eq!(counts(&live), (0, 0, 0));
    }
}
