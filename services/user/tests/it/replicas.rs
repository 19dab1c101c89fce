//! Two replicas on one PostgreSQL: what one does counts at the other at once.

use serde_json::json;

use crate::rig::{Rig, start};
use crate::store::fresh_postgres;

async fn replica(url: &str, key_file: &str) -> Rig {
    let env = [("ROADSTEAD_DATABASE_URL", url), ("ROADSTEAD_AUTH_IDENTITY_KEY_FILE", key_file)];
    start(tempfile::tempdir().unwrap(), &env).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs postgres"]
async fn two_replicas_are_one_service() {
    let url = fresh_postgres().await;
    let shared = tempfile::tempdir().unwrap();
    let key_file = shared.path().join("keys.json").display().to_string();
    // Both make schema and key file at the same time.
    let (one, two) = tokio::join!(replica(&url, &key_file), replica(&url, &key_file));
    let (first, second) = tokio::join!(one.service.first_start(), two.service.first_start());
    let owners: Vec<_> = [first.unwrap(), second.unwrap()].into_iter().flatten().collect();
    assert_eq!(owners.len(), 1);
    let admin = owners[0].api_key.expose();

    let login = one.account("ada").await;
    let token = login.text("access_token");
    assert_eq!(two.get(&token, "/users/me").await.status, 200);
    let key = two.as_bearer(&token, "POST", "/api-keys", Some(json!({"key_name": "ci"}))).await.text("api_key");
    assert_eq!(one.as_key(&key, "GET", "/users/me", None).await.status, 200);
    let refreshed = two.post("/auth/refresh", json!({"refresh_token": login.text("refresh_token")})).await;
    assert_eq!(one.get(&refreshed.text("access_token"), "/users/me").await.status, 200);
    let reuse = one.post("/auth/refresh", json!({"refresh_token": login.text("refresh_token")})).await;
    assert_eq!(reuse.code(), "token_reuse");
    assert_eq!(two.get(&refreshed.text("access_token"), "/users/me").await.status, 401);
    let off = one.as_key(admin, "PUT", "/users/ada", Some(json!({"is_active": false}))).await;
    assert_eq!(off.status, 200);
    assert_eq!(two.as_key(&key, "GET", "/users/me", None).await.status, 401);
    let twice = two
        .post(
            "/api/v1/auth/register",
            json!({"username": "ada", "email": "ada@example.com", "password": "password123"}),
        )
        .await;
    assert_eq!((twice.status, twice.detail()), (409, "username already exists"));
    assert_eq!(two.as_key(admin, "DELETE", "/users/ada", None).await.status, 204);
    assert_eq!(one.as_key(admin, "GET", "/users/ada", None).await.status, 404);
    one.stop().await;
    two.stop().await;
}
