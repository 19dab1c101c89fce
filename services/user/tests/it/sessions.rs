//! Sessions, rotation of refresh tokens, and what ends them (reliability rows A05 to A08).

use chrono::TimeDelta;
use roadstead_auth::jwt::{KeySet, Verifier};
use roadstead_contracts::Code;
use roadstead_contracts::message::{Authenticate, CredentialProof};
use serde_json::json;

use crate::rig::{Rig, context, members, rig, rig_with};

async fn refresh(rig: &Rig, token: &str) -> crate::rig::Answer {
    rig.post("/api/v1/auth/refresh", json!({"refresh_token": token})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_use_ends_the_family() {
    let rig = rig().await;
    let first = rig.account("ada").await;
    let second = refresh(&rig, &first.text("refresh_token")).await;
    let third = refresh(&rig, &second.text("refresh_token")).await;
    assert_eq!((second.status, third.status), (200, 200));
    let reuse = refresh(&rig, &first.text("refresh_token")).await;
    assert_eq!((reuse.status, reuse.code()), (401, "token_reuse"));
    // Everything of the session is dead: the thief's and the owner's.
    for answer in [&first, &second, &third] {
        assert_eq!(rig.get(&answer.text("access_token"), "/api/v1/auth/profile").await.status, 401);
    }
    assert_eq!(refresh(&rig, &third.text("refresh_token")).await.status, 401);
    // Another session of the account lives on.
    assert_eq!(rig.login("ada", "password123").await.status, 200);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_may_be_repeated_while_nobody_used_the_new_pair() {
    let rig = rig().await;
    let first = rig.account("ada").await;
    let lost = refresh(&rig, &first.text("refresh_token")).await;
    let again = refresh(&rig, &first.text("refresh_token")).await;
    assert_eq!((lost.status, again.status), (200, 200));
    // The unused pair is taken back, both halves of it.
    assert_eq!(rig.get(&lost.text("access_token"), "/users/me").await.status, 401);
    assert_eq!(rig.get(&again.text("access_token"), "/users/me").await.status, 200);
    // Now it is in use: the old one again is a copy.
    assert_eq!(refresh(&rig, &first.text("refresh_token")).await.code(), "token_reuse");
    assert_eq!(rig.get(&again.text("access_token"), "/users/me").await.status, 401);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_kept_the_pair_that_was_taken_back_is_found_out() {
    let rig = rig().await;
    let first = rig.account("ada").await;
    let lost = refresh(&rig, &first.text("refresh_token")).await;
    let again = refresh(&rig, &first.text("refresh_token")).await;
    assert_eq!(refresh(&rig, &lost.text("refresh_token")).await.code(), "token_reuse");
    assert_eq!(refresh(&rig, &again.text("refresh_token")).await.status, 401);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_long_after_is_no_repeat() {
    let rig = rig().await;
    let first = rig.account("ada").await;
    assert_eq!(refresh(&rig, &first.text("refresh_token")).await.status, 200);
    rig.clock.advance(TimeDelta::minutes(3));
    assert_eq!(refresh(&rig, &first.text("refresh_token")).await.code(), "token_reuse");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_leave_one_good_pair() {
    let rig = rig().await;
    let first = rig.account("ada").await;
    let token = first.text("refresh_token");
    let (one, two) = tokio::join!(refresh(&rig, &token), refresh(&rig, &token));
    assert_eq!((one.status, two.status), (200, 200));
    let mut good = 0;
    for answer in [one, two] {
        good += u32::from(rig.get(&answer.text("access_token"), "/users/me").await.status == 200);
    }
    assert_eq!(good, 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_end_and_are_not_taken_for_each_other() {
    let rig = rig().await;
    let login = rig.account("ada").await;
    let (access, refresh_token) = (login.text("access_token"), login.text("refresh_token"));
    // Reliability row A06.
    assert_eq!(rig.get(&refresh_token, "/users/me").await.status, 401);
    assert_eq!(rig.as_key(&refresh_token, "GET", "/users/me", None).await.status, 401);
    assert_eq!(rig.as_key(&access, "GET", "/users/me", None).await.status, 401);
    assert_eq!(refresh(&rig, &access).await.status, 401);
    rig.clock.advance(TimeDelta::minutes(61));
    assert_eq!(rig.get(&access, "/users/me").await.status, 401);
    assert_eq!(refresh(&rig, &refresh_token).await.status, 200);
    let login = rig.login("ada", "password123").await;
    rig.clock.advance(TimeDelta::days(8));
    assert_eq!(refresh(&rig, &login.text("refresh_token")).await.status, 401);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_and_ended() {
    let rig = rig().await;
    let first = rig.account("ada").await;
    let phone = rig
        .request("POST", "/api/v1/auth/login")
        .header("User-Agent", "phone/1")
        .header("X-Device-Info", "my phone")
        .header("X-Forwarded-For", "6.6.6.6")
        .json(&json!({"username": "ada", "password": "password123"}));
    let second = rig.send(phone).await;
    let token = first.text("access_token");
    let list = rig.get(&token, "/api/v1/auth/sessions").await;
    assert_eq!(list.headers["x-total-count"], "2");
    assert_eq!(
        members(&list.body[0]),
        [
            "session_id",
            "device_info",
            "ip_address",
            "user_agent",
            "created_at",
            "last_used_at",
            "expires_at",
            "is_current"
        ]
    );
    assert_eq!((&list.body[0]["device_info"], &list.body[0]["user_agent"]), (&json!("my phone"), &json!("phone/1")));
    assert_eq!(list.body[0]["ip_address"], "127.0.0.1", "a header of anybody's is no address (row A11)");
    assert_eq!((&list.body[0]["is_current"], &list.body[1]["is_current"]), (&json!(false), &json!(true)));
    let id = second.text("session_id");
    assert_eq!(list.body[0]["session_id"], id);

    let bob = rig.account("bob").await.text("access_token");
    assert_eq!(rig.as_bearer(&bob, "DELETE", &format!("/api/v1/auth/sessions/{id}"), None).await.status, 404);
    assert_eq!(rig.as_bearer(&token, "DELETE", &format!("/api/v1/auth/sessions/{id}"), None).await.status, 204);
    assert_eq!(rig.get(&second.text("access_token"), "/users/me").await.status, 401);
    assert_eq!(rig.as_bearer(&token, "DELETE", &format!("/api/v1/auth/sessions/{id}"), None).await.status, 404);
    for _ in 0..3 {
        rig.login("ada", "password123").await;
    }
    let ended = rig.as_bearer(&token, "DELETE", "/api/v1/auth/sessions", None).await;
    assert_eq!((ended.status, &ended.body), (200, &json!({"ended": 3})));
    assert_eq!(rig.get(&token, "/users/me").await.status, 200);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn access_tokens_are_checked_with_the_published_keys() {
    let rig = rig().await;
    let login = rig.account("ada").await;
    let jwks = rig.send(rig.request("GET", "/.well-known/jwks.json")).await;
    assert_eq!((jwks.status, jwks.headers["cache-control"].to_str().unwrap()), (200, "public, max-age=60"));
    let keys = KeySet::parse(jwks.body.to_string().as_bytes()).unwrap();
    let verifier = Verifier::eddsa(keys, "roadstead", "roadstead");
    let claims = verifier.verify(&login.text("access_token"), rig.now()).unwrap();
    assert_eq!((claims.username.as_str(), claims.seq), ("ada", 1));
    // The front door then asks whether the session behind it still stands.
    let question = Authenticate { credential: claims.proof(), cluster_id: None, source: None, raise: None };
    let known = rig.bus.call(&question, &context()).await.unwrap();
    assert_eq!(known.principal.username, "ada");
    rig.as_bearer(&login.text("access_token"), "POST", "/auth/logout", None).await;
    assert_eq!(rig.bus.call(&question, &context()).await.unwrap_err().code, Code::InvalidCredential);
    // A session of somebody else's.
    let bob = rig.account("bob").await;
    let bobs = verifier.verify(&bob.text("access_token"), rig.now()).unwrap();
    let mixed = CredentialProof::Session { session_id: bobs.sid, user_id: claims.sub, pair_id: None };
    let question = Authenticate { credential: mixed, cluster_id: None, source: None, raise: None };
    assert_eq!(rig.bus.call(&question, &context()).await.unwrap_err().code, Code::InvalidCredential);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hs256_where_a_seeds_settings_ask_for_it() {
    let secret = "a-shared-secret-of-at-least-32-bytes!";
    let rig = rig_with(&[("JWT_SECRET_KEY", secret), ("JWT_ACCESS_TOKEN_EXPIRE_MINUTES", "15")]).await;
    let login = rig.account("ada").await;
    assert_eq!(login.body["expires_in"], 900);
    let token = login.text("access_token");
    assert_eq!(rig.get(&token, "/users/me").await.status, 200);
    let verifier = Verifier::hs256(&secret.to_owned().into(), "roadstead", "roadstead").unwrap();
    assert!(verifier.verify(&token, rig.now()).is_ok());
    let jwks = rig.send(rig.request("GET", "/.well-known/jwks.json")).await;
    assert_eq!(jwks.body, json!({"keys": []}));
    rig.stop().await;
}
