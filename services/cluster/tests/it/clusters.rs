//! `/api/v1/clusters` and its kin.

use serde_json::{Value, json};

use crate::rig::Rig;

#[tokio::test]
async fn a_cluster_lives() {
    let rig = Rig::new().await;
    let key = Some(rig.operator.key.as_str());
    let body = json!({"name": "prod", "description": "first", "labels": {"tier": "gold"}, "mode": "agent", "uses": 3});
    let made = rig.send("POST", "/api/v1/clusters", key, Some(body)).await;
    assert_eq!(made.status, 201, "{made:?}");
    let cluster = made.json();
    assert_eq!(made.header("location"), format!("/api/v1/clusters/{}", cluster["id"].as_str().unwrap()));
    assert_eq!((cluster["name"].as_str(), cluster["mode"].as_str()), (Some("prod"), Some("agent")));
    let token = cluster["join"]["token"].as_str().unwrap();
    assert!(token.starts_with("rsj_"));
    assert_eq!(
        cluster["join"]["command"],
        format!("roadstead-agent run --hub https://agents.example:8007 --join {token} --name prod")
    );
    let import = format!("http://{}/import/{token}.yaml", rig.service.address());
    assert_eq!(
        (cluster["join"]["import_url"].as_str(), cluster["join"]["kubectl"].as_str()),
        (Some(import.as_str()), Some(format!("kubectl apply -f {import}").as_str()))
    );
    assert_eq!(cluster["join"]["expires_at"], "2024-01-01T13:00:00Z");
    // Neither the token nor a key went over the bus.
    let bodies = rig.world.bodies.lock().unwrap().clone();
    assert!(!bodies.contains(&token[37..]) && !bodies.contains(&rig.operator.key[37..]));

    let taken = rig.send("POST", "/api/v1/clusters", key, Some(json!({"name": "prod"}))).await;
    assert_eq!((taken.status, taken.code().as_str()), (409, "conflict"));

    for reference in [cluster["id"].as_str().unwrap(), "123", "prod"] {
        let path = format!("/api/v1/clusters/{reference}");
        let got = rig.get(&path, key).await;
        assert_eq!((got.status, &got.json()["id"]), (200, &cluster["id"]));
        let changes =
            json!({"description": reference, "status": "error", "owner_id": "x", "encrypted_credentials": "x"});
        let changed = rig.send("PUT", &path, key, Some(changes)).await.json();
        assert_eq!((changed["description"].as_str(), changed["name"].as_str()), (Some(reference), Some("prod")));
        assert_eq!((&changed["status"], &changed["owner_id"]), (&cluster["status"], &cluster["owner_id"]));
        assert_eq!(changed["labels"], json!({"tier": "gold"}));
    }
    let deleted = rig.send("DELETE", "/api/v1/clusters/prod", key, None).await;
    assert_eq!((deleted.status, deleted.text.as_str()), (204, ""));
    let gone = rig.get("/api/v1/clusters/prod", key).await;
    assert_eq!((gone.status, gone.detail().as_str()), (404, "Cluster not found"));
}

#[tokio::test]
async fn lists_are_arrays_in_pages() {
    let rig = Rig::new().await;
    for number in 0..5 {
        rig.world.add_cluster(&format!("c-{number}"), rig.operator.principal.user_id);
    }
    rig.world.add_cluster("hidden", rig.other.principal.user_id);
    let key = Some(rig.operator.key.as_str());
    let all = rig.get("/api/v1/clusters", key).await;
    assert_eq!((all.json().as_array().unwrap().len(), all.header("x-total-count")), (5, "5"));
    assert!(!all.headers.contains_key("link"));
    let mut next = Some("/api/v1/clusters?limit=2".to_owned());
    let mut names = Vec::new();
    while let Some(path) = next.take() {
        let page = rig.get(&path, key).await;
        names
            .extend(page.json().as_array().unwrap().iter().map(|cluster| cluster["name"].as_str().unwrap().to_owned()));
        next = page.headers.get("link").map(|link| {
            let link = link.to_str().unwrap();
            assert!(link.ends_with(">; rel=\"next\""), "{link}");
            link[1..link.find('>').unwrap()].to_owned()
        });
    }
    assert_eq!(names, ["c-0", "c-1", "c-2", "c-3", "c-4"]);
    assert_eq!(rig.get("/api/v1/clusters?limit=2&offset=4", key).await.json().as_array().unwrap().len(), 1);
    assert_eq!(rig.get("/api/v1/clusters", Some(&rig.admin.key)).await.header("x-total-count"), "6");
    assert_eq!(rig.get("/api/v1/clusters", Some(&rig.viewer.key)).await.json(), json!([]));
    for (query, words) in [
        ("limit=0", "Limit must be positive"),
        ("limit=-1", "Limit must be positive"),
        ("limit=1000000000", "Limit must be at most 1000"),
        ("limit=abc", "Invalid limit parameter"),
        ("offset=9223372036854775808", "Invalid offset parameter"),
        ("offset=-1", "Offset must be non-negative"),
        ("cursor=1&offset=1", "give either cursor or offset"),
    ] {
        let answer = rig.get(&format!("/api/v1/clusters?{query}"), key).await;
        assert_eq!((answer.status, answer.detail().as_str()), (400, words), "{query}");
    }
    for path in ["/api/v1/agents", "/api/v1/join-tokens"] {
        assert_eq!(rig.get(&format!("{path}?limit=0"), key).await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn odd_references_are_not_found() {
    let rig = Rig::new().await;
    rig.world.add_cluster("prod", rig.admin.principal.user_id);
    let key = Some(rig.admin.key.as_str());
    let long = "a".repeat(4_000);
    for odd in [
        "-1",
        "0",
        "99999999999999999999",
        "1e3",
        "0x10",
        "%201",
        "{0198c5b0-0000-7000-8000-000000000001}",
        "'%20OR%201=1--",
        "a%E2%80%AEb",
        "%F0%9F%98%80",
        &long,
    ] {
        for (method, tail, body) in [
            ("GET", "", None),
            ("PUT", "", Some(json!({}))),
            ("DELETE", "", None),
            ("GET", "/namespaces", None),
            ("PUT", "/grants/vera", None),
        ] {
            let answer = rig.send(method, &format!("/api/v1/clusters/{odd}{tail}"), key, body).await;
            assert!(matches!(answer.status, 400 | 404), "{method} {odd}{tail}: {answer:?}");
        }
        let answer = rig.send("DELETE", &format!("/api/v1/agents/{odd}"), key, None).await;
        assert!(matches!(answer.status, 400 | 404), "{odd}");
        let answer = rig.send("DELETE", &format!("/api/v1/join-tokens/{odd}"), key, None).await;
        assert!(matches!(answer.status, 400 | 404), "{odd}");
    }
    assert_eq!(rig.get("/api/v1/clusters/%31%32%33", key).await.status, 400);
    assert_eq!(rig.world.clusters.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn bad_bodies_name_the_field() {
    let rig = Rig::new().await;
    let key = Some(rig.operator.key.as_str());
    let cases: [(Value, &str); 12] = [
        (json!({}), "name"),
        (json!({"name": ""}), "name"),
        (json!({"name": "42"}), "name"),
        (json!({"name": "0198c5b0-0000-7000-8000-000000000001"}), "name"),
        (json!({"name": "a/b"}), "name"),
        (json!({"name": "ok", "owner_id": "x"}), "owner_id"),
        (json!({"name": "ok", "mode": "kubeconfig"}), "mode"),
        (json!({"name": "ok", "labels": {"a b": "c"}}), "labels"),
        (json!({"name": "ok", "lifetime_seconds": 86_401}), "lifetime_seconds"),
        (json!({"name": "ok", "uses": 0}), "uses"),
        (json!({"name": "ok", "profile": "root"}), "profile"),
        (json!({"name": "ok", "description": "a\u{0}b"}), "description"),
    ];
    for (body, field) in cases {
        let answer = rig.send("POST", "/api/v1/clusters", key, Some(body.clone())).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "validation_failed"), "{body}");
        assert!(answer.json()["errors"][0]["loc"].as_array().unwrap().contains(&json!(field)), "{body} {answer:?}");
    }
    assert_eq!(rig.world.clusters.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn namespaces_in_our_own_words() {
    let rig = Rig::new().await;
    let cluster = rig.world.add_cluster("prod", rig.operator.principal.user_id);
    for reference in ["prod", "123", &cluster.id.to_string()] {
        let answer = rig.get(&format!("/api/v1/clusters/{reference}/namespaces"), Some(&rig.operator.key)).await;
        assert_eq!(
            answer.json(),
            json!({
                "cluster_id": cluster.id.to_string(),
                "cluster_name": "prod",
                "agent_id": cluster.agent_id.unwrap().to_string(),
                "namespaces": [{"name": "default", "status": "Active", "created_at": "2024-01-01T12:00:00Z",
                    "labels": {"kubernetes.io/managed-by": "system"}, "annotations": {}}],
                "total_count": 1,
            })
        );
    }
    // One identity was signed for three requests.
    let signed = rig.world.bodies.lock().unwrap().matches(&format!("\"cluster_id\":\"{}\"", cluster.id)).count();
    assert_eq!(signed, 1);
}

#[tokio::test]
async fn agents_and_grants() {
    let rig = Rig::new().await;
    let cluster = rig.world.add_cluster("prod", rig.operator.principal.user_id);
    let agent = cluster.agent_id.unwrap().to_string();
    let agents = rig.get("/api/v1/agents?connected=true", Some(&rig.operator.key)).await;
    assert_eq!(agents.json()[0]["agent_id"], agent);
    assert_eq!(agents.json()[0]["cluster_name"], "prod");
    assert_eq!(rig.get("/api/v1/agents?connected=maybe", Some(&rig.operator.key)).await.status, 400);
    let revoked = rig.send("DELETE", &format!("/api/v1/agents/{agent}"), Some(&rig.operator.key), None).await;
    assert_eq!(revoked.status, 204);

    let path = "/api/v1/clusters/prod/grants/vera";
    let granted = rig.send("PUT", path, Some(&rig.admin.key), None).await;
    let expected = json!({
        "cluster_id": cluster.id.to_string(),
        "user_id": rig.viewer.principal.user_id.to_string(),
        "username": "vera",
    });
    assert_eq!((granted.status, granted.json()), (200, expected));
    assert_eq!(rig.send("DELETE", path, Some(&rig.admin.key), None).await.status, 204);
    let unknown = rig.send("PUT", "/api/v1/clusters/prod/grants/zoe", Some(&rig.admin.key), None).await;
    assert_eq!((unknown.status, unknown.detail().as_str()), (404, "Account not found"));
    assert_eq!(rig.send("PUT", path, Some(&rig.operator.key), None).await.status, 403);
}
