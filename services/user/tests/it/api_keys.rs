//! API keys, their whole life.

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::rig::{eventually, members, rig};

const MADE: [&str; 9] =
    ["id", "key_name", "api_key", "user_id", "is_active", "expires_at", "last_used_at", "created_at", "updated_at"];
const SHOWN: [&str; 9] = [
    "id",
    "key_name",
    "api_key_preview",
    "user_id",
    "is_active",
    "expires_at",
    "last_used_at",
    "created_at",
    "updated_at",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_once_and_used_everywhere() {
    let rig = rig().await;
    let token = rig.account("ada").await.text("access_token");
    for prefix in ["", "/api/v1.0"] {
        let body = json!({"key_name": format!("ci{prefix}").replace('/', "-"), "expires_at": "2027-02-01T00:00:00"});
        let made = rig.as_bearer(&token, "POST", &format!("{prefix}/api-keys/"), Some(body)).await;
        assert_eq!((made.status, members(&made.body)), (201, MADE.to_vec()));
        assert_eq!((&made.body["user_id"], &made.body["is_active"]), (&json!(1), &json!(true)));
        assert_eq!(made.body["expires_at"], "2027-02-01T00:00:00Z");
        let key = made.text("api_key");
        assert!(key.starts_with("rsk_") && key.len() == roadstead_auth::token::TOKEN_LEN);

        let list = rig.as_bearer(&token, "GET", &format!("{prefix}/api-keys/"), None).await;
        assert_eq!(members(&list.body[0]), SHOWN);
        assert_eq!(list.body[0]["api_key_preview"], format!("{}{}", &key[..8], "*".repeat(24)));
        assert!(!list.body.to_string().contains(&key[40..]), "the secret is never shown again");
        let id = made.body["id"].as_i64().unwrap();
        let shown = rig.as_bearer(&token, "GET", &format!("{prefix}/api-keys/{id}"), None).await;
        assert_eq!((shown.status, members(&shown.body)), (200, SHOWN.to_vec()));

        let me = rig.as_key(&key, "GET", &format!("{prefix}/users/me/api-key"), None).await;
        assert_eq!((me.status, &me.body["username"]), (200, &json!("ada")));
        // As a bearer too: clients that know only one header.
        assert_eq!(rig.get(&key, "/users/me").await.status, 200);
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rename_end_switch_off_regenerate_revoke() {
    let rig = rig().await;
    let token = rig.account("ada").await.text("access_token");
    let made = rig.as_bearer(&token, "POST", "/api-keys", Some(json!({"key_name": "ci"}))).await;
    let (id, key) = (made.body["id"].as_i64().unwrap(), made.text("api_key"));
    let path = format!("/api-keys/{id}");
    let put = |body: Value| rig.as_bearer(&token, "PUT", &path, Some(body));
    let works = |key: String| {
        let rig = &rig;
        async move { rig.as_key(&key, "GET", "/users/me", None).await.status }
    };

    assert_eq!(put(json!({"key_name": "build"})).await.body["key_name"], "build");
    assert_eq!(works(key.clone()).await, 200);
    assert_eq!(put(json!({"is_active": false})).await.body["is_active"], false);
    assert_eq!(works(key.clone()).await, 401);
    assert_eq!(put(json!({"is_active": true})).await.status, 200);
    assert_eq!(works(key.clone()).await, 200);
    assert_eq!(put(json!({"expires_at": "2027-01-16T08:00:00Z"})).await.body["expires_at"], "2027-01-16T08:00:00Z");
    assert_eq!(
        put(json!({"key_name": "build"})).await.body["expires_at"],
        "2027-01-16T08:00:00Z",
        "left out = as it was"
    );
    assert_eq!(put(json!({"expires_at": null})).await.body["expires_at"], Value::Null);
    assert_eq!(put(json!({"expires_at": "2020-01-01T00:00:00Z"})).await.status, 422);

    // The web UI's own call: a double slash.
    let again = rig.as_bearer(&token, "POST", &format!("/api/v1.0/api-keys//{id}/regenerate"), None).await;
    assert_eq!((again.status, members(&again.body)), (200, MADE.to_vec()));
    assert_eq!(works(key).await, 401);
    let key = again.text("api_key");
    assert_eq!(works(key.clone()).await, 200);

    assert_eq!(rig.as_bearer(&token, "DELETE", &path, None).await.status, 204);
    assert_eq!(works(key).await, 401);
    let gone = rig.as_bearer(&token, "GET", &path, None).await;
    assert_eq!((gone.status, gone.detail()), (404, "API key not found"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_ones_own() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let ada = rig.account("ada").await.text("access_token");
    let made = rig.as_bearer(&ada, "POST", "/api-keys", Some(json!({"key_name": "ci"}))).await;
    let id = made.body["id"].as_i64().unwrap();
    let bob = rig.account("bob").await.text("access_token");
    for (method, path) in [
        ("GET", format!("/api-keys/{id}")),
        ("PUT", format!("/api-keys/{id}")),
        ("DELETE", format!("/api-keys/{id}")),
        ("POST", format!("/api-keys/{id}/regenerate")),
    ] {
        let body = (method == "PUT").then(|| json!({"key_name": "mine"}));
        let answer = rig.as_bearer(&bob, method, &path, body.clone()).await;
        assert_eq!((answer.status, answer.detail()), (404, "API key not found"), "{method}");
        // Not even an admin's: a key acts as its account.
        assert_eq!(rig.as_key(owner.api_key.expose(), method, &path, body).await.status, 404, "{method}");
    }
    assert_eq!(rig.as_bearer(&bob, "GET", "/api-keys", None).await.body, json!([]));
    assert_eq!(rig.as_bearer(&bob, "POST", "/api-keys", Some(json!({"key_name": "ci"}))).await.status, 201);
    let twice = rig.as_bearer(&bob, "POST", "/api-keys", Some(json!({"key_name": "ci"}))).await;
    assert_eq!((twice.status, twice.detail()), (409, "API key with this name already exists"));
    for odd in ["0", "-1", "x", "1e3", "99999999999999999999"] {
        assert_eq!(rig.as_bearer(&bob, "GET", &format!("/api-keys/{odd}"), None).await.status, 404, "{odd}");
    }
    for name in ["", " ", &"a".repeat(101), "a\u{7}"] {
        assert_eq!(
            rig.as_bearer(&bob, "POST", "/api-keys", Some(json!({"key_name": name}))).await.status,
            422,
            "{name:?}"
        );
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_keys_in_the_seeds_words() {
    let rig = rig().await;
    let token = rig.account("ada").await.text("access_token");
    let body = json!({"key_name": "ci", "expires_at": "2027-01-15T09:00:00Z"});
    let key = rig.as_bearer(&token, "POST", "/api-keys", Some(body)).await.text("api_key");
    let path = "/users/me/api-key";
    let none = rig.send(rig.request("GET", path)).await;
    assert_eq!((none.status, none.detail()), (401, "API key required in X-API-Key header"));
    let in_query = rig.send(rig.request("GET", &format!("{path}?api_key={key}&X-API-Key={key}"))).await;
    assert_eq!(in_query.status, 401);
    for bad in ["x", "rsk_", &key[..36], &key.to_uppercase(), &format!("{key}x"), "ks_abcdefghijklmnopqrstuvwxyz012345"]
    {
        let answer = rig.as_key(bad, "GET", path, None).await;
        assert_eq!((answer.status, answer.detail()), (401, "Invalid API key"), "{bad}");
        assert_eq!(rig.as_key(bad, "GET", "/users/me", None).await.status, 401, "{bad}");
    }
    let two = rig.request("GET", path).header("X-API-Key", &key).header("X-API-Key", &key);
    assert_eq!(rig.send(two).await.status, 401);
    assert_eq!(rig.as_key(&key, "GET", path, None).await.status, 200);
    // Seeds-wire K12: an expired key passed on one of the two paths.
    rig.clock.advance(TimeDelta::hours(1));
    let over = rig.as_key(&key, "GET", path, None).await;
    assert_eq!((over.status, over.detail()), (401, "API key expired"));
    assert_eq!(rig.as_key(&key, "GET", "/users/me", None).await.status, 401);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn last_use_is_written_once_a_minute() {
    let rig = rig().await;
    let token = rig.account("ada").await.text("access_token");
    let made = rig.as_bearer(&token, "POST", "/api-keys", Some(json!({"key_name": "ci"}))).await;
    let key = made.text("api_key");
    let last = || async { rig.as_bearer(&token, "GET", "/api-keys/1", None).await.body["last_used_at"].clone() };
    assert_eq!(last().await, Value::Null);
    assert_eq!(rig.as_key(&key, "GET", "/users/me", None).await.status, 200);
    eventually("written", || async { last().await == "2027-01-15T08:00:00Z" }).await;
    rig.clock.advance(TimeDelta::seconds(59));
    assert_eq!(rig.as_key(&key, "GET", "/users/me", None).await.status, 200);
    rig.clock.advance(TimeDelta::seconds(2));
    assert_eq!(rig.as_key(&key, "GET", "/users/me", None).await.status, 200);
    eventually("written again", || async { last().await == "2027-01-15T08:01:01Z" }).await;
    rig.stop().await;
}
