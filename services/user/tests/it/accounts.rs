//! Changing and removing accounts: who may, and what follows.

use roadstead_contracts::Code;
use roadstead_contracts::message::Authenticate;
use serde_json::json;

use crate::rig::{context, rig};

#[tokio::test(flavor = "multi_thread")]
async fn one_sees_and_changes_oneself_only() {
    let rig = rig().await;
    let ada = rig.account("ada").await;
    rig.register("bob").await;
    let token = ada.text("access_token");
    for which in ["1", "ada", ada.body["user"]["id"].as_str().unwrap()] {
        assert_eq!(rig.get(&token, &format!("/users/{which}")).await.body["username"], "ada", "{which}");
    }
    let changed = rig
        .as_bearer(&token, "PUT", "/users/ada", Some(json!({"first_name": "Ada", "email": "Ada@Example.org"})))
        .await;
    assert_eq!(
        (changed.status, &changed.body["first_name"], &changed.body["email"]),
        (200, &json!("Ada"), &json!("ada@example.org"))
    );
    // What is not one's own is not there.
    for which in ["2", "bob", "3", "0", "-1", "1e3", "99999999999999999999", "%31x", "nobody"] {
        let (seen, missing) = (rig.get(&token, &format!("/users/{which}")).await, rig.get(&token, "/users/77").await);
        assert!(matches!(seen.status, 404 | 400), "{which}: {}", seen.status);
        if seen.status == 404 {
            assert_eq!(seen.detail(), missing.detail(), "{which}");
        }
    }
    assert_eq!(rig.as_bearer(&token, "PUT", "/users/bob", Some(json!({"first_name": "x"}))).await.status, 404);
    assert_eq!(rig.as_bearer(&token, "DELETE", "/users/bob", None).await.status, 403);
    assert_eq!(rig.get(&token, "/users").await.status, 403);
    assert_eq!(rig.as_bearer(&token, "POST", "/users", Some(json!({}))).await.status, 403);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_what_they_do_not_have() {
    let rig = rig().await;
    let token = rig.account("ada").await.text("access_token");
    // Reliability row Z02.
    for body in [
        json!({"roles": ["admin"]}),
        json!({"roles": "Super Admin"}),
        json!({"roles": "operator"}),
        json!({"roles": []}),
        json!({"is_active": false}),
    ] {
        let answer = rig.as_bearer(&token, "PUT", "/users/ada", Some(body.clone())).await;
        assert_eq!((answer.status, answer.code()), (403, "escalation"), "{body}");
    }
    // Saying what is so already is no change: the web UI sends the whole account back.
    let answer =
        rig.as_bearer(&token, "PUT", "/users/ada", Some(json!({"roles": "Developer", "is_active": true}))).await;
    assert_eq!(answer.status, 200);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_gives_roles_and_they_count_at_once() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let key = owner.api_key.expose();
    let token = rig.account("ada").await.text("access_token");
    let answer = rig.as_key(key, "PUT", "/users/ada", Some(json!({"roles": ["operator", "Developer"]}))).await;
    assert_eq!((answer.status, &answer.body["roles"]), (200, &json!("DevOps,Developer")));
    // The access token is older than the role: what counts is asked, not read from the token.
    assert_eq!(rig.get(&token, "/auth/check-admin").await.body["roles"], "DevOps,Developer");
    let answer = rig.as_key(key, "PUT", "/users/ada", Some(json!({"roles": "not a role"}))).await;
    assert_eq!((answer.status, answer.body["errors"][0]["loc"].clone()), (422, json!(["body", "roles"])));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_admin_stays() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let key = owner.api_key.expose();
    for body in [json!({"roles": "viewer"}), json!({"is_active": false})] {
        let answer = rig.as_key(key, "PUT", "/users/owner", Some(body.clone())).await;
        assert_eq!((answer.status, answer.code()), (409, "conflict"), "{body}");
    }
    let own = rig.as_key(key, "DELETE", "/users/owner", None).await;
    assert_eq!((own.status, own.detail()), (400, "Cannot delete your own account"));
    rig.register("ada").await;
    assert_eq!(rig.as_key(key, "PUT", "/users/ada", Some(json!({"roles": "Super Admin"}))).await.status, 200);
    assert_eq!(rig.as_key(key, "PUT", "/users/owner", Some(json!({"roles": "viewer"}))).await.status, 200);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_or_removed_account_is_dead_at_once() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let admin = owner.api_key.expose();
    for how in ["disabled", "removed"] {
        let name = format!("user-{how}");
        let login = rig.account(&name).await;
        let (token, refresh) = (login.text("access_token"), login.text("refresh_token"));
        let made = rig.as_bearer(&token, "POST", "/api-keys", Some(json!({"key_name": "ci"}))).await;
        let key = made.text("api_key");
        let proof = roadstead_auth::token::api_key_proof(&key).unwrap();
        let question = Authenticate { credential: proof, cluster_id: None, source: None, raise: None };
        assert!(rig.bus.call(&question, &context()).await.is_ok());
        let path = format!("/users/{name}");
        // Seeds-wire K18: the predecessor could not remove an account that had keys.
        let answer = match how {
            "disabled" => rig.as_key(admin, "PUT", &path, Some(json!({"is_active": false}))).await,
            _ => rig.as_key(admin, "DELETE", &path, None).await,
        };
        assert!(matches!(answer.status, 200 | 204), "{how} {}", answer.body);
        assert_eq!(rig.get(&token, "/users/me").await.status, 401, "{how}");
        assert_eq!(rig.as_key(&key, "GET", "/users/me", None).await.status, 401, "{how}");
        assert_eq!(rig.post("/auth/refresh", json!({"refresh_token": refresh})).await.status, 401, "{how}");
        assert_eq!(rig.login(&name, "password123").await.status, 401, "{how}");
        let refused = rig.bus.call(&question, &context()).await.unwrap_err();
        assert_eq!(refused.code, Code::InvalidCredential, "{how}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_changed_by_its_owner_or_an_admin() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let login = rig.account("ada").await;
    let token = login.text("access_token");
    let other = rig.login("ada", "password123").await;
    let path = "/auth/change-password/ada";
    let new = |current: Option<&str>| json!({"new_password": "password124", "confirm_password": "password124", "current_password": current});
    // One's own needs the current one: a stolen token must not be enough.
    let answer = rig.as_bearer(&token, "POST", path, Some(new(None))).await;
    assert_eq!((answer.status, answer.body["errors"][0]["loc"].clone()), (422, json!(["body", "current_password"])));
    assert_eq!(rig.as_bearer(&token, "POST", path, Some(new(Some("wrong-one")))).await.status, 422);
    let differ =
        json!({"new_password": "password124", "confirm_password": "password125", "current_password": "password123"});
    assert_eq!(rig.as_bearer(&token, "POST", path, Some(differ)).await.detail(), "Passwords do not match");
    assert_eq!(rig.as_bearer(&token, "POST", path, Some(new(Some("password123")))).await.status, 200);
    // This session stays, the other one ends.
    assert_eq!(rig.get(&token, "/users/me").await.status, 200);
    assert_eq!(rig.get(&other.text("access_token"), "/users/me").await.status, 401);
    assert_eq!(rig.login("ada", "password123").await.status, 401);
    assert_eq!(rig.login("ada", "password124").await.status, 200);

    assert_eq!(rig.as_bearer(&token, "POST", "/auth/change-password/owner", Some(new(None))).await.status, 404);
    let body = json!({"new_password": "password126", "confirm_password": "password126"});
    assert_eq!(rig.as_key(owner.api_key.expose(), "POST", path, Some(body)).await.status, 200);
    assert_eq!(rig.get(&token, "/users/me").await.status, 401, "an admin's change ends every session");
    assert_eq!(rig.login("ada", "password126").await.status, 200);
    rig.stop().await;
}
