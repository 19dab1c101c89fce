//! Rows of the catalogue of bad input, walked over the table of routes (R01, R02, R04, R06, R08, R10, A06, L01, L02).

use std::time::{Duration, Instant};

use roadstead_auth::agent_key::AgentKey;
use roadstead_auth::token::{Kind, TwoPart};
use roadstead_contracts::ids::{ApiKeyId, JoinTokenId};
use roadstead_http_kit::Access;
use roadstead_runtime::Clock as _;
use roadstead_runtime::config::{MapEnv, ServiceRole, Settings};
use roadstead_testkit::logs;
use serde_json::{Value, json};

use crate::rig::{Answer, Rig};

/// Routes with a JSON body of ours. The Kubernetes routes pass theirs on.
const WITH_BODY: [(&str, &str); 12] = [
    ("POST", "/kubeconfig/onboard-cluster"),
    ("POST", "/api/v2.0/onboard-cluster"),
    ("POST", "/kubeconfig/execute-kubectl-direct/{cluster}"),
    ("POST", "/api/v2.0/execute-kubectl-direct/{cluster}"),
    ("POST", "/api/v1/clusters"),
    ("PUT", "/api/v1/clusters/{cluster}"),
    ("PUT", "/api/v1/clusters/{cluster}/connection"),
    ("POST", "/api/v1/join-tokens"),
    ("POST", "/api/v2.0/onboard"),
    ("POST", "/onboard"),
    ("POST", "/api/v1/clusters/{cluster}/operations"),
    ("POST", "/api/v1/rollouts"),
];
/// Routes that change something without a JSON body of ours.
const WITHOUT_BODY: [&str; 9] = [
    "/kubeconfig/select-cluster-and-get-namespaces/{cluster}",
    "/api/v2.0/select-cluster-and-get-namespaces/{cluster}",
    "/api/v2.0/generate-agent-id",
    "/api/v1/clusters/{cluster}/grants/{account}",
    "/api/v1/rollouts/{rollout}/approve",
    "/api/v1/rollouts/{rollout}/halt",
    "/api/v1/rollouts/{rollout}/resume",
    "/api/v1/rollouts/{rollout}/retry",
    "/api/v1/rollouts/{rollout}/cancel",
];
/// Routes whose bodies `operations.rs` looks at: manifests, and what may be left out.
const OTHER_BODY: [&str; 7] = [
    "/kubeconfig/clusters/{cluster}/yaml/{namespace}/{kind}/{name}",
    "/api/v2.0/clusters/{cluster}/yaml/{namespace}/{kind}/{name}",
    "/api/v1/clusters/{cluster}/manifests",
    "/api/v1/clusters/{cluster}/charts",
    "/api/v1/operations/{operation}/cancel",
    "/api/v1/operations/{operation}/retry",
    "/api/v1/operations/{operation}/undo",
];
const FIELDS: [&str; 35] = [
    "kind",
    "manifests",
    "namespace",
    "dry_run",
    "object",
    "replicas",
    "command",
    "plan",
    "selector",
    "clusters",
    "deadline_seconds",
    "priority",
    "name",
    "description",
    "labels",
    "mode",
    "lifetime_seconds",
    "uses",
    "profile",
    "namespaces",
    "connection",
    "auth_method",
    "kubeconfig",
    "api_server_url",
    "tls_config",
    "qps",
    "burst",
    "timeout",
    "cluster",
    "cluster_name",
    "context_name",
    "provider_name",
    "tags",
    "use_secure_tls",
    "metadata",
];
const AGENT: &str = "0198c5b0-0000-7000-8000-000000000001";

async fn rig() -> Rig {
    Rig::env(&[("RATE_LIMIT_ENABLED", "false")]).await
}

async fn post_text(rig: &Rig, method: &str, path: &str, kind: Option<&str>, body: Vec<u8>) -> (u16, String) {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = rig.http.request(method, rig.url(path)).header("x-api-key", &rig.operator.key);
    request = request.header("agent_id", AGENT).body(body);
    if let Some(kind) = kind {
        request = request.header("content-type", kind);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// A route that is new is put into one of the two lists by hand.
#[test]
fn the_routes_with_a_body_are_these() {
    let settings = Settings::load(ServiceRole::Up, None, &MapEnv::default()).unwrap();
    for row in roadstead_cluster::routes(&settings) {
        let changes = matches!(row.method.as_str(), "POST" | "PUT" | "PATCH");
        let kubernetes = row.path.contains("{tail") || row.path.contains("/proxy") || row.path.starts_with("/k");
        let elsewhere = WITHOUT_BODY.contains(&row.path.as_str()) || OTHER_BODY.contains(&row.path.as_str());
        if !changes || kubernetes || row.access == Access::Delegated || elsewhere {
            continue;
        }
        let known = WITH_BODY.iter().any(|(method, path)| *method == row.method.as_str() && *path == row.path);
        assert!(known, "{} {} takes a body that no test of bad bodies knows", row.method, row.path);
    }
}

#[tokio::test]
async fn every_route_refuses_every_bad_body() {
    let rig = rig().await;
    let before = rig.world.add_cluster("prod", rig.operator.principal.user_id);
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let deep_map = "{\"a\":".repeat(10_000) + "1" + &"}".repeat(10_000);
    let long = format!("[{}0]", "0,".repeat(400_000));
    let mut bodies: Vec<Vec<u8>> = [
        "{",
        "{}{}",
        "{} x",
        "\u{feff}{}",
        "null",
        "[]",
        "7",
        "\"x\"",
        "",
        "{\"name\":\"\\ud800\",\"cluster_name\":\"\\ud800\"}",
        &deep,
        &long,
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    bodies.push(b"{\"name\":\"\xff\",\"cluster_name\":\"\xff\"}".to_vec());
    for wrong in ["[[1]]", "[\"a\",7]", "-1.5"] {
        let fields: Vec<String> = FIELDS.iter().map(|field| format!("\"{field}\":{wrong}")).collect();
        bodies.push(format!("{{{}}}", fields.join(",")).into_bytes());
    }
    for field in ["labels", "metadata", "tags", "name", "cluster_name"] {
        for wrong in [&deep, &deep_map] {
            // Every required field is good, so that the wrong one is what is refused; a PUT renames the cluster to its name.
            let others: Vec<String> = ["name", "cluster_name"]
                .iter()
                .filter(|name| **name != field)
                .map(|name| format!("\"{name}\":\"prod\""))
                .collect();
            bodies.push(format!("{{{},\"{field}\":{wrong}}}", others.join(",")).into_bytes());
        }
    }
    for (method, path) in WITH_BODY {
        let under_v1 = path.starts_with("/api/v1/");
        let path = path.replace("{cluster}", "prod");
        for body in &bodies {
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            let began = Instant::now();
            let (status, text) = post_text(&rig, method, &path, Some("application/json"), body.clone()).await;
            assert!(began.elapsed() < Duration::from_secs(2), "{method} {path} {shown}: {:?}", began.elapsed());
            let answer: Value = serde_json::from_str(&text).unwrap_or_default();
            // Two routes pass over fields they do not know, as the seeds do: the rest of the body changes nothing.
            let ignored = matches!((method, status), ("PUT", 200)) || (path.ends_with("/onboard") && status == 404);
            assert!(matches!(status, 400 | 422) || ignored, "{method} {path} {shown}: {status} {text}");
            assert!(!under_v1 || status != 422, "{method} {path} {shown}");
            assert!(ignored || (text.len() < 2_000 && answer["code"].is_string()), "{method} {path} {shown}: {text}");
        }
        for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/xml")] {
            let (status, text) =
                post_text(&rig, method, &path, kind, b"{\"name\":\"new\",\"cluster_name\":\"new\"}".to_vec()).await;
            assert_eq!(status, 415, "{method} {path} {kind:?}: {text}");
        }
    }
    let clusters = rig.world.clusters.lock().unwrap().clone();
    assert_eq!(clusters.len(), 1);
    assert_eq!((&clusters[0].0.name, &clusters[0].0.labels), (&before.name, &before.labels));
    assert!(rig.world.tokens.lock().unwrap().is_empty());
}

fn without_request_id(answer: &Answer) -> (u16, Value) {
    let mut body = answer.json();
    body["request_id"] = Value::Null;
    (answer.status, body)
}

/// Row R10: what is somebody else's and what is not there look the same.
#[tokio::test]
async fn r10_foreign_and_missing_look_the_same() {
    let rig = rig().await;
    let cluster = rig.world.add_cluster("prod", rig.operator.principal.user_id);
    let made = rig.send("POST", "/api/v1/join-tokens", Some(&rig.operator.key), Some(json!({}))).await.json();
    let (cluster, agent) = (cluster.id.to_string(), cluster.agent_id.unwrap().to_string());
    let token = made["id"].as_str().unwrap();
    let mut work = json!({ "kind": "exec", "namespace": "a", "pod": "b", "command": ["ls"] });
    rig.send("POST", "/api/v1/clusters/prod/operations", Some(&rig.operator.key), Some(work.clone())).await;
    (work["clusters"], work["confirmed"]) = (json!(["prod"]), json!(true));
    rig.send("POST", "/api/v1/rollouts", Some(&rig.operator.key), Some(work)).await;
    let operation = rig.operations.last().id.to_string();
    let rollout = rig.operations.rollouts.lock().unwrap()[0].id.to_string();
    for (method, path, id) in [
        ("GET", "/api/v1/operations/{}", operation.as_str()),
        ("DELETE", "/api/v1/operations/{}", &operation),
        ("GET", "/api/v1/operations/{}/steps", &operation),
        ("GET", "/api/v1/operations/{}/events", &operation),
        ("POST", "/api/v1/operations/{}/cancel", &operation),
        ("POST", "/api/v1/operations/{}/retry", &operation),
        ("POST", "/api/v1/operations/{}/undo", &operation),
        ("GET", "/api/v1/operations/cluster/{}", &cluster),
        ("GET", "/api/v1/operations?cluster={}", &cluster),
        ("GET", "/api/v1/rollouts/{}", &rollout),
        ("POST", "/api/v1/rollouts/{}/halt", &rollout),
        ("GET", "/api/v1/clusters/{}", cluster.as_str()),
        ("GET", "/api/v1/clusters/{}", "prod"),
        ("GET", "/api/v1/clusters/{}", "123"),
        ("PUT", "/api/v1/clusters/{}", &cluster),
        ("DELETE", "/api/v1/clusters/{}", &cluster),
        ("GET", "/api/v1/clusters/{}/namespaces", &cluster),
        ("DELETE", "/api/v1/agents/{}", &agent),
        ("DELETE", "/api/v1/join-tokens/{}", token),
        ("GET", "/api/v3.0/cluster/namespaces?agent_id={}", &agent),
        ("GET", "/api/v3.0/namespaces?agent_id={}", &agent),
    ] {
        let body = (method == "PUT").then(|| json!({"description": "x"}));
        let ask = |id: &str| {
            let (rig, path, body) = (&rig, path.replace("{}", id), body.clone());
            async move { rig.send(method, &path, Some(&rig.other.key), body).await }
        };
        let foreign = without_request_id(&ask(id).await);
        assert_eq!(foreign.0, 404, "{method} {path} {id}");
        assert_eq!(
            foreign,
            without_request_id(&ask("0198c5b0-0000-7000-8000-00000000ffff").await),
            "{method} {path} {id}"
        );
    }
}

/// Row A06: what agents show is nothing at the front door, and row A01: each prefix refuses in its seed's words.
#[tokio::test]
async fn a06_tokens_of_agents_are_no_credentials() {
    let rig = rig().await;
    let assertion = AgentKey::generate().unwrap().sign_dial(AGENT, rig.clock.now(), "jti").unwrap();
    let join = TwoPart::new(Kind::Join, rig.ids.next::<JoinTokenId>(), &rig.ids).format();
    for path in ["/api/v1/clusters", "/api/v2.0/clusters", "/api/v3.0/cluster/agents/connected", "/api/v1/join-tokens"]
    {
        let words = if path.starts_with("/api/v1/") {
            ("Authorization header is required", "Invalid token", "Invalid API key")
        } else {
            ("Not authenticated", "Authentication failed", "Authentication failed")
        };
        let none = rig.get(path, None).await;
        assert_eq!(
            (none.status, none.code().as_str(), none.detail().as_str()),
            (401, "unauthenticated", words.0),
            "{path}"
        );
        for text in [assertion.as_str(), join.expose()] {
            let bearer = format!("Bearer {text}");
            let answer = rig.send_with("GET", path, &[("authorization", &bearer)], None).await;
            assert_eq!((answer.status, answer.detail().as_str()), (401, words.1), "{path}");
            let answer = rig.get(path, Some(text)).await;
            assert_eq!((answer.status, answer.detail().as_str()), (401, words.2), "{path}");
        }
    }
}

/// Rows L01 and L02: two dozen secrets through every door, well and badly formed, and none of them in a log line, a
/// metric, an answer that does not give it out, or a message.
#[tokio::test]
async fn l01_canaries_stay_where_they_belong() {
    logs::keep();
    let rig = rig().await;
    rig.world.add_cluster("prod", rig.operator.principal.user_id);
    let mut canaries: Vec<String> = (0..12).map(|number| format!("c4nary{number:02}x7f3a")).collect();
    let strangers: Vec<String> = (0..6)
        .map(|_| TwoPart::new(Kind::ApiKey, rig.ids.next::<ApiKeyId>(), &rig.ids).format().expose().to_owned())
        .collect();
    let tokens: Vec<String> = (0..4).map(|_| rig.token(&rig.viewer)).collect();
    let made = rig.send("POST", "/api/v1/join-tokens", Some(&rig.operator.key), Some(json!({}))).await.json();
    let join = made["token"].as_str().unwrap().to_owned();

    let mut echoes = Vec::new();
    for canary in &canaries {
        for headers in [
            [("x-api-key", canary.clone()), ("user-agent", format!("{canary}\"}} \\n"))],
            [("authorization", format!("Bearer {canary}")), ("referer", canary.clone())],
            [("authorization", format!("Basic {canary}")), ("x-request-id", format!("{canary} x"))],
        ] {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            echoes.push(rig.send_with("GET", "/api/v1/clusters", &headers, None).await.text);
            echoes.push(rig.send_with("GET", "/api/v3.0/namespaces", &headers, None).await.text);
        }
        let key = Some(rig.operator.key.as_str());
        for body in [json!({"name": canary.to_uppercase()}), json!({"labels": canary}), json!({"uses": canary})] {
            rig.send("POST", "/api/v1/join-tokens", key, Some(body.clone())).await;
            echoes.push(rig.send("POST", "/api/v2.0/onboard", key, Some(body)).await.text);
        }
        echoes.push(rig.get(&format!("/import/{canary}.yaml"), None).await.text);
        echoes.push(rig.get(&format!("/{canary}"), None).await.text);
        echoes.push(rig.get(&format!("/api/v1/clusters?api_key={canary}&limit={canary}"), key).await.text);
        // The front door passes it on without a look; the fake user service says it back.
        rig.send("POST", "/api/v1/auth/login", None, Some(json!({"username": "a", "password": canary}))).await;
    }
    for key in &strangers {
        echoes.push(rig.get("/api/v1/clusters", Some(key)).await.text);
        echoes.push(rig.get("/api/v1/clusters", Some(&key[..50])).await.text);
    }
    for token in &tokens {
        for text in [token.clone(), format!("{token}x")] {
            let bearer = format!("Bearer {text}");
            echoes.push(rig.send_with("GET", "/api/v1/clusters", &[("authorization", &bearer)], None).await.text);
        }
    }
    assert_eq!(rig.get(&format!("/import/{join}.yaml"), None).await.status, 200);
    echoes.push(rig.get("/api/v1/join-tokens", Some(&rig.operator.key)).await.text);
    echoes.push(rig.metrics.render());

    canaries.extend(strangers.iter().map(|key| key[37..].to_owned()));
    canaries.extend(tokens.iter().map(|token| token.rsplit('.').next().unwrap().to_owned()));
    canaries.extend([join[37..].to_owned(), rig.operator.key[37..].to_owned()]);
    assert_eq!(canaries.len(), 24);
    let (lines, messages) = (logs::lines(), rig.world.bodies.lock().unwrap().clone());
    assert!(lines.contains("route=/api/v1/clusters") && messages.contains("digest"), "nothing was kept");
    for canary in &canaries {
        assert!(!lines.contains(canary.as_str()), "a secret is in the log");
        assert!(!messages.contains(canary.as_str()), "a secret is in a message");
        for echo in &echoes {
            assert!(!echo.contains(canary.as_str()), "a secret is in {echo}");
        }
    }
}
