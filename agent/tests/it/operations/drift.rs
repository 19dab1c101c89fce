//! What others change is noticed by watching, against a real API server.

use std::time::Duration;

use http::Method;
use roadstead_contracts::drift::{DriftReport, DriftState};
use roadstead_contracts::operation::{ObjectKey, ObjectOutcome, Work};
use serde_json::{Value, json};

use super::rig::{Rig, Wish, apply, config_maps};

/// What is watched is told within two seconds; a loaded machine takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a report that is so.
async fn told(rig: &Rig, what: &str, good: impl Fn(&DriftReport) -> bool) -> DriftReport {
    let mut drift = rig.drift.clone();
    let waited = tokio::time::timeout(PATIENCE, drift.wait_for(|report| report.revision > 0 && good(report))).await;
    let Ok(report) = waited else { panic!("never {what}: {:?}", rig.drift.borrow()) };
    report.unwrap().clone()
}

/// State of each drifted object, by name.
fn states(report: &DriftReport) -> Vec<(&str, DriftState)> {
    report.objects.iter().map(|object| (object.key.name.as_str(), object.state)).collect()
}

fn map(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps/{name}?fieldManager=kubectl-edit")
}

async fn edit(cluster: &roadstead_agent::kubernetes::Cluster, namespace: &str, name: &str, patch: &Value) {
    let form = "application/merge-patch+json";
    let _: Value = cluster.write(Method::PATCH, &map(namespace, name), form, patch).await.unwrap();
}

async fn remove(cluster: &roadstead_agent::kubernetes::Cluster, namespace: &str, name: &str) {
    let _: Value = cluster.write(Method::DELETE, &map(namespace, name), "application/json", &json!({})).await.unwrap();
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn what_others_change_is_told_until_it_is_put_right() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::real(folder.path()).await;
    // An agent that remembers nothing says so once: the hub may know of drift from a folder that was lost.
    let nothing = told(&rig, "a first word", |_| true).await;
    assert_eq!((nothing.counts.remembered, nothing.objects.len()), (0, 0));
    let namespace = rig.namespace("drift").await;
    let other = rig.namespace("drift-other").await;
    let body = config_maps(&namespace, 4, "ours") + &config_maps(&other, 1, "ours");
    let first = Wish::new(apply(), body.clone());
    rig.run(&first).await.succeeded();
    let calm = told(&rig, "five are remembered", |report| report.counts.remembered == 5).await;
    assert_eq!((calm.counts.drifted, calm.counts.unseen), (0, 0));

    // A value, and what nobody applied; one is removed.
    let cluster = rig.cluster();
    edit(&cluster, &namespace, "c-00", &json!({ "data": { "value": "theirs", "more": "x" } })).await;
    edit(&cluster, &namespace, "c-01", &json!({ "metadata": { "labels": { "theirs": "yes" } } })).await;
    edit(&cluster, &other, "c-00", &json!({ "data": null })).await;
    remove(&cluster, &namespace, "c-02").await;
    let drifted = told(&rig, "three have drifted", |report| report.counts.drifted == 3).await;
    let expected = [("c-00", DriftState::Changed), ("c-02", DriftState::Missing), ("c-00", DriftState::Changed)];
    assert_eq!(states(&drifted), expected);
    let changed = &drifted.objects[0];
    assert_eq!((changed.operation_id, changed.key.namespace.as_deref()), (first.id, Some(namespace.as_str())));
    let fields: Vec<_> = changed.fields.iter().map(|field| (field.path.as_str(), field.manager.as_deref())).collect();
    assert_eq!(fields, [(".data.value", Some("kubectl-edit"))]);
    assert_eq!(drifted.objects[2].fields[0].manager, None);
    let text = serde_json::to_string(&drifted).unwrap();
    assert!(!text.contains("theirs") && !text.contains("ours"), "a value is told: {text}");

    // Put back by hand it is as it was; the rest by a sync, with the watch's own word.
    edit(&cluster, &namespace, "c-00", &json!({ "data": { "value": "ours" } })).await;
    told(&rig, "one is healed", |report| report.counts.drifted == 2).await;
    let sync = rig.run(&Wish::new(Work::Sync { namespace: None, correct: true }, body.clone())).await;
    assert_eq!(sync.succeeded().of("c-02").outcome, ObjectOutcome::Created);
    told(&rig, "all is well", |report| report.counts.drifted == 0).await;

    // What an operation removes or puts back is not remembered any more.
    let delete = Work::Delete { namespace: None, dry_run: false, wait: false };
    rig.run(&Wish::new(delete, config_maps(&other, 1, ""))).await.succeeded();
    // Nobody else has touched the fourth.
    let later = config_maps(&namespace, 4, "later");
    let fourth = later.rsplit("---\n").next().unwrap();
    let undone = rig.run(&Wish::new(apply(), fourth)).await;
    undone.succeeded();
    rig.undo(&undone).await.succeeded();
    let left = told(&rig, "two are forgotten", |report| report.counts.remembered == 3).await;
    assert_eq!(left.counts.drifted, 0);
    rig.remove_namespace(&namespace).await;
    rig.remove_namespace(&other).await;
    // A namespace that goes takes what was applied in it along.
    let gone = told(&rig, "three are missing", |report| report.counts.drifted == 3).await;
    assert!(gone.objects.iter().all(|object| object.state == DriftState::Missing), "{gone:?}");
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn what_happens_while_the_agent_is_away_is_noticed_on_its_return() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::real(folder.path()).await;
    rig.settle(super::rig::operation(), 1).await;
    let namespace = rig.namespace("drift-away").await;
    let deployment = deployment(&namespace);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "door", "namespace": namespace },
        "stringData": { "password": "hunter2-canary" },
    });
    let body = format!("{}---\n{deployment}\n---\n{secret}\n", config_maps(&namespace, 2, "ours"));
    rig.run(&Wish::new(apply(), body.clone())).await.succeeded();
    // Viewers see no Secrets, so the agent does not: that is told, and nothing of it is on the disk.
    told(&rig, "four are remembered", |report| {
        (report.counts.remembered, report.counts.drifted, report.counts.unseen) == (4, 0, 1)
    })
    .await;
    let kept = std::fs::read_to_string(folder.path().join("drift/applied")).unwrap();
    assert!(kept.contains("door") && !kept.contains("hunter2") && !kept.contains("aHVudGVyMi"), "{kept}");

    let cluster = rig.cluster();
    let place = namespace.clone();
    let rig = rig
        .die_while(async move {
            edit(&cluster, &place, "c-00", &json!({ "data": { "value": "theirs" } })).await;
            remove(&cluster, &place, "c-01").await;
            let scaled = json!({ "spec": { "replicas": 1, "template": { "spec": { "containers": [
                { "name": "web", "image": "registry.example/web:2" },
            ] } } } });
            let path = format!("/apis/apps/v1/namespaces/{place}/deployments/web?fieldManager=kubectl-edit");
            let form = "application/strategic-merge-patch+json";
            let _: Value = cluster.write(Method::PATCH, &path, form, &scaled).await.unwrap();
        })
        .await;
    // The first word of the new agent is the whole of it.
    let report = told(&rig, "a word of the new agent", |_| true).await;
    let expected = [("web", DriftState::Changed), ("c-00", DriftState::Changed), ("c-01", DriftState::Missing)];
    assert_eq!(states(&report), expected);
    let paths: Vec<&str> = report.objects[0].fields.iter().map(|field| field.path.as_str()).collect();
    assert_eq!(paths, [".spec.replicas", ".spec.template.spec.containers[name=\"web\"].image"]);
    let sync = Work::Sync { namespace: None, correct: true };
    rig.run(&Wish::new(sync, body)).await.succeeded();
    told(&rig, "all is well", |report| report.counts.drifted == 0).await;
    rig.remove_namespace(&namespace).await;
}

/// What a scale or a restart sets is as it set it; the rest is the apply's, with the drift that it had. A namespace that an
/// operation removes takes what was in it along.
#[tokio::test]
#[ignore = "needs a cluster"]
async fn regression_operations_hide_no_drift_and_leave_none_behind() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::real(folder.path()).await;
    rig.settle(super::rig::operation(), 1).await;
    let namespace = rig.namespace("drift-scaled").await;
    let deployment = deployment(&namespace);
    let first = Wish::new(apply(), format!("{}---\n{deployment}\n", config_maps(&namespace, 1, "ours")));
    rig.run(&first).await.succeeded();
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/web?fieldManager=kubectl-edit");
    let edit = async |spec: Value| {
        let form = "application/strategic-merge-patch+json";
        rig.write(Method::PATCH, &path, form, &json!({ "spec": spec })).await;
    };
    let image = ".spec.template.spec.containers[name=\"web\"].image";
    let named = |report: &DriftReport, paths: &[&str]| {
        report.objects.len() == 1
            && report.objects[0].operation_id == first.id
            && report.objects[0].fields.iter().map(|field| field.path.as_str()).collect::<Vec<_>>() == paths
    };
    edit(json!({ "template": { "spec": { "containers": [{ "name": "web", "image": "registry.example/web:2" }] } } }))
        .await;
    told(&rig, "the image has drifted", |report| named(report, &[image])).await;
    let object = ObjectKey {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: Some(namespace.clone()),
        name: "web".to_owned(),
    };
    rig.run(&Wish::new(Work::Scale { object: object.clone(), replicas: 1, wait: false }, "")).await.succeeded();
    rig.run(&Wish::new(Work::Restart { object, wait: false }, "")).await.succeeded();
    edit(json!({ "replicas": 0 })).await;
    told(&rig, "the replicas too", |report| named(report, &[".spec.replicas", image])).await;
    edit(json!({ "replicas": 1 })).await;
    told(&rig, "the image only", |report| named(report, &[image])).await;

    let remove = Work::Delete { namespace: None, dry_run: false, wait: false };
    let space = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
    rig.run(&Wish::new(remove, space.to_string())).await.succeeded();
    told(&rig, "nothing is remembered", |report| report.counts.remembered == 0).await;
}

/// A Deployment `web` without replicas.
fn deployment(namespace: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "namespace": namespace },
        "spec": {
            "replicas": 0, "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "web", "image": "registry.example/web:1" }] },
            },
        },
    })
}
