//! The agent dies in the middle.

use std::collections::BTreeMap;

use roadstead_contracts::operation::{CancelledRun, Ending, ObjectOutcome, RunEvent};

use super::rig::{Rig, Wish, apply, config_maps};

const OBJECTS: usize = 20;

/// Row F09: killed at object k of 20, for every k. Each object is exactly as declared, applied once, and can be undone.
#[tokio::test]
#[ignore = "needs a cluster"]
async fn f09_a_killed_apply_goes_on_at_the_right_object() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::real(folder.path()).await;
    rig.settle(super::rig::operation(), 1).await;
    for killed_at in 0..=OBJECTS {
        let namespace = rig.namespace(&format!("killed-{killed_at}")).await;
        let wish = Wish::new(apply(), config_maps(&namespace, OBJECTS, "a"));
        let mut events = rig.begin(&wish).await;
        let mut heard = Vec::new();
        assert!(matches!(events.next().await, Some(RunEvent::Accepted { objects: 20, finished: 0 })));
        while heard.len() < killed_at {
            match events.next().await {
                Some(RunEvent::Object(result)) => heard.push(*result),
                other => panic!("{killed_at}: {other:?}"),
            }
        }
        rig = rig.die().await;
        let versions = versions(&rig, &namespace).await;
        let told = rig.run(&wish).await;
        told.succeeded();
        let (_, finished) = told.accepted.unwrap();
        assert!(finished as usize >= killed_at, "{killed_at}: {finished}");
        // What was told stays as it was told.
        assert_eq!(told.results[..killed_at], heard, "{killed_at}");
        // Once each, and each was made by this operation, the one at hand when the agent died too.
        assert_eq!(told.outcomes(), vec![ObjectOutcome::Created; OBJECTS], "{killed_at}");
        assert_eq!(told.ending().counts.created, 20);
        let after = self::versions(&rig, &namespace).await;
        assert_eq!(after.len(), OBJECTS, "{killed_at}");
        for (name, version) in &versions {
            assert_eq!(after.get(name), Some(version), "{killed_at}: {name} was written twice");
        }
        // And undone to nothing.
        rig.undo(&told).await.succeeded();
        assert!(self::versions(&rig, &namespace).await.is_empty(), "{killed_at}");
        rig.settle(wish.id, 1).await;
        rig.remove_namespace(&namespace).await;
    }
}

/// Versions of the ConfigMaps that a test made.
async fn versions(rig: &Rig, namespace: &str) -> BTreeMap<String, String> {
    let list = rig.get(&format!("/api/v1/namespaces/{namespace}/configmaps")).await.unwrap();
    let text = |item: &serde_json::Value, pointer: &str| item.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (text(item, "/metadata/name"), text(item, "/metadata/resourceVersion")))
        .filter(|(name, _)| name.starts_with("c-"))
        .collect()
}

/// Changed objects keep their first earlier state over deaths and attempts; a stop outlives a death too.
#[tokio::test]
#[ignore = "needs a cluster"]
async fn earlier_states_and_stops_outlive_the_agent() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::real(folder.path()).await;
    rig.settle(super::rig::operation(), 1).await;
    let namespace = rig.namespace("earlier").await;
    rig.run(&Wish::new(apply(), config_maps(&namespace, OBJECTS, "before"))).await.succeeded();
    let mut wish = Wish::new(apply(), config_maps(&namespace, OBJECTS, "after"));
    let mut events = rig.begin(&wish).await;
    for _ in 0..6 {
        events.next().await.unwrap();
    }
    // A later attempt of the same content begins from the first object.
    let rig = rig.die().await;
    wish.epoch = 2;
    let told = rig.run(&wish).await;
    assert_eq!(told.accepted, Some((20, 0)));
    assert_eq!(told.succeeded().outcomes(), vec![ObjectOutcome::Configured; OBJECTS]);
    assert!(told.results.iter().all(|result| result.before.as_ref().unwrap()["data"]["value"] == "before"));

    // Cancelled, then killed before the stop was taken: it is still a stop.
    let wish = Wish::new(apply(), config_maps(&namespace, OBJECTS, "third"));
    let mut events = rig.begin(&wish).await;
    while !matches!(events.next().await.unwrap(), RunEvent::Object(_)) {}
    let stopped = rig.cancel(wish.id, 1).await;
    let rig = rig.die().await;
    let told = rig.run(&wish).await;
    let counts = told.ending().counts;
    assert_eq!(counts.configured + counts.skipped, 20, "{told:?}");
    assert!(stopped == CancelledRun::Ended || told.ending().ending == Ending::Cancelled, "{stopped:?} {counts:?}");

    // A process that stops in order leaves its run to the next one.
    let wish = Wish::new(apply(), config_maps(&namespace, OBJECTS, "fourth"));
    let mut events = rig.begin(&wish).await;
    while !matches!(events.next().await.unwrap(), RunEvent::Object(_)) {}
    let rig = rig.leave().await;
    let told = rig.run(&wish).await;
    assert_eq!(told.succeeded().results.len(), OBJECTS);
    rig.remove_namespace(&namespace).await;
}

/// It had written what it left undone, and died before its ending: nothing was left to do then, and that was called a success.
#[tokio::test]
#[ignore = "needs a cluster"]
async fn regression_a_stop_stays_one_wherever_the_agent_dies() {
    const MANY: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::real(folder.path()).await;
    let namespace = rig.namespace("stopped").await;
    let wish = Wish::new(apply(), config_maps(&namespace, MANY, "first"));
    let mut events = rig.begin(&wish).await;
    while !matches!(events.next().await.unwrap(), RunEvent::Object(_)) {}
    assert_eq!(rig.cancel(wish.id, 1).await, CancelledRun::Stopping);
    let told = rig.run(&wish).await;
    let (ending, counts) = (told.ending().ending, told.ending().counts);
    assert!(ending == Ending::Cancelled && counts.skipped > 1, "{ending:?} {counts:?}");
    // Without its ending, and without half of what it wrote before that.
    for lost in [1, counts.skipped as usize / 2] {
        let path = folder.path().join(format!("{}.1.run", wish.id));
        rig = rig
            .die_while(async {
                let text = std::fs::read_to_string(&path).unwrap();
                let lines: Vec<&str> = text.split_inclusive('\n').collect();
                std::fs::write(&path, lines[..lines.len() - lost].concat()).unwrap();
            })
            .await;
        let again = rig.run(&wish).await;
        assert_eq!((again.ending().ending, again.ending().counts), (ending, counts), "{lost} lines");
    }
    rig.remove_namespace(&namespace).await;
}
