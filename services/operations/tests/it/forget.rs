//! What is deleted by itself.

use roadstead_contracts::audit::{AuditRecord, Phase};
use roadstead_contracts::ids::OperationId;
use roadstead_contracts::message::*;
use roadstead_contracts::{Code, Result};
use roadstead_operations::Faults;
use roadstead_store::sqlx::query_scalar;
use serde_json::json;

use crate::rig::{Rig, admin, cluster, eventually, rig};
use crate::rollouts::{begin, database, request, until};

const HOUR: i64 = 3_600;

/// Nobody is to be told of an ending any more.
async fn settled(rig: &Rig) {
    let pool = database(rig).await;
    let count = "SELECT count(*) FROM operations WHERE settle_at IS NOT NULL OR finished_at IS NULL";
    eventually("settled", || async { query_scalar::<_, i64>(count).fetch_one(&pool).await.unwrap() == 0 }).await;
    pool.close().await;
}

async fn get(rig: &Rig, id: OperationId) -> Result<Operation> {
    rig.ask(&GetOperation { principal: admin(), id }).await
}

/// The same after so many hours and a restart, which looks for what is old at once.
async fn later(rig: Rig, hours: i64) -> Rig {
    settled(&rig).await;
    rig.away(async |rig| rig.clock.advance(hours * HOUR)).await
}

fn removals(rig: &Rig) -> Vec<AuditRecord> {
    let audit = rig.world.audit.lock().unwrap();
    audit.iter().filter(|record| record.action.to_string().ends_with(".delete")).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_long_ago_is_deleted_by_itself_and_stands_in_the_trail() {
    let settings = [("ROADSTEAD_OPERATIONS_RETENTION", "24h"), ("ROADSTEAD_OPERATIONS_DELETE_AFTER", "48h")];
    let rig = Rig::new(1, Faults::default(), &settings).await;
    let old = rig.apply(cluster(1), 3).await;
    rig.ended(old.id).await;
    let fleet = begin(&rig, &request(&rig, 2, json!({})).await).await;
    let fleet = until(&rig, fleet.id, RolloutState::Succeeded).await;
    let of_fleet: Vec<_> = fleet.waves[0].clusters.iter().map(|one| one.operation_id.unwrap()).collect();
    // Its retention is over, its time is not.
    let rig = later(rig, 47).await;
    let young = rig.apply(cluster(1), 1).await;
    rig.ended(young.id).await;
    assert!(get(&rig, old.id).await.is_ok() && removals(&rig).is_empty());

    let rig = later(rig, 2).await;
    eventually("deleted", || async {
        let rollout = rig.ask(&GetRollout { principal: admin(), id: fleet.id }).await;
        rollout.is_err_and(|error| error.code == Code::NotFound)
    })
    .await;
    for id in of_fleet.iter().chain([&old.id]) {
        assert_eq!(get(&rig, *id).await.unwrap_err().code, Code::NotFound);
    }
    assert!(get(&rig, young.id).await.is_ok());
    eventually("recorded", || async { removals(&rig).len() >= 4 }).await;
    let removals = removals(&rig);
    let told = |action: &str, id: String| {
        let its = |record: &&AuditRecord| record.resource.name.as_ref().is_some_and(|name| name.to_string() == id);
        let records: Vec<_> = removals.iter().filter(its).collect();
        assert_eq!(records.len(), 1, "{id}: {removals:?}");
        assert_eq!((records[0].action.to_string().as_str(), records[0].phase), (action, Phase::Outcome));
        assert!(records[0].detail.contains_key("ended"), "{:?}", records[0]);
    };
    of_fleet.iter().chain([&old.id]).for_each(|id| told("operation.delete", id.to_string()));
    told("rollout.delete", fleet.id.to_string());
    assert_eq!(removals.len(), 4);

    let pool = database(&rig).await;
    let count = async |sql: &'static str| query_scalar::<_, i64>(sql).fetch_one(&pool).await.unwrap();
    for table in ["steps", "objects", "object_parts"] {
        let left = match table {
            "steps" => "SELECT count(*) FROM steps WHERE operation_id NOT IN (SELECT id FROM operations)",
            "objects" => "SELECT count(*) FROM objects WHERE operation_id NOT IN (SELECT id FROM operations)",
            _ => "SELECT count(*) FROM object_parts WHERE operation_id NOT IN (SELECT id FROM operations)",
        };
        assert_eq!(count(left).await, 0, "{table}");
    }
    eventually("its manifests are gone, too", || async { count("SELECT count(*) FROM bodies").await == 1 }).await;
    pool.close().await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_deleted_by_itself_unless_it_is_said() {
    let rig = rig().await;
    let old = rig.apply(cluster(1), 1).await;
    rig.ended(old.id).await;
    let rig = later(rig, 20 * 365 * 24).await;
    let young = rig.apply(cluster(1), 1).await;
    rig.ended(young.id).await;
    assert!(get(&rig, old.id).await.is_ok() && removals(&rig).is_empty());
    rig.stop().await;
}
