//! One change to many clusters.

use std::collections::BTreeSet;

use roadstead_contracts::Code;
use roadstead_contracts::identity::{Reach, Role};
use roadstead_contracts::ids::RolloutId;
use roadstead_contracts::message::*;
use roadstead_contracts::names::Labels;
use roadstead_contracts::operation::{OperationState, Work};
use roadstead_runtime::Secret;
use roadstead_store::sqlx::{query, query_scalar};
use roadstead_store::{Opened, Options, open};
use serde_json::json;

use crate::rig::{PATIENCE, Rig, admin, cluster, eventually, name, principal, rig};

pub async fn request(rig: &Rig, clusters: u128, plan: serde_json::Value) -> CreateRollout {
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
        clusters_asked: None,
    }
}

/// The service's own database.
pub async fn database(rig: &Rig) -> roadstead_store::sqlx::SqlitePool {
    let url = Secret::new(format!("sqlite:{}", rig.folder.path().display()));
    match open(&url, &Options::new(roadstead_operations::NAME)).await.unwrap() {
        Opened::Sqlite(pool) => pool,
        Opened::Postgres(_) => unreachable!(),
    }
}

pub async fn begin(rig: &Rig, request: &CreateRollout) -> Rollout {
    match rig.ask(request).await.unwrap() {
        RolloutCreated::Rollout(rollout) => *rollout,
        RolloutCreated::WouldTouch { .. } => panic!("not begun"),
    }
}

pub async fn until(rig: &Rig, id: RolloutId, state: RolloutState) -> Rollout {
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

pub async fn change(rig: &Rig, id: RolloutId, command: RolloutCommand) -> roadstead_contracts::Result<Rollout> {
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
    for number in 20..40 {
        rig.agent.set_broken(cluster(number), true);
    }
    let request = request(&rig, 100, json!({"waves": [5, 15, 20, 25, 35], "failure_budget": 2})).await;
    let made = begin(&rig, &request).await;
    let halted = until(&rig, made.id, RolloutState::Halted).await;
    let untouched = |wave: &RolloutWave| wave.clusters.iter().all(|one| one.operation_id.is_none());
    assert!(halted.waves[3..].iter().all(untouched), "{halted:?}");
    eventually("the wave's operations end", || async {
        let now = rig.ask(&GetRollout { principal: admin(), id: made.id }).await.unwrap();
        now.waves[2].clusters.iter().all(|one| one.state.is_some_and(OperationState::is_terminal))
    })
    .await;
    assert_eq!(rig.agent.begun().len(), 40);
    for number in 20..40 {
        rig.agent.set_broken(cluster(number), false);
    }
    change(&rig, made.id, RolloutCommand::RetryFailed).await.unwrap();
    let done = until(&rig, made.id, RolloutState::Succeeded).await;
    let succeeded = |one: &RolloutCluster| one.state == Some(OperationState::Succeeded);
    assert!(done.waves.iter().flat_map(|wave| &wave.clusters).all(succeeded));
    assert_eq!(rig.agent.begun().len(), 120, "twenty once more, sixty for the first time");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halted_one_goes_on_without_those_that_failed() {
    let rig = rig().await;
    rig.agent.set_broken(cluster(0), true);
    let made = begin(&rig, &request(&rig, 10, json!({"waves": [20, 80]})).await).await;
    let halted = until(&rig, made.id, RolloutState::Halted).await;
    assert!(halted.waves[1].clusters.iter().all(|one| one.operation_id.is_none()));
    change(&rig, made.id, RolloutCommand::Resume).await.unwrap();
    until(&rig, made.id, RolloutState::Failed).await;
    assert_eq!(rig.agent.begun().len(), 10);
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

#[tokio::test(flavor = "multi_thread")]
async fn regression_what_breaks_during_the_bake_halts() {
    let rig = rig().await;
    let asked = request(&rig, 4, json!({"waves": [50, 50], "bake_seconds": 1_000})).await;
    let made = begin(&rig, &asked).await;
    let bakes = |reason: &'static str| {
        let rig = &rig;
        eventually(reason, move || async move {
            rig.ask(&GetRollout { principal: admin(), id: made.id }).await.is_ok_and(|now| now.reason == reason)
        })
    };
    bakes("wave 1 of 2 bakes").await;
    rig.agent.set_broken(cluster(0), true);
    rig.clock.advance(1_001);
    let halted = until(&rig, made.id, RolloutState::Halted).await;
    assert!(halted.waves[1].clusters.iter().all(|one| one.operation_id.is_none()));
    let look = rig.agent.run(halted.waves[0].clusters[0].operation_id.unwrap()).unwrap();
    assert!(matches!(look.work, Work::Apply { dry_run: true, wait: true, prune: None, .. }), "{look:?}");
    assert_eq!(rig.agent.begun().len(), 4, "two, and a look at each");

    rig.agent.set_broken(cluster(0), false);
    change(&rig, made.id, RolloutCommand::RetryFailed).await.unwrap();
    bakes("wave 1 of 2 bakes").await;
    rig.clock.advance(1_001);
    bakes("wave 2 of 2 bakes").await;
    assert_eq!(rig.agent.begun().len(), 8);
    rig.clock.advance(1_001);
    until(&rig, made.id, RolloutState::Succeeded).await;
    assert_eq!(rig.agent.begun().len(), 10);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_bodies_with_patches_do_not_fill_the_room_for_uploads() {
    let rig = rig().await;
    let patch = |number: u32| {
        json!({
            "labels": {"n": number.to_string()}, "object": {"api_version": "", "kind": "ConfigMap", "name": "a"},
            "patch": {"data": {"k": format!("v{number}")}},
        })
    };
    let overrides: Vec<_> = (0..5).map(patch).collect();
    let made = begin(&rig, &request(&rig, 5, json!({"overrides": overrides})).await).await;
    until(&rig, made.id, RolloutState::Succeeded).await;
    let pool = database(&rig).await;
    let count = async |sql: &'static str| query_scalar::<_, i64>(sql).fetch_one(&pool).await.unwrap();
    assert_eq!(count("SELECT count(*) FROM bodies").await, 6);
    assert_eq!(count("SELECT count(*) FROM bodies WHERE claimed = 0").await, 0);
    pool.close().await;
    rig.stop().await;
}

/// The process was killed after it had stored that the rollout is cancelled, and before it had cancelled the operations.
#[tokio::test(flavor = "multi_thread")]
async fn regression_what_a_cancelled_rollout_left_open_is_cancelled_later() {
    let rig = rig().await;
    rig.agent.gate(0);
    let made = begin(&rig, &request(&rig, 2, json!({})).await).await;
    eventually("begun", || async { rig.agent.begun().len() == 2 }).await;
    let rig = rig
        .away(async |rig| {
            let pool = database(rig).await;
            let cancelled =
                "UPDATE rollouts SET state = 'cancelled', next_at = created_at, doc = json_set(doc, '$.state',
                'cancelled', '$.finished_at', '2026-01-01T00:00:00Z')";
            query(cancelled).execute(&pool).await.unwrap();
            pool.close().await;
        })
        .await;
    eventually("its operations are cancelled", || async {
        let now = rig.ask(&GetRollout { principal: admin(), id: made.id }).await.unwrap();
        now.waves[0].clusters.iter().all(|one| one.state == Some(OperationState::Cancelled))
    })
    .await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_a_cluster_that_is_away_does_not_hold_later_waves_up() {
    let rig = rig().await;
    rig.agent.set_offline(cluster(0), true);
    let made = begin(&rig, &request(&rig, 4, json!({"waves": [50, 50], "failure_budget": 1})).await).await;
    eventually("it waits for its agent", || async {
        let now = rig.ask(&GetRollout { principal: admin(), id: made.id }).await.unwrap();
        let operation = now.waves[0].clusters[0].operation_id;
        operation.is_some() && rig.get(operation.unwrap()).await.reason.starts_with("waits for its agent")
    })
    .await;
    assert!(rig.agent.begun().len() < 2);
    rig.clock.advance(31);
    eventually("the second wave is done", || async { rig.agent.begun().len() == 3 }).await;
    eventually("it waits", || async {
        let now = rig.ask(&GetRollout { principal: admin(), id: made.id }).await.unwrap();
        now.state == RolloutState::Running && now.reason == "waits for 1 clusters that were away"
    })
    .await;
    rig.agent.set_offline(cluster(0), false);
    rig.connected(cluster(0)).await;
    until(&rig, made.id, RolloutState::Succeeded).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_a_rollout_is_listed_for_whoever_sees_every_cluster_of_it() {
    let rig = rig().await;
    let made = begin(&rig, &request(&rig, 2, json!({"needs_approval": true})).await).await;
    let list = async |principal| {
        let page = PageRequest { limit: 10, offset: 0, cursor: None };
        let found = rig.ask(&ListRollouts { principal, page }).await.unwrap();
        (found.total, found.items.iter().map(|one| one.id).collect::<Vec<_>>())
    };
    let granted = |user, clusters: &[u128]| {
        principal(user, Role::Operator, Reach::Granted(clusters.iter().map(|number| cluster(*number)).collect()))
    };
    assert_eq!(list(granted(2, &[0, 1, 7])).await, (1, vec![made.id]));
    assert_eq!(list(granted(3, &[0])).await, (0, Vec::new()));
    assert_eq!(list(granted(3, &[])).await, (0, Vec::new()));
    assert_eq!(list(admin()).await, (1, vec![made.id]));
    let bound = |clusters: &[u128]| {
        let clusters: Vec<_> = clusters.iter().map(|number| cluster(*number)).collect();
        let mut bound = admin();
        bound.scope = serde_json::from_value(json!({"clusters": clusters})).unwrap();
        bound
    };
    assert_eq!(list(bound(&[0])).await.0, 0);
    assert_eq!(list(bound(&[0, 1])).await.0, 1);
    // Who owns a cluster sees it.
    rig.world.owners.lock().unwrap().insert(cluster(0), granted(4, &[]).user_id);
    let owned = begin(&rig, &request(&rig, 1, json!({"needs_approval": true})).await).await;
    assert_eq!(list(granted(4, &[])).await, (1, vec![owned.id]));
    let approve = ChangeRollout { principal: granted(2, &[0, 1]), id: made.id, command: RolloutCommand::Approve };
    rig.ask(&approve).await.unwrap();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_a_cluster_that_joins_between_two_tries_is_no_other_request() {
    let rig = rig().await;
    let first = CreateRollout {
        idempotency_key: Some("k".to_owned()),
        clusters_asked: Some(r#"{"selector":{"env":"prod"}}"#.to_owned()),
        ..request(&rig, 2, json!({})).await
    };
    let made = begin(&rig, &first).await;
    let joined = CreateRollout { targets: request(&rig, 3, json!({})).await.targets, ..first.clone() };
    assert_eq!(begin(&rig, &joined).await.id, made.id);
    let other = CreateRollout { clusters_asked: Some(r#"{"selector":{"env":"test"}}"#.to_owned()), ..first };
    assert_eq!(rig.ask(&other).await.unwrap_err().code, Code::IdempotencyMismatch);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_a_secret_is_not_overridden_and_patches_are_not_told() {
    let rig = rig().await;
    let with = |kind: &str| {
        json!({"overrides": [{
            "labels": {"n": "1"}, "object": {"api_version": "v1", "kind": kind, "name": "a"},
            "patch": {"data": {"k": "canary-patch"}},
        }]})
    };
    let refused = rig.ask(&request(&rig, 2, with("Secret")).await).await.unwrap_err();
    assert_eq!((refused.code, refused.errors[0].loc.join(".").as_str()), (Code::Validation, "body.plan.overrides"));
    let made = begin(&rig, &request(&rig, 2, with("ConfigMap")).await).await;
    let done = until(&rig, made.id, RolloutState::Succeeded).await;
    for shown in [&made, &done] {
        let shown = serde_json::to_value(shown).unwrap();
        assert!(!shown.to_string().contains("canary-patch"), "{shown}");
        assert_eq!(shown["plan"]["overrides"][0]["patch"], json!({"bytes": 29}));
    }
    let pool = database(&rig).await;
    let receipts: Vec<String> = query_scalar("SELECT reply FROM handled").fetch_all(&pool).await.unwrap();
    assert!(!receipts.is_empty() && receipts.iter().all(|reply| !reply.contains("canary-patch")));
    pool.close().await;
    rig.stop().await;
}
