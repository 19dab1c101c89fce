//! What the patches of a rollout say lies sealed in the database.

use roadstead_contracts::identity::{Reach, Role};
use roadstead_contracts::ids::RolloutId;
use roadstead_contracts::message::*;
use roadstead_operations::{Faults, NAME};
use roadstead_runtime::Secret;
use roadstead_runtime::config::Seal;
use roadstead_seal::Sealer;
use roadstead_seal::source::KeyringFile;
use roadstead_store::sqlx::{query, query_scalar};
use roadstead_store::{Options, open, seal};
use serde_json::json;

use crate::rig::{Rig, cluster, eventually, principal, rig};
use crate::rollouts::{begin, database, request, until};

const CANARY: &str = "canary-patch";

/// Two clusters, a patch for the second, and somebody who has to approve it.
async fn plan(rig: &Rig) -> Rollout {
    let plan = json!({"needs_approval": true, "overrides": [{
        "labels": {"n": "1"}, "object": {"api_version": "v1", "kind": "ConfigMap", "name": "a"},
        "patch": {"data": {"k": CANARY}},
    }]});
    begin(rig, &request(rig, 2, plan).await).await
}

async fn approve(rig: &Rig, id: RolloutId) {
    let principal = principal(2, Role::Operator, Reach::All);
    rig.ask(&ChangeRollout { principal, id, command: RolloutCommand::Approve }).await.unwrap();
}

/// Approves it, and sees that the patch reaches its cluster and no other.
async fn goes_through(rig: &Rig, id: RolloutId) {
    approve(rig, id).await;
    let done = until(rig, id, RolloutState::Succeeded).await;
    for one in &done.waves[0].clusters {
        let body = String::from_utf8(rig.agent.body(one.operation_id.unwrap())).unwrap();
        assert_eq!(body.contains(CANARY), one.cluster_id == cluster(1), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_holds_no_patch_in_the_clear() {
    let rig = rig().await;
    let made = plan(&rig).await;
    goes_through(&rig, made.id).await;
    let mut files = 0;
    for file in std::fs::read_dir(rig.folder.path()).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() && path.file_name().unwrap().to_string_lossy().starts_with(NAME) {
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
            assert!(!found, "in {}", path.display());
            files += 1;
        }
    }
    assert!(files > 0);
    rig.stop().await;
}

/// What patches say lay in the plan, and was read by whoever read the database.
#[tokio::test(flavor = "multi_thread")]
async fn regression_a_plan_of_before_is_sealed_and_goes_through() {
    let rig = rig().await;
    let made = plan(&rig).await;
    let rig = rig
        .away(async |rig| {
            let pool = database(rig).await;
            let as_before = "UPDATE rollouts SET sealed_overrides = NULL, doc = json_set(json_remove(doc,
                '$.plan.overrides[0].bytes'), '$.plan.overrides[0].patch', json('{\"data\":{\"k\":\"canary-patch\"}}'))";
            assert_eq!(query(as_before).execute(&pool).await.unwrap().rows_affected(), 1);
            pool.close().await;
        })
        .await;
    let pool = database(&rig).await;
    let sealed = "SELECT count(*) FROM rollouts WHERE sealed_overrides LIKE 's1.%' AND doc NOT LIKE '%canary-patch%'";
    eventually("sealed", || async { query_scalar::<_, i64>(sealed).fetch_one(&pool).await.unwrap() == 1 }).await;
    pool.close().await;
    let shown = rig.ask(&GetRollout { principal: crate::rig::admin(), id: made.id }).await.unwrap();
    assert_eq!(shown.plan, made.plan);
    goes_through(&rig, made.id).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_patches_follow_a_new_master_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let ring = KeyringFile::new(&path);
    ring.make_if_absent().unwrap();
    let keys = path.display().to_string();
    let settings = [("ROADSTEAD_SEAL_MASTER_KEY", ""), ("ROADSTEAD_SEAL_KEYRING_FILE", keys.as_str())];
    let rig = Rig::new(1, Faults::default(), &settings).await;
    let made = plan(&rig).await;
    let rig = rig
        .away(async |rig| {
            ring.rotate().unwrap();
            let settings = Seal { master_key: None, keyring_file: Some(path.clone()) };
            let sealer = Sealer::open(&settings, NAME).unwrap();
            let url = Secret::new(format!("sqlite:{}", rig.folder.path().display()));
            let opened = open(&url, &Options::new(NAME)).await.unwrap();
            seal::guard(&opened, &sealer).await.unwrap();
            let done = seal::rewrap(&opened, &sealer).await.unwrap();
            let of_plans = done.iter().find(|counts| counts.column == "sealed_overrides").unwrap();
            assert_eq!((of_plans.processed, of_plans.succeeded, of_plans.failed, of_plans.plain), (1, 1, 0, 0));
            opened.close().await;
            // The old key may go.
            let text = std::fs::read_to_string(&path).unwrap();
            let newer: Vec<_> = text.lines().filter(|line| !line.starts_with("1:")).collect();
            std::fs::write(&path, newer.join("\n")).unwrap();
        })
        .await;
    goes_through(&rig, made.id).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_whose_patches_do_not_open_begins_nowhere() {
    let rig = rig().await;
    let (lost, moved) = (plan(&rig).await.id, plan(&rig).await.id);
    let pool = database(&rig).await;
    let other =
        "UPDATE rollouts SET sealed_overrides = (SELECT r.sealed_overrides FROM rollouts r ORDER BY seq LIMIT 1)
        WHERE seq = (SELECT max(seq) FROM rollouts)";
    let none = "UPDATE rollouts SET sealed_overrides = NULL WHERE seq = (SELECT min(seq) FROM rollouts)";
    for statement in [other, none] {
        assert_eq!(query(statement).execute(&pool).await.unwrap().rows_affected(), 1);
    }
    pool.close().await;
    for id in [lost, moved] {
        approve(&rig, id).await;
        let halted = until(&rig, id, RolloutState::Halted).await;
        assert_eq!(halted.reason, "the manifests of a cluster cannot be made");
    }
    assert!(rig.agent.begun().is_empty());
    rig.stop().await;
}
