//! The bodies in the document of seed 004, replayed: what its clients send, and what they are answered, secrets as they are
//! shown now. The cluster behind the Kubernetes door is one that the test plays.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::owners::AgentMood;
use crate::played::with_cluster;
use crate::rig::{Answer, Rig};

/// A body of the document, without its white space.
fn golden(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

const ONBOARD: &str = r#"{
    "cluster_name": "production-cluster",
    "server_url": "https://k8s-api.example.com:6443",
    "token": "eyJhbGciOiJSUzI1NiIsImtpZCI6...",
    "context_name": "production-context",
    "provider_name": "AWS EKS",
    "tags": ["production", "aws", "us-west-2"],
    "use_secure_tls": true,
    "ca_data": "LS0tLS1CRUdJTi...",
    "tls_cert": "LS0tLS1CRUdJTi...",
    "tls_key": "LS0tLS1CRUdJTi..."
}"#;

const BASES: [&str; 2] = ["/kubeconfig", "/api/v2.0"];

/// A person of the seed's: with a token, as its clients log in.
async fn send(rig: &Rig, method: &str, path: &str, body: Option<Value>) -> Answer {
    let bearer = format!("Bearer {}", rig.token(&rig.operator));
    rig.send_with(method, path, &[("authorization", &bearer)], body).await
}

async fn onboarded(rig: &Rig) -> Value {
    let made = send(rig, "POST", "/kubeconfig/onboard-cluster", Some(golden(ONBOARD))).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.json()
}

#[tokio::test]
async fn onboard_list_and_remove() {
    let rig = Rig::new().await;
    let made = onboarded(&rig).await;
    assert_eq!(
        made,
        golden(
            r#"{
            "id": 123, "cluster_name": "production-cluster", "server_url": "https://k8s-api.example.com:6443",
            "context_name": "production-context", "provider_name": "AWS EKS", "tags": ["production", "aws", "us-west-2"],
            "use_secure_tls": true, "ca_data": "LS0tLS1CRUdJTi...", "tls_key": "***", "tls_cert": "LS0tLS1CRUdJTi...",
            "user_id": 2, "is_operator_installed": false, "created_at": "2024-01-01T12:00:00Z",
            "updated_at": "2024-01-01T12:00:00Z", "message": "Cluster onboarded successfully"
        }"#
        )
    );
    assert!(!rig.world.bodies.lock().unwrap().contains("eyJhbGciOiJSUzI1NiI"), "the token rides no queue");
    let listed = golden(
        r#"{"clusters": [{
            "id": 123, "cluster_name": "production-cluster", "server_url": "https://k8s-api.example.com:6443",
            "context_name": "production-context", "provider_name": "AWS EKS", "tags": ["production", "aws", "us-west-2"],
            "use_secure_tls": true, "is_operator_installed": false, "created_at": "2024-01-01T12:00:00Z",
            "updated_at": "2024-01-01T12:00:00Z"
        }]}"#,
    );
    assert_eq!(send(&rig, "GET", "/kubeconfig/clusters", None).await.json(), listed);
    // Under the prefix that two of the seed's services share, each finds its own fields.
    let both = send(&rig, "GET", "/api/v2.0/clusters", None).await.json();
    for field in ["id", "cluster_name", "server_url", "tags", "metadata", "user_id"] {
        assert!(both["clusters"][0].get(field).is_some(), "{field}: {both}");
    }
    for base in BASES {
        let again = send(&rig, "POST", &format!("{base}/onboard-cluster"), Some(golden(ONBOARD))).await;
        let told = "Cluster 'production-cluster' already exists for this user";
        assert_eq!((again.status, again.detail().as_str()), (400, told));
        let missing = send(&rig, "DELETE", &format!("{base}/remove-cluster/5"), None).await;
        let told = "Cluster with ID '5' not found or does not belong to you";
        assert_eq!((missing.status, missing.detail().as_str()), (404, told));
    }
    let removed = send(&rig, "DELETE", "/kubeconfig/remove-cluster/123", None).await;
    assert_eq!(
        (removed.status, removed.json()),
        (200, json!({"message": "Cluster 'production-cluster' successfully removed"}))
    );
    assert_eq!(send(&rig, "GET", "/kubeconfig/clusters", None).await.json(), json!({"clusters": []}));
}

/// What the frontends of the seed send beside the document.
#[tokio::test]
async fn forms_are_understood() {
    let rig = Rig::new().await;
    let body = json!({
        "cluster_name": "form", "server_url": "https://10.0.0.1:6443", "token": "t", "context_name": "form", "tags": "a, b",
        "ca_data": "", "tls_cert": "", "tls_key": "",
    });
    let made = send(&rig, "POST", "/api/v2.0/onboard-cluster", Some(body)).await.json();
    assert_eq!((made["provider_name"].as_str(), &made["tags"]), (Some("Standard"), &json!(["a", "b"])));
    assert_eq!(
        (&made["use_secure_tls"], &made["ca_data"], &made["tls_key"]),
        (&json!(false), &json!(null), &json!(null))
    );
    for (body, field) in [
        (json!({"cluster_name": "x"}), "server_url"),
        (json!({"server_url": "https://a"}), "cluster_name"),
        (json!({"cluster_name": "Not a name", "server_url": "https://a"}), "cluster_name"),
        (json!({"cluster_name": "x", "server_url": "file:///etc/passwd", "token": "t"}), "server_url"),
        (json!({"cluster_name": "x", "server_url": "https://a", "tags": "x".repeat(100)}), "tags"),
    ] {
        let refused = send(&rig, "POST", "/kubeconfig/onboard-cluster", Some(body)).await;
        assert_eq!(refused.status, 422, "{refused:?}");
        let named = refused.json()["errors"][0]["loc"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(named, field, "{refused:?}");
    }
}

#[tokio::test]
async fn namespaces_in_both_ways() {
    let rig = Rig::new().await;
    onboarded(&rig).await;
    for base in BASES {
        let list = send(&rig, "GET", &format!("{base}/get-namespaces/123"), None).await;
        assert_eq!(
            list.json(),
            golden(
                r#"{
                "success": true, "cluster_id": 123, "cluster_name": "production-cluster",
                "server_url": "https://k8s-api.example.com:6443", "provider_name": "AWS EKS",
                "context_name": "production-context", "use_secure_tls": true, "namespace_count": 1,
                "namespaces": ["default"], "retrieved_at": "2024-01-01T12:00:00Z"
            }"#
            )
        );
        let selected = send(&rig, "POST", &format!("{base}/select-cluster-and-get-namespaces/123"), None).await.json();
        assert_eq!(selected["message"], "Successfully retrieved 1 namespaces from cluster 'production-cluster'");
        assert_eq!(selected["cluster_info"]["context_name"], "production-context");
        let fields: Vec<&String> = selected.as_object().unwrap().keys().collect();
        assert_eq!(
            fields,
            ["success", "namespaces_retrieved", "cluster_info", "namespaces", "namespace_count", "message"]
        );
    }
    let missing = send(&rig, "GET", "/kubeconfig/get-namespaces/5", None).await;
    assert_eq!(missing.detail(), "Cluster with ID '5' not found or you don't have access to it");
    // A cluster that fails: 200 the one way, an error the other (K10).
    *rig.world.agent.lock().unwrap() = AgentMood::Broken;
    let selected = send(&rig, "POST", "/kubeconfig/select-cluster-and-get-namespaces/123", None).await;
    assert_eq!(
        (selected.status, selected.json()),
        (
            200,
            json!({
                "success": false, "namespaces_retrieved": false,
                "cluster_info": {"id": 123, "cluster_name": "production-cluster",
                    "server_url": "https://k8s-api.example.com:6443", "provider_name": "AWS EKS"},
                "namespaces": [], "error": "Failed to retrieve namespaces: boom",
                "message": "Cluster 'production-cluster' accessible, but namespace retrieval failed",
            })
        )
    );
    let failed = send(&rig, "GET", "/kubeconfig/get-namespaces/123", None).await;
    let told = "Error fetching namespaces from cluster 'production-cluster': boom";
    assert_eq!((failed.status, failed.detail().as_str()), (502, told));
}

#[tokio::test]
async fn k2_k4_credentials_have_their_shape_and_no_secret() {
    let rig = Rig::new().await;
    onboarded(&rig).await;
    let shown = send(&rig, "GET", "/kubeconfig/cluster/production-cluster/credentials", None).await;
    assert_eq!(
        shown.json(),
        golden(
            r#"{
            "success": true, "message": "Cluster credentials retrieved successfully", "cluster": {
                "cluster_id": 123, "cluster_name": "production-cluster", "server_url": "https://k8s-api.example.com:6443",
                "token": "***", "context_name": "production-context", "provider_name": "AWS EKS", "use_secure_tls": true,
                "tls_config": {"ca_data": "***", "tls_cert": "***", "tls_key": "***"}, "is_operator_installed": false,
                "tags": ["production", "aws", "us-west-2"], "created_at": "2024-01-01T12:00:00Z",
                "updated_at": "2024-01-01T12:00:00Z"
            }
        }"#
        )
    );
    let missing = send(&rig, "GET", "/kubeconfig/cluster/nothing/credentials", None).await;
    assert_eq!(missing.detail(), "Cluster 'nothing' not found or you don't have access to it");
    let viewer = rig.get("/kubeconfig/cluster/production-cluster/credentials", Some(&rig.viewer.key)).await;
    assert_eq!(viewer.status, 403, "a viewer may not look how a cluster is reached");
}

#[tokio::test]
async fn nodes_are_counted_where_clusters_are_there() {
    let rig = Rig::new().await;
    for (name, nodes, ready) in [("production-cluster", 5, 5), ("staging-cluster", 4, 3)] {
        rig.world.add_cluster(name, rig.operator.principal.user_id);
        let mut clusters = rig.world.clusters.lock().unwrap();
        let facts = &mut clusters.last_mut().unwrap().0.facts;
        (facts.node_count, facts.ready_nodes) = (Some(nodes), Some(ready));
    }
    rig.world.add_cluster("silent", rig.operator.principal.user_id);
    rig.world.add_cluster("foreign", rig.other.principal.user_id);
    let all = send(&rig, "GET", "/kubeconfig/nodes/status/all-clusters", None).await;
    assert_eq!(
        all.json(),
        golden(
            r#"{
            "clusters": {
                "production-cluster": {"ready": 5, "not_ready": 0, "total": 5},
                "staging-cluster": {"ready": 3, "not_ready": 1, "total": 4}
            },
            "totals": {"ready": 8, "not_ready": 1, "total": 9}
        }"#
        )
    );
    let one = send(&rig, "GET", "/api/v2.0/nodes/status/cluster?cluster=staging-cluster", None).await;
    assert_eq!(one.json(), json!({"ready": 3, "not_ready": 1, "total": 4}));
    assert_eq!(send(&rig, "GET", "/api/v2.0/nodes/status/cluster?cluster=foreign", None).await.status, 404);
    assert_eq!(send(&rig, "GET", "/api/v2.0/nodes/status/cluster", None).await.status, 422);
}

/// Peers on the broker are told in the seed's words, when any are listed.
#[tokio::test]
async fn peers_are_told() {
    use roadstead_bus::{Arrival, Shape, Subscription, Transport as _};

    let rig = Rig::env(&[("ROADSTEAD_COMPAT_QUEUE_PEERS", "peer=owner")]).await;
    let mut queue = rig.transport.consume(Subscription {
        queue: "cluster_events".to_owned(),
        shape: Shape::Seed,
        dead: None,
        results: None,
        patterns: Vec::new(),
        prefetch: 100,
        auto_settle: true,
    });
    onboarded(&rig).await;
    send(&rig, "GET", "/kubeconfig/get-namespaces/123", None).await;
    send(&rig, "GET", "/kubeconfig/cluster/production-cluster/credentials", None).await;
    send(
        &rig,
        "POST",
        "/kubeconfig/execute-kubectl-direct/123",
        Some(json!({"command": "kubectl get pods --token=canary"})),
    )
    .await;
    send(&rig, "DELETE", "/kubeconfig/remove-cluster/123", None).await;
    let mut told = Vec::new();
    while told.len() < 5 {
        let arrival = tokio::time::timeout(std::time::Duration::from_secs(5), queue.next()).await.unwrap().unwrap();
        if let Arrival::Message(delivery) = arrival {
            assert!(delivery.message.expires_in.is_some(), "nothing waits for ever");
            told.push(serde_json::from_slice::<Value>(&delivery.message.body).unwrap());
        }
    }
    let common = json!({
        "user_id": 2, "username": "olga", "timestamp": "2024-01-01T12:00:00.000000", "cluster_id": 123,
        "cluster_name": "production-cluster",
    });
    for (event, own) in told.iter().zip([
        json!({"event_type": "cluster_onboarded", "server_url": "https://k8s-api.example.com:6443",
            "provider_name": "AWS EKS", "use_secure_tls": true}),
        json!({"event_type": "namespaces_retrieved_by_cluster_id", "namespace_count": 1, "method": "kubernetes-api"}),
        json!({"event_type": "cluster_credentials_accessed", "server_url": "https://k8s-api.example.com:6443"}),
        json!({"event_type": "kubectl_command_executed", "command": "kubectl get", "success": false, "return_code": 1}),
        json!({"event_type": "cluster_deleted"}),
    ]) {
        let mut expected = own;
        expected.as_object_mut().unwrap().extend(common.as_object().unwrap().clone());
        assert_eq!(*event, expected);
    }
}

#[tokio::test]
async fn commands_are_carried_out_as_the_caller() {
    let table = json!({
        "kind": "Table", "metadata": {},
        "columnDefinitions": [
            {"name": "Name", "priority": 0}, {"name": "Ready", "priority": 0}, {"name": "Status", "priority": 0},
            {"name": "Restarts", "priority": 0}, {"name": "Age", "priority": 0},
        ],
        "rows": [
            {"cells": ["nginx-deployment-abc123-xyz789", "1/1", "Running", 0, "2d"]},
            {"cells": ["api-service-def456-uvw012", "1/1", "Running", 1, "1d"]},
        ],
    });
    let (rig, played, _folder) = with_cluster([("/api/v1/namespaces/production-app/pods", table)].into()).await;
    onboarded(&rig).await;
    for base in BASES {
        let path = format!("{base}/execute-kubectl-direct/123");
        let run = |command: &str| send(&rig, "POST", &path, Some(json!({"command": command})));
        let done = run("kubectl get pods -n production-app").await;
        assert_eq!(
            (done.status, done.json()),
            (
                200,
                json!({
                    "success": true,
                    "output": "NAME                             READY   STATUS    RESTARTS   AGE\n\
                        nginx-deployment-abc123-xyz789   1/1     Running   0          2d\n\
                        api-service-def456-uvw012        1/1     Running   1          1d",
                    "error": null,
                    "command": "kubectl get pods -n production-app --server=https://k8s-api.example.com:6443 --token=***",
                    "return_code": 0,
                    "cluster_info": {"cluster_id": 123, "cluster_name": "production-cluster",
                        "server_url": "https://k8s-api.example.com:6443", "provider_name": "AWS EKS"},
                    "executed_at": "2024-01-01T12:00:00Z",
                    "execution_method": "direct",
                })
            )
        );
        let missing = run("kubectl get pod nothing -n production-app").await.json();
        assert_eq!((&missing["success"], &missing["return_code"]), (&json!(false), &json!(1)));
        assert_eq!(missing["error"], "Error from server (NotFound): not there");
        let before = played.seen.lock().unwrap().len();
        // K1: nothing of these reaches anything.
        for command in [
            "kubectl get pods; id",
            "id",
            "kubectl get pods --server=https://evil",
            "kubectl exec web -- sh",
            "kubectl apply -f /etc/passwd",
            "kubectl get pods/../../secrets",
            "kubectl get pods --token=canary",
            "kubectl get pods $(id)",
            "kubectl get pods a\u{0}b",
            "kubectl get pods 'open",
            "/tmp/kubectl get pods",
        ] {
            let refused = run(command).await;
            assert_eq!((refused.status, &refused.json()["success"]), (200, &json!(false)), "{command}");
            assert!(!refused.text.contains("canary") && !refused.text.contains("evil"), "{refused:?}");
        }
        assert_eq!(played.seen.lock().unwrap().len(), before);
        for empty in [json!({}), json!({"command": ""}), json!({"command": "  "}), json!({"command": null})] {
            let refused = send(&rig, "POST", &path, Some(empty)).await;
            assert_eq!((refused.status, refused.detail().as_str()), (400, "Command is required"));
        }
    }
    // The caller's credential stays at the hub.
    let seen = played.seen.lock().unwrap().join("\n").to_lowercase();
    assert!(!seen.contains("bearer") && !seen.contains("authorization"), "{seen}");
}

/// The cluster has no end to what it says: the hub takes what it takes, and the cluster is told that nobody listens.
#[tokio::test]
async fn k07_what_has_no_end_is_refused_and_cut_off() {
    const PODS: &str = "/api/v1/namespaces/default/pods";
    const LOG: &str = "/api/v1/namespaces/default/pods/web/log";
    const ROUTE: &str = "/kubeconfig/execute-kubectl-direct/123";
    let (rig, played, _folder) = with_cluster([(PODS, json!(null)), (LOG, json!(null))].into()).await;
    onboarded(&rig).await;
    for (command, path) in [("kubectl get pods", PODS), ("kubectl logs web", LOG)] {
        let told = send(&rig, "POST", ROUTE, Some(json!({"command": command}))).await;
        assert_eq!((told.status, &told.json()["success"]), (200, &json!(false)), "{command}");
        assert!(told.json()["error"].as_str().unwrap().contains("larger than the hub takes"), "{told:?}");
        assert!(told.text.len() < 1_024, "{} bytes", told.text.len());
        played.was_cut(path).await;
    }
    // And the next one is answered.
    let missing = send(&rig, "POST", ROUTE, Some(json!({"command": "kubectl version"}))).await;
    assert_eq!(missing.json()["error"], "Error from server (NotFound): not there");
}

#[tokio::test]
async fn workloads_apps_and_yaml() {
    let pod = json!({
        "metadata": {"name": "web-1", "namespace": "shop", "creationTimestamp": "2023-12-30T12:00:00Z"},
        "spec": {"nodeName": "n1", "containers": [{"name": "main", "image": "nginx:1"}]},
        "status": {"phase": "Running", "containerStatuses": [{"name": "main", "ready": true, "restartCount": 1}]},
    });
    let web = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "resourceVersion": "7", "labels": {"labels": "kept"}, "managedFields": []},
        "spec": {"replicas": 1}, "status": {"availableReplicas": 1},
    });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "shop"}, "data": {"p": "Y2FuYXJ5"},
    });
    let list = |items: Vec<Value>| json!({"metadata": {}, "items": items});
    let mut answers: BTreeMap<&'static str, Value> = BTreeMap::new();
    for (path, items) in [
        ("/api/v1/namespaces/shop/pods", vec![pod]),
        ("/apis/apps/v1/namespaces/shop/deployments", vec![web.clone()]),
        ("/api/v1/namespaces/shop/services", vec![]),
        ("/apis/apps/v1/namespaces/shop/statefulsets", vec![]),
        ("/apis/apps/v1/namespaces/shop/daemonsets", vec![]),
        ("/apis/batch/v1/namespaces/shop/jobs", vec![]),
        ("/apis/batch/v1/namespaces/shop/cronjobs", vec![]),
    ] {
        answers.insert(path, list(items));
    }
    answers.insert("/apis/apps/v1/namespaces/shop/deployments/web", web);
    answers.insert("/api/v1/namespaces/shop/secrets/s", secret);
    let (rig, played, _folder) = with_cluster(answers).await;
    onboarded(&rig).await;

    let shown = send(&rig, "GET", "/kubeconfig/clusters/123/workloads/shop", None).await.json();
    assert_eq!(
        (&shown["success"], &shown["total_workloads"], &shown["namespace"]),
        (&json!(true), &json!(2), &json!("shop"))
    );
    let kinds: Vec<&String> = shown["workloads"].as_object().unwrap().keys().collect();
    assert_eq!(kinds, ["pods", "deployments", "services", "statefulsets", "daemonsets", "jobs", "cronjobs"]);
    assert_eq!(shown["workloads"]["pods"][0]["restarts"], 1);
    let apps = send(&rig, "GET", "/kubeconfig/clusters/123/apps?namespace=shop&app_type=deployment", None).await.json();
    assert_eq!((&apps["total_apps"], &apps["apps"][0]["status"]), (&json!(1), &json!("Healthy")));
    // Products that the cluster does not have are no fault of it.
    assert_eq!(send(&rig, "GET", "/kubeconfig/clusters/123/apps?namespace=shop", None).await.json()["total_apps"], 1);
    assert_eq!(send(&rig, "GET", "/kubeconfig/clusters/123/apps?app_type=magic", None).await.status, 422);

    let path = "/kubeconfig/clusters/123/yaml/shop/deployments/web";
    let read = send(&rig, "GET", path, None).await;
    assert!(read.header("content-type").starts_with("text/plain"), "{read:?}");
    assert!(read.text.contains("kind: Deployment") && read.text.contains("labels: kept"), "{read:?}");
    assert!(!read.text.contains("managedFields"));
    // What was read can be put back (K32).
    let put = |path: &'static str, body: String| {
        let request = rig.http.put(rig.url(path)).bearer_auth(rig.token(&rig.operator));
        async move { Answer::of(request.header("content-type", "text/plain").body(body).send().await.unwrap()).await }
    };
    let back = put(path, read.text.clone()).await;
    assert_eq!((back.status, back.json()), (200, json!({"success": true})));
    let sent = played.seen.lock().unwrap().last().unwrap().clone();
    assert!(sent.starts_with("PUT /apis/apps/v1/namespaces/shop/deployments/web?fieldManager="), "{sent}");
    assert!(sent.contains("\"resourceVersion\":\"7\"") && sent.contains("\"labels\":{\"labels\":\"kept\"}"), "{sent}");
    for bad in [read.text.replace("name: web", "name: other"), "x: [".to_owned(), String::new()] {
        let refused = put(path, bad).await;
        assert!(matches!(refused.status, 400 | 422), "{refused:?}");
    }
    let secret = "/kubeconfig/clusters/123/yaml/shop/secrets/s";
    let shown = send(&rig, "GET", secret, None).await;
    assert!(shown.text.contains("***") && !shown.text.contains("Y2FuYXJ5"), "{shown:?}");
    assert_eq!(put(secret, shown.text).await.status, 422, "a hidden value is not written back");
}
