//! Operations from their making to their end.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use roadstead_contracts::Code;
use roadstead_contracts::audit::Phase;
use roadstead_contracts::event::{Event, Fact};
use roadstead_contracts::message::*;
use roadstead_contracts::operation::{Counts, OperationState, Restore, Work};
use roadstead_runtime::Clock as _;

use crate::rig::{Rig, admin, body, cluster, create, eventually, rig};

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_goes_its_way() {
    let rig = rig().await;
    let made = rig.apply(cluster(1), 5).await;
    assert_eq!((made.state, made.epoch, made.seq > 0), (OperationState::Queued, 0, true));
    let ended = rig.ended(made.id).await;
    assert_eq!(ended.state, OperationState::Succeeded);
    assert_eq!(ended.counts, Counts { created: 2, configured: 3, ..Counts::default() });
    assert_eq!((ended.objects, ended.epoch, ended.undoable), (5, 1, true));
    assert!(ended.started_at.is_some() && ended.finished_at.is_some());
    let way = [OperationState::Queued, OperationState::Dispatched, OperationState::Running, OperationState::Succeeded];
    assert_eq!(rig.states(made.id).await, way);
    rig.check(made.id).await;
    assert_eq!(rig.agent.effects(made.id).len(), 5);
    eventually("settled", || async { rig.agent.is_settled(made.id) }).await;
    assert_eq!(rig.agent.body(made.id), body(5).into_bytes());
    // Made, an intent before the effect and its outcome after.
    eventually("audited", || async { rig.world.audit.lock().unwrap().len() == 3 }).await;
    let trail: Vec<_> = rig.world.audit.lock().unwrap().iter().map(|row| (row.action.to_string(), row.phase)).collect();
    assert_eq!(
        trail,
        [
            ("operation.create".to_owned(), Phase::Outcome),
            ("operation.run".to_owned(), Phase::Intent),
            ("operation.run".to_owned(), Phase::Outcome)
        ]
    );
    let audit = rig.world.audit.lock().unwrap().clone();
    assert_eq!(audit[2].intent_id, Some(audit[1].id));
    let signed = rig.world.signed.lock().unwrap().clone();
    assert_eq!((signed.len(), signed[0].epoch, signed[0].operation_id), (1, 1, made.id));
    let metrics = rig.metrics.render();
    assert!(
        metrics.contains("mckmt_operations_total{") && metrics.contains("mckmt_operation_duration_seconds_count{"),
        "{metrics}"
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_waits_for_its_cluster() {
    let rig = rig().await;
    rig.agent.set_offline(cluster(1), true);
    let made = rig.apply(cluster(1), 2).await;
    let waiting = rig.until(made.id, |operation| !operation.reason.is_empty(), "a reason").await;
    assert_eq!(waiting.state, OperationState::Queued);
    // Others are not held up by it.
    let other = rig.apply(cluster(2), 2).await;
    assert_eq!(rig.ended(other.id).await.state, OperationState::Succeeded);
    rig.agent.set_offline(cluster(1), false);
    rig.connected(cluster(1)).await;
    assert_eq!(rig.ended(made.id).await.state, OperationState::Succeeded);
    rig.check(made.id).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_in_a_lane_is_told_for_what() {
    let rig = rig().await;
    rig.agent.gate(1);
    let first = rig.apply(cluster(1), 2).await;
    rig.wait(first.id, OperationState::Running).await;
    let second = rig.apply(cluster(1), 2).await;
    let waiting = rig.get(second.id).await;
    assert_eq!(waiting.state, OperationState::Queued);
    assert!(waiting.reason.contains(&first.id.to_string()), "{}", waiting.reason);
    rig.agent.gate(u32::MAX);
    assert_eq!(rig.ended(second.id).await.state, OperationState::Succeeded);
    rig.stop().await;
}

/// An agent that returns just when its work is being laid aside: its event found nothing to wake, and the work waited for
/// the slow look ten seconds later.
#[tokio::test(flavor = "multi_thread")]
async fn regression_a_return_in_the_middle_of_laying_aside_is_not_missed() {
    let rig = rig().await;
    rig.agent.set_offline(cluster(1), true);
    let (bus, id, at) = (rig.bus.clone(), rig.ids.next(), rig.clock.now());
    *rig.agent.returns.lock().unwrap() = Some(Box::pin(async move {
        let fact = Fact::AgentConnected { cluster_id: cluster(1), agent_id: "a".to_owned() };
        bus.emit(&Event { id, at, fact }).await.unwrap();
        // Long enough for the event to have been heard.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }));
    let began = Instant::now();
    let made = rig.apply(cluster(1), 2).await;
    assert_eq!(rig.ended(made.id).await.state, OperationState::Succeeded);
    assert!(began.elapsed() < Duration::from_secs(9), "it waited for the slow look: {:?}", began.elapsed());
    rig.check(made.id).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_what_waits_and_what_runs() {
    let rig = rig().await;
    rig.agent.set_offline(cluster(1), true);
    let waits = rig.create(|create| create.deadline_seconds = Some(60), 1).await.unwrap();
    rig.until(waits.id, |operation| !operation.reason.is_empty(), "a reason").await;
    rig.agent.silent.store(true, Ordering::SeqCst);
    let runs = rig
        .create(
            |create| {
                create.cluster_id = cluster(2);
                create.deadline_seconds = Some(60);
            },
            1,
        )
        .await
        .unwrap();
    rig.wait(runs.id, OperationState::Running).await;
    rig.clock.advance(100);
    assert_eq!(rig.ended(waits.id).await.state, OperationState::TimedOut);
    let ended = rig.ended(runs.id).await;
    assert_eq!((ended.state, ended.state.seed_word()), (OperationState::TimedOut, "failed"));
    assert!(rig.agent.effects(waits.id).is_empty());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_of_a_cluster_keep_their_order() {
    let rig = rig().await;
    rig.agent.gate(0);
    let mut made = Vec::new();
    for _ in 0..4 {
        made.push(rig.apply(cluster(1), 1).await.id);
    }
    let urgent = rig.create(|create| create.priority = Some(9), 1).await.unwrap().id;
    rig.wait(made[0], OperationState::Running).await;
    rig.agent.gate(u32::MAX);
    for id in made.iter().chain([&urgent]) {
        rig.ended(*id).await;
    }
    let begun: Vec<_> = rig.agent.begun().into_iter().map(|(_, id)| id).collect();
    assert_eq!(begun, [made[0], urgent, made[1], made[2], made[3]]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_with_one_key_are_one() {
    let rig = rig().await;
    let mut request = create(admin(), cluster(1));
    request.body_sha256 = Some(rig.stage(&body(1)).await);
    request.idempotency_key = Some("k-1".to_owned());
    let answers = futures_util::future::join_all((0..50).map(|_| rig.ask(&request))).await;
    let ids: std::collections::BTreeSet<_> = answers.into_iter().map(|answer| answer.unwrap().id).collect();
    assert_eq!(ids.len(), 1);
    request.description = "something else".to_owned();
    assert_eq!(rig.ask(&request).await.unwrap_err().code, Code::IdempotencyMismatch);
    rig.ended(*ids.first().unwrap()).await;
    let list = ListOperations {
        principal: admin(),
        cluster_id: None,
        states: Vec::new(),
        kind: None,
        rollout_id: None,
        page: PageRequest { limit: 10, offset: 0, cursor: None },
    };
    assert_eq!(rig.ask(&list).await.unwrap().total, 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_gone_at_the_dispatch_ends_it() {
    let rig = rig().await;
    rig.world.revoked.store(true, Ordering::SeqCst);
    let made = rig.apply(cluster(1), 1).await;
    let ended = rig.ended(made.id).await;
    assert_eq!(ended.state, OperationState::Failed);
    assert_eq!(ended.error.unwrap().code, Code::PermissionRevoked);
    assert!(rig.agent.begun().is_empty());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_agent_is_asked_again() {
    let rig = rig().await;
    rig.agent.busy.store(1, Ordering::SeqCst);
    let made = rig.apply(cluster(1), 1).await;
    let ended = rig.ended(made.id).await;
    assert_eq!((ended.state, ended.epoch), (OperationState::Succeeded, 1), "the same attempt");
    rig.check(made.id).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_done_once_more_and_all_of_it_undone() {
    let rig = rig().await;
    rig.agent.fails_at.store(2, Ordering::SeqCst);
    let made = rig.apply(cluster(1), 4).await;
    let ended = rig.ended(made.id).await;
    assert_eq!((ended.state, ended.counts.failed), (OperationState::Failed, 1));
    rig.agent.fails_at.store(-1, Ordering::SeqCst);
    let retry = rig
        .ask(&RetryOperation { principal: admin(), id: made.id, all: false, sync: false, idempotency_key: None })
        .await
        .unwrap();
    assert_eq!(retry.origin_id, Some(made.id));
    assert_eq!(rig.ended(retry.id).await.state, OperationState::Succeeded);
    assert_eq!(rig.agent.effects(retry.id).keys().copied().collect::<Vec<_>>(), [2]);
    assert_eq!(rig.agent.run(retry.id).unwrap().only, Some(vec![2]));
    let again = rig
        .ask(&RetryOperation { principal: admin(), id: retry.id, all: false, sync: false, idempotency_key: None })
        .await;
    assert_eq!(again.unwrap_err().code, Code::Conflict);

    let undo =
        rig.ask(&UndoOperation { principal: admin(), id: made.id, force: false, idempotency_key: None }).await.unwrap();
    assert_eq!(undo.work, Work::Undo { force: false });
    rig.ended(undo.id).await;
    let body = String::from_utf8(rig.agent.body(undo.id)).unwrap();
    let lines: Vec<Restore> = body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = lines.iter().map(|line| (line.key.name.as_str(), line.before.is_some())).collect();
    assert_eq!(names, [("o3", false), ("o1", false), ("o0", true)], "last first, and what failed is not undone");
    assert_eq!(lines[2].left_version.as_deref(), Some("100"));
    assert_eq!(lines[2].before.as_ref().unwrap()["data"]["secret"], "canary-before");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_holds_no_manifest_in_the_clear() {
    let rig = rig().await;
    let made = rig.apply(cluster(1), 3).await;
    rig.ended(made.id).await;
    for file in std::fs::read_dir(rig.folder.path()).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() && path.file_name().unwrap().to_string_lossy().starts_with("operations") {
            let bytes = std::fs::read(&path).unwrap();
            for canary in ["canary-body", "canary-before"] {
                let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
                assert!(!found, "{canary} in {}", path.display());
            }
        }
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_operation_is_kept_for_its_retention() {
    let rig = Rig::new(1, roadstead_operations::Faults::default(), &[("ROADSTEAD_OPERATIONS_RETENTION", "1h")]).await;
    let made = rig.apply(cluster(1), 1).await;
    let delete = DeleteOperation { principal: admin(), id: made.id };
    rig.ended(made.id).await;
    eventually("settled", || async { rig.agent.is_settled(made.id) }).await;
    assert_eq!(rig.ask(&delete).await.unwrap_err().code, Code::Conflict);
    rig.clock.advance(3_601);
    eventually("deleted", || async { rig.ask(&delete).await.is_ok() }).await;
    let gone = rig.ask(&GetOperation { principal: admin(), id: made.id }).await;
    assert_eq!(gone.unwrap_err().code, Code::NotFound);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_requests_are_refused() {
    let rig = rig().await;
    let no_body = create(admin(), cluster(1));
    assert_eq!(rig.ask(&no_body).await.unwrap_err().code, Code::Validation);
    let mut unknown = create(admin(), cluster(1));
    unknown.body_sha256 = Some("ab".repeat(32));
    assert_eq!(rig.ask(&unknown).await.unwrap_err().code, Code::Conflict);
    for odd in [
        |create: &mut CreateOperation| create.priority = Some(10),
        |create: &mut CreateOperation| create.deadline_seconds = Some(0),
        |create: &mut CreateOperation| create.deadline_seconds = Some(u32::MAX),
        |create: &mut CreateOperation| create.description = "x".repeat(5_000),
        |create: &mut CreateOperation| create.webhook_url = Some("https://example.com".to_owned()),
        |create: &mut CreateOperation| create.idempotency_key = Some(String::new()),
    ] {
        assert_eq!(rig.create(odd, 1).await.unwrap_err().code, Code::Validation);
    }
    assert!(rig.agent.begun().is_empty());
    rig.stop().await;
}
