//! Dispatchers that die, streams that break, events that come twice: everything is done once and told once.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use roadstead_contracts::operation::OperationState;
use roadstead_operations::{Faults, POINTS};

use crate::rig::{MovedClock, Rig, cluster, eventually, rig};

/// Dies at a point, the first time it is passed.
fn once(point: &'static str) -> Faults {
    let died = Mutex::new(false);
    Faults::hook(move |passed| {
        let mut died = died.lock().unwrap();
        let dies = !*died && passed == point;
        *died |= dies;
        dies
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispatcher_killed_at_every_point() {
    let points = POINTS.iter().map(|point| async move {
        let rig = Rig::new(2, once(point), &[]).await;
        let made = rig.apply(cluster(1), 5).await;
        // Its lease runs out, and the other takes over.
        for _ in 0..40 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            rig.clock.advance(1);
        }
        let ended = rig.ended(made.id).await;
        assert_eq!(ended.state, OperationState::Succeeded, "killed at {point}: {}", ended.reason);
        assert_eq!(ended.counts.created + ended.counts.configured, 5, "killed at {point}");
        assert_eq!(rig.agent.effects(made.id).len(), 5, "killed at {point}");
        rig.check(made.id).await;
        eventually("settled", || async {
            rig.clock.advance(5);
            rig.agent.is_settled(made.id)
        })
        .await;
        rig.stop().await;
    });
    join_all(points).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_cut_at_every_event() {
    let rig = rig().await;
    for cut in 0..8 {
        rig.agent.cut_after(cut);
        let made = rig.apply(cluster(1), 5).await;
        let ended = rig.ended(made.id).await;
        assert_eq!((ended.state, ended.epoch), (OperationState::Succeeded, 1), "cut at {cut}");
        assert_eq!(rig.agent.effects(made.id).len(), 5, "cut at {cut}");
        let told: BTreeSet<_> = rig.steps(made.id).await.into_iter().filter_map(|step| position(&step.what)).collect();
        assert_eq!(told.len(), 5, "cut at {cut}");
        rig.check(made.id).await;
    }
    rig.stop().await;
}

fn position(what: &roadstead_contracts::message::StepKind) -> Option<u32> {
    match what {
        roadstead_contracts::message::StepKind::Object { position, .. } => Some(*position),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_come_twice_or_five_times_count_once() {
    let rig = rig().await;
    for copies in [2, 5] {
        rig.agent.copies.store(copies, Ordering::SeqCst);
        let made = rig.apply(cluster(1), 20).await;
        let ended = rig.ended(made.id).await;
        assert_eq!(ended.counts.created + ended.counts.configured, 20);
        rig.check(made.id).await;
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_operations_on_two_replicas() {
    let rig = Rig::new(2, Faults::default(), &[]).await;
    let made = join_all((0..60).map(|number| rig.apply(cluster(number % 12), 3))).await;
    for operation in &made {
        assert_eq!(rig.ended(operation.id).await.state, OperationState::Succeeded);
        rig.check(operation.id).await;
    }
    let begun = rig.agent.begun();
    assert_eq!(begun.len(), 60, "each was begun once");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_says_after_the_end_is_parked() {
    let rig = rig().await;
    rig.agent.gate(1);
    let made = rig.create(|create| create.deadline_seconds = Some(30), 3).await.unwrap();
    rig.wait(made.id, OperationState::Running).await;
    rig.agent.cut_after(0);
    rig.clock.advance(60);
    assert_eq!(rig.ended(made.id).await.state, OperationState::TimedOut);
    rig.agent.gate(u32::MAX);
    rig.check(made.id).await;
    assert_eq!(rig.get(made.id).await.state, OperationState::TimedOut);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_moves_under_a_living_carrier() {
    let rig = Rig::new(2, Faults::default(), &[]).await;
    rig.agent.gate(2);
    let made = rig.apply(cluster(1), 6).await;
    rig.until(made.id, |operation| operation.counts.created + operation.counts.configured == 2, "two objects").await;
    // Its clock stood still, and the other replica takes over: the same attempt, on another stream.
    eventually("another carrier", || async {
        rig.clock.advance(20);
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        rig.world.signed.lock().unwrap().len() >= 2
    })
    .await;
    rig.agent.gate(u32::MAX);
    let ended = rig.ended(made.id).await;
    assert_eq!((ended.state, ended.epoch), (OperationState::Succeeded, 1));
    assert_eq!(ended.counts.created + ended.counts.configured, 6);
    let told = rig.steps(made.id).await.into_iter().filter_map(|step| position(&step.what)).count();
    assert_eq!(told, 6);
    rig.check(made.id).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_an_order_is_not_sent_on_what_was_looked_at_long_ago() {
    let clock = MovedClock::default();
    let (stood, jumping) = (Mutex::new(false), clock.clone());
    let stands_still = Faults::hook(move |passed| {
        let mut stood = stood.lock().unwrap();
        if !*stood && passed == "order_signed" {
            *stood = true;
            jumping.advance(1_800);
        }
        false
    });
    let rig = Rig::with_clock(1, stands_still, &[], clock).await;
    let made = rig.create(|create| create.deadline_seconds = Some(86_400), 3).await.unwrap();
    assert_eq!(rig.ended(made.id).await.state, OperationState::Succeeded);
    assert_eq!(rig.world.signed.lock().unwrap().len(), 2, "it looked again, and had another order signed");
    assert_eq!(rig.agent.begun().len(), 1);
    rig.check(made.id).await;
    rig.stop().await;
}
