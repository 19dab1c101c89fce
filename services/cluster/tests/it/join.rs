//! Join tokens and import manifests.

use serde_json::json;

use crate::rig::Rig;

#[tokio::test]
async fn tokens_are_shown_once() {
    let rig = Rig::new().await;
    let key = Some(rig.operator.key.as_str());
    let made = rig.send("POST", "/api/v1/join-tokens", key, Some(json!({"uses": 2, "profile": "read_only"}))).await;
    assert_eq!(made.status, 201);
    let made = made.json();
    let token = made["token"].as_str().unwrap();
    assert_eq!((made["profile"].as_str(), made["uses_left"].as_u64()), (Some("read_only"), Some(2)));
    assert_eq!(
        made["join"]["command"],
        format!("roadstead-agent run --hub https://agents.example:8007 --join {token}")
    );
    let listed = rig.get("/api/v1/join-tokens", key).await;
    assert_eq!(listed.json()[0]["id"], made["id"]);
    assert!(!listed.text.contains(&token[37..]));
    assert!(!rig.world.bodies.lock().unwrap().contains(&token[37..]));

    let path = format!("/api/v1/join-tokens/{}", made["id"].as_str().unwrap());
    assert_eq!(rig.send("DELETE", &path, Some(&rig.other.key), None).await.status, 404);
    assert_eq!(rig.get(&format!("/import/{token}.yaml"), None).await.status, 200);
    assert_eq!(rig.send("DELETE", &path, key, None).await.status, 204);
    assert_eq!(rig.get(&format!("/import/{token}.yaml"), None).await.status, 404);
}

#[tokio::test]
async fn the_manifest_is_for_good_tokens() {
    let rig = Rig::env(&[("ROADSTEAD_AGENTS_IMAGE", "registry.example/agent:1")]).await;
    let key = Some(rig.operator.key.as_str());
    let made = rig.send("POST", "/api/v1/clusters", key, Some(json!({"name": "prod"}))).await.json();
    let token = made["join"]["token"].as_str().unwrap().to_owned();
    let manifest = rig.get(&format!("/import/{token}.yaml?name=other"), None).await;
    assert_eq!((manifest.status, manifest.header("content-type")), (200, "application/yaml"));
    assert_eq!(manifest.header("cache-control"), "no-store");
    let documents: Vec<serde_json::Value> =
        manifest.text.split("\n---\n").skip(1).map(|text| serde_json::from_str(text).unwrap()).collect();
    let deployment = documents.iter().find(|document| document["kind"] == "Deployment").unwrap();
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["args"], json!(["run", "--hub", "https://agents.example:8007", "--name", "prod"]));
    assert_eq!(container["image"], "registry.example/agent:1");
    assert_eq!(manifest.text.matches(&token).count(), 1);

    let unbound = rig.send("POST", "/api/v1/join-tokens", key, Some(json!({}))).await.json();
    let unbound = unbound["token"].as_str().unwrap();
    assert!(rig.get(&format!("/import/{unbound}.yaml?name=edge-7"), None).await.text.contains("\"edge-7\""));
    assert_eq!(rig.get(&format!("/import/{unbound}.yaml?name=..%0a"), None).await.status, 422);

    let mut wrong = token.clone();
    wrong.replace_range(40..41, if &token[40..41] == "A" { "B" } else { "A" });
    for bad in [wrong.as_str(), "x", "rsj_", &token[..50], &token.to_uppercase(), &rig.operator.key] {
        let answer = rig.get(&format!("/import/{bad}.yaml"), None).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{bad}");
    }
    assert_eq!(rig.get(&format!("/import/{token}"), None).await.status, 404);
}

#[tokio::test]
async fn an_agent_finds_its_door() {
    let rig = Rig::env(&[
        ("ROADSTEAD_PUBLIC_URL", "https://hub.example/"),
        ("ROADSTEAD_AGENT_PUBLIC_URL", "https://a.example"),
    ])
    .await;
    let found = rig.send_with("GET", "/.well-known/roadstead", &[("host", "evil.example")], None).await.json();
    assert_eq!(
        (found["url"].as_str(), found["agent_url"].as_str()),
        (Some("https://hub.example"), Some("https://a.example"))
    );
    let made = rig.send("POST", "/api/v1/join-tokens", Some(&rig.operator.key), Some(json!({}))).await.json();
    assert!(made["join"]["import_url"].as_str().unwrap().starts_with("https://hub.example/import/rsj_"));
}
