//! Who somebody from a provider is here (row A16 of `docs/reliability.md`).

use serde_json::json;

use super::{ada, sso, sso_with};

#[tokio::test(flavor = "multi_thread")]
async fn an_address_links_nobody() {
    let sso = sso().await;
    sso.rig.register("ada").await;
    for verified in [json!(true), json!(false), json!(null), json!("false")] {
        let mut claims = ada();
        claims["email_verified"] = verified.clone();
        let answer = sso.login(claims).await;
        assert_eq!((answer.status, answer.code()), (403, "account_not_linked"), "{verified}");
    }
    assert_eq!(sso.rig.login("ada", "password123").await.status, 200);
    // An address that nobody here has, and that the provider does not vouch for.
    let squatter = json!({"sub": "x", "email": "boss@example.com", "email_verified": false});
    assert_eq!(sso.login(squatter).await.code(), "account_not_linked");
    assert_eq!(sso.login(json!({"sub": "x"})).await.code(), "account_not_linked", "no address at all");
    sso.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn linking_by_address_is_asked_for_and_needs_a_verified_one() {
    let sso = sso_with(&[("ROADSTEAD_AUTH_OIDC_LINK_BY_EMAIL", "true")]).await;
    let local = sso.rig.register("ada").await;
    let mut unverified = ada();
    unverified["email_verified"] = json!(false);
    assert_eq!(sso.login(unverified).await.code(), "account_not_linked");
    let linked = sso.login(ada()).await;
    assert_eq!(linked.body["user"]["id"], local.body["user"]["id"]);
    // A second person with the same address does not get in: the subject counts.
    let other = json!({"sub": "somebody-else", "email": "ada@example.com", "email_verified": true});
    let second = sso.login(other).await;
    assert_eq!(second.body["user"]["id"], local.body["user"]["id"], "linked too, as asked for");
    sso.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_links() {
    let sso = sso().await;
    let local = sso.rig.register("ada").await;
    let owner = sso.rig.owner().await;
    let link = |subject: &str| {
        let body = json!({"user": "ada", "provider": "sso", "subject": subject});
        sso.rig.as_key(owner.api_key.expose(), "POST", "/api/v1/auth/oidc/links", Some(body))
    };
    assert_eq!(link("ada-1").await.status, 204);
    assert_eq!(link("ada-1").await.status, 409);
    assert_eq!(sso.login(ada()).await.body["user"]["id"], local.body["user"]["id"]);
    let token = sso.rig.login("ada", "password123").await.text("access_token");
    let own = json!({"user": "owner", "provider": "sso", "subject": "ada-2"});
    assert_eq!(sso.rig.as_bearer(&token, "POST", "/api/v1/auth/oidc/links", Some(own)).await.status, 403);
    sso.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_not_taken_over() {
    let sso = sso().await;
    sso.rig.register("ada").await;
    let claims = json!({"sub": "x", "email": "x@example.com", "email_verified": true, "preferred_username": "ada"});
    let answer = sso.login(claims).await;
    let name = answer.body["user"]["username"].as_str().unwrap();
    assert!(name.starts_with("ada-") && name.len() == 12, "{name}");
    sso.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_become_roles_by_their_exact_names() {
    let sso =
        sso_with(&[("ROADSTEAD_AUTH_OIDC_ROLE_MAP", "/platform/admins=admin, ops=operator, everyone=viewer")]).await;
    let roles = |groups: serde_json::Value| {
        let mut claims = ada();
        claims["groups"] = groups;
        let sso = &sso;
        async move {
            let token = sso.login(claims).await.text("access_token");
            sso.rig.get(&token, "/api/v1/auth/profile").await.body["roles"].clone()
        }
    };
    assert_eq!(roles(json!(["ops", "everyone"])).await, json!(["viewer", "operator"]));
    for odd in ["non-ops", "op", "Ops", "ops ", "/platform/admin", "platform/admins", ""] {
        assert_eq!(roles(json!([odd])).await, json!(["viewer"]), "{odd}: the default role");
    }
    sso.rig.owner().await;
    assert_eq!(roles(json!(["/platform/admins"])).await, json!(["admin"]));
    // Rights end with the group, at the next login.
    assert_eq!(roles(json!(["everyone"])).await, json!(["viewer"]));
    sso.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_role_may_be_kept_out() {
    let sso =
        sso_with(&[("ROADSTEAD_AUTH_OIDC_ROLE_MAP", "ops=operator"), ("ROADSTEAD_AUTH_OIDC_REQUIRE_ROLE", "true")])
            .await;
    assert_eq!(sso.login(ada()).await.code(), "account_not_linked");
    let mut claims = ada();
    claims["roles"] = json!(["ops"]);
    assert_eq!(sso.login(claims).await.status, 200);
    sso.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switched_off_account_stays_off() {
    let sso = sso().await;
    let login = sso.login(ada()).await;
    let owner = sso.rig.owner().await;
    let off = Some(json!({"is_active": false}));
    assert_eq!(sso.rig.as_key(owner.api_key.expose(), "PUT", "/users/ada", off).await.status, 200);
    assert_eq!(sso.login(ada()).await.code(), "login_refused");
    assert_eq!(sso.rig.get(&login.text("access_token"), "/users/me").await.status, 401);
    // It has no password, and gets none by a guess or by an admin's slip.
    let body = Some(json!({"new_password": "lantern-quay-17", "confirm_password": "lantern-quay-17"}));
    let set = sso.rig.as_key(owner.api_key.expose(), "POST", "/auth/change-password/ada", body).await;
    assert_eq!(set.status, 409, "{}", set.body);
    sso.rig.stop().await;
}
