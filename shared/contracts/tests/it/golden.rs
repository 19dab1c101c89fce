//! Bodies as the seeds' documents and peers spell them (seeds 000 and 001, `seeds-wire` §2.3 to §2.6).

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
