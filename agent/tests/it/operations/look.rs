//! A look at what was applied before: a rollout's, after its bake.

use std::time::{Duration, Instant};

use roadstead_contracts::operation::{Ending, ObjectOutcome, Work};
use serde_json::json;

use super::patience::{Moods, Moody};
use super::rig::{Rig, Wish, apply, config_maps};

fn work(dry_run: bool) -> Work {
    let Work::Apply { namespace, prune, inventory, force_conflicts, .. } = apply() else { panic!() };
    Work::Apply { namespace, dry_run, prune, inventory, force_conflicts, wait: true }
}

#[tokio::test]
async fn a_look_finds_what_is_not_ready_any_more_and_changes_nothing() {
    let (moody, cluster) = Moody::start(Moods::new()).await;
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::of(cluster, folder.path());
    let body = config_maps("n", 2, "a");
    rig.run(&Wish::new(work(false), body.clone())).await.succeeded();
    let look = async |seconds| {
        let began = Instant::now();
        let told = rig.run(&Wish { deadline_seconds: seconds, ..Wish::new(work(true), body.clone()) }).await;
        (told, began.elapsed())
    };
    let before = moody.objects.lock().unwrap().clone();
    let (good, took) = look(60).await;
    assert_eq!(good.succeeded().outcomes(), [ObjectOutcome::Unchanged; 2]);
    assert!(took >= Duration::from_secs(3), "it was not looked at a second time: {took:?}");
    assert_eq!(*moody.objects.lock().unwrap(), before);

    moody.objects.lock().unwrap().get_mut("c-01").unwrap()["metadata"]["deletionTimestamp"] =
        json!("2026-01-01T00:00:00Z");
    let why = |told: &super::rig::Told| told.ending().error.as_ref().unwrap().detail.to_string();
    let (leaving, _) = look(2).await;
    assert_eq!(
        (leaving.ending().ending, why(&leaving).as_str()),
        (Ending::Failed, "ConfigMap n/c-01: is being removed")
    );
    moody.objects.lock().unwrap().remove("c-01");
    let (gone, _) = look(2).await;
    assert_eq!((gone.ending().ending, why(&gone).as_str()), (Ending::Failed, "ConfigMap n/c-01: is not there"));
    assert_eq!(moody.objects.lock().unwrap().len(), 1, "a look makes nothing");
}

/// Ready for a moment each time it starts, as a container that ends at once.
#[tokio::test]
async fn what_is_ready_for_a_moment_only_is_not_ready() {
    let (moody, cluster) = Moody::start(Moods::new()).await;
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::of(cluster, folder.path());
    let body = config_maps("n", 1, "a");
    rig.run(&Wish::new(work(false), body.clone())).await.succeeded();
    let objects = moody.objects.clone();
    let ends = tokio::spawn(async move {
        // After the first look of it, before the second.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        objects.lock().unwrap().get_mut("c-00").unwrap()["metadata"]["deletionTimestamp"] =
            json!("2026-01-01T00:00:00Z");
    });
    let told = rig.run(&Wish { deadline_seconds: 4, ..Wish::new(work(true), body) }).await;
    ends.await.unwrap();
    assert_eq!(told.ending().ending, Ending::Failed);
}
