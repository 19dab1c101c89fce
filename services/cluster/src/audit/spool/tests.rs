use std::time::Duration;

use roadstead_contracts::audit::{Actor, Origin, Resource};
use roadstead_contracts::ids::{AuditId, TypedId};

use super::*;

fn record(number: u128) -> AuditRecord {
    let id = AuditId::from_uuid(uuid::Uuid::from_u128(number));
    let at = "2026-01-02T03:04:05Z".parse().unwrap();
    AuditRecord::intent(id, at, Origin::request("r"), Actor::anonymous(), "test.do", Resource::kind("test"))
}

fn open(folder: &Path, limit: usize) -> (Spool, Tasks) {
    let tasks = Tasks::new();
    (Spool::open(folder.to_owned(), limit, &tasks), tasks)
}

/// A process that died holds nothing; one that was cut in this process lets go a moment later.
async fn let_go(folder: &Path) {
    for slot in fs::read_dir(folder).unwrap() {
        let lock = File::options().write(true).open(slot.unwrap().path().join("lock")).unwrap();
        for _ in 0..500 {
            if lock.try_lock().is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn read_back(folder: &Path) -> Vec<AuditRecord> {
    let_go(folder).await;
    let (spool, tasks) = open(folder, 1 << 20);
    // The first record is stored after what is there was read.
    spool.append(&record(999)).await.unwrap();
    let mut found = Vec::new();
    loop {
        let some = spool.oldest();
        if some.is_empty() {
            break;
        }
        spool.delivered(some.len()).await;
        found.extend(some);
    }
    tasks.finish(Duration::from_secs(1)).await;
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_is_there_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, tasks) = open(folder.path(), 1 << 20);
    let stored = (0..50).map(|number| {
        let spool = spool.clone();
        async move { spool.append(&record(number)).await }
    });
    assert!(futures_util::future::join_all(stored).await.iter().all(Result::is_ok));
    tasks.cut();
    tasks.finish(Duration::from_secs(1)).await;
    drop(spool);
    // A write that was cut off in its middle.
    let segment = segments(&folder.path().join("0")).unwrap().remove(0);
    File::options().append(true).open(segment).unwrap().write_all(b"{\"id\":\"0198c5b0-").unwrap();
    let found = read_back(folder.path()).await;
    assert_eq!(found.len(), 51);
    assert_eq!(found.iter().filter(|found| found.id == record(7).id).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_does_not_come_back_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, tasks) = open(folder.path(), 64 << 20);
    let long = record(1).with("text", &"x".repeat(250));
    for number in 0..40 {
        let group = (0..100).map(|index| {
            let (spool, mut record) = (spool.clone(), long.clone());
            record.id = AuditId::from_uuid(uuid::Uuid::from_u128(number * 1000 + index));
            async move { spool.append(&record).await.unwrap() }
        });
        futures_util::future::join_all(group).await;
        spool.delivered(100).await;
    }
    assert_eq!(spool.waiting(), 0);
    assert_eq!(spool.state.bytes.load(Ordering::Relaxed), 0);
    assert_eq!(segments(&folder.path().join("0")).unwrap().len(), 1, "only the segment in use is left");
    tasks.finish(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_refuses_and_heals() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, tasks) = open(folder.path(), 4_000);
    let mut stored: usize = 0;
    let refused = loop {
        match spool.append(&record(stored as u128)).await {
            Ok(()) => stored += 1,
            Err(fault) => break fault,
        }
    };
    assert_eq!(refused.code, Code::AuditUnavailable);
    assert!(stored > 5 && spool.fault().is_some_and(|fault| fault.contains("full")), "{stored}");
    // What was announced has room to end.
    spool.push(&record(10_000)).await;
    spool.delivered(stored).await;
    spool.append(&record(10_001)).await.unwrap();
    assert_eq!(spool.waiting(), 2);
    assert_eq!(spool.fault(), None);
    tasks.finish(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_written_refuses_and_heals() {
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("spool");
    // A file where the folder should be: refused whoever runs the test.
    fs::write(&taken, b"").unwrap();
    let (spool, tasks) = open(&taken, 1 << 20);
    assert_eq!(spool.append(&record(1)).await.unwrap_err().code, Code::AuditUnavailable);
    assert!(spool.fault().is_some_and(|fault| fault.contains("cannot be written")));
    fs::remove_file(&taken).unwrap();
    spool.append(&record(2)).await.unwrap();
    assert_eq!((spool.waiting(), spool.fault()), (1, None));
    tasks.finish(Duration::from_secs(1)).await;
}

/// Row F15: what a full disk does not take is refused and never turns up; with room it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn f15_a_full_disk_refuses_and_heals() {
    let folder = tempfile::tempdir().unwrap();
    let state = Arc::new(State {
        limit: 1 << 20,
        bytes: AtomicUsize::new(0),
        filled: Notify::new(),
        inner: Mutex::new(Inner::default()),
    });
    let mut writer =
        Writer { folder: folder.path().to_owned(), state: Arc::clone(&state), slot: None, segment: None, next: 0 };
    let stored = |writer: &mut Writer, number| {
        let record = record(number);
        let line = [serde_json::to_vec(&record).unwrap(), b"\n".to_vec()].concat();
        writer.state.bytes.fetch_add(line.len(), Ordering::Relaxed);
        let (told, mut answer) = oneshot::channel();
        writer.store(vec![Job { record, line, stored: Some(told) }]);
        answer.try_recv().unwrap()
    };
    assert!(stored(&mut writer, 1));
    let one = state.bytes.load(Ordering::Relaxed);
    let (path, _, size) = writer.segment.take().unwrap();
    writer.segment = Some((path, File::options().append(true).open("/dev/full").unwrap(), size));
    assert!(!stored(&mut writer, 2));
    let fault = state.inner().fault.clone().unwrap();
    assert!(fault.contains("cannot be written") && fault.contains("storage"), "{fault}");
    assert_eq!(state.bytes.load(Ordering::Relaxed), one, "what was refused holds no room");
    assert!(stored(&mut writer, 3));
    assert_eq!(state.inner().fault, None);
    drop(writer);
    let found = read_back(folder.path()).await;
    let ids: Vec<_> = found.iter().map(|found| found.id).collect();
    assert_eq!(ids, [record(1).id, record(3).id, record(999).id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_on_one_volume_keep_apart_and_heirs_deliver() {
    let folder = tempfile::tempdir().unwrap();
    let (one, tasks_one) = open(folder.path(), 1 << 20);
    let (two, tasks_two) = open(folder.path(), 1 << 20);
    one.append(&record(1)).await.unwrap();
    two.append(&record(2)).await.unwrap();
    assert_eq!((one.waiting(), two.waiting()), (1, 1));
    for tasks in [tasks_one, tasks_two] {
        tasks.cut();
        tasks.finish(Duration::from_secs(1)).await;
    }
    drop((one, two));
    assert_eq!(read_back(folder.path()).await.len(), 3);
}
