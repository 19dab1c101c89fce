//! Releases of charts, by a real Helm on a real API server.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use roadstead_contracts::Code;
use roadstead_contracts::operation::{CHART_FILE, CancelledRun, Ending, HelmAction, ObjectOutcome, RunEvent, Work};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::rig::{Rig, Told, Wish, kubeconfig};

/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(60);
const RELEASE: &str = "buoy";

/// Helm, built once from its Go module.
fn helm() -> &'static Path {
    static HELM: OnceLock<PathBuf> = OnceLock::new();
    HELM.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients/build.sh");
        let built = Command::new("sh").arg(script).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Path::new(String::from_utf8(built.stdout).unwrap().trim()).join("helm")
    })
}

/// What Helm itself says, with the cluster's own kubeconfig.
fn ask(namespace: &str, words: &[&str]) -> Value {
    let home = tempfile::tempdir().unwrap();
    let asked = Command::new(helm())
        .args(words)
        .args(["--namespace", namespace, "--output", "json", "--kubeconfig"])
        .arg(kubeconfig())
        .env("HOME", home.path())
        .output()
        .unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    serde_json::from_slice(&asked.stdout).unwrap()
}

/// Revision and status of the release, by Helm.
fn listed(namespace: &str) -> Option<(String, String)> {
    let list = ask(namespace, &["list"]);
    let row = list.as_array().unwrap().first()?;
    let text = |name: &str| row[name].as_str().unwrap().to_owned();
    Some((text("revision"), text("status")))
}

const MAP: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-map}
data: {message: {{ .Values.message | quote }}}
";
const EXTRA: &str = "{{ if .Values.extra }}
apiVersion: v1
kind: Secret
metadata: {name: {{ .Release.Name }}-extra}
stringData: {password: hunter22}
{{ end }}
";
/// No node has such a label: what waits for it waits for ever.
const STUCK: &str = "{{ if .Values.stuck }}
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}-stuck}
spec:
  selector: {matchLabels: {app: stuck}}
  template:
    metadata: {labels: {app: stuck}}
    spec:
      nodeSelector: {roadstead.dev/never: never}
      containers: [{name: main, image: 'roadstead.dev/simulated:1'}]
{{ end }}
";
/// A hook that leaves something behind and runs no pod.
const HOOK: &str = "apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-hook
  annotations: {helm.sh/hook: 'pre-install,pre-upgrade'}
data: {revision: {{ .Release.Revision | quote }}}
";

/// A chart as `helm package` writes it.
fn chart() -> &'static [u8] {
    static CHART: OnceLock<Vec<u8>> = OnceLock::new();
    CHART.get_or_init(|| {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("buoy");
        std::fs::create_dir_all(folder.join("templates")).unwrap();
        for (name, text) in [
            ("Chart.yaml", "apiVersion: v2\nname: buoy\nversion: 1.0.0\n"),
            ("values.yaml", "message: ahoy\nextra: false\nstuck: false\n"),
            ("templates/map.yaml", MAP),
            ("templates/extra.yaml", EXTRA),
            ("templates/stuck.yaml", STUCK),
            ("templates/hook.yaml", HOOK),
        ] {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let packed = Command::new(helm()).arg("package").arg(&folder).arg("-d").arg(place.path()).output().unwrap();
        assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
        std::fs::read(place.path().join("buoy-1.0.0.tgz")).unwrap()
    })
}

fn work(namespace: &str, action: HelmAction) -> Work {
    Work::Helm {
        action,
        release: RELEASE.to_owned(),
        namespace: namespace.to_owned(),
        revision: None,
        create_namespace: false,
        dry_run: false,
        wait: false,
    }
}

fn install(namespace: &str, values: &str) -> Wish {
    let body = roadstead_manifest::bundle([(CHART_FILE, chart()), ("values-1.yaml", values.as_bytes())]);
    Wish::new(work(namespace, HelmAction::Install), body)
}

async fn rig(what: &str) -> (Rig, tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::with_helm(folder.path(), Some(helm())).await;
    rig.settle(super::rig::operation(), 1).await;
    let namespace = rig.namespace(what).await;
    (rig, folder, namespace)
}

async fn message(rig: &Rig, namespace: &str) -> Option<String> {
    let map = rig.get(&format!("/api/v1/namespaces/{namespace}/configmaps/buoy-map")).await?;
    Some(map["data"]["message"].as_str().unwrap().to_owned())
}

#[track_caller]
fn outcomes(told: &Told, expected: &[(&str, ObjectOutcome)]) {
    for (name, outcome) in expected {
        assert_eq!(told.of(name).outcome, *outcome, "{name}: {told:?}");
    }
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_release_lives_as_operations() {
    use ObjectOutcome::{Configured, Created, Deleted};
    let (rig, folder, namespace) = rig("helm").await;
    let installed = rig.run(&install(&namespace, "message: one\nextra: true\n")).await;
    installed.succeeded();
    let secret = "sh.helm.release.v1.buoy.v1";
    outcomes(&installed, &[("buoy-map", Created), ("buoy-extra", Created), ("buoy-hook", Created), (secret, Created)]);
    assert_eq!(listed(&namespace), Some(("1".to_owned(), "deployed".to_owned())));
    assert_eq!(message(&rig, &namespace).await.as_deref(), Some("one"));
    // Nothing of the files stays.
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("files-")), "{left:?}");

    // Asked first: what changes and what goes; a Secret's values are nobody's business.
    let Work::Helm { action, release, namespace: lies, revision, create_namespace, wait, .. } =
        work(&namespace, HelmAction::Install)
    else {
        panic!()
    };
    let preview = Work::Helm { action, release, namespace: lies, revision, create_namespace, wait, dry_run: true };
    let asked = rig.run(&Wish { work: preview, ..install(&namespace, "message: two\n") }).await;
    asked.succeeded();
    outcomes(&asked, &[("buoy-map", Configured), ("buoy-extra", Deleted)]);
    let diff = asked.of("buoy-map").diff.clone().unwrap();
    assert!(diff.contains("one") && diff.contains("two"), "{diff}");
    assert!(!format!("{asked:?}").contains("hunter22"));
    assert_eq!(message(&rig, &namespace).await.as_deref(), Some("one"));

    // Upgraded, undone: it is revision 1 again for Helm too. Upgraded again.
    let upgraded = rig.run(&install(&namespace, "message: two\n")).await;
    upgraded.succeeded();
    outcomes(&upgraded, &[("buoy-map", Configured), ("buoy-extra", Deleted), (secret, Configured)]);
    assert_eq!(listed(&namespace), Some(("2".to_owned(), "deployed".to_owned())));
    rig.undo(&upgraded).await.succeeded();
    assert_eq!(listed(&namespace), Some(("1".to_owned(), "deployed".to_owned())));
    assert_eq!(message(&rig, &namespace).await.as_deref(), Some("one"));
    rig.run(&install(&namespace, "message: two\n")).await.succeeded();

    let rolled = rig.run(&Wish::new(work(&namespace, HelmAction::Rollback), "")).await;
    rolled.succeeded();
    assert_eq!(listed(&namespace), Some(("3".to_owned(), "deployed".to_owned())));
    assert_eq!(message(&rig, &namespace).await.as_deref(), Some("one"));

    let gone = rig.run(&Wish::new(work(&namespace, HelmAction::Uninstall), "")).await;
    gone.succeeded();
    outcomes(&gone, &[("buoy-map", Deleted), ("buoy-extra", Deleted)]);
    assert_eq!((listed(&namespace), message(&rig, &namespace).await), (None, None));
    rig.undo(&gone).await.succeeded();
    assert_eq!(listed(&namespace), Some(("3".to_owned(), "deployed".to_owned())));
    assert_eq!(message(&rig, &namespace).await.as_deref(), Some("one"));
    rig.remove_namespace(&namespace).await;
}

/// Waits until Helm has applied and waits itself.
async fn applied(rig: &Rig, namespace: &str) {
    let until = Instant::now() + PATIENCE;
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/buoy-stuck");
    while rig.get(&path).await.is_none() {
        assert!(Instant::now() < until, "helm applied nothing");
        sleep(Duration::from_millis(50)).await;
    }
}

fn waiting(namespace: &str) -> Wish {
    let mut wish = install(namespace, "stuck: true\n");
    if let Work::Helm { wait, .. } = &mut wish.work {
        *wait = true;
    }
    wish
}

/// Row F10: what ran when the agent died is never run again by itself, and what it had done is known.
#[tokio::test]
#[ignore = "needs a cluster"]
async fn f10_a_killed_release_is_interrupted_and_not_in_the_way() {
    let (rig, folder, namespace) = rig("helm-killed").await;
    let wish = waiting(&namespace);
    let mut events = rig.begin(&wish).await;
    assert!(matches!(events.next().await, Some(RunEvent::Accepted { .. })));
    applied(&rig, &namespace).await;
    let rig = rig.die().await;
    let told = rig.run(&wish).await;
    assert_eq!(told.ending().ending, Ending::Interrupted, "{told:?}");
    outcomes(&told, &[("buoy-map", ObjectOutcome::Created), ("buoy-stuck", ObjectOutcome::Created)]);
    assert_eq!(listed(&namespace), Some(("1".to_owned(), "failed".to_owned())));
    // The same order again has the same end; another attempt is not made by itself.
    assert_eq!(rig.run(&wish).await.ending().ending, Ending::Interrupted);
    assert_eq!(rig.run(&Wish { epoch: 2, begun: true, ..wish.clone() }).await.ending().ending, Ending::Interrupted);
    // A person may go on from there, and take it back.
    let again = rig.run(&install(&namespace, "message: again\n")).await;
    again.succeeded();
    assert_eq!(listed(&namespace), Some(("2".to_owned(), "deployed".to_owned())));
    rig.undo(&again).await.succeeded();
    rig.undo(&told).await.succeeded();
    assert_eq!((listed(&namespace), message(&rig, &namespace).await), (None, None));
    drop(folder);
    rig.remove_namespace(&namespace).await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_cancelled_release_stops_and_is_told_honestly() {
    let (rig, _folder, namespace) = rig("helm-cancelled").await;
    let wish = waiting(&namespace);
    let events = rig.begin(&wish).await;
    applied(&rig, &namespace).await;
    assert_eq!(rig.cancel(wish.id, 1).await, CancelledRun::Stopping);
    let told = events.all().await;
    assert_eq!(told.ending().ending, Ending::Cancelled, "{told:?}");
    outcomes(&told, &[("buoy-map", ObjectOutcome::Created), ("buoy-stuck", ObjectOutcome::Created)]);
    assert_eq!(listed(&namespace), Some(("1".to_owned(), "failed".to_owned())));
    rig.undo(&told).await.succeeded();
    assert_eq!((listed(&namespace), message(&rig, &namespace).await), (None, None));
    rig.remove_namespace(&namespace).await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn what_helm_cannot_do_says_why() {
    let (rig, _folder, namespace) = rig("helm-refused").await;
    // As whoever asked: a viewer changes nothing.
    let told = rig.run(&Wish { role: "viewer", ..install(&namespace, "") }).await;
    assert_eq!(told.ending().ending, Ending::Failed);
    assert!(told.ending().error.clone().unwrap().detail.contains("forbidden"), "{told:?}");
    assert_eq!(message(&rig, &namespace).await, None);
    // Values that the chart cannot be rendered with, and no release to take back.
    let told = rig.run(&install(&namespace, "message: [")).await;
    assert_eq!((told.ending().ending, told.results.len()), (Ending::Failed, 0), "{told:?}");
    let told = rig.run(&Wish::new(work(&namespace, HelmAction::Uninstall), "")).await;
    assert!(told.ending().error.clone().unwrap().detail.contains("not found"), "{told:?}");
    // What is no chart is not unpacked.
    for body in [
        roadstead_manifest::bundle([(CHART_FILE, &b"nonsense"[..])]),
        roadstead_manifest::bundle([("values-1.yaml", &b"a: 1"[..])]),
    ] {
        let told = rig.run(&Wish::new(work(&namespace, HelmAction::Install), body)).await;
        assert_eq!(told.ending().error.clone().unwrap().code, Code::ChartRefused, "{told:?}");
    }
    rig.remove_namespace(&namespace).await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn without_helm_nothing_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::with_helm(folder.path(), None).await;
    let told = rig.run(&install("default", "")).await;
    let error = told.ending().error.clone().unwrap();
    assert_eq!((told.ending().ending, error.code), (Ending::Failed, Code::HelmMissing));
}
