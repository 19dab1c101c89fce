//! What agents say has drifted: kept, told, shown to whom it may be shown.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use roadstead_bus::Subscriber;
use roadstead_contracts::Code;
use roadstead_contracts::drift::{DRIFTED_MAX, DriftCounts, DriftReport, DriftState, DriftedField, DriftedObject};
use roadstead_contracts::event::{Event, Fact};
use roadstead_contracts::identity::{Principal, Reach, Role};
use roadstead_contracts::ids::{AgentId, ClusterId};
use roadstead_contracts::message::*;
use roadstead_contracts::operation::{ObjectKey, OperationState, Work};
use roadstead_contracts::policy::Effect;
use roadstead_runtime::Clock as _;

use crate::policy::rule;
use crate::rig::{Rig, admin, cluster, eventually, principal, rig};

fn object(kind: &str, namespace: &str, name: &str) -> DriftedObject {
    DriftedObject {
        key: ObjectKey {
            api_version: "v1".to_owned(),
            kind: kind.to_owned(),
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        },
        state: DriftState::Changed,
        operation_id: "0198c5b0-0000-7000-8000-000000000001".parse().unwrap(),
        fields: vec![DriftedField { path: ".data.a".to_owned(), manager: Some("kubectl-edit".to_owned()) }],
        more_fields: 0,
    }
}

async fn report(rig: &Rig, agent: AgentId, (epoch, revision): (i64, u64), objects: Vec<DriftedObject>) {
    let counts = DriftCounts {
        remembered: 7,
        drifted: u32::try_from(objects.len()).unwrap(),
        unseen: 2,
        ..DriftCounts::default()
    };
    let report = DriftReport { revision, counts, objects };
    rig.ask(&ReportDrift { cluster_id: cluster(1), agent_id: agent, epoch, report }).await.unwrap();
}

async fn drift(rig: &Rig, principal: &Principal) -> roadstead_contracts::Result<ClusterDrift> {
    rig.ask(&GetDrift { principal: principal.clone(), cluster: cluster(1).to_string() }).await
}

fn names(drift: &ClusterDrift) -> Vec<&str> {
    drift.objects.iter().map(|drifted| drifted.object.key.name.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_word_is_kept_told_and_counted() {
    let rig = rig().await;
    let told: Arc<Mutex<Vec<(ClusterId, u32)>>> = Arc::default();
    let heard = Arc::clone(&told);
    rig.bus
        .subscribe(Subscriber::Own, &["cluster.drift_changed"], move |event: Event| {
            if let Fact::DriftChanged { cluster_id, drifted } = event.fact {
                heard.lock().unwrap().push((cluster_id, drifted));
            }
            std::future::ready(Ok(()))
        })
        .await
        .unwrap();
    assert!(drift(&rig, &admin()).await.unwrap().reported_at.is_none());
    let agent: AgentId = rig.ids.next();
    let long = DriftedObject {
        fields: vec![DriftedField { path: "é".repeat(4_000), manager: None }; 100],
        ..object("ConfigMap", "team-a", "long")
    };
    report(&rig, agent, (4, 1), vec![object("ConfigMap", "team-a", "a"), long]).await;
    // Late, twice, and of an earlier session.
    report(&rig, agent, (4, 1), Vec::new()).await;
    report(&rig, agent, (3, 9), Vec::new()).await;
    let shown = drift(&rig, &admin()).await.unwrap();
    assert_eq!((names(&shown), shown.counts.remembered, shown.counts.unseen), (vec!["a", "long"], 7, 2));
    assert!(shown.objects[1].object.fields.len() <= 8 && shown.objects[1].object.fields[0].path.len() <= 256);
    let line = format!("roadstead_drifted_objects{{cluster_id=\"{}\"}} 2", cluster(1));
    eventually("the figure is there", || async { rig.metrics.render().contains(&line) }).await;
    assert!(!rig.metrics.render_public().contains("roadstead_drifted_objects{"));
    // Healed.
    report(&rig, agent, (4, 2), Vec::new()).await;
    assert!(drift(&rig, &admin()).await.unwrap().objects.is_empty());
    eventually("the figure is gone", || async { !rig.metrics.render().contains(&line) }).await;
    eventually("it is told", || async { *told.lock().unwrap() == [(cluster(1), 2), (cluster(1), 0)] }).await;
    // More than is named fits a message.
    let many = (0..2 * DRIFTED_MAX).map(|number| object("ConfigMap", "team-a", &format!("n-{number}"))).collect();
    report(&rig, agent, (5, 1), many).await;
    assert_eq!(drift(&rig, &admin()).await.unwrap().objects.len(), DRIFTED_MAX);
    rig.stop().await;
}

/// A removed cluster takes what was known along, whenever the service hears of it, and what is still under way too.
#[tokio::test(flavor = "multi_thread")]
async fn regression_what_has_drifted_in_a_removed_cluster_is_forgotten() {
    let rig = rig().await;
    let agent: AgentId = rig.ids.next();
    report(&rig, agent, (1, 1), vec![object("ConfigMap", "team-a", "a")]).await;
    assert!(drift(&rig, &admin()).await.unwrap().reported_at.is_some());
    let rig = rig
        .away(async |rig| {
            let fact = Fact::ClusterDeleted { cluster_id: cluster(1) };
            rig.bus.emit(&Event { id: rig.ids.next(), at: rig.clock.now(), fact }).await.unwrap();
        })
        .await;
    eventually("it is forgotten", || async { drift(&rig, &admin()).await.unwrap().reported_at.is_none() }).await;
    report(&rig, agent, (1, 2), vec![object("ConfigMap", "team-a", "a")]).await;
    report(&rig, rig.ids.next(), (1, 1), vec![object("ConfigMap", "team-a", "a")]).await;
    assert!(drift(&rig, &admin()).await.unwrap().reported_at.is_none());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_callers_is_not_shown() {
    let rig = rig().await;
    let objects = vec![
        object("ConfigMap", "team-a", "ours"),
        object("ConfigMap", "team-b", "theirs"),
        object("Secret", "team-a", "password"),
    ];
    report(&rig, rig.ids.next(), (1, 1), objects).await;
    let granted = principal(6, Role::Viewer, Reach::Granted(BTreeSet::from([cluster(1)])));
    assert_eq!(names(&drift(&rig, &granted).await.unwrap()), ["ours", "theirs", "password"]);
    let stranger = principal(7, Role::Operator, Reach::Granted(BTreeSet::from([cluster(2)])));
    assert_eq!(drift(&rig, &stranger).await.unwrap_err().code, Code::NotFound);
    let mut narrow = admin();
    narrow.scope = serde_json::from_value(serde_json::json!({"permissions": ["clusters:read"]})).unwrap();
    assert_eq!(drift(&rig, &narrow).await.unwrap_err().code, Code::Forbidden);
    // A rule gives a namespace, or takes a kind away; figures of the rest are not told.
    let mut team = principal(8, Role::Viewer, Reach::Granted(BTreeSet::new()));
    team.roles.clear();
    team.rules = vec![rule(1, Effect::Allow, &["*:read"], &["team-a"], &[], true)];
    let shown = drift(&rig, &team).await.unwrap();
    assert_eq!((names(&shown), shown.counts.drifted, shown.counts.remembered), (vec!["ours", "password"], 2, 0));
    let mut blind = granted.clone();
    blind.rules = vec![rule(2, Effect::Deny, &["*:*"], &[], &["secrets"], true)];
    let shown = drift(&rig, &blind).await.unwrap();
    assert_eq!((names(&shown), shown.counts.drifted), (vec!["ours", "theirs"], 2));
    rig.stop().await;
}

/// What an operation applied is compared once more, with the same manifests.
#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_synced_with_what_it_applied() {
    let rig = rig().await;
    let made = rig.apply(cluster(1), 3).await;
    rig.wait(made.id, OperationState::Succeeded).await;
    let again = RetryOperation { principal: admin(), id: made.id, all: false, sync: true, idempotency_key: None };
    let synced = rig.ask(&again).await.unwrap();
    assert_eq!(synced.work, Work::Sync { namespace: None, correct: true });
    assert_eq!((synced.origin_id, synced.kind.as_str()), (Some(made.id), "sync"));
    assert_eq!(rig.ended(synced.id).await.objects, 3);
    let undo =
        rig.ask(&UndoOperation { principal: admin(), id: made.id, force: false, idempotency_key: None }).await.unwrap();
    rig.ended(undo.id).await;
    let refused = rig.ask(&RetryOperation { id: undo.id, ..again }).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict);
    rig.stop().await;
}
