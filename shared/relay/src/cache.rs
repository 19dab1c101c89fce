//! A small cache in which twenty callers that want the same thing at once make one question.
//!
//! An answer ends by the clock and by the time that has passed, whichever is first: where the machine's clock is put back by an hour, an
//! answer for three seconds is not one for an hour; where the machine slept, no time has passed and only the clock knows.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use roadstead_contracts::Result;
use roadstead_runtime::{SharedClock, Tasks};
use tokio::time::Instant;

/// Most entries: at some 500 bytes each 25 MiB; beyond it what is over goes, then everything.
const ENTRIES_MAX: usize = 50_000;

type Question<V> = Shared<BoxFuture<'static, Result<Answer<V>>>>;

/// A value and until when it may be used.
#[derive(Debug)]
pub struct Answer<V> {
    /// The value.
    pub value: Arc<V>,
    /// It may be used before this.
    pub until: DateTime<Utc>,
}

impl<V> Clone for Answer<V> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), until: self.until }
    }
}

/// An answer, and when it is over by the time that has passed.
struct Kept<V> {
    answer: Answer<V>,
    over: Instant,
}

impl<V> Kept<V> {
    /// Keeps an answer that has come just now. One that is over already, or ends too far off to count, is kept for no time.
    fn new(answer: Answer<V>, now: DateTime<Utc>) -> Self {
        let life = (answer.until - now).to_std().unwrap_or_default();
        let here = Instant::now();
        Self { answer, over: here.checked_add(life).unwrap_or(here) }
    }

    fn is_over(&self, now: DateTime<Utc>) -> bool {
        self.answer.until <= now || self.over <= Instant::now()
    }
}

enum Entry<V> {
    Known(Kept<V>),
    Asking(u64, Question<V>),
}

struct State<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Rises with every eviction: an answer that was asked for before one is handed out and not kept.
    generation: u64,
    asked: u64,
}

/// Values by key, each for its own time. Errors are never kept.
pub struct Cache<K, V> {
    clock: SharedClock,
    tasks: Tasks,
    state: Arc<Mutex<State<K, V>>>,
}

impl<K, V> std::fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cache")
    }
}

impl<K, V> Cache<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Send + Sync + 'static,
{
    /// An empty one.
    pub fn new(clock: SharedClock, tasks: Tasks) -> Self {
        Self { clock, tasks, state: Arc::new(Mutex::new(State { entries: HashMap::new(), generation: 0, asked: 0 })) }
    }

    /// The value when it is here.
    pub fn known(&self, key: &K) -> Option<Arc<V>> {
        let now = self.clock.now();
        match self.lock().entries.get(key) {
            Some(Entry::Known(kept)) if !kept.is_over(now) => Some(Arc::clone(&kept.answer.value)),
            _ => None,
        }
    }

    /// The value, asked for with `ask` when it is not here; whoever comes meanwhile waits for the same answer. The
    /// question is asked to its end even when everybody who waits for it has left.
    pub async fn get(&self, key: K, ask: impl FnOnce() -> BoxFuture<'static, Result<Answer<V>>>) -> Result<Arc<V>> {
        let question = {
            let now = self.clock.now();
            let mut state = self.lock();
            match state.entries.get(&key) {
                Some(Entry::Known(kept)) if !kept.is_over(now) => return Ok(Arc::clone(&kept.answer.value)),
                Some(Entry::Asking(_, question)) => question.clone(),
                _ => {
                    state.make_room(now);
                    state.asked += 1;
                    let number = state.asked;
                    let question = self.settled(key.clone(), number, state.generation, ask()).boxed().shared();
                    state.entries.insert(key, Entry::Asking(number, question.clone()));
                    let driven = question.clone();
                    self.tasks.spawn("cache-question", async move {
                        // The answer is in the cache; its error is told to those who wait.
                        let _ = driven.await;
                    });
                    question
                }
            }
        };
        question.await.map(|answer| answer.value)
    }

    fn settled(
        &self,
        key: K,
        number: u64,
        generation: u64,
        ask: BoxFuture<'static, Result<Answer<V>>>,
    ) -> impl Future<Output = Result<Answer<V>>> + Send + use<K, V> {
        let (state, clock) = (Arc::clone(&self.state), Arc::clone(&self.clock));
        async move {
            let answer = ask.await;
            let now = clock.now();
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            if matches!(state.entries.get(&key), Some(Entry::Asking(known, _)) if *known == number) {
                match &answer {
                    Ok(answer) if state.generation == generation => {
                        state.entries.insert(key, Entry::Known(Kept::new(answer.clone(), now)));
                    }
                    _ => {
                        state.entries.remove(&key);
                    }
                }
            }
            answer
        }
    }

    /// Forgets one key: its answer, and one that is being asked for now when it comes. No other key is touched, so it may be
    /// called as often as callers fail.
    pub fn forget(&self, key: &K) {
        // A question whose entry is gone, or another's, is handed out and not kept.
        self.lock().entries.remove(key);
    }

    /// Forgets what matches. What is being asked for now, whatever its key, is forgotten when it comes: only its answer could
    /// say whether it matches.
    pub fn evict(&self, matches: impl Fn(&K, &V) -> bool) {
        let mut state = self.lock();
        state.generation += 1;
        state.entries.retain(|key, entry| match entry {
            Entry::Known(kept) => !matches(key, &kept.answer.value),
            // Callers from now on must not join a question that was asked before the change.
            Entry::Asking(..) => false,
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, V> State<K, V> {
    fn make_room(&mut self, now: DateTime<Utc>) {
        if self.entries.len() < ENTRIES_MAX {
            return;
        }
        self.entries.retain(|_, entry| !matches!(entry, Entry::Known(kept) if kept.is_over(now)));
        if self.entries.len() >= ENTRIES_MAX {
            self.entries.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use chrono::Duration;
    use roadstead_contracts::Code;
    use roadstead_runtime::{Clock as _, ManualClock, SystemClock};

    use super::*;

    struct Rig {
        clock: ManualClock,
        cache: Arc<Cache<u32, u32>>,
        asked: Arc<AtomicU32>,
    }

    impl Rig {
        fn new() -> Self {
            let clock = ManualClock::at(SystemClock.now());
            let cache = Arc::new(Cache::new(Arc::new(clock.clone()), Tasks::new()));
            Self { clock, cache, asked: Arc::default() }
        }

        async fn get(&self, fail: bool) -> Result<Arc<u32>> {
            self.get_of(7, fail).await
        }

        async fn get_of(&self, key: u32, fail: bool) -> Result<Arc<u32>> {
            let (asked, until) = (Arc::clone(&self.asked), self.clock.now() + Duration::seconds(3));
            self.cache
                .get(key, move || {
                    Box::pin(async move {
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                        let number = asked.fetch_add(1, Ordering::SeqCst) + 1;
                        if fail { Err(Code::Unavailable.into()) } else { Ok(Answer { value: Arc::new(number), until }) }
                    })
                })
                .await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn twenty_callers_ask_once() {
        let rig = Rig::new();
        let answers = futures_util::future::join_all((0..20).map(|_| rig.get(false))).await;
        assert!(answers.into_iter().all(|answer| *answer.unwrap() == 1));
        assert_eq!(rig.cache.known(&7).as_deref(), Some(&1));
        rig.clock.advance(Duration::seconds(3));
        assert_eq!(rig.cache.known(&7), None);
        assert_eq!(*rig.get(false).await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn regression_a_clock_that_is_put_back_keeps_no_answer() {
        let rig = Rig::new();
        assert_eq!(*rig.get(false).await.unwrap(), 1);
        rig.clock.advance(Duration::hours(-1));
        tokio::time::advance(std::time::Duration::from_millis(2_900)).await;
        assert_eq!(rig.cache.known(&7).as_deref(), Some(&1), "it is not over");
        tokio::time::advance(std::time::Duration::from_millis(100)).await;
        assert_eq!(rig.cache.known(&7), None, "three seconds have passed, whatever the clock says");
        assert_eq!(*rig.get(false).await.unwrap(), 2);
        // One that is over when it comes is handed out and not kept.
        rig.cache.evict(|_, _| true);
        rig.clock.advance(Duration::seconds(3));
        let late = Answer { value: Arc::new(9), until: rig.clock.now() };
        assert_eq!(*rig.cache.get(7, || Box::pin(std::future::ready(Ok(late)))).await.unwrap(), 9);
        assert_eq!(rig.cache.known(&7), None);
    }

    #[tokio::test(start_paused = true)]
    async fn errors_are_not_kept() {
        let rig = Rig::new();
        assert!(rig.get(true).await.is_err());
        assert_eq!(*rig.get(false).await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_from_before_an_eviction_is_not_kept() {
        let rig = Rig::new();
        let (answer, ()) = tokio::join!(rig.get(false), async {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            rig.cache.evict(|_, _| true);
        });
        assert_eq!(*answer.unwrap(), 1);
        assert_eq!(rig.cache.known(&7), None);
        assert_eq!(*rig.get(false).await.unwrap(), 2);
        rig.cache.evict(|_, value| *value == 3);
        assert!(rig.cache.known(&7).is_some());
        rig.cache.evict(|key, _| *key == 7);
        assert!(rig.cache.known(&7).is_none());
    }

    /// One cluster that is away made every caller of every other one ask again, four times a second each.
    #[tokio::test(start_paused = true)]
    async fn regression_forgetting_one_key_leaves_the_others_alone() {
        let rig = Rig::new();
        assert_eq!(*rig.get_of(1, false).await.unwrap(), 1);
        let forgetting = async {
            for _ in 0..10 {
                tokio::time::sleep(std::time::Duration::from_millis(4)).await;
                rig.cache.forget(&7);
            }
        };
        let others = futures_util::future::join_all((0..20).map(|_| rig.get_of(2, false)));
        let (others, ()) = tokio::join!(others, forgetting);
        assert!(others.into_iter().all(|answer| *answer.unwrap() == 2), "twenty callers ask once all the same");
        assert_eq!((rig.cache.known(&1).as_deref(), rig.cache.known(&2).as_deref()), (Some(&1), Some(&2)));

        // Of the key itself nothing is kept that was asked before.
        let (answer, ()) = tokio::join!(rig.get(false), async {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            rig.cache.forget(&7);
        });
        assert_eq!((*answer.unwrap(), rig.cache.known(&7)), (3, None));
        assert_eq!(*rig.get(false).await.unwrap(), 4);
        rig.cache.forget(&7);
        assert_eq!(rig.cache.known(&7), None);
        // Who asks after it was forgotten gets an answer that was asked for afterwards, and that one is kept.
        let (before, after) = tokio::join!(rig.get(false), async {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            rig.cache.forget(&7);
            rig.get(false).await
        });
        assert_eq!((*before.unwrap(), *after.unwrap(), rig.cache.known(&7).as_deref()), (5, 6, Some(&6)));
    }
}
