//! The bodies in the documents of seeds 000 and 001, and what their routes answer when something is wrong.

use std::time::Duration;

use serde_json::Value;

use crate::owners::AgentMood;
use crate::rig::Rig;

/// A body of a document, without its white space.
fn golden(text: &str) -> String {
    serde_json::from_str::<Value>(text).unwrap().to_string()
}

#[tokio::test]
async fn seed_001_health() {
    let rig = Rig::new().await;
    let body = r#"{
      "status": "healthy",
      "service": "cluster_service",
      "timestamp": "2024-01-01T12:00:00.000Z",
      "version": "1.0.0"
    }"#;
    for path in ["/api/v3.0/cluster/health", "/api/v3.0/health", "//api/v3.0//cluster/health/"] {
        for key in [None, Some(rig.viewer.key.as_str()), Some("wrong")] {
            let answer = rig.get(path, key).await;
            assert_eq!((answer.status, answer.text), (200, golden(body)), "{path}");
        }
    }
}

#[tokio::test]
async fn seed_001_namespaces() {
    let rig = Rig::new().await;
    let cluster = rig.world.add_cluster("prod", rig.operator.principal.user_id);
    let agent = cluster.agent_id.unwrap().to_string();
    let body = r#"{
      "success": true,
      "agent_id": "agent-uuid",
      "cluster_id": 123,
      "namespaces": [
        {
          "name": "default",
          "status": "Active",
          "created_at": "2024-01-01T12:00:00Z",
          "labels": {"kubernetes.io/managed-by": "system"},
          "annotations": {}
        }
      ],
      "total_count": 1,
      "message": "Successfully retrieved namespaces from cluster",
      "timestamp": "2024-01-01T12:00:00.000Z"
    }"#;
    for path in ["/api/v3.0/cluster/namespaces", "/api/v3.0/namespaces"] {
        for tail in ["", "&cluster_id=123"] {
            let answer = rig.get(&format!("{path}?agent_id={agent}{tail}"), Some(&rig.operator.key)).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(answer.text.replace(&agent, "agent-uuid"), golden(body));
        }
    }
}

#[tokio::test]
async fn seed_001_connected_agents() {
    let rig = Rig::new().await;
    let one = rig.world.add_cluster("one", rig.operator.principal.user_id).agent_id.unwrap().to_string();
    let two = rig.world.add_cluster("two", rig.operator.principal.user_id).agent_id.unwrap().to_string();
    rig.world.add_cluster("three", rig.other.principal.user_id);
    let body = r#"{
      "success": true,
      "connected_agents": ["agent-uuid-1", "agent-uuid-2"],
      "total_count": 2,
      "timestamp": "2024-01-01T12:00:00.000Z"
    }"#;
    for path in ["/api/v3.0/cluster/agents/connected", "/api/v3.0/agents/connected"] {
        let answer = rig.get(path, Some(&rig.operator.key)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.text.replace(&one, "agent-uuid-1").replace(&two, "agent-uuid-2"), golden(body));
    }
}

#[tokio::test]
async fn seed_001_refusals() {
    let rig = Rig::env(&[("WEBSOCKET_TIMEOUT", "1")]).await;
    let cluster = rig.world.add_cluster("prod", rig.operator.principal.user_id);
    let (path, key) = ("/api/v3.0/cluster/namespaces", rig.operator.key.as_str());
    let asked = format!("{path}?agent_id={}", cluster.agent_id.unwrap());

    let missing = rig.get(path, Some(key)).await;
    assert_eq!((missing.status, missing.code().as_str()), (422, "validation_failed"));
    assert_eq!(missing.json()["errors"][0]["loc"], serde_json::json!(["query", "agent_id"]));
    assert_eq!(missing.json()["errors"][0]["type"], "missing");
    let bad = rig.get(&format!("{asked}&cluster_id=abc"), Some(key)).await;
    assert_eq!((bad.status, bad.json()["errors"][0]["type"].as_str()), (422, Some("int_parsing")));
    let wrong = rig.get(&format!("{asked}&cluster_id=7"), Some(key)).await;
    assert_eq!((wrong.status, wrong.code().as_str()), (404, "not_found"));
    assert_eq!(rig.get(path, None).await.detail(), "Not authenticated");
    assert_eq!(rig.get(path, Some("wrong")).await.detail(), "Authentication failed");

    for unknown in ["agent-uuid", "..%20", "", "%00"] {
        let answer = rig.get(&format!("{path}?agent_id={unknown}"), Some(key)).await;
        assert!(matches!(answer.status, 404 | 422), "{unknown} {answer:?}");
    }
    let hidden = rig.get(&asked, Some(&rig.other.key)).await;
    assert_eq!((hidden.status, hidden.detail().as_str()), (404, "Agent not found"));

    for (mood, status, code) in [
        (AgentMood::Broken, 502, "agent_error"),
        (AgentMood::Silent, 504, "timeout"),
        (AgentMood::Offline, 503, "agent_offline"),
    ] {
        *rig.world.agent.lock().unwrap() = mood;
        rig.clock.advance(chrono::Duration::seconds(5));
        let answer = rig.get(&asked, Some(key)).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
        assert!(answer.detail().starts_with("Failed to communicate with agent: "), "{answer:?}");
    }
}

#[tokio::test]
async fn seed_000_health() {
    let rig = Rig::new().await;
    let answer = rig.get("/api/v1/health", None).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text, r#"{"status":"healthy","timestamp":"2024-01-01T12:00:00.000000Z","version":"1.0.0"}"#);
}

#[tokio::test]
async fn the_broker_away_is_told_at_once() {
    let rig = Rig::new().await;
    rig.transport.set_connected(false);
    let began = std::time::Instant::now();
    let answer = rig.get("/api/v3.0/cluster/agents/connected", Some(&rig.operator.key)).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
    assert_eq!(answer.detail(), "User authentication service unavailable");
    assert!(answer.headers.contains_key("retry-after"));
    assert!(began.elapsed() < Duration::from_secs(5));
    rig.transport.set_connected(true);
    for _ in 0..200 {
        if rig.get("/api/v3.0/cluster/agents/connected", Some(&rig.operator.key)).await.status == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not come back");
}
