//! One change to many clusters.

use std::collections::BTreeSet;

use roadstead_contracts::Code;
use roadstead_contracts::identity::{Reach, Role};
use roadstead_contracts::ids::RolloutId;
use roadstead_contracts::message::*;
use roadstead_contracts::names::Labels;
use roadstead_contracts::operation::{OperationState, Work};
use serde_json::json;

use crate::rig::{PATIENCE, Rig, admin, cluster, eventually, name, principal, rig};

async fn request(rig: &Rig, clusters: u128, plan: serde_json::Value) -> CreateRollout {
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}\n";
    CreateRollout {
        principal: admin(),
        name: "fleet".to_owned(),
        targets: (0..clusters)
            .map(|number| RolloutTarget {
                cluster_id: cluster(number),
                cluster_name: name(cluster(number)),
                labels: Labels([("n".to_owned(), number.to_string())].into()),
            })
            .collect(),
        work: Work::Apply {
            namespace: None,
            dry_run: false,
            prune: None,
            inventory: None,
            force_conflicts: false,
            wait: false,
        },
        body_sha256: Some(rig.stage(manifest).await),
        plan: serde_json::from_value(plan).unwrap(),
        confirmed: true,
        idempotency_key: None,
    }
}

async fn begin(rig: &Rig, request: &CreateRollout) -> Rollout {
    match rig.ask(request).await.unwrap() {
        RolloutCreated::Rollout(rollout) => *rollout,
        RolloutCreated::WouldTouch { .. } => panic!("not begun"),
    }
}

async fn until(rig: &Rig, id: RolloutId, state: RolloutState) -> Rollout {
    let began = std::time::Instant::now();
    loop {
        let rollout = rig.ask(&GetRollout { principal: admin(), id }).await.unwrap();
        if rollout.state == state {
            return rollout;
        }
        assert!(began.elapsed() < PATIENCE, "{:?}: {}", rollout.state, rollout.reason);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn change(rig: &Rig, id: RolloutId, command: RolloutCommand) -> roadstead_contracts::Result<Rollout> {
    rig.ask(&ChangeRollout { principal: admin(), id, command }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_clusters_in_five_waves() {
    let rig = rig().await;
    let request = request(&rig, 100, json!({"waves": [1, 9, 20, 30, 40]})).await;
    let made = begin(&rig, &request).await;
    let done = until(&rig, made.id, RolloutState::Succeeded).await;
    assert_eq!(done.waves.iter().map(|wave| wave.clusters.len()).collect::<Vec<_>>(), [1, 9, 20, 30, 40]);
    let begun = rig.agent.begun();
    assert_eq!(begun.iter().map(|(at, _)| *at).collect::<BTreeSet<_>>().len(), 100);
    assert_eq!(begun.len(), 100);
    // No cluster of a wave begins before every one of the waves before it has ended.
    let waves = |at| done.waves.iter().position(|wave| wave.clusters.iter().any(|one| one.cluster_id == at)).unwrap();
    let order: Vec<_> = begun.iter().map(|(at, _)| waves(*at)).collect();
    assert!(order.is_sorted(), "{order:?}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_wave_halts_with_the_rest_untouched() {
    let rig = rig().await;
    for number in 10..20 {
        rig.agent.set_broken(cluster(number), true);
    }
    let request = request(&rig, 40, json!({"waves": [25, 25, 50], "failure_budget": 2})).await;
    let made = begin(&rig, &request).await;
    let halted = until(&rig, made.id, RolloutState::Halted).await;
    assert!(halted.waves[2].clusters.iter().all(|one| one.operation_id.is_none()));
    eventually("the wave's operations end", || async {
        let now = rig.ask(&GetRollout { principal: admin(), id: made.id }).await.unwrap();
        now.waves[1].clusters.iter().all(|one| one.state.is_some_and(OperationState::is_terminal))
    })
    .await;
    assert_eq!(rig.agent.begun().len(), 20);
    for number in 10..20 {
        rig.agent.set_broken(cluster(number), false);
    }
    change(&rig, made.id, RolloutCommand::RetryFailed).await.unwrap();
    until(&rig, made.id, RolloutState::Succeeded).await;
    assert_eq!(rig.agent.begun().len(), 50, "ten once more, twenty for the first time");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_would_touch_comes_before_the_confirmation() {
    let rig = rig().await;
    let mut asked = request(&rig, 7, json!({})).await;
    asked.confirmed = false;
    if let Work::Apply { prune, .. } = &mut asked.work {
        *prune = Some("app".to_owned());
    }
    let RolloutCreated::WouldTouch { clusters, objects, destructive } = rig.ask(&asked).await.unwrap() else {
        panic!("begun")
    };
    assert_eq!((clusters, objects, destructive), (7, 1, true));
    assert!(rig.agent.begun().is_empty());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_reaches_its_cluster_only() {
    let rig = rig().await;
    let patch = json!({
        "labels": {"n": "1"}, "object": {"api_version": "", "kind": "ConfigMap", "name": "a"},
        "patch": {"data": {"k": "patched"}},
    });
    let asked = request(&rig, 3, json!({"overrides": [patch]})).await;
    let made = begin(&rig, &asked).await;
    let done = until(&rig, made.id, RolloutState::Succeeded).await;
    for one in &done.waves[0].clusters {
        let body = String::from_utf8(rig.agent.body(one.operation_id.unwrap())).unwrap();
        assert_eq!(body.contains("patched"), one.cluster_id == cluster(1), "{body}");
    }
    let missing = json!({
        "cluster": name(cluster(0)).as_str(), "object": {"api_version": "", "kind": "ConfigMap", "name": "typo"},
        "patch": {},
    });
    let odd = request(&rig, 3, json!({"overrides": [missing]})).await;
    assert_eq!(rig.ask(&odd).await.unwrap_err().code, Code::Validation);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_person_approves() {
    let rig = rig().await;
    let asked = request(&rig, 2, json!({"needs_approval": true})).await;
    let made = begin(&rig, &asked).await;
    assert_eq!(made.state, RolloutState::AwaitingApproval);
    assert_eq!(change(&rig, made.id, RolloutCommand::Approve).await.unwrap_err().code, Code::Forbidden);
    let other = principal(2, Role::Operator, Reach::All);
    let approve = ChangeRollout { principal: other, id: made.id, command: RolloutCommand::Approve };
    rig.ask(&approve).await.unwrap();
    until(&rig, made.id, RolloutState::Succeeded).await;
    let stranger = principal(3, Role::Operator, Reach::Granted(BTreeSet::from([cluster(0)])));
    let get = GetRollout { principal: stranger, id: made.id };
    assert_eq!(rig.ask(&get).await.unwrap_err().code, Code::NotFound);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_rollout_stops_what_runs() {
    let rig = rig().await;
    rig.agent.gate(0);
    let asked = request(&rig, 4, json!({"waves": [50, 50]})).await;
    let made = begin(&rig, &asked).await;
    eventually("begun", || async { rig.agent.begun().len() == 2 }).await;
    change(&rig, made.id, RolloutCommand::Cancel).await.unwrap();
    eventually("its operations end", || async {
        let now = rig.ask(&GetRollout { principal: admin(), id: made.id }).await.unwrap();
        now.waves[0].clusters.iter().all(|one| one.state.is_some_and(OperationState::is_terminal))
    })
    .await;
    assert_eq!(rig.agent.begun().len(), 2);
    rig.stop().await;
}
