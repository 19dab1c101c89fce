//! KubeSage's onboarding routes.

use serde_json::json;

use crate::rig::Rig;

#[tokio::test]
async fn an_agent_of_the_seeds_onboards() {
    let rig = Rig::new().await;
    let key = rig.operator.key.as_str();
    let made = rig.send("POST", "/api/v2.0/generate-agent-id", Some(key), None).await;
    assert_eq!(made.status, 200, "{made:?}");
    let agent = made.json()["agent_id"].as_str().unwrap().to_owned();
    assert_eq!(
        made.json(),
        json!({"agent_id": agent, "cluster_id": null, "status": "pending",
            "message": "Agent ID generated successfully. API key validation in progress."})
    );
    let missing = rig.send("POST", "/api/v2.0/generate-agent-id?cluster_id=5", Some(key), None).await;
    assert_eq!(
        (missing.status, missing.detail().as_str()),
        (404, "Cluster with ID '5' not found or does not belong to you")
    );
    assert_eq!(rig.send("POST", "/api/v2.0/generate-agent-id?cluster_id=x", Some(key), None).await.status, 422);

    let body = json!({"cluster_name": "edge", "tags": "a, b", "metadata": {"region": "eu"}});
    let headers = [("x-api-key", key), ("agent_id", agent.as_str())];
    let onboarded = rig.send_with("POST", "/api/v2.0/onboard", &headers, Some(body.clone())).await;
    assert_eq!(onboarded.status, 201, "{onboarded:?}");
    assert_eq!(
        onboarded.json(),
        json!({"id": 123, "cluster_name": "edge", "context_name": null, "provider_name": "kubernetes", "tags": ["a", "b"],
            "use_secure_tls": true, "user_id": 2, "is_operator_installed": false,
            "created_at": "2024-01-01T12:00:00.000000Z", "updated_at": "2024-01-01T12:00:00.000000Z",
            "message": "Cluster onboarded successfully by agent", "metadata": {"region": "eu"}})
    );
    let again = rig.send_with("POST", "/api/v2.0/onboard", &headers, Some(body)).await;
    assert_eq!((again.status, again.detail().as_str()), (400, "Cluster 'edge' already exists for this user"));
    let unknown = [("x-api-key", key), ("agent_id", "x")];
    let unknown = rig.send_with("POST", "/api/v2.0/onboard", &unknown, Some(json!({"cluster_name": "new"}))).await;
    assert_eq!(
        (unknown.status, unknown.detail().as_str()),
        (404, "Agent with ID 'x' not found or does not belong to you")
    );
    for (headers, body) in
        [(vec![("x-api-key", key)], json!({"cluster_name": "new"})), (headers.to_vec(), json!({"cluster_name": ""}))]
    {
        let answer = rig.send_with("POST", "/api/v2.0/onboard", &headers, Some(body)).await;
        assert_eq!((answer.status, answer.code().as_str()), (422, "validation_failed"));
    }
    let clusters = rig.get("/api/v2.0/clusters", Some(key)).await.json();
    assert_eq!(
        (clusters["clusters"][0]["cluster_name"].as_str(), &clusters["clusters"][0]["message"]),
        (Some("edge"), &json!(null))
    );
    let agents = rig.get("/api/v2.0/agents", Some(key)).await.json();
    assert_eq!(
        (agents["agents"][0]["agent_id"].as_str(), agents["agents"][0]["status"].as_str()),
        (Some(agent.as_str()), Some("pending"))
    );
}

#[tokio::test]
async fn onboarding_has_quotas_of_its_own() {
    let rig = Rig::new().await;
    let key = Some(rig.operator.key.as_str());
    for _ in 0..10 {
        assert_eq!(rig.send("POST", "/api/v2.0/generate-agent-id", key, None).await.status, 200);
    }
    let over = rig.send("POST", "/api/v2.0/generate-agent-id", key, None).await;
    assert_eq!(
        (over.status, over.detail().as_str()),
        (429, "Rate limit exceeded. Maximum 10 requests per 60 seconds.")
    );
    for _ in 0..5 {
        assert_eq!(rig.send("POST", "/api/v2.0/onboard", key, Some(json!({"cluster_name": "x-1"}))).await.status, 422);
    }
    assert_eq!(rig.send("POST", "/api/v2.0/onboard", key, Some(json!({"cluster_name": "x-1"}))).await.status, 429);
}
