//! KubeSage's confirmation of registrations, its reset of an admin's password, and its licence.

use serde_json::{Value, json};

use crate::rig::{Rig, eventually, members, rig, rig_with};

async fn confirmed() -> Rig {
    rig_with(&[("ROADSTEAD_USER_REGISTRATION", "confirmed")]).await
}

fn body(name: &str) -> Value {
    json!({
        "username": name, "email": format!("{name}@example.com"), "password": "password123", "roles": "Super Admin",
        "is_active": true,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_waits_for_an_admin() {
    let rig = confirmed().await;
    let owner = rig.owner().await;
    let admin = owner.api_key.expose();
    let eve = rig.as_key(admin, "POST", "/users", Some(body("eve"))).await;
    assert_eq!(eve.status, 201);
    for (prefix, name) in [("", "ada"), ("/api/v1.0", "bob")] {
        let asked = rig.post(&format!("{prefix}/auth/register"), body(name)).await;
        assert_eq!((asked.status, members(&asked.body)), (202, vec!["status", "confirmation_id", "message"]));
        assert_eq!(asked.body["status"], "pending");
        let id = asked.text("confirmation_id");
        assert_eq!(rig.login(name, "password123").await.status, 401, "there is no account yet");
        let again = rig.post("/auth/register", body(name)).await;
        assert_eq!((again.status, again.detail()), (409, "username already exists"));
        let path = format!("{prefix}/auth/confirmation-status/{id}");
        let waiting = rig.as_key(admin, "GET", &path, None).await;
        assert_eq!(waiting.body, json!({"status": "pending", "expires_at": "2027-01-22T08:00:00Z"}));

        // Following the link changes nothing (K31), nor does whoever registered confirm itself.
        let link = format!("{prefix}/auth/confirm/{id}/yes");
        let page = rig.send(rig.request("GET", &link)).await;
        assert_eq!((page.status, page.headers["content-type"].to_str().unwrap()), (200, "text/html; charset=utf-8"));
        assert!(page.headers["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
        assert!(page.body.as_str().unwrap().contains("<form method=\"post\">"));
        assert_eq!(rig.send(rig.request("POST", &link)).await.status, 401);
        assert_eq!(rig.as_key(admin, "GET", &path, None).await.body["status"], "pending");

        let done = rig.as_key(admin, "POST", &link, None).await;
        assert_eq!((done.status, &done.body), (200, &json!({"message": "Registration confirmed"})));
        assert_eq!(rig.as_key(admin, "GET", &path, None).await.body["status"], "confirmed");
        let twice = rig.as_key(admin, "POST", &format!("{prefix}/auth/confirm/{id}/no"), None).await;
        assert_eq!((twice.status, twice.code()), (409, "conflict"));
        let token = rig.login(name, "password123").await.text("access_token");
        // With the default role, whatever was asked for (K6).
        assert_eq!(rig.get(&token, "/users/me").await.body["roles"], "Developer");
        assert_eq!(rig.as_bearer(&token, "POST", &link, None).await.status, 403);
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_are_rejected_and_expire() {
    let rig = confirmed().await;
    let admin = rig.owner().await.api_key.expose().to_owned();
    let ask = async |name: &str| rig.post("/api/v1/auth/register", body(name)).await.text("confirmation_id");
    let status = async |id: &str| {
        rig.as_key(&admin, "GET", &format!("/auth/confirmation-status/{id}"), None).await.text("status")
    };
    let no = ask("ada").await;
    let answer = rig.as_key(&admin, "POST", &format!("/auth/confirm/{no}/no"), None).await;
    assert_eq!((answer.status, &answer.body), (200, &json!({"message": "Registration rejected"})));
    assert_eq!(status(&no).await, "rejected");
    let late = ask("ada").await;
    rig.clock.advance(chrono::TimeDelta::days(7));
    assert_eq!(status(&late).await, "expired");
    let answer = rig.as_key(&admin, "POST", &format!("/auth/confirm/{late}/yes"), None).await;
    assert_eq!((answer.status, answer.detail()), (409, "the registration is expired"));
    for odd in ["undefined", "1", "0198c5b0-0000-7000-8000-00000000ffff"] {
        let answer = rig.as_key(&admin, "GET", &format!("/auth/confirmation-status/{odd}"), None).await;
        assert_eq!((answer.status, answer.detail()), (404, "Confirmation not found"), "{odd}");
        assert_eq!(rig.as_key(&admin, "POST", &format!("/auth/confirm/{odd}/yes"), None).await.status, 404, "{odd}");
    }
    assert_eq!(rig.send(rig.request("GET", &format!("/auth/confirm/{late}/maybe"))).await.status, 404);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_resets_its_own_password_and_nobody_else_does() {
    let rig = rig().await;
    let reset = "/auth/reset-admin-password";
    let status = async || rig.send(rig.request("GET", "/api/v1.0/auth/check-password-reset-status")).await.body;
    assert_eq!(status().await, json!({"can_reset": false, "message": "Admin user not found"}));
    let owner = rig.owner().await;
    assert_eq!(status().await, json!({"can_reset": false, "message": "Password has already been reset"}));
    let viewer = rig.account("ada").await.text("access_token");
    let new = json!({"new_password": "a new password 1", "skip_reset": false});
    assert_eq!(rig.post(reset, new.clone()).await.status, 401);
    assert_eq!(rig.as_bearer(&viewer, "POST", reset, Some(new.clone())).await.status, 403);
    let token = rig.login(&owner.username, owner.password.expose()).await.text("access_token");
    let skipped = rig.as_bearer(&token, "POST", reset, Some(json!({"skip_reset": true}))).await;
    assert_eq!((skipped.status, &skipped.body), (200, &json!({"message": "Password reset skipped"})));
    let without = rig.as_bearer(&token, "POST", reset, Some(new.clone())).await;
    assert_eq!((without.status, &without.body["errors"][0]["loc"]), (422, &json!(["body", "current_password"])));
    let mut body = new;
    body["current_password"] = json!("wrong");
    assert_eq!(rig.as_bearer(&token, "POST", reset, Some(body.clone())).await.status, 422);
    body["current_password"] = json!(owner.password.expose());
    let done = rig.as_bearer(&token, "POST", "/api/v1.0/auth/reset-admin-password", Some(body)).await;
    assert_eq!((done.status, &done.body), (200, &json!({"message": "Admin password updated successfully"})));
    assert_eq!(rig.login(&owner.username, "a new password 1").await.status, 200);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_licence_runs_out() {
    let rig = rig().await;
    for path in ["/license/status", "/api/v1.0/license/status"] {
        let answer = rig.send(rig.request("GET", path)).await;
        let body = json!({"is_valid": true, "message": "License is valid", "expires_at": null});
        assert_eq!((answer.status, answer.body), (200, body), "{path}");
    }
    rig.stop().await;
}

/// The seed's web page asks for it and no server of the seed had it (K18). It tells nothing, and nothing waits longer for it.
#[tokio::test(flavor = "multi_thread")]
async fn k18_resend_confirm_tells_nobody_but_the_admins() {
    let rig = confirmed().await;
    let admin = rig.owner().await.api_key.expose().to_owned();
    let id = rig.post("/auth/register", body("ada")).await.text("confirmation_id");
    let status = format!("/auth/confirmation-status/{id}");
    let before = rig.as_key(&admin, "GET", &status, None).await.body;
    let message = json!({"message": "If a registration waits under that name, the admins have been told again."});
    for path in ["/auth/resend-confirm", "/api/v1.0/auth/resend-confirm"] {
        for named in [
            json!({"email": "Ada@example.com"}),
            json!({"username": "ada"}),
            json!({"confirmation_id": id}),
            // An account, nobody, and what is neither name nor address.
            json!({"username": "owner"}),
            json!({"username": "nobody"}),
            json!({"email": "nobody@example.com"}),
            json!({"confirmation_id": "undefined"}),
            json!({"email": "' OR 1=1 --"}),
        ] {
            let answer = rig.post(path, named.clone()).await;
            assert_eq!((answer.status, &answer.body), (200, &message), "{named}");
            assert!(answer.headers.get("set-cookie").is_none());
        }
        assert_eq!(rig.post(path, json!({})).await.status, 422);
    }
    assert_eq!(rig.as_key(&admin, "GET", &status, None).await.body, before, "it waits no longer than before");
    eventually("the trail names what waits, and only that", || async {
        let path = "/api/v1/audit?action=user.remind&phase=outcome&outcome=succeeded";
        let rows = rig.as_key(&admin, "GET", path, None).await.body;
        let named = |row: &&Value| row["record"]["resource"]["name"] == id.as_str();
        let rows = rows.as_array().unwrap();
        (rows.len(), rows.iter().filter(named).count()) == (16, 6)
    })
    .await;
    rig.stop().await;
    // Where nobody confirms registrations the answer is the same.
    let open = rig_with(&[]).await;
    assert_eq!(open.post("/auth/resend-confirm", json!({"username": "ada"})).await.body, message);
    open.stop().await;
}
