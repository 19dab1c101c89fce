use std::time::{Duration, SystemTime};

use roadstead_contracts::operation::{Counts, Ending, ObjectResult};
use serde_json::json;

use super::folder::{FILES_MAX, KEPT, SETTLED_KEPT, SETTLED_MAX};
use super::*;

fn operation(number: u128) -> OperationId {
    format!("0198c5b0-0000-7000-8000-{number:012x}").parse().unwrap()
}

fn head(epoch: i64) -> Head {
    Head {
        operation_id: operation(1),
        epoch,
        kind: OperationKind::Apply,
        digest: "d".to_owned(),
        user: "roadstead:ada".to_owned(),
        objects: 3,
    }
}

fn result(position: u32) -> Record {
    let key = ObjectKey {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        namespace: Some("n".to_owned()),
        name: format!("c{position}"),
    };
    Record::Event {
        told: RunEvent::Object(Box::new(ObjectResult {
            position,
            source: String::new(),
            key,
            outcome: ObjectOutcome::Created,
            error: None,
            diff: None,
            before: None,
            undoable: true,
            left_version: None,
        })),
    }
}

fn ending() -> RunEnding {
    RunEnding { ending: Ending::Succeeded, counts: Counts::default(), error: None, exit_code: None }
}

async fn written(folder: &Folder) -> Ledger {
    let mut ledger = folder.begin(&head(1), None).unwrap();
    for position in 0..2 {
        let before =
            Record::Before { position, object: (position == 1).then(|| json!({"a": "x".repeat(100)})), key: None };
        ledger.add(vec![before], Keep::Written).await.unwrap();
        ledger.add(vec![result(position)], Keep::Synced).await.unwrap();
    }
    ledger
}

#[tokio::test]
async fn a_ledger_is_read_back_wherever_it_was_cut() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    let ledger = written(&folder).await;
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&ledger.path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let whole = std::fs::read(&ledger.path).unwrap();
    let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for cut in 0..=whole.len() {
        std::fs::write(&ledger.path, &whole[..cut]).unwrap();
        let found = folder.latest(operation(1)).unwrap().unwrap();
        let resumed = Folder::resume(&found).unwrap();
        if cut < first {
            assert!(resumed.is_err(), "{cut}");
            assert!(folder.is_damaged(operation(1), 1) && folder.latest(operation(1)).unwrap().is_none());
            continue;
        }
        let mut resumed = resumed.unwrap();
        let lines = whole[..cut].split(|byte| *byte == b'\n').count() - 1;
        assert_eq!(resumed.story.finished.len(), (lines - 1) / 2, "{cut}");
        // It goes on behind the last whole line.
        resumed.add(vec![Record::Ended { ending: ending() }], Keep::Synced).await.unwrap();
        assert_eq!(read(&resumed.path).unwrap().unwrap(), resumed.story);
    }
    std::fs::write(&ledger.path, &whole).unwrap();
    let found = folder.latest(operation(1)).unwrap().unwrap();
    let resumed = Folder::resume(&found).unwrap().unwrap();
    assert_eq!(resumed.before(0).await.unwrap(), Some(None));
    assert_eq!(resumed.before(1).await.unwrap(), Some(Some(json!({"a": "x".repeat(100)}))));
    assert_eq!(resumed.before(2).await.unwrap(), None);
}

#[tokio::test]
async fn garbage_is_set_aside() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    let ledger = written(&folder).await;
    let whole = std::fs::read(&ledger.path).unwrap();
    for garbage in [&b"nonsense\n"[..], b"{}\n", b"\0\0\0\n\0", b"\xff\xfe"] {
        std::fs::write(&ledger.path, [&whole[..], garbage, &whole[..]].concat()).unwrap();
        let found = folder.latest(operation(1)).unwrap().unwrap();
        assert_eq!(Folder::resume(&found).unwrap().unwrap_err(), Damaged, "{garbage:?}");
        std::fs::write(&ledger.path, garbage).unwrap();
        let found = folder.latest(operation(1)).unwrap().unwrap();
        assert!(Folder::resume(&found).unwrap().is_err(), "{garbage:?}");
    }
}

#[tokio::test]
async fn a_later_attempt_keeps_the_earlier_states() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    written(&folder).await;
    let old = folder.latest(operation(1)).unwrap().unwrap();
    let later = folder.begin(&head(2), Some(&old)).unwrap();
    assert!(later.story.finished.is_empty());
    assert_eq!(later.before(0).await.unwrap(), Some(None));
    assert!(later.before(1).await.unwrap().unwrap().is_some());
    let found = folder.latest(operation(1)).unwrap().unwrap();
    assert_eq!((found.epoch, std::fs::read_dir(place.path()).unwrap().count()), (2, 1));
    assert_eq!(read(&found.path).unwrap().unwrap(), later.story);
}

#[tokio::test]
async fn what_is_settled_shrinks_and_goes() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    let mut ledger = written(&folder).await;
    let found = folder.latest(operation(1)).unwrap().unwrap();
    // What has not ended is not settled.
    folder.settle(&found, operation(1)).unwrap();
    assert_eq!(folder.latest(operation(1)).unwrap().unwrap(), found);
    ledger.add(vec![Record::Ended { ending: ending() }], Keep::Synced).await.unwrap();
    folder.settle(&found, operation(1)).unwrap();
    let settled = folder.latest(operation(1)).unwrap().unwrap();
    let story = read(&settled.path).unwrap().unwrap();
    assert_eq!((story.ending, story.finished.len()), (Some(ending()), 0));
    drop(folder.begin(&Head { operation_id: operation(2), ..head(4) }, None).unwrap());
    folder.cancel(operation(2), 4).unwrap();
    assert!(folder.is_cancelled(operation(2), 4) && !folder.is_cancelled(operation(2), 5));
    folder.sweep(SystemTime::now() + SETTLED_KEPT + Duration::from_secs(60));
    assert!(folder.latest(operation(1)).unwrap().is_none() && folder.is_cancelled(operation(2), 4));
    folder.sweep(SystemTime::now() + KEPT + Duration::from_secs(60));
    assert!(!folder.is_cancelled(operation(2), 4));
}

/// The hub stops what it ended by itself, also what never came: after ten thousand of those the agent took nothing for days.
#[test]
fn regression_stops_of_what_never_came_fill_no_folder() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    let made = |number: usize, suffix: &str, age: Duration| {
        let path = place.path().join(format!("{}.1.{suffix}", operation(number as u128)));
        std::fs::File::create(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
    };
    let old = SETTLED_KEPT + Duration::from_secs(60);
    for number in 0..SETTLED_MAX {
        made(number, "cancel", old);
    }
    // These were begun: they stop whenever they are taken up.
    made(1, "run", Duration::ZERO);
    made(2, "damaged", Duration::ZERO);
    // This one's order may still be under way.
    made(3, "cancel", SETTLED_KEPT / 2);
    folder.cancel(operation(100_000), 1).unwrap();
    for (number, is_kept) in [(0, false), (1, true), (2, true), (3, true), (4, false), (100_000, true)] {
        assert_eq!(folder.is_cancelled(operation(number), 1), is_kept, "{number}");
    }
    drop(folder.begin(&Head { operation_id: operation(100_001), ..head(1) }, None).unwrap());
}

/// Of two at once the second found no file any more, and was told that the ledger cannot be kept.
#[tokio::test]
async fn regression_an_ending_may_be_settled_twice_at_once() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    let mut ledger = written(&folder).await;
    ledger.add(vec![Record::Ended { ending: ending() }], Keep::Synced).await.unwrap();
    let found = folder.latest(operation(1)).unwrap().unwrap();
    std::thread::scope(|scope| {
        let settles: Vec<_> = (0..4).map(|_| scope.spawn(|| folder.settle(&found, operation(1)))).collect();
        assert!(settles.into_iter().all(|settle| settle.join().unwrap().is_ok()));
    });
    folder.settle(&found, operation(1)).unwrap();
    let kept = folder.latest(operation(1)).unwrap().unwrap();
    assert_eq!(read(&kept.path).unwrap().unwrap().ending, Some(ending()));
}

#[test]
fn a_full_folder_takes_nothing_new() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    for number in 0..FILES_MAX {
        std::fs::write(place.path().join(format!("{}.1.run", operation(number as u128))), b"").unwrap();
    }
    let refused = folder.begin(&Head { operation_id: operation(5_000), ..head(1) }, None).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
}

/// A thousand changes of one cluster within an hour, and it took no more.
#[tokio::test]
async fn regression_what_is_settled_takes_no_room_from_what_is_not() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    let mut ledger = written(&folder).await;
    ledger.add(vec![Record::Ended { ending: ending() }], Keep::Synced).await.unwrap();
    folder.cancel(operation(1), 1).unwrap();
    folder.settle(&folder.latest(operation(1)).unwrap().unwrap(), operation(1)).unwrap();
    assert!(!folder.is_cancelled(operation(1), 1), "its ending says it all");
    for number in 2..SETTLED_MAX {
        let suffix = if number % 2 == 0 { "settled" } else { "cancel" };
        std::fs::write(place.path().join(format!("{}.1.{suffix}", operation(number as u128))), b"").unwrap();
    }
    drop(folder.begin(&Head { operation_id: operation(100_000), ..head(1) }, None).unwrap());
    std::fs::write(place.path().join(format!("{}.1.settled", operation(100_001))), b"").unwrap();
    let refused = folder.begin(&Head { operation_id: operation(100_002), ..head(1) }, None).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    folder.sweep(SystemTime::now() + SETTLED_KEPT + Duration::from_secs(60));
    drop(folder.begin(&Head { operation_id: operation(100_002), ..head(1) }, None).unwrap());
}

/// Row F15: a full disk is said as such, the ledger stays what it was, and goes on once there is room.
#[tokio::test]
async fn f15_a_full_disk_keeps_what_was_written() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    let mut ledger = written(&folder).await;
    let (story, real) = (ledger.story.clone(), ledger.file.try_clone().unwrap());
    ledger.file = std::fs::OpenOptions::new().append(true).open("/dev/full").unwrap();
    for record in
        [Record::Before { position: 2, object: None, key: None }, result(2), Record::Ended { ending: ending() }]
    {
        let refused = ledger.add(vec![record], Keep::Synced).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        assert_eq!(crate::operations::unkept(&refused).code, roadstead_contracts::Code::AgentBusy);
    }
    assert_eq!(ledger.story, story);
    ledger.file = real;
    assert_eq!(read(&ledger.path).unwrap().unwrap(), story);
    ledger.add(vec![result(2)], Keep::Synced).await.unwrap();
    assert_eq!(ledger.story.finished.len(), 3);
}
