//! Operations that are made of others, and what is asked for twice.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use roadstead_contracts::Code;
use roadstead_contracts::audit::{AuditRecord, Phase};
use roadstead_contracts::ids::OperationId;
use roadstead_contracts::message::{CreateOperation, DeleteOperation, RetryOperation, UndoOperation};
use roadstead_contracts::operation::OperationState;
use roadstead_operations::Faults;

use crate::rig::{PATIENCE, Rig, admin, cluster, eventually, rig};

fn retry(id: OperationId, key: Option<&str>) -> RetryOperation {
    let idempotency_key = key.map(str::to_owned);
    RetryOperation { principal: admin(), id, all: false, sync: false, idempotency_key }
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_a_retry_of_what_waited_in_vain_waits_again() {
    let rig = rig().await;
    rig.agent.waits_in_vain.store(true, Ordering::SeqCst);
    let made = rig.apply(cluster(1), 3).await;
    let ended = rig.ended(made.id).await;
    assert_eq!((ended.state, ended.counts.failed), (OperationState::Failed, 0));
    // Nothing is left to apply, and still it is not what was asked for.
    let again = rig.ask(&retry(made.id, None)).await.unwrap();
    assert_eq!(rig.ended(again.id).await.state, OperationState::Failed);
    assert_eq!(rig.agent.effects(again.id).len(), 3, "its objects are looked at again");
    rig.agent.waits_in_vain.store(false, Ordering::SeqCst);
    let last = rig.ask(&retry(again.id, None)).await.unwrap();
    assert_eq!(rig.ended(last.id).await.state, OperationState::Succeeded);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_a_retry_or_an_undo_with_one_key_is_one() {
    let rig = rig().await;
    rig.agent.fails_at.store(1, Ordering::SeqCst);
    let made = rig.apply(cluster(1), 2).await;
    rig.ended(made.id).await;
    let asked = retry(made.id, Some("k-1"));
    let ids = join_all((0..5).map(|_| rig.ask(&asked))).await.into_iter().map(|answer| answer.unwrap().id);
    let ids: Vec<_> = ids.collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    // One key is good for one thing.
    let undo = |key: &str| UndoOperation {
        principal: admin(),
        id: made.id,
        force: false,
        idempotency_key: Some(key.to_owned()),
    };
    assert_eq!(rig.ask(&undo("k-1")).await.unwrap_err().code, Code::IdempotencyMismatch);
    let (one, two) = (rig.ask(&undo("k-2")).await.unwrap(), rig.ask(&undo("k-2")).await.unwrap());
    assert_eq!(one.id, two.id);
    rig.ended(one.id).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_deadlines_hold_while_there_is_much_to_do() {
    let rig = rig().await;
    rig.agent.set_offline(cluster(1), true);
    let waits = rig.create(|create| create.deadline_seconds = Some(60), 1).await.unwrap();
    rig.until(waits.id, |operation| !operation.reason.is_empty(), "a reason").await;
    rig.clock.advance(100);
    let began = Instant::now();
    while rig.get(waits.id).await.state != OperationState::TimedOut {
        assert!(began.elapsed() < PATIENCE, "nobody looked at the deadlines");
        // Many times a second there is something to do.
        rig.apply(cluster(2), 1).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let told = async || {
        let (audit, id) = (rig.world.audit.lock().unwrap(), waits.id.to_string());
        let its = |record: &&AuditRecord| record.resource.name.as_ref().is_some_and(|name| name.to_string() == id);
        let runs = audit.iter().filter(its).filter(|record| record.action.to_string() == "operation.run");
        runs.map(|record| record.phase).collect::<Vec<_>>()
    };
    // Nothing was begun, so there is no intent.
    eventually("it is on the trail", || async { told().await == [Phase::Outcome] }).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_what_its_agent_does_not_know_yet_is_there_and_a_deleted_operations_key_is_free() {
    let rig = Rig::new(1, Faults::default(), &[("ROADSTEAD_OPERATIONS_RETENTION", "1h")]).await;
    let key = |create: &mut CreateOperation| create.idempotency_key = Some("k-1".to_owned());
    rig.agent.gate(0);
    let made = rig.create(key, 1).await.unwrap();
    rig.wait(made.id, OperationState::Running).await;
    // It ends on the stream that it has; nobody is there to be told that this is stored.
    rig.agent.set_offline(cluster(1), true);
    rig.agent.gate(u32::MAX);
    assert_eq!(rig.ended(made.id).await.state, OperationState::Succeeded);
    rig.clock.advance(3_700);
    let delete = DeleteOperation { principal: admin(), id: made.id };
    let refused = rig.ask(&delete).await.unwrap_err();
    assert!(refused.code == Code::Conflict && refused.detail.contains("agent"), "{refused:?}");
    rig.agent.set_offline(cluster(1), false);
    rig.connected(cluster(1)).await;
    eventually("deleted", || async {
        rig.clock.advance(1);
        rig.ask(&delete).await.is_ok()
    })
    .await;
    // With another content, too.
    let again = rig.create(key, 2).await.unwrap();
    assert_ne!(again.id, made.id);
    assert_eq!(rig.ended(again.id).await.state, OperationState::Succeeded);
    rig.stop().await;
}
