//! Honest cancellation.

use roadstead_contracts::Code;
use roadstead_contracts::message::Cancellation;
use roadstead_contracts::operation::OperationState;
use roadstead_operations::Faults;

use crate::rig::{Rig, cluster, rig};

#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_begun_is_cancelled_at_once() {
    let rig = rig().await;
    rig.agent.set_offline(cluster(1), true);
    let made = rig.apply(cluster(1), 2).await;
    rig.until(made.id, |operation| !operation.reason.is_empty(), "a reason").await;
    let (done, shown) = rig.cancel(made.id).await.unwrap();
    assert_eq!((done, shown.state), (Cancellation::Cancelled, OperationState::Cancelled));
    let again = rig.cancel(made.id).await.unwrap_err();
    assert_eq!(again.code, Code::OperationTerminal);
    assert!(again.detail.contains("current status: cancelled"), "{again}");
    rig.agent.set_offline(cluster(1), false);
    rig.connected(cluster(1)).await;
    let next = rig.apply(cluster(1), 1).await;
    rig.ended(next.id).await;
    assert!(rig.agent.effects(made.id).is_empty());
    rig.check(made.id).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twice_at_once_is_one_yes_and_one_no() {
    let rig = rig().await;
    rig.agent.set_offline(cluster(1), true);
    let made = rig.apply(cluster(1), 2).await;
    let (one, two) = tokio::join!(rig.cancel(made.id), rig.cancel(made.id));
    let good = [&one, &two].into_iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(good, 1);
    let refused = one.err().or(two.err()).unwrap();
    assert_eq!(refused.code, Code::OperationTerminal);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_at_every_object_is_one_ending() {
    let rig = rig().await;
    for object in 0..=5_u32 {
        rig.agent.gate(object);
        let made = rig.apply(cluster(1), 5).await;
        rig.until(
            made.id,
            |operation| {
                let counts = operation.counts;
                operation.state.is_terminal()
                    || (operation.state == OperationState::Running && counts.created + counts.configured >= object)
            },
            "so far",
        )
        .await;
        match rig.cancel(made.id).await {
            Ok((done, _)) => assert_eq!(done, Cancellation::Cancelling),
            Err(error) => assert_eq!(error.code, Code::OperationTerminal),
        }
        let ended = rig.ended(made.id).await;
        let applied = rig.agent.effects(made.id).len();
        match ended.state {
            OperationState::Cancelled => assert_eq!(applied, object as usize, "what was and was not applied"),
            OperationState::Succeeded => assert_eq!(applied, 5),
            other => panic!("{other:?}"),
        }
        if object < 5 {
            assert_eq!(ended.state, OperationState::Cancelled);
        }
        assert_eq!((ended.counts.created + ended.counts.configured) as usize, applied);
        rig.check(made.id).await;
    }
    rig.stop().await;
}

/// A cancellation that races the whole run, with nothing held back.
#[tokio::test(flavor = "multi_thread")]
async fn a_race_has_one_winner() {
    let rig = Rig::new(2, Faults::default(), &[]).await;
    for round in 0..30_u64 {
        let made = rig.apply(cluster(u128::from(round)), 3).await;
        tokio::time::sleep(std::time::Duration::from_micros(round * 400)).await;
        let answer = rig.cancel(made.id).await;
        let ended = rig.ended(made.id).await;
        let applied = rig.agent.effects(made.id).len();
        match (answer, ended.state) {
            (Ok((Cancellation::Cancelled, _)), state) => assert_eq!((state, applied), (OperationState::Cancelled, 0)),
            (Ok((Cancellation::Cancelling, _)), OperationState::Cancelled) => assert!(applied < 3),
            (Ok((Cancellation::Cancelling, _)), OperationState::Succeeded) => {
                assert_eq!((applied, ended.reason.is_empty()), (3, false), "it says why: {}", ended.reason);
            }
            (Err(error), OperationState::Succeeded) => {
                assert_eq!((error.code, applied), (Code::OperationTerminal, 3));
            }
            (answer, state) => panic!("{answer:?} {state:?}"),
        }
        rig.check(made.id).await;
    }
    rig.stop().await;
}
