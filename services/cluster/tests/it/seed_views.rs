//! What the seeds' later frontends look at: apps in detail, what an agent sees, resources of a cluster. The cluster is one that
//! the test plays.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::owners::AgentMood;
use crate::played::with_cluster;

fn list(items: &[Value]) -> Value {
    json!({"metadata": {}, "items": items})
}

fn pod(name: &str, phase: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "creationTimestamp": "2023-12-30T12:00:00Z"},
        "spec": {"nodeName": "n1", "containers": [{"name": "main", "image": "nginx:1"}]},
        "status": {"phase": phase, "containerStatuses": [{"name": "main", "ready": true, "restartCount": 1}]},
    })
}

fn release(namespace: &str, version: &str, status: &str) -> Value {
    json!({
        "metadata": {"name": format!("sh.helm.release.v1.cart.v{version}"), "namespace": namespace,
            "creationTimestamp": "2023-12-30T12:00:00Z",
            "labels": {"owner": "helm", "name": "cart", "status": status, "version": version, "modifiedAt": "1704067200"}},
        "data": {"release": "canary"},
    })
}

#[tokio::test]
async fn apps_in_detail() {
    let web = json!({
        "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}, "annotations": {"a": "canary"}},
        "spec": {"replicas": 1, "strategy": {"type": "RollingUpdate"}, "selector": {"matchLabels": {"app": "web"}},
            "template": {"spec": {"containers": [{"name": "main", "image": "nginx:1", "env": [{"name": "P", "value": "canary"}]}]}}},
        "status": {"readyReplicas": 1, "availableReplicas": 1},
    });
    let releases = vec![release("shop", "1", "superseded"), release("shop", "2", "deployed")];
    let mut answers: BTreeMap<&'static str, Value> = BTreeMap::new();
    answers.insert("/apis/apps/v1/namespaces/shop/deployments", list(&[web]));
    answers.insert("/api/v1/namespaces/shop/pods", list(&[pod("web-1", "Running")]));
    answers.insert("/api/v1/namespaces/shop/secrets", list(&releases));
    answers.insert("/api/v1/secrets", list(&[releases.as_slice(), &[release("mall", "1", "deployed")]].concat()));
    let (rig, played, _folder) = with_cluster(answers).await;
    let cluster = rig.world.add_cluster("prod", rig.operator.principal.user_id);
    let key = Some(rig.operator.key.as_str());
    for base in ["/kubeconfig", "/api/v2.0"] {
        let path = format!("{base}/clusters/{}/apps/web/details?namespace=shop", cluster.seq);
        let shown = rig.get(&path, key).await;
        assert_eq!(shown.status, 200, "{shown:?}");
        let body = shown.json();
        assert_eq!((&body["success"], &body["app_type"]), (&json!(true), &json!("deployment")));
        assert_eq!((&body["app"]["status"], &body["app"]["labels"]["app"]), (&json!("Healthy"), &json!("web")));
        assert_eq!(
            (&body["details"]["images"], &body["details"]["pods"][0]["restarts"]),
            (&json!(["nginx:1"]), &json!(1))
        );
        assert!(!shown.text.contains("canary"), "{shown:?}");
    }
    let asked = played.seen.lock().unwrap().join("\n");
    assert!(
        asked.contains("fieldSelector=metadata.name%3Dweb") && asked.contains("labelSelector=app%3Dweb"),
        "{asked}"
    );

    let cart = rig.get("/kubeconfig/clusters/prod/apps/cart/details?namespace=shop&app_type=helm", key).await;
    let body = cart.json();
    assert_eq!((&body["app"]["version"], &body["details"]["revisions"][1]["revision"]), (&json!("2"), &json!(1)));
    assert_eq!(body["details"]["revisions"][0]["updated_at"], "2024-01-01T00:00:00Z");
    assert!(!cart.text.contains("canary"), "{cart:?}");
    // K4: of a release's Secret nothing but its labels is asked for.
    let asked = played.seen.lock().unwrap().iter().find(|head| head.contains("/secrets")).unwrap().to_lowercase();
    assert!(asked.contains("accept: application/json;as=partialobjectmetadatalist"), "{asked}");

    let several = rig.get("/kubeconfig/clusters/prod/apps/cart/details?app_type=helm", key).await;
    assert_eq!((several.status, several.json()["errors"][0]["loc"][1].clone()), (422, json!("namespace")));
    for missing in ["prod/apps/x/details?namespace=mall", "prod/apps/..%5Cx/details", "other/apps/web/details"] {
        let answer = rig.get(&format!("/kubeconfig/clusters/{missing}"), key).await;
        assert!(matches!(answer.status, 400 | 404), "{missing}: {answer:?}");
    }
    let foreign = rig.get("/kubeconfig/clusters/prod/apps/web/details", Some(&rig.other.key)).await;
    assert_eq!(foreign.status, 404);
}

#[tokio::test]
async fn what_an_agent_sees() {
    let node = |name: &str, ready: &str| json!({"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}});
    let mut answers: BTreeMap<&'static str, Value> = BTreeMap::new();
    answers.insert("/api/v1/namespaces/shop/pods", list(&[pod("web-1", "Running")]));
    answers.insert("/api/v1/pods", list(&[pod("web-1", "Running"), pod("web-2", "Pending")]));
    answers.insert("/api/v1/nodes", list(&[node("n1", "True"), node("n2", "Unknown")]));
    answers.insert("/api/v1/services", list(&[]));
    answers.insert("/apis/apps/v1/deployments", list(&[]));
    answers.insert("/api/v1/namespaces", json!({"metadata": {"remainingItemCount": 6}, "items": [{}]}));
    answers.insert("/api/v1/namespaces/shop/pods/web-1/log", json!("a line"));
    let (rig, played, _folder) = with_cluster(answers).await;
    let cluster = rig.world.add_cluster("prod", rig.operator.principal.user_id);
    let agent = cluster.agent_id.unwrap().to_string();
    let key = Some(rig.operator.key.as_str());
    let get = |tail: &str| {
        let path = format!("/api/v2.0/agent/{agent}/{tail}");
        let rig = &rig;
        async move { rig.get(&path, key).await }
    };
    let pods = get("pods?namespace=shop").await.json();
    assert_eq!((&pods["namespace"], &pods["count"]), (&json!("shop"), &json!(1)));
    assert_eq!((&pods["pods"][0]["status"], &pods["pods"][0]["age"]), (&json!("Running"), &json!("2d")));
    assert_eq!(get("deployments").await.json(), json!({"namespace": "all", "count": 0, "deployments": []}));
    assert_eq!(get("services").await.json()["count"], 0);
    let nodes = get("nodes").await.json();
    assert_eq!((&nodes["nodes"][0]["status"], &nodes["nodes"][1]["status"]), (&json!("Ready"), &json!("NotReady")));
    assert_eq!(
        get("cluster-resources").await.json(),
        json!({
            "cluster_summary": {"nodes": 2, "namespaces": 7, "pods": 2, "deployments": 0, "services": 0},
            "nodes_status": {"ready": 1, "not_ready": 1},
            "pods_status": {"running": 1, "pending": 1, "failed": 0, "succeeded": 0},
        })
    );
    let logs = get("pod-logs?namespace=shop&pod_name=web-1&container=main&lines=5").await.json();
    assert_eq!(
        logs,
        json!({"namespace": "shop", "pod_name": "web-1", "container_name": "main", "tail_lines": 5, "logs": "\"a line\""})
    );
    let asked = played.seen.lock().unwrap().last().unwrap().clone();
    assert!(asked.contains("tailLines=5") && asked.contains("container=main"), "{asked}");
    for (tail, status) in
        [("pod-logs", 422), ("pod-logs?pod_name=a%2Fb", 422), ("pods?namespace=a%20b", 422), ("secrets", 404)]
    {
        let refused = get(tail).await;
        assert_eq!(refused.status, status, "{tail}: {refused:?}");
    }
    // Nothing is made up for an agent that is not there (K22).
    let unknown = rig.get("/api/v2.0/agent/0198c5b0-0000-7000-8000-000000000001/pods", key).await;
    assert_eq!((unknown.status, unknown.detail().as_str()), (404, "Agent not found or not connected"));
    rig.world.agents.lock().unwrap()[0].0.connected = false;
    rig.clock.advance(chrono::Duration::seconds(30));
    let away = get("pods").await;
    assert_eq!((away.status, away.detail().as_str()), (503, "Agent not found or not connected"));
}

/// An agent of the seeds carries no streams: it gets its own commands.
#[tokio::test]
async fn an_agent_of_the_seeds_is_asked_in_its_own_words() {
    let (rig, played, _folder) = with_cluster(BTreeMap::new()).await;
    let cluster = rig.world.add_cluster("prod", rig.operator.principal.user_id);
    rig.world.agents.lock().unwrap()[0].0.commands_only = true;
    let agent = cluster.agent_id.unwrap().to_string();
    let key = Some(rig.operator.key.as_str());
    let get = |tail: &str| {
        let path = format!("/api/v2.0/agent/{agent}/{tail}");
        let rig = &rig;
        async move { rig.get(&path, key).await }
    };
    assert_eq!(get("services?namespace=shop").await.json(), json!({"message": "get-services", "namespace": "shop"}));
    assert_eq!(
        get("pod-logs?pod_name=web-1&lines=5").await.json(),
        json!({"message": "get-pod-logs", "namespace": "default", "pod_name": "web-1", "container_name": "", "tail_lines": 5})
    );
    *rig.world.agent.lock().unwrap() = AgentMood::Broken;
    let failed = get("nodes").await;
    let told = "Failed to communicate with agent: Unknown command.";
    assert_eq!((failed.status, failed.detail().as_str()), (502, told));
    assert!(played.seen.lock().unwrap().is_empty(), "nothing went through the Kubernetes door");
}

#[tokio::test]
async fn resources_are_the_clusters_own() {
    let service = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"type": "ClusterIP"}});
    let secret = json!({"metadata": {"name": "s", "namespace": "shop"}, "data": {"p": "canary"}});
    let mut answers: BTreeMap<&'static str, Value> = BTreeMap::new();
    for path in [
        "/apis/apps/v1/namespaces/shop/daemonsets",
        "/apis/apps/v1/namespaces/shop/deployments",
        "/apis/apps/v1/namespaces/shop/replicasets",
        "/apis/apps/v1/namespaces/shop/statefulsets",
        "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers",
        "/apis/batch/v1/namespaces/shop/cronjobs",
        "/apis/batch/v1/namespaces/shop/jobs",
    ] {
        answers.insert(path, list(&[]));
    }
    answers.insert("/api/v1/namespaces/shop/pods", list(&[pod("web-1", "Running")]));
    answers.insert("/api/v1/namespaces/shop/services", list(&[service]));
    answers.insert("/api/v1/namespaces/shop/secrets", list(&[secret]));
    let (rig, _played, _folder) = with_cluster(answers).await;
    let cluster = rig.world.add_cluster("prod", rig.operator.principal.user_id);
    let key = Some(rig.operator.key.as_str());
    let all = rig.get("/api/v1/clusters/prod/resources?namespace=shop", key).await;
    assert_eq!(
        all.json(),
        json!({
            "cluster_id": cluster.id, "total_count": 2, "kind": "", "namespace": "shop",
            "resources": [
                {"kind": "Pod", "name": "web-1", "namespace": "shop", "status": "Running", "created_at": "2023-12-30T12:00:00Z"},
                {"kind": "Service", "name": "web", "namespace": "shop", "type": "ClusterIP", "created_at": null},
            ],
        })
    );
    let secrets = rig.get("/api/v1/clusters/prod/resources?kind=secrets&namespace=shop", key).await;
    assert_eq!(secrets.json()["resources"][0]["name"], "s");
    assert!(!secrets.text.contains("canary"), "{secrets:?}");
    for (tail, status) in [("?kind=nothing", 400), ("?kind=a%2Fb", 400), ("?namespace=A", 400), ("?kind=a&kind=b", 400)]
    {
        let refused = rig.get(&format!("/api/v1/clusters/prod/resources{tail}"), key).await;
        assert_eq!(refused.status, status, "{tail}: {refused:?}");
    }
    assert_eq!(rig.get("/api/v1/clusters/prod/resources", Some(&rig.other.key)).await.status, 404);
}
