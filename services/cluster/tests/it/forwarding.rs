//! What the user service answers itself.

use std::time::Instant;

use serde_json::json;
use tokio::net::TcpListener;

use crate::rig::{Rig, Setup};

#[tokio::test]
async fn requests_go_on_with_their_sender() {
    let rig = Rig::new().await;
    for (method, path) in [
        ("POST", "/api/v1/auth/login"),
        ("POST", "/auth/token"),
        ("GET", "/api/v1.0/users?skip=0&limit=100"),
        ("DELETE", "/api-keys/7"),
        ("POST", "/api/v1.0/api-keys/7/regenerate"),
    ] {
        let headers = [
            ("x-request-id", "abc-1"),
            ("x-forwarded-for", "9.9.9.9"),
            ("cookie", "secret=1"),
            ("x-roadstead-forwarded", "9.9.9.9 0 00"),
            ("impersonate-user", "root"),
        ];
        let body = (method == "POST").then(|| json!({"username": "a"}));
        let answer = rig.send_with(method, path, &headers, body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let seen = answer.json();
        assert_eq!((seen["method"].as_str(), seen["target"].as_str()), (Some(method), Some(path)));
        // The address rides signed; the user service believes nothing else.
        assert_eq!((seen["client"].as_str(), seen["request_id"].as_str()), (Some("127.0.0.1"), Some("abc-1")));
        let text = seen["headers"].to_string();
        for stripped in ["cookie", "impersonate", "x-forwarded-for", "9.9.9.9"] {
            assert!(!text.contains(stripped), "{stripped} in {text}");
        }
        assert!(method != "POST" || seen["body"] == "{\"username\":\"a\"}");
        assert_eq!(answer.header("location"), "/next");
        assert!(!answer.headers.contains_key("x-internal"));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    let slashes = rig.send("POST", "/api/v1.0/api-keys//7/regenerate/", None, None).await;
    assert_eq!(slashes.json()["target"], "/api/v1.0/api-keys/7/regenerate");
    assert_eq!(rig.get("/.well-known/jwks.json", None).await.json()["keys"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_user_service_away_is_503() {
    let gone = roadstead_http_kit::bind("127.0.0.1", 0).unwrap();
    let user_url = Some(format!("http://{}", gone.local_addr().unwrap()));
    drop(gone);
    let rig = Rig::with(Setup { user_url, ..Setup::default() }).await;
    let answer = rig.send("POST", "/api/v1/auth/login", None, Some(json!({"username": "a"}))).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
    assert!(answer.headers.contains_key("retry-after"));
    // Keys go over the bus and work; tokens cannot be checked, and that is said.
    assert_eq!(rig.get("/api/v1/clusters", Some(&rig.viewer.key)).await.status, 200);
    let bearer = format!("Bearer {}", rig.token(&rig.viewer));
    let answer = rig.send_with("GET", "/api/v1/clusters", &[("authorization", &bearer)], None).await;
    assert_eq!((answer.status, answer.detail().as_str()), (503, "User authentication service unavailable"));
    let ready = rig.get("/readyz", None).await;
    assert_eq!(ready.status, 503);
    assert!(ready.json()["parts"].to_string().contains("token-keys"));
    assert_eq!(rig.get("/healthz", None).await.status, 200);
    assert_eq!(rig.get("/api/v1/health", None).await.json()["status"], "unhealthy");
}

/// Row F06: what is read from a user service that waits for its database ends with the request's deadline, not the agents'.
#[tokio::test]
async fn regression_f06_a_user_service_that_does_not_answer_is_504_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let user_url = Some(format!("http://{}", silent.local_addr().unwrap()));
    let rig = Rig::with(Setup { user_url, ..Setup::default() }).await;
    let began = Instant::now();
    let answer = rig.get("/api/v1/auth/profile", Some(&rig.viewer.key)).await;
    assert_eq!((answer.status, answer.code().as_str()), (504, "timeout"));
    assert!((8..15).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    drop(silent);
}
