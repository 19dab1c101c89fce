//! A run that is told to stop, or was before its agent died, says so.

use std::sync::Arc;

use roadstead_contracts::operation::{CancelledRun, Counts, Ending, ObjectOutcome, RunEvent, Work};
use serde_json::json;
use tempfile::TempDir;

use super::patience::{Moods, Moody};
use super::rig::{Rig, Told, Wish, apply, config_maps};

const NAMESPACE: &str = "n";
/// What lists the objects.
const LIST: &str = "roadstead-inventory-shop";
/// Objects that were applied first, and of which all but one are to be pruned.
const OBJECTS: usize = 6;

/// A run that was stopped while it pruned.
struct Stopped {
    moody: Moody,
    folder: TempDir,
    rig: Rig,
    wish: Wish,
    told: Told,
}

impl Stopped {
    async fn new() -> Self {
        let (moody, cluster) = Moody::start(Moods::new()).await;
        let folder = tempfile::tempdir().unwrap();
        let rig = Rig::of(cluster, folder.path());
        let Work::Apply { dry_run, force_conflicts, wait, .. } = apply() else { unreachable!() };
        let (namespace, prune) = (Some(NAMESPACE.to_owned()), Some("shop".to_owned()));
        let work = Work::Apply { namespace, dry_run, prune, inventory: None, force_conflicts, wait };
        rig.run(&Wish::new(work.clone(), config_maps(NAMESPACE, OBJECTS, "a"))).await.succeeded();

        let shut = Arc::clone(&moody.removing).lock_owned().await;
        let wish = Wish::new(work, config_maps(NAMESPACE, 1, "b"));
        let mut events = rig.begin(&wish).await;
        while !matches!(events.next().await.unwrap(), RunEvent::Object(_)) {}
        // The body is done. It removes the first of the rest, or is about to.
        assert_eq!(rig.cancel(wish.id, 1).await, CancelledRun::Stopping);
        drop(shut);
        let told = rig.run(&wish).await;
        Self { moody, folder, rig, wish, told }
    }

    fn counts(&self) -> Counts {
        self.told.ending().counts
    }

    /// The agent dies without the last lines of its ledger, and something happens before the next one takes the run up.
    async fn again(self, lost: usize, meanwhile: impl FnOnce(&Moody)) -> Told {
        let Self { moody, folder, rig, wish, .. } = self;
        let path = folder.path().join(format!("{}.1.run", wish.id));
        let rig = rig
            .die_while(async {
                let text = std::fs::read_to_string(&path).unwrap();
                let lines: Vec<&str> = text.split_inclusive('\n').collect();
                std::fs::write(&path, lines[..lines.len() - lost].concat()).unwrap();
                meanwhile(&moody);
            })
            .await;
        rig.run(&wish).await
    }
}

/// Nobody can read the list any more.
fn spoil(moody: &Moody) {
    moody.objects.lock().unwrap().get_mut(LIST).unwrap()["data"]["objects"] = json!("nonsense");
}

/// It was called a success that had overtaken the stop, and nothing said that the objects are still there.
#[tokio::test]
async fn regression_a_stop_while_it_prunes_is_no_success() {
    let stopped = Stopped::new().await;
    let (ending, counts) = (stopped.told.ending().ending, stopped.counts());
    assert_eq!(ending, Ending::Cancelled, "{counts:?}");
    // At most the one at hand.
    assert!(counts.deleted <= 1 && counts.deleted + counts.skipped == 5, "{counts:?}");
    let there = stopped.moody.objects.lock().unwrap().len();
    // With the one that was applied, and the list.
    assert_eq!(there, counts.skipped as usize + 2);
    let skipped = stopped.told.results.iter().filter(|result| result.outcome == ObjectOutcome::Skipped);
    let names: Vec<&str> = skipped.map(|result| result.key.name.as_str()).collect();
    assert!(names.len() == counts.skipped as usize && !names.contains(&"c-00"), "{names:?}");
    // Killed before its ending, it ends so, too.
    let again = stopped.again(1, |_| {}).await;
    assert_eq!((again.ending().ending, again.ending().counts), (ending, counts));
}

/// It had stopped and only had to say so, and failed without a word of what it had done.
#[tokio::test]
async fn regression_a_run_that_had_stopped_needs_no_inventory() {
    let stopped = Stopped::new().await;
    let (ending, counts) = (stopped.told.ending().ending, stopped.counts());
    let again = stopped.again(1, spoil).await;
    assert_eq!((again.ending().ending, again.ending().counts), (ending, counts));
}

#[tokio::test]
async fn regression_a_run_that_fails_at_its_inventory_says_what_it_did() {
    let stopped = Stopped::new().await;
    let counts = stopped.counts();
    // Its ending, and all that it skipped.
    let again = stopped.again(1 + counts.skipped as usize, spoil).await;
    let done = Counts { skipped: 0, ..counts };
    assert_eq!((again.ending().ending, again.ending().counts), (Ending::Failed, done));
    assert!(again.ending().error.is_some());
}
