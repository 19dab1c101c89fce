//! Bodies as the seeds' documents and peers spell them (seeds 000, 001 and 004).

use roadstead_contracts::seed::kubeconfig::*;
use roadstead_contracts::seed::kubesage::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The body is read, and comes out again as it went in.
fn same<T: Serialize + DeserializeOwned>(body: Value) {
    let read: T = serde_json::from_value(body.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), body);
}

#[test]
fn seed_001_answers() {
    same::<Health>(json!({
        "status": "healthy", "service": "cluster_service", "timestamp": "2024-01-01T12:00:00.000Z", "version": "1.0.0"
    }));
    same::<NamespacesAnswer>(json!({
        "success": true,
        "agent_id": "agent-uuid",
        "cluster_id": 123,
        "namespaces": [{
            "name": "default",
            "status": "Active",
            "created_at": "2024-01-01T12:00:00Z",
            "labels": {"kubernetes.io/managed-by": "system"},
            "annotations": {}
        }],
        "total_count": 1,
        "message": "Successfully retrieved namespaces from cluster",
        "timestamp": "2024-01-01T12:00:00.000Z"
    }));
    same::<ConnectedAgents>(json!({
        "success": true,
        "connected_agents": ["agent-uuid-1", "agent-uuid-2"],
        "total_count": 2,
        "timestamp": "2024-01-01T12:00:00.000Z"
    }));
}

#[test]
fn queue_bodies_of_the_seeds() {
    same::<AuthRequest>(json!({"request_id": "r", "api_key": "ks_x", "service": "cluster_service", "timestamp": 12.5}));
    same::<AuthResult>(json!({
        "request_id": "r", "valid": true,
        "user_data": {"id": 1, "username": "ada", "email": "a@b.c", "roles": "A,B", "is_active": true},
        "message": "Authentication successful"
    }));
    same::<AuthResult>(json!({"request_id": "r", "valid": false, "error": "Invalid API key"}));
    same::<NamespaceRequest>(json!({
        "request_id": "r", "agent_id": "a", "command": "get-namespaces", "cluster_config": {"x": 1}, "timestamp": 1.5
    }));
    same::<NamespaceResult>(
        json!({"request_id": "r", "agent_id": "a", "result": "{}", "error": null, "timestamp": 1.5}),
    );
    same::<NamespaceResult>(json!({"request_id": "r", "error": "Failed to communicate with agent: away"}));
}

#[test]
fn envelope_of_the_seeds_agents() {
    same::<AgentRequest>(json!({
        "request_id": "r",
        "user": {"id": 1, "username": "ada", "email": "a@b.c"},
        "request": {"message": "get-namespaces", "include_details": true}
    }));
    let reply: AgentReply =
        serde_json::from_value(json!({"request_id": "r", "result": "{\"namespaces\":[]}"})).unwrap();
    assert_eq!(reply.result, json!("{\"namespaces\":[]}"));
    let namespaces: AgentNamespaces = serde_json::from_value(json!({
        "namespaces": ["bare", {"name": "full", "status": "Active", "createdAt": "2006-01-02T15:04:05Z"}], "total_count": 2
    }))
    .unwrap();
    assert_eq!(namespaces.namespaces[0], AgentNamespace::Name("bare".to_owned()));
}

/// The bodies in the document of seed 004, secrets as they are shown now.
#[test]
fn seed_004_answers() {
    let cluster = json!({
        "id": 1,
        "cluster_name": "production-cluster",
        "server_url": "https://k8s-api.example.com:6443",
        "context_name": "production-context",
        "provider_name": "AWS EKS",
        "tags": ["production", "aws"],
        "use_secure_tls": true,
        "is_operator_installed": false,
        "created_at": "2024-01-15T10:30:00Z",
        "updated_at": "2024-01-15T10:30:00Z"
    });
    let names = json!(["default", "kube-system", "kube-public", "production-app", "monitoring"]);
    same::<ClusterList>(json!({ "clusters": [cluster] }));
    same::<OnboardedCluster>(json!({
        "id": 1,
        "cluster_name": "production-cluster",
        "server_url": "https://k8s-api.example.com:6443",
        "context_name": "production-context",
        "provider_name": "AWS EKS",
        "tags": ["production", "aws", "us-west-2"],
        "use_secure_tls": true,
        "ca_data": "LS0tLS1CRUdJTi...",
        "tls_key": "***",
        "tls_cert": "LS0tLS1CRUdJTi...",
        "user_id": 123,
        "is_operator_installed": false,
        "created_at": "2024-01-15T10:30:00Z",
        "updated_at": "2024-01-15T10:30:00Z",
        "message": "Cluster onboarded successfully"
    }));
    same::<SelectedCluster>(json!({
        "success": true,
        "namespaces_retrieved": true,
        "cluster_info": cluster,
        "namespaces": names,
        "namespace_count": 5,
        "message": "Successfully retrieved 5 namespaces from cluster 'production-cluster'"
    }));
    same::<UnreachedCluster>(json!({
        "success": false,
        "namespaces_retrieved": false,
        "cluster_info": {
            "id": 1, "cluster_name": "x", "server_url": "https://k8s-api.example.com:6443", "provider_name": "Standard"
        },
        "namespaces": [],
        "error": "Failed to retrieve namespaces: the agent is not connected",
        "message": "Cluster 'x' accessible, but namespace retrieval failed"
    }));
    same::<ClusterNamespaces>(json!({
        "success": true,
        "cluster_id": 1,
        "cluster_name": "production-cluster",
        "server_url": "https://k8s-api.example.com:6443",
        "provider_name": "AWS EKS",
        "context_name": "production-context",
        "use_secure_tls": true,
        "namespace_count": 5,
        "namespaces": names,
        "retrieved_at": "2024-01-15T10:35:00Z"
    }));
    same::<CredentialsAnswer>(json!({
        "success": true,
        "message": "Cluster credentials retrieved successfully",
        "cluster": {
            "cluster_id": 1,
            "cluster_name": "production-cluster",
            "server_url": "https://k8s-api.example.com:6443",
            "token": "***",
            "context_name": "production-context",
            "provider_name": "AWS EKS",
            "use_secure_tls": true,
            "tls_config": { "ca_data": "***", "tls_cert": "***", "tls_key": "***" },
            "is_operator_installed": false,
            "tags": ["production", "aws"],
            "created_at": "2024-01-15T10:30:00Z",
            "updated_at": "2024-01-15T10:30:00Z"
        }
    }));
    same::<ExecutedCommand>(json!({
        "success": true,
        "output": "NAME                               READY   STATUS    RESTARTS   AGE",
        "error": null,
        "command": "kubectl get pods -n production-app --server=https://k8s-api.example.com:6443 --token=***",
        "return_code": 0,
        "cluster_info": {
            "cluster_id": 1,
            "cluster_name": "production-cluster",
            "server_url": "https://k8s-api.example.com:6443",
            "provider_name": "AWS EKS"
        },
        "executed_at": "2024-01-15T10:40:00Z",
        "execution_method": "direct"
    }));
    same::<NodesStatus>(json!({
        "clusters": {
            "production-cluster": { "ready": 5, "not_ready": 0, "total": 5 },
            "staging-cluster": { "ready": 3, "not_ready": 1, "total": 4 }
        },
        "totals": { "ready": 8, "not_ready": 1, "total": 9 }
    }));
}

/// What peers read on `cluster_events`.
#[test]
fn events_of_the_seeds() {
    let event = |deed: Value| {
        let mut event = deed;
        let common = json!({
            "user_id": 7, "username": "ada", "timestamp": "2024-01-15T10:30:00.000000",
            "cluster_id": 1, "cluster_name": "production-cluster"
        });
        event.as_object_mut().unwrap().extend(common.as_object().unwrap().clone());
        same::<ClusterEvent>(event);
    };
    event(json!({
        "event_type": "cluster_onboarded", "server_url": "https://a:6443", "provider_name": "AWS EKS",
        "use_secure_tls": true
    }));
    event(json!({ "event_type": "cluster_deleted" }));
    event(json!({ "event_type": "cluster_selected_and_namespaces_retrieved", "namespace_count": 5 }));
    event(json!({
        "event_type": "namespaces_retrieved_by_cluster_id", "namespace_count": 5, "method": "kubernetes-api"
    }));
    event(json!({
        "event_type": "namespaces_retrieval_failed_by_cluster_id", "error": "away", "method": "kubernetes-api"
    }));
    event(json!({ "event_type": "cluster_credentials_accessed", "server_url": "https://a:6443" }));
    event(json!({
        "event_type": "kubectl_command_executed", "command": "kubectl get pods", "success": true, "return_code": 0
    }));
    event(json!({ "event_type": "workloads_accessed", "namespace": "shop", "workload_counts": { "pods": 3 } }));
}
