//! Commands against a cluster that a test plays.

use std::sync::Mutex;

use roadstead_contracts::Code;
use serde_json::json as object;

use super::*;

/// Answers by path, and what was asked.
#[derive(Default)]
struct Cluster {
    answers: Vec<(&'static str, u16, Value)>,
    asked: Mutex<Vec<String>>,
}

impl Cluster {
    fn of(answers: &[(&'static str, u16, Value)]) -> Self {
        Self { answers: answers.to_vec(), asked: Mutex::default() }
    }

    async fn run(&self, line: &str) -> Told<Printed> {
        let (command, _) = Command::read(line)?;
        run(self, &command, "2024-01-15T10:40:00Z".parse().unwrap()).await
    }

    async fn out(&self, line: &str) -> String {
        self.run(line).await.unwrap_or_else(|fault| panic!("{line}: {fault:?}")).out
    }

    async fn fails(&self, line: &str) -> String {
        match self.run(line).await {
            Err(Failure::Said(text) | Failure::Cluster(_, text)) => text,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

#[async_trait]
impl Api for Cluster {
    async fn ask(&self, ask: Ask) -> Result<Answered, Error> {
        let body = ask.body.map(|(kind, text)| format!(" {kind} {text}")).unwrap_or_default();
        self.asked.lock().unwrap().push(format!("{} {}{body}", ask.method, ask.path));
        if ask.path.starts_with("/away") {
            return Err(Code::AgentOffline.into());
        }
        let path = ask.path.split('?').next().unwrap_or_default();
        let found = self.answers.iter().find(|(known, ..)| *known == path);
        let (status, value) = match found {
            Some((_, status, value)) => (*status, value.clone()),
            None => (404, object!({"kind": "Status", "reason": "NotFound", "message": "it is not there"})),
        };
        let body = if let Value::String(text) = &value { text.clone() } else { value.to_string() };
        Ok(Answered { status, body: body.into() })
    }
}

const PODS: &str = "/api/v1/namespaces/production-app/pods";

fn table() -> Value {
    object!({
        "kind": "Table", "metadata": {},
        "columnDefinitions": [
            {"name": "Name", "priority": 0}, {"name": "Ready", "priority": 0}, {"name": "Status", "priority": 0},
            {"name": "Restarts", "priority": 0}, {"name": "Age", "priority": 0}, {"name": "IP", "priority": 1},
        ],
        "rows": [
            {"cells": ["nginx-deployment-abc123-xyz789", "1/1", "Running", 0, "2d", "10.0.0.1"], "object": {"metadata": {}}},
            {"cells": ["api-service-def456-uvw012", "1/1", "Running", 1, "1d", "10.0.0.2"], "object": {"metadata": {}}},
        ],
    })
}

/// The output in the document of seed 004.
#[tokio::test]
async fn seed_004_get_pods() {
    let cluster = Cluster::of(&[(PODS, 200, table())]);
    let out = cluster.out("kubectl get pods -n production-app").await;
    assert_eq!(
        out,
        "NAME                             READY   STATUS    RESTARTS   AGE\n\
         nginx-deployment-abc123-xyz789   1/1     Running   0          2d\n\
         api-service-def456-uvw012        1/1     Running   1          1d\n"
    );
    assert_eq!(cluster.asked(), [format!("GET {PODS}?limit=500")]);
}

#[tokio::test]
async fn lists_are_objects_with_their_kind() {
    let items = object!({"metadata": {}, "items": [{"metadata": {"name": "b", "managedFields": []}}, {"metadata": {"name": "a"}}]});
    let one = object!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}});
    let cluster = Cluster::of(&[(PODS, 200, items), ("/api/v1/namespaces/production-app/pods/a", 200, one)]);
    let list = cluster.out("kubectl get pods -n production-app -o json --sort-by=.metadata.name").await;
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!((list["kind"].as_str(), list["items"][0]["metadata"]["name"].as_str()), (Some("List"), Some("a")));
    assert_eq!(list["items"][1], object!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}}));
    let one: Value = serde_json::from_str(&cluster.out("kubectl get pod a -n production-app -o json").await).unwrap();
    assert_eq!(one["kind"], "Pod");
    assert_eq!(cluster.out("kubectl get pods -n production-app -o name").await, "pod/b\npod/a\n");
    assert!(cluster.out("kubectl get pod/a -n production-app -o yaml").await.contains("kind: Pod"));
    cluster.asked();
    let line = "kubectl get pods -n production-app -l 'a in (b,c)' --field-selector=spec.nodeName=n&x";
    assert!(cluster.fails(line).await.contains("no shell"));
    cluster.out("kubectl get pods -n production-app -l 'a in (b,c)' --field-selector='x=y&z'").await;
    assert_eq!(
        cluster.asked(),
        [format!("GET {PODS}?limit=500&labelSelector=a%20in%20%28b%2Cc%29&fieldSelector=x%3Dy%26z")]
    );
}

#[tokio::test]
async fn what_the_cluster_refuses_is_told_as_kubectl_tells_it() {
    let forbidden = object!({
        "kind": "Status", "reason": "Forbidden",
        "message": "pods is forbidden: User \"roadstead:vera\" cannot list resource \"pods\"\u{1b}[2J",
    });
    let empty = object!({"kind": "Table", "metadata": {}, "columnDefinitions": [], "rows": []});
    let cluster = Cluster::of(&[(PODS, 403, forbidden), ("/api/v1/namespaces/default/pods", 200, empty)]);
    let text = cluster.fails("kubectl get pods -n production-app").await;
    assert!(
        text.starts_with("Error from server (Forbidden): pods is forbidden: User") && !text.contains('\u{1b}'),
        "{text}"
    );
    assert!(cluster.fails("kubectl get pod nobody").await.starts_with("Error from server (NotFound)"));
    assert_eq!(cluster.run("kubectl get pod nobody --ignore-not-found").await.unwrap(), Printed::default());
    assert_eq!(cluster.run("kubectl get pods").await.unwrap().err, "No resources found in default namespace.\n");
    assert!(cluster.fails("kubectl get widgets").await.contains("doesn't have a resource type \"widgets\""));
    assert!(cluster.fails("kubectl get widgets.example.com").await.contains("doesn't have a resource type"));
}

#[tokio::test]
async fn custom_kinds_are_asked_for() {
    let cluster = Cluster::of(&[
        ("/apis/example.com", 200, object!({"preferredVersion": {"version": "v2"}})),
        (
            "/apis/example.com/v2",
            200,
            object!({"resources": [
                {"name": "widgets", "singularName": "widget", "kind": "Widget", "namespaced": true, "shortNames": ["wd"]},
            ]}),
        ),
        (
            "/apis/example.com/v2/namespaces/a/widgets",
            200,
            object!({"metadata": {}, "items": [{"metadata": {"name": "w"}}]}),
        ),
    ]);
    for kind in ["widgets.example.com", "wd.example.com", "Widget.example.com"] {
        assert_eq!(cluster.out(&format!("kubectl get {kind} -n a")).await, "NAME\nw\n");
    }
}

#[tokio::test]
async fn k4_secrets_are_not_printed() {
    let secret = object!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "default"},
        "data": {"password": "Y2FuYXJ5"}, "type": "Opaque",
    });
    let list = object!({"metadata": {}, "items": [secret]});
    let cluster = Cluster::of(&[
        ("/api/v1/namespaces/default/secrets", 200, list),
        ("/api/v1/namespaces/default/secrets/s", 200, secret),
    ]);
    for line in [
        "kubectl get secrets -o json",
        "kubectl get secrets -o yaml",
        "kubectl get secret s -o json",
        "kubectl get secret/s -o yaml",
        "kubectl describe secret s",
        "kubectl describe secrets",
    ] {
        let out = cluster.out(line).await;
        assert!(out.contains("password") && !out.contains("Y2FuYXJ5"), "{line}: {out}");
    }
    assert!(cluster.out("kubectl describe secret s").await.contains("password:  6 bytes"));
}

#[tokio::test]
async fn changes_are_one_request_each() {
    let done = object!({"kind": "Status"});
    let cluster = Cluster::of(&[
        ("/api/v1/namespaces/default/pods/a", 200, done.clone()),
        ("/apis/apps/v1/namespaces/shop/deployments/web/scale", 200, done.clone()),
        ("/apis/apps/v1/namespaces/shop/deployments/web", 200, done),
    ]);
    assert_eq!(cluster.out("kubectl delete pod a --grace-period=5").await, "pod \"a\" deleted\n");
    assert_eq!(cluster.out("kubectl scale deployment/web --replicas=3 -n shop").await, "deployment.apps/web scaled\n");
    assert_eq!(cluster.out("kubectl rollout restart deploy web -n shop").await, "deployment.apps/web restarted\n");
    let asked = cluster.asked();
    assert_eq!(asked[0], "DELETE /api/v1/namespaces/default/pods/a?gracePeriodSeconds=5");
    assert!(asked[1].ends_with("merge-patch+json {\"spec\":{\"replicas\":3}}"), "{}", asked[1]);
    assert!(asked[2].contains("\"kubectl.kubernetes.io/restartedAt\":\"2024-01-15T10:40:00Z\""), "{}", asked[2]);
    // What was done is not forgotten.
    let text = cluster.fails("kubectl delete pod a b").await;
    assert!(text.starts_with("pod \"a\" deleted\nError from server (NotFound)"), "{text}");
    assert!(cluster.fails("kubectl rollout restart job/x").await.contains("not supported"));
}

#[tokio::test]
async fn logs_version_and_descriptions() {
    let pod = object!({
        "metadata": {"name": "a", "namespace": "default", "labels": {"app": "web"}, "creationTimestamp": "2024-01-15T10:00:00Z"},
        "spec": {"nodeName": "n1", "containers": [{"name": "main", "image": "x:1"}]}, "status": {"phase": "Running"},
    });
    let cluster = Cluster::of(&[
        ("/version", 200, object!({"gitVersion": "v1.36.3"})),
        ("/api/v1/namespaces/default/pods/a", 200, pod),
        ("/api/v1/namespaces/default/pods/a/log", 200, Value::from("line 1\nline 2\n")),
    ]);
    assert_eq!(cluster.out("kubectl version").await, "Server Version: v1.36.3\n");
    assert_eq!(cluster.out("kubectl logs a --tail=2 -c main").await, "line 1\nline 2\n");
    assert!(cluster.asked()[1].ends_with("&container=main&tailLines=2"));
    let text = cluster.out("kubectl describe pod a").await;
    for expected in [
        "Name:         a\n",
        "Labels:       app=web\n",
        "  Node Name:  n1\n",
        "    Image:  x:1\n",
        "Events:       <unknown>\n",
    ] {
        assert!(text.contains(expected), "{expected:?} in {text}");
    }
}
