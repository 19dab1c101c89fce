//! Callers that send changes, ask again when they hear nothing, and look at what they sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use roadstead_mesh_tests::checker::Wanted;
use tokio::task::JoinSet;

use super::super::cluster::Log;
use super::super::rig::{CLUSTER, Rig};
use super::asking::{Asking, settle};
use super::mix::Mix;
use super::{Dice, QUIET};

/// ConfigMaps of one change.
const OBJECTS: usize = 4;
/// Callers at once.
const CALLERS: usize = 4;
/// A caller looks so often at the last change of a story before it begins the next story.
const LOOKS: usize = 40;
/// And at the others: the next one is to be in line while they run.
const GLANCES: usize = 2;
/// An agent is back within this time: its longest wait between two dials is 30 s, and then it dials on a machine at work.
pub(super) const BACK: Duration = Duration::from_secs(60);

/// Callers at work in one namespace.
pub(super) struct Callers {
    tasks: JoinSet<Vec<Wanted>>,
    shared: Arc<Shared>,
}

struct Shared {
    mix: Mix,
    most: usize,
    next: AtomicUsize,
    begun: AtomicUsize,
    stop: AtomicBool,
}

impl Callers {
    /// Sends so many changes, or until they are ended. A story that was begun is told to its end.
    pub(super) async fn start(rig: &Rig, dice: &mut Dice, place: &str, most: usize) -> Result<Self> {
        let asking = Asking::of(rig, CLUSTER).await?;
        let shared = Arc::new(Shared {
            mix: Mix::new(dice, place, OBJECTS),
            most,
            next: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let mut tasks = JoinSet::new();
        for caller in 0..CALLERS {
            let (asking, shared) = (asking.clone(), Arc::clone(&shared));
            tasks.spawn(async move {
                let mut all = Vec::new();
                while !shared.is_over() {
                    let story = shared.next.fetch_add(1, Ordering::Relaxed);
                    tell(&asking, caller, story, &shared, &mut all).await;
                }
                all
            });
        }
        Ok(Self { tasks, shared })
    }

    /// Changes that were sent for the first time.
    pub(super) fn begun(&self) -> usize {
        self.shared.begun.load(Ordering::Relaxed)
    }

    /// Whether all are under way.
    pub(super) fn is_done(&self) -> bool {
        self.begun() >= self.shared.most
    }

    /// Ends them; answers what they were told when everything is quiet.
    async fn end(mut self, rig: &Rig) -> Result<Vec<Wanted>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut wanted = Vec::new();
        while let Some(some) = self.tasks.join_next().await {
            // A caller that broke off has lost what it was told.
            wanted.extend(some?);
        }
        rig.mesh.status(CLUSTER, "connected", BACK).await?;
        let healed = Instant::now();
        for one in &mut wanted {
            settle(&rig.api, one, QUIET.saturating_sub(healed.elapsed())).await?;
        }
        let accepted = wanted.iter().filter(|one| one.operation.is_some()).count();
        ensure!(accepted == wanted.len(), "{} changes were never accepted", wanted.len() - accepted);
        Ok(wanted)
    }

    /// All that they sent, ends, and the checker's word over it.
    pub(super) async fn judge(self, rig: &Rig, log: Log, deaths: usize) -> Result<()> {
        let healed = Instant::now();
        let wanted = self.end(rig).await?;
        println!("{}; quiet {:?} after the last fault", kinds(&wanted), healed.elapsed());
        log.judge(rig, &wanted, deaths).await
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.begun.load(Ordering::Relaxed) >= self.most
    }
}

/// How many changes of which kind these are.
pub(super) fn kinds(wanted: &[Wanted]) -> String {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for one in wanted {
        *kinds.entry(one.deed.word()).or_default() += 1;
    }
    format!("{} changes {kinds:?}", wanted.len())
}

/// Sends the changes of a story, each once the one before it was accepted.
async fn tell(asking: &Asking, caller: usize, story: usize, shared: &Shared, all: &mut Vec<Wanted>) {
    let changes = shared.mix.story(story);
    let last = changes.len() - 1;
    for (step, mut change) in changes.into_iter().enumerate() {
        let begun = || {
            shared.begun.fetch_add(1, Ordering::Relaxed);
        };
        let sent = asking.accepted(&mut change, caller, begun).await;
        if let Err(fault) = &sent {
            println!("{} ({}): {fault:#}", change.wanted.key, change.wanted.deed.word());
        }
        asking.looked_at(&mut change.wanted, caller, if step == last { LOOKS } else { GLANCES }).await;
        let accepted = change.wanted.operation.is_some();
        all.push(change.wanted);
        if !accepted {
            // What comes after it has nothing to stand on.
            return;
        }
    }
}
