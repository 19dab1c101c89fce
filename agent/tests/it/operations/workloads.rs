//! Scale, restart, roll back, wait, run a command: on a cluster with controllers.

use roadstead_contracts::Code;
use roadstead_contracts::operation::{Ending, ObjectKey, ObjectOutcome, Work};
use serde_json::{Value, json};

use super::rig::{Rig, Wish, apply};

fn deployment(namespace: &str, image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: {namespace}}}\nspec:\n  replicas: 1\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec: {{containers: [{{name: web, image: \"{image}\"}}]}}\n"
    )
}

fn waiting() -> Work {
    let Work::Apply { namespace, dry_run, prune, inventory, force_conflicts, .. } = apply() else { panic!() };
    Work::Apply { namespace, dry_run, prune, inventory, force_conflicts, wait: true }
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_workload_is_scaled_restarted_and_rolled_back() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::real(folder.path()).await;
    rig.settle(super::rig::operation(), 1).await;
    let namespace = rig.namespace("workload").await;
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/web");
    let object = ObjectKey {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: Some(namespace.clone()),
        name: "web".to_owned(),
    };
    let made = rig.run(&Wish::new(waiting(), deployment(&namespace, "web:1"))).await;
    made.succeeded();
    assert!(!made.waited.is_empty() && made.waited[0].1.contains("Deployment"), "{made:?}");

    let scale = Wish::new(Work::Scale { object: object.clone(), replicas: 3, wait: true }, "");
    let scaled = rig.run(&scale).await;
    assert_eq!(scaled.succeeded().outcomes(), [ObjectOutcome::Configured]);
    let live = rig.get(&path).await.unwrap();
    assert_eq!((&live["spec"]["replicas"], &live["status"]["availableReplicas"]), (&3.into(), &3.into()));
    let same = rig.run(&Wish { id: super::rig::operation(), ..scale }).await;
    assert_eq!(same.succeeded().outcomes(), [ObjectOutcome::Unchanged]);
    // The controller has written to it since, nobody else: it can be undone.
    assert_eq!(rig.undo(&scaled).await.succeeded().outcomes(), [ObjectOutcome::Configured]);
    assert_eq!(rig.get(&path).await.unwrap()["spec"]["replicas"], 1);

    let template = |live: &Value| live["spec"]["template"].clone();
    let before = template(&rig.get(&path).await.unwrap());
    let restart = Wish::new(Work::Restart { object: object.clone(), wait: true }, "");
    rig.run(&restart).await.succeeded();
    let restarted = template(&rig.get(&path).await.unwrap());
    assert_ne!(before, restarted);

    rig.run(&Wish::new(waiting(), deployment(&namespace, "web:2"))).await.succeeded();
    let back = rig.run(&Wish::new(Work::Rollback { object: object.clone(), revision: None, wait: true }, "")).await;
    assert_eq!(back.succeeded().outcomes(), [ObjectOutcome::Configured]);
    assert_eq!(template(&rig.get(&path).await.unwrap()), restarted);
    let first =
        rig.run(&Wish::new(Work::Rollback { object: object.clone(), revision: Some(1), wait: false }, "")).await;
    first.succeeded();
    assert_eq!(template(&rig.get(&path).await.unwrap()), before);
    let nowhere =
        rig.run(&Wish::new(Work::Rollback { object: object.clone(), revision: Some(99), wait: false }, "")).await;
    assert_eq!(nowhere.ending().ending, Ending::Failed);
    assert!(nowhere.results[0].error.as_ref().unwrap().detail.contains("no revision 99"));
    // It was told that its namespace or its kind was missing.
    let gone = ObjectKey { name: "nobody".to_owned(), ..object };
    for work in [
        Work::Rollback { object: gone.clone(), revision: None, wait: false },
        Work::Restart { object: gone.clone(), wait: false },
        Work::Scale { object: gone, replicas: 1, wait: false },
    ] {
        let told = rig.run(&Wish::new(work, "")).await;
        let error = told.results[0].error.as_ref().unwrap();
        assert_eq!((error.code, &*error.detail), (Code::NotFound, "there is no such object"));
    }
    rig.remove_namespace(&namespace).await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_wait_that_never_ends_ends_at_the_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::real(folder.path()).await;
    rig.settle(super::rig::operation(), 1).await;
    let namespace = rig.namespace("wait").await;
    let claim = format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: data, namespace: {namespace}}}\nspec: {{storageClassName: none-such, accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}\n"
    );
    let told = rig.run(&Wish { deadline_seconds: 3, ..Wish::new(waiting(), claim.clone()) }).await;
    assert_eq!(told.ending().ending, Ending::TimedOut);
    assert!(told.ending().error.as_ref().unwrap().detail.contains("data: it is Pending"), "{told:?}");
    assert_eq!(told.outcomes(), [ObjectOutcome::Created]);
    // Cancelled while it waits: everything had been applied.
    let wish = Wish::new(waiting(), claim);
    let mut events = rig.begin(&wish).await;
    while !matches!(events.next().await, Some(roadstead_contracts::operation::RunEvent::Waiting { .. })) {}
    rig.cancel(wish.id, 1).await;
    assert_eq!(events.all().await.ending().ending, Ending::FinishedFirst);
    rig.remove_namespace(&namespace).await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_command_runs_once_and_says_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::real(folder.path()).await;
    rig.settle(super::rig::operation(), 1).await;
    let namespace = rig.namespace("exec").await;
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p, namespace: {namespace}}}\nspec: {{containers: [{{name: a, image: a}}]}}\n"
    );
    rig.run(&Wish::new(waiting(), pod)).await.succeeded();
    let simulated = rig.get("/api/v1/nodes").await.is_some_and(|nodes| nodes.to_string().contains("kwok"));
    if !simulated {
        println!("skipped: what a pod answers is known of the simulated ones only");
        return;
    }
    let exec = |command: &[&str]| {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        Wish::new(Work::Exec { namespace: namespace.clone(), pod: "p".to_owned(), container: None, command }, "")
    };
    let hello = exec(&["sh", "-c", "echo hello; echo oops >&2"]);
    let told = rig.run(&hello).await;
    assert_eq!((told.succeeded().ending().exit_code, told.accepted), (Some(0), Some((0, 0))));
    let text = |stderr| {
        told.output.iter().filter(|(_, own)| *own == stderr).map(|(text, _)| text.as_str()).collect::<String>()
    };
    assert_eq!((text(false).as_str(), text(true).as_str()), ("hello\n", "oops\n"));
    // The same order again is answered from the ledger.
    let again = rig.run(&hello).await;
    assert_eq!((again.output, again.ending), (told.output.clone(), told.ending.clone()));
    // Output is cut; the command still comes to its end.
    let told = rig.run(&exec(&["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"])).await;
    let length: usize = told.output.iter().map(|(text, _)| text.len()).sum();
    assert!((1_048_576..1_048_800).contains(&length), "{length}");
    assert_eq!(told.ending().ending, Ending::Succeeded);
    assert_eq!(rig.run(&exec(&["false"])).await.ending().ending, Ending::Failed);
    rig.remove_namespace(&namespace).await;
}

/// What an agent that died between the two had told itself of another template: that it was its own doing.
#[tokio::test]
#[ignore = "needs a cluster"]
async fn regression_a_rollback_tells_its_own_template_from_somebody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::real(folder.path()).await;
    rig.settle(super::rig::operation(), 1).await;
    let namespace = rig.namespace("rollback").await;
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/web");
    for image in ["web:1", "web:2", "web:3"] {
        rig.run(&Wish::new(waiting(), deployment(&namespace, image))).await.succeeded();
    }
    let object = ObjectKey {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: Some(namespace.clone()),
        name: "web".to_owned(),
    };
    let wish = Wish::new(Work::Rollback { object, revision: None, wait: false }, "");
    rig.run(&wish).await.succeeded();
    let image = |live: &Value| live["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    let back = rig.get(&path).await.unwrap();
    assert_eq!(image(&back), "web:2");

    // It died behind the patch: the next one goes no further back.
    let ledger = folder.path().join(format!("{}.1.run", wish.id));
    let forget = || {
        let text = std::fs::read_to_string(&ledger).unwrap();
        let kept = text
            .split_inclusive('\n')
            .filter(|line| line.contains(r#""record":"head""#) || line.contains(r#""record":"before""#));
        let kept = kept.collect::<Vec<_>>();
        assert_eq!(kept.len(), 2, "{text}");
        std::fs::write(&ledger, kept.concat()).unwrap();
    };
    let rig = rig.die_while(async { forget() }).await;
    assert_eq!(rig.run(&wish).await.succeeded().outcomes(), [ObjectOutcome::Configured]);
    let again = rig.get(&path).await.unwrap();
    assert_eq!((image(&again), &again["metadata"]["generation"]), (image(&back), &back["metadata"]["generation"]));

    // It died before the patch, and somebody else was there.
    let cluster = rig.cluster();
    let others = json!({
        "metadata": { "annotations": { "roadstead.io/rolled-back-by": null } },
        "spec": { "template": { "spec": { "containers": [{ "name": "web", "image": "web:4" }] } } },
    });
    let meanwhile = async {
        forget();
        let form = "application/strategic-merge-patch+json";
        let _: Value = cluster.write(http::Method::PATCH, &path, form, &others).await.unwrap();
    };
    let rig = rig.die_while(meanwhile).await;
    let told = rig.run(&wish).await;
    assert_eq!(told.ending().ending, Ending::Failed);
    assert_eq!(told.results[0].error.as_ref().unwrap().code, Code::Conflict);
    assert_eq!(image(&rig.get(&path).await.unwrap()), "web:4");
    rig.remove_namespace(&namespace).await;
}
