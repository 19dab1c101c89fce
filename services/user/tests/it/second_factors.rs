//! Second factors of either kind beside each other: none is a way around another, and a new password says what stays.

use chrono::TimeDelta;
use roadstead_auth::totp::STEP_SECONDS;
use roadstead_testkit::passkey::SoftKey;
use serde_json::{Value, json};

use crate::local_accounts::app_of;
use crate::passkeys::{ALL, BEGIN, ORIGIN, PASSWORD, add, alone, hub};
use crate::rig::{Answer, Rig, eventually, rig_with};

const APP: &str = "/api/v1/auth/authenticator";
const CONFIRM: &str = "/api/v1/auth/authenticator/confirm";
const RESETS: &str = "/api/v1/auth/password-resets";
const RESET: &str = "/api/v1/auth/password-reset";

/// A key without a scope, of whoever has this session.
async fn key_of(rig: &Rig, token: &str) -> String {
    rig.as_bearer(token, "POST", "/api-keys", Some(json!({"key_name": "machine"}))).await.text("api_key")
}

async fn confirm(rig: &Rig, token: &str, enrolment: &Answer) -> Answer {
    let code = app_of(enrolment).code(rig.now().timestamp() / STEP_SECONDS);
    rig.as_bearer(token, "POST", CONFIRM, Some(json!({"code": code}))).await
}

fn password() -> Value {
    json!({"password": PASSWORD})
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_an_app_is_no_way_around_a_passkey() {
    let rig = hub().await;
    let token = rig.account("ada").await.text("access_token");
    let api_key = key_of(&rig, &token).await;
    let added = add(&rig, &token, &mut SoftKey::new(ORIGIN), "key").await;
    let recovery: Vec<String> = serde_json::from_value(added.body["recovery_codes"].clone()).unwrap();

    // An API key was never asked for a second proof, an old session not lately.
    let by_key = rig.as_key(&api_key, "POST", APP, Some(password())).await;
    assert_eq!((by_key.status, by_key.code()), (401, "second_factor_required"), "{}", by_key.body);
    rig.clock.advance(TimeDelta::minutes(11));
    for (door, answer) in [
        ("the app's", rig.as_bearer(&token, "POST", APP, Some(password())).await),
        ("the passkeys'", rig.as_bearer(&token, "POST", BEGIN, Some(password())).await),
    ] {
        assert_eq!((answer.status, answer.code()), (401, "second_factor_required"), "{door}: {}", answer.body);
        assert_eq!(answer.detail(), "a passkey, or a recovery code, is required");
    }
    let body = |password: &str, code: &str| Some(json!({"password": password, "code": code}));
    let wrong = rig.as_bearer(&token, "POST", APP, body(PASSWORD, "00000-00000")).await;
    assert_eq!((wrong.status, wrong.code()), (401, "second_factor_required"));
    let wrong = rig.as_bearer(&token, "POST", APP, body("wrong-password", &recovery[0])).await;
    assert_eq!(wrong.status, 400, "a code is not spent before the password is right");
    let enrolment = rig.as_bearer(&token, "POST", APP, body(PASSWORD, &recovery[0])).await;
    assert_eq!(enrolment.status, 200, "{}", enrolment.body);
    assert_eq!(confirm(&rig, &token, &enrolment).await.status, 200);

    // Where there is nothing else to ask for, the password is enough: it would sign in anew.
    let token = rig.account("bob").await.text("access_token");
    let api_key = key_of(&rig, &token).await;
    rig.clock.advance(TimeDelta::minutes(11));
    assert_eq!(rig.as_key(&api_key, "POST", APP, Some(password())).await.status, 200);
    assert_eq!(rig.as_bearer(&token, "POST", BEGIN, Some(password())).await.status, 200);
    let enrolment = rig.as_bearer(&token, "POST", APP, Some(password())).await;
    assert_eq!(confirm(&rig, &token, &enrolment).await.status, 200);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_what_was_begun_with_a_password_alone_is_over() {
    let rig = hub().await;
    let token = rig.account("ada").await.text("access_token");
    let other = rig.login("ada", PASSWORD).await.text("access_token");
    let enrolment = rig.as_bearer(&other, "POST", APP, Some(password())).await;
    let begun = rig.as_bearer(&other, "POST", BEGIN, Some(password())).await;
    assert_eq!(add(&rig, &token, &mut SoftKey::new(ORIGIN), "key").await.status, 201);
    let late = confirm(&rig, &other, &enrolment).await;
    assert_eq!((late.status, late.code()), (409, "conflict"), "{}", late.body);
    let credential = SoftKey::new(ORIGIN).create(&begun.body["publicKey"]);
    let late = rig.as_bearer(&other, "POST", ALL, Some(json!({"name": "mine", "credential": credential}))).await;
    assert_eq!((late.status, late.code()), (409, "conflict"), "{}", late.body);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_a_session_from_the_future_is_not_of_just_now() {
    // Quotas go by the clock, too.
    let rig = rig_with(&[("ROADSTEAD_PUBLIC_URL", ORIGIN), ("ROADSTEAD_RATE_LIMIT_ENABLED", "false")]).await;
    // The clock runs ahead, and is put right an hour later.
    rig.clock.advance(TimeDelta::hours(1));
    let login = rig.account("ada").await;
    assert_eq!(add(&rig, &login.text("access_token"), &mut SoftKey::new(ORIGIN), "key").await.status, 201);
    rig.clock.advance(TimeDelta::hours(-1));
    let body = json!({"refresh_token": login.text("refresh_token")});
    let token = rig.post("/api/v1/auth/refresh", body).await.text("access_token");
    let listed = rig.get(&token, ALL).await.body;
    let path = format!("{ALL}/{}/remove", listed[0]["id"].as_str().unwrap());
    let refused = rig.as_bearer(&token, "POST", &path, Some(json!({}))).await;
    assert_eq!((refused.status, refused.code()), (401, "second_factor_required"), "{}", refused.body);
    rig.stop().await;
}

/// The outcome of an action in the trail.
async fn outcome(rig: &Rig, admin: &str, action: &str, count: usize) -> Value {
    let path = format!("/api/v1/audit?action={action}&phase=outcome&outcome=succeeded");
    let rows = || async { rig.as_key(admin, "GET", &path, None).await.body };
    eventually(action, || async { rows().await.as_array().is_some_and(|rows| rows.len() >= count) }).await;
    rows().await[0]["record"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_a_reset_says_which_second_factors_stay_and_takes_them_when_asked() {
    let rig = hub().await;
    let admin = rig.owner().await.api_key.expose().to_owned();
    let token = rig.account("ada").await.text("access_token");
    // An intruder's among them.
    let mut keys = [SoftKey::new(ORIGIN), SoftKey::new(ORIGIN)];
    for (number, key) in keys.iter_mut().enumerate() {
        assert_eq!(add(&rig, &token, key, &format!("key {number}")).await.status, 201);
        key.count = 2;
    }
    let enrolment = rig.as_bearer(&token, "POST", APP, Some(password())).await;
    assert_eq!(confirm(&rig, &token, &enrolment).await.status, 200);
    let begin = |body: Value| rig.as_key(&admin, "POST", RESETS, Some(body));
    let finish = |token: String| rig.post(RESET, json!({"token": token, "new_password": "harbour-lamp-42"}));
    let (both, none) =
        (json!({"passkeys": 2, "authenticator_app": true}), json!({"passkeys": 0, "authenticator_app": false}));

    // Unless it is asked for, all of it stays, and whoever looks is told.
    let begun = begin(json!({"user": "ada"})).await;
    assert_eq!((begun.status, &begun.body["second_factors_left"]), (201, &both), "{}", begun.body);
    let done = finish(begun.text("token")).await;
    assert_eq!((done.status, &done.body["second_factors_left"]), (200, &both), "{}", done.body);
    let said =
        "Password changed successfully. Still there: 2 passkeys and an authenticator app. Remove what you do not know";
    assert_eq!(done.text("message"), said);
    assert_eq!(alone(&rig, &keys[1]).await.status, 200);
    let row = outcome(&rig, &admin, "user.begin_reset", 1).await;
    assert_eq!(row["resource"]["name"], "ada", "{row}");
    let detail = json!({"passkeys_left": "2", "authenticator_app_left": "true", "remove_second_factors": "false"});
    assert_eq!(row["detail"], detail);
    let row = outcome(&rig, &admin, "user.reset_password", 1).await;
    let detail = json!({"passkeys_left": "2", "authenticator_app_left": "true", "removed_second_factors": "false"});
    assert_eq!(row["detail"], detail, "{row}");
    assert!(row["resource"]["name"].is_string(), "{row}");

    // Asked for, they stay until the new password counts: until then the old one alone would open the account.
    let begun = begin(json!({"user": "ada", "remove_second_factors": true})).await;
    assert_eq!((begun.status, &begun.body["second_factors_left"]), (201, &none), "{}", begun.body);
    assert_eq!(rig.login("ada", "harbour-lamp-42").await.code(), "second_factor_required");
    let done = finish(begun.text("token")).await;
    assert_eq!((done.status, &done.body["second_factors_left"]), (200, &none), "{}", done.body);
    assert_eq!(done.text("message"), "Password changed successfully");
    for key in &keys {
        assert_eq!(alone(&rig, key).await.status, 401, "no passkey signs in any more");
    }
    assert_eq!(rig.login("ada", "harbour-lamp-42").await.status, 200);
    let row = outcome(&rig, &admin, "user.reset_password", 2).await;
    let detail = json!({"passkeys_left": "0", "authenticator_app_left": "false", "removed_second_factors": "true"});
    assert_eq!(row["detail"], detail, "{row}");
    rig.stop().await;
}
