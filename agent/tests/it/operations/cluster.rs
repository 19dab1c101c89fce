//! Apply, delete, prune, sync and undo against a real API server.

use http::Method;
use roadstead_contracts::Code;
use roadstead_contracts::operation::{CancelledRun, Ending, ObjectOutcome, RunEvent, Work};
use serde_json::json;

use super::rig::{Rig, Wish, apply, config_maps};

async fn rig(what: &str) -> (Rig, tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::real(folder.path()).await;
    // The first session binds the roles before it serves; this waits for it.
    rig.settle(super::rig::operation(), 1).await;
    let namespace = rig.namespace(what).await;
    (rig, folder, namespace)
}

fn map(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps/{name}")
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn conflicts_name_their_owner() {
    let (rig, _folder, namespace) = rig("conflict").await;
    let theirs = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "c-00", "namespace": namespace }, "data": { "value": "theirs" },
    });
    let path = format!("{}?fieldManager=somebody-else", map(&namespace, "c-00"));
    rig.write(Method::PATCH, &path, "application/apply-patch+yaml", &theirs).await;
    let body = config_maps(&namespace, 2, "ours");
    let told = rig.run(&Wish::new(apply(), body.clone())).await;
    assert_eq!(told.ending().ending, Ending::Failed);
    let error = told.of("c-00").error.clone().unwrap();
    assert_eq!(error.code, Code::ApplyConflict);
    assert!(error.detail.contains(".data.value (somebody-else)"), "{}", error.detail);
    assert_eq!(rig.get(&map(&namespace, "c-00")).await.unwrap()["data"]["value"], "theirs");
    // The others are applied, and a retry takes only what failed.
    assert_eq!(told.of("c-01").outcome, ObjectOutcome::Created);
    let Work::Apply { namespace: none, dry_run, prune, inventory, wait, .. } = apply() else { panic!() };
    let force = Work::Apply { namespace: none, dry_run, prune, inventory, force_conflicts: true, wait };
    let taken = rig.run(&Wish { only: Some(vec![0]), ..Wish::new(force, body) }).await;
    assert_eq!(taken.succeeded().outcomes(), [ObjectOutcome::Configured]);
    assert_eq!(rig.get(&map(&namespace, "c-00")).await.unwrap()["data"]["value"], "ours");
    // Undone it is theirs again.
    assert_eq!(rig.undo(&taken).await.succeeded().outcomes(), [ObjectOutcome::Configured]);
    assert_eq!(rig.get(&map(&namespace, "c-00")).await.unwrap()["data"], json!({ "value": "theirs" }));
    rig.remove_namespace(&namespace).await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn an_inventory_prunes_what_it_lists_and_nothing_else() {
    let (rig, _folder, namespace) = rig("prune").await;
    let work = |prune: bool, dry_run: bool| Work::Apply {
        namespace: Some(namespace.clone()),
        dry_run,
        prune: prune.then(|| "app".to_owned()),
        inventory: Some("app".to_owned()),
        force_conflicts: false,
        wait: false,
    };
    let stranger = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "stranger" } });
    rig.write(Method::POST, &format!("/api/v1/namespaces/{namespace}/configmaps"), "application/json", &stranger).await;
    rig.run(&Wish::new(work(false, false), config_maps(&namespace, 4, "a"))).await.succeeded();
    let keep = json!({ "metadata": { "annotations": { "roadstead.io/prune": "keep" } } });
    rig.write(Method::PATCH, &map(&namespace, "c-03"), "application/merge-patch+json", &keep).await;
    // Written without its namespace it is the same object.
    let shorter = config_maps(&namespace, 2, "a").replace(&format!(", namespace: {namespace}"), "");
    let asked = rig.run(&Wish::new(work(true, true), shorter.clone())).await;
    assert_eq!(asked.succeeded().of("c-02").outcome, ObjectOutcome::Deleted);
    assert!(rig.get(&map(&namespace, "c-02")).await.is_some(), "only asked");
    let pruned = rig.run(&Wish::new(work(true, false), shorter.clone())).await;
    pruned.succeeded();
    assert_eq!(
        (pruned.of("c-02").outcome, pruned.of("c-03").outcome),
        (ObjectOutcome::Deleted, ObjectOutcome::Drifted)
    );
    assert_eq!((pruned.accepted, pruned.results.len()), (Some((2, 0)), 4));
    for (name, there) in [("c-00", true), ("c-01", true), ("c-02", false), ("c-03", true), ("stranger", true)] {
        assert_eq!(rig.get(&map(&namespace, name)).await.is_some(), there, "{name}");
    }
    // A second time there is nothing to do; what was kept stays listed.
    let again = rig.run(&Wish::new(work(true, false), shorter)).await;
    assert_eq!(again.succeeded().results.len(), 3);
    // Undone, what was pruned is back.
    rig.undo(&pruned).await.succeeded();
    assert_eq!(rig.get(&map(&namespace, "c-02")).await.unwrap()["data"]["value"], "a");
    rig.remove_namespace(&namespace).await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn an_undo_leaves_what_somebody_changed() {
    let (rig, _folder, namespace) = rig("undo").await;
    let before =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c-00, labels: {a: b}}\ndata: {value: before, other: x}\n";
    let work = |force| Work::Apply {
        namespace: Some(namespace.clone()),
        dry_run: false,
        prune: None,
        inventory: None,
        force_conflicts: force,
        wait: false,
    };
    rig.run(&Wish::new(work(false), before)).await.succeeded();
    let earlier = rig.get(&map(&namespace, "c-00")).await.unwrap();
    let after =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c-00, labels: {c: d}}\ndata: {value: after, added: new}\n";
    let second = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c-01}\ndata: {value: x}\n";
    let changed = rig.run(&Wish::new(work(true), format!("{after}{second}"))).await;
    changed.succeeded();
    assert_eq!(changed.of("c-00").before.as_ref().unwrap()["data"], json!({ "value": "before", "other": "x" }));
    // Somebody writes to the one that was made.
    let touched = json!({ "data": { "value": "mine now" } });
    rig.write(Method::PATCH, &map(&namespace, "c-01"), "application/merge-patch+json", &touched).await;
    let undone = rig.undo(&changed).await;
    assert_eq!(undone.ending().ending, Ending::Failed);
    assert_eq!(
        (undone.of("c-00").outcome, undone.of("c-01").outcome),
        (ObjectOutcome::Configured, ObjectOutcome::Drifted)
    );
    assert!(undone.of("c-01").diff.as_ref().unwrap().contains("-  value: mine now"), "{undone:?}");
    // What the apply had added is gone, what it had taken away is back.
    let back = rig.get(&map(&namespace, "c-00")).await.unwrap();
    assert_eq!((&back["data"], &back["metadata"]["labels"]), (&earlier["data"], &earlier["metadata"]["labels"]));
    // The undo itself can be undone, and applying goes on without conflicts with itself.
    rig.run(&Wish::new(Work::Undo { force: false }, undone.restores())).await.succeeded();
    assert_eq!(rig.get(&map(&namespace, "c-00")).await.unwrap()["data"]["value"], "after");
    rig.run(&Wish::new(work(false), before)).await.succeeded();
    let forced = rig.run(&Wish::new(Work::Undo { force: true }, changed.restores())).await;
    assert_eq!(forced.succeeded().of("c-01").outcome, ObjectOutcome::Deleted);
    rig.remove_namespace(&namespace).await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_stop_comes_between_two_objects() {
    let (rig, _folder, namespace) = rig("cancel").await;
    let wish = Wish::new(apply(), config_maps(&namespace, 90, "a"));
    let mut events = rig.begin(&wish).await;
    while !matches!(events.next().await.unwrap(), RunEvent::Object(_)) {}
    assert_eq!(rig.cancel(wish.id, 1).await, CancelledRun::Stopping);
    let told = events.all().await;
    let counts = told.ending().counts;
    assert_eq!(told.ending().ending, Ending::Cancelled, "{counts:?}");
    assert_eq!(counts.created + counts.skipped, 90);
    assert!(counts.created >= 1 && counts.skipped >= 1, "{counts:?}");
    // What it says is what is there.
    for result in &told.results {
        let there = rig.get(&map(&namespace, &result.key.name)).await.is_some();
        assert_eq!(there, result.outcome == ObjectOutcome::Created, "{result:?}");
    }
    assert_eq!(rig.cancel(wish.id, 1).await, CancelledRun::Ended);
    rig.remove_namespace(&namespace).await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn deadlines_and_rights_are_kept() {
    let (rig, _folder, namespace) = rig("rights").await;
    let body = config_maps(&namespace, 2, "a");
    // Row Y10 and the rule behind it: the person's rights count, not the agent's.
    let told = rig.run(&Wish { role: "viewer", ..Wish::new(apply(), body.clone()) }).await;
    assert_eq!(told.outcomes(), [ObjectOutcome::Failed; 2]);
    assert_eq!(told.results[0].error.as_ref().unwrap().code, Code::Forbidden);
    assert!(rig.get(&map(&namespace, "c-00")).await.is_none());
    let binding = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: operations-escalation}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}\nsubjects: []\n";
    let told = rig.run(&Wish { role: "operator", ..Wish::new(apply(), binding) }).await;
    assert_eq!(told.results[0].error.as_ref().unwrap().code, Code::Forbidden);
    // An operator may this.
    rig.run(&Wish { role: "operator", ..Wish::new(apply(), body.clone()) }).await.succeeded();
    let told = rig.run(&Wish { deadline_seconds: 0, ..Wish::new(apply(), body) }).await;
    assert_eq!((told.ending().ending, told.ending().counts.skipped), (Ending::TimedOut, 2));
    // What the API server does not take is said in its words.
    let wrong = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: s, namespace: {namespace}}}\nspec: {{ports: [{{port: 70000}}]}}\n"
    );
    let told = rig.run(&Wish::new(apply(), wrong)).await;
    let error = told.results[0].error.clone().unwrap();
    assert_eq!(error.code, Code::Validation);
    assert!(error.detail.contains("70000") || error.detail.contains("port"), "{}", error.detail);
    rig.remove_namespace(&namespace).await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn sync_reports_and_corrects() {
    let (rig, _folder, namespace) = rig("sync").await;
    let body = config_maps(&namespace, 3, "a");
    rig.run(&Wish::new(apply(), body.clone())).await.succeeded();
    let drift = json!({ "data": { "value": "drifted" } });
    rig.write(Method::PATCH, &map(&namespace, "c-01"), "application/merge-patch+json", &drift).await;
    rig.write(Method::DELETE, &map(&namespace, "c-02"), "application/json", &json!({})).await;
    let sync = |correct| Work::Sync { namespace: None, correct };
    let told = rig.run(&Wish::new(sync(false), body.clone())).await;
    let expected = [ObjectOutcome::Unchanged, ObjectOutcome::Drifted, ObjectOutcome::Drifted];
    assert_eq!(told.succeeded().outcomes(), expected);
    assert!(told.of("c-01").diff.as_ref().unwrap().contains("-  value: drifted\n+  value: a"), "{told:?}");
    assert_eq!(rig.get(&map(&namespace, "c-01")).await.unwrap()["data"]["value"], "drifted");
    let told = rig.run(&Wish::new(sync(true), body.clone())).await;
    let expected = [ObjectOutcome::Unchanged, ObjectOutcome::Configured, ObjectOutcome::Created];
    assert_eq!(told.succeeded().outcomes(), expected);
    let told = rig.run(&Wish::new(sync(false), body)).await;
    assert_eq!(told.succeeded().outcomes(), [ObjectOutcome::Unchanged; 3]);
    rig.remove_namespace(&namespace).await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn removal_goes_backwards_and_waits() {
    let (rig, _folder, namespace) = rig("delete").await;
    let body = format!(
        "{}---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d, namespace: {namespace}}}\nspec: {{replicas: 1, selector: {{matchLabels: {{a: b}}}}, template: {{metadata: {{labels: {{a: b}}}}, spec: {{containers: [{{name: a, image: a}}]}}}}}}\n",
        config_maps(&namespace, 2, "a")
    );
    let made = rig.run(&Wish::new(apply(), body.clone())).await;
    made.succeeded();
    let delete = |dry_run| Work::Delete { namespace: None, dry_run, wait: true };
    let asked = rig.run(&Wish::new(delete(true), body.clone())).await;
    assert!(asked.succeeded().results.iter().all(|result| result.diff.is_some()));
    assert!(rig.get(&map(&namespace, "c-01")).await.is_some(), "only asked");
    let told = rig.run(&Wish::new(delete(false), body.clone())).await;
    assert_eq!(told.succeeded().outcomes(), [ObjectOutcome::Deleted; 3]);
    let names: Vec<&str> = told.results.iter().map(|result| result.key.name.as_str()).collect();
    assert_eq!(names, ["d", "c-01", "c-00"]);
    assert!(rig.get(&format!("/apis/apps/v1/namespaces/{namespace}/deployments/d")).await.is_none());
    let again = rig.run(&Wish::new(delete(false), body)).await;
    assert_eq!(again.succeeded().outcomes(), [ObjectOutcome::Absent; 3]);
    // Undone, they are there again.
    rig.undo(&told).await.succeeded();
    assert_eq!(rig.get(&map(&namespace, "c-01")).await.unwrap()["data"]["value"], "a");
    rig.remove_namespace(&namespace).await;
}
