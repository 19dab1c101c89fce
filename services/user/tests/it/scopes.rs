//! Keys that are held to less than their account, service accounts, rotation with an overlap (reliability row Z02).

use base64::Engine as _;
use chrono::TimeDelta;
use roadstead_auth::token::api_key_proof;
use roadstead_bus::CallContext;
use roadstead_contracts::identity::{Action, Role};
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::message::Authenticate;
use roadstead_http_kit::forward;
use serde_json::{Value, json};

use crate::rig::{Answer, Rig, rig};

async fn key(rig: &Rig, owner: &str, body: Value) -> Answer {
    let answer = rig.as_key(owner, "POST", "/api-keys", Some(body)).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer
}

async fn known(
    rig: &Rig,
    key: &str,
    cluster: Option<ClusterId>,
) -> roadstead_contracts::Result<roadstead_contracts::message::Authenticated> {
    let question =
        Authenticate { credential: api_key_proof(key).unwrap(), cluster_id: cluster, source: None, raise: None };
    rig.bus.call(&question, &CallContext::new(std::time::Duration::from_secs(5), "test")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_takes_away() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let owner = owner.api_key.expose();
    let cluster = "0198c5b0-0000-7000-8000-00000000000c";
    let body = json!({"key_name": "ci", "permissions": ["clusters:read", "operations:read"], "clusters": [cluster]});
    let made = key(&rig, owner, body).await;
    assert_eq!(made.body["scope"], json!({"permissions": ["clusters:read", "operations:read"], "clusters": [cluster]}));
    let narrow = made.text("api_key");
    let principal = known(&rig, &narrow, None).await.unwrap().principal;
    assert!(principal.allows(Action::ClustersRead) && !principal.allows(Action::ClustersWrite));
    assert!(!principal.allows(Action::UsersRead) && principal.roles.contains(&Role::Admin));
    assert!(principal.can_see(cluster.parse().unwrap(), None));
    assert!(!principal.can_see("0198c5b0-0000-7000-8000-00000000000d".parse().unwrap(), Some(principal.user_id)));
    // A cluster is told the least: the admin behind the key is a viewer there.
    let signed = known(&rig, &narrow, Some(cluster.parse().unwrap())).await.unwrap().assertion.unwrap();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(signed.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["roles"], json!(["viewer"]));
    let nothing = key(&rig, owner, json!({"key_name": "system", "permissions": ["system:read"]})).await.text("api_key");
    assert!(known(&rig, &nothing, Some(cluster.parse().unwrap())).await.is_err(), "no role of a cluster is covered");
    // The door, too.
    assert_eq!(rig.as_key(&narrow, "GET", "/users", None).await.status, 403);
    assert_eq!(rig.as_key(&narrow, "GET", "/users/me", None).await.status, 200);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scoped_key_makes_no_wider_one() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let made = key(&rig, owner.api_key.expose(), json!({"key_name": "all users", "permissions": ["users:*"]})).await;
    let (narrow, id) = (made.text("api_key"), made.body["id"].to_string());
    let password =
        json!({"new_password": "lantern-quay-17", "confirm_password": "lantern-quay-17", "current_password": "x"});
    for (method, path, body) in [
        ("POST", "/api-keys".to_owned(), json!({"key_name": "wide"})),
        ("PUT", format!("/api-keys/{id}"), json!({"scope": {}})),
        ("POST", format!("/api-keys/{id}/regenerate"), json!({})),
        ("DELETE", format!("/api-keys/{id}"), json!({})),
        (
            "POST",
            "/users".to_owned(),
            json!({"username": "evil", "email": "evil@example.com", "password": "lantern-quay-17", "roles": "admin"}),
        ),
        ("PUT", "/users/owner".to_owned(), json!({"email": "evil@example.com"})),
        ("POST", "/auth/change-password/owner".to_owned(), password),
        ("POST", "/api/v1/service-accounts".to_owned(), json!({"username": "evil", "roles": "admin"})),
        ("POST", "/api/v1/auth/password-resets".to_owned(), json!({"user": "owner"})),
        ("POST", "/api/v1/auth/authenticator".to_owned(), json!({"password": "x"})),
    ] {
        let answer = rig.as_key(&narrow, method, &path, Some(body)).await;
        assert_eq!((answer.status, answer.code()), (403, "escalation"), "{method} {path}: {}", answer.body);
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_that_mean_nothing_are_refused() {
    let rig = rig().await;
    let owner = rig.owner().await;
    for body in [
        json!({"key_name": "x", "permissions": ["root:*"]}),
        json!({"key_name": "x", "permissions": []}),
        json!({"key_name": "x", "sources": ["10.0.0.0/33"]}),
        json!({"key_name": "x", "clusters": ["name"]}),
        json!({"key_name": "x", "clusters": []}),
    ] {
        let answer = rig.as_key(owner.api_key.expose(), "POST", "/api-keys", Some(body.clone())).await;
        assert_eq!(answer.status, 422, "{body}: {}", answer.body);
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_held_to_addresses() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let body = json!({"key_name": "office", "sources": ["192.0.2.0/24", "2001:db8::/32"]});
    let held = key(&rig, owner.api_key.expose(), body).await.text("api_key");
    let from = |address: &'static str| {
        let header = forward::sign(&rig.mesh_key, "GET", "/users/me", address.parse().unwrap(), rig.now().timestamp());
        let request =
            rig.request("GET", "/users/me").header(forward::FORWARDED_HEADER, header).header("X-API-Key", &held);
        rig.send(request)
    };
    assert_eq!(from("192.0.2.77").await.status, 200);
    assert_eq!(from("2001:db8::1").await.status, 200);
    let elsewhere = from("198.51.100.1").await;
    assert_eq!((elsewhere.status, elsewhere.code()), (403, "source_not_allowed"));
    // A header that nobody signed changes nothing.
    let forged = rig.request("GET", "/users/me").header("X-Forwarded-For", "192.0.2.1").header("X-API-Key", &held);
    assert_eq!(rig.send(forged).await.status, 403);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_with_an_overlap() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let made = key(&rig, owner.api_key.expose(), json!({"key_name": "fleet"})).await;
    let (old, path) = (made.text("api_key"), format!("/api-keys/{}/regenerate", made.body["id"]));
    let rotated = rig.as_key(owner.api_key.expose(), "POST", &path, Some(json!({"overlap_seconds": 3600}))).await;
    assert_eq!(rotated.status, 200, "{}", rotated.body);
    assert!(rotated.body["previous_until"].is_string());
    let new = rotated.text("api_key");
    for key in [&old, &new] {
        assert_eq!(rig.as_key(key, "GET", "/users/me", None).await.status, 200);
    }
    rig.clock.advance(TimeDelta::seconds(3_601));
    assert_eq!(rig.as_key(&old, "GET", "/users/me", None).await.status, 401);
    assert_eq!(rig.as_key(&new, "GET", "/users/me", None).await.status, 200);
    // Without an overlap the old one is dead at once, and the one before it stays dead.
    let third = rig.as_key(owner.api_key.expose(), "POST", &path, None).await.text("api_key");
    for (key, status) in [(&old, 401), (&new, 401), (&third, 200)] {
        assert_eq!(rig.as_key(key, "GET", "/users/me", None).await.status, status);
    }
    let long = rig.as_key(owner.api_key.expose(), "POST", &path, Some(json!({"overlap_seconds": 700_000}))).await;
    assert_eq!(long.status, 422);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_of_machines() {
    const ALL: &str = "/api/v1/service-accounts";
    let rig = rig().await;
    let owner = rig.owner().await;
    let owner = owner.api_key.expose();
    let made = rig.as_key(owner, "POST", ALL, Some(json!({"username": "deployer", "roles": ["operator"]}))).await;
    assert_eq!((made.status, &made.body["roles"]), (201, &json!(["operator"])), "{}", made.body);
    let body = json!({"key_name": "main", "permissions": ["clusters:read"], "expires_at": "2027-02-01T00:00:00Z"});
    let key = rig.as_key(owner, "POST", &format!("{ALL}/deployer/keys"), Some(body)).await;
    assert_eq!(key.status, 201, "{}", key.body);
    let me = rig.as_key(&key.text("api_key"), "GET", "/users/me", None).await;
    assert_eq!(me.text("username"), "deployer");
    // Nobody logs in as a machine.
    assert_eq!(rig.login("deployer", "").await.status, 400);
    assert_eq!(rig.login("deployer", "password123").await.status, 401);
    let reset = rig.as_key(owner, "POST", "/api/v1/auth/password-resets", Some(json!({"user": "deployer"}))).await;
    assert_eq!(reset.status, 409);
    // It is not found among people, nor a person among machines.
    assert_eq!(rig.as_key(owner, "GET", &format!("{ALL}/owner/keys"), None).await.status, 404);
    let rotated = rig.as_key(owner, "POST", &format!("{ALL}/deployer/keys/{}/rotate", key.body["id"]), None).await;
    assert_eq!(rotated.status, 200, "{}", rotated.body);
    assert_eq!(rig.as_key(&key.text("api_key"), "GET", "/users/me", None).await.status, 401);
    let listed = rig.as_key(owner, "GET", ALL, None).await;
    assert_eq!(listed.body.as_array().unwrap().len(), 1);
    let token = rig.account("ada").await.text("access_token");
    for (method, path) in [("GET", ALL), ("POST", ALL), ("DELETE", "/api/v1/service-accounts/deployer")] {
        let body = (method == "POST").then(|| json!({"username": "x-1"}));
        assert_eq!(rig.as_bearer(&token, method, path, body).await.status, 403, "{method} {path}");
    }
    assert_eq!(rig.as_key(owner, "DELETE", &format!("{ALL}/deployer"), None).await.status, 204);
    assert_eq!(rig.as_key(&rotated.text("api_key"), "GET", "/users/me", None).await.status, 401);
    rig.stop().await;
}
