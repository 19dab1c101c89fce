//! Guessing passwords (reliability rows A10, A11, A13).

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use roadstead_http_kit::forward;
use serde_json::{Value, json};

use crate::rig::{Answer, NO_REDIS, Rig, rig, rig_with};

/// A login that the front door forwards for a client at this address.
async fn from(rig: &Rig, address: &str, name: &str, password: &str) -> Answer {
    let path = "/api/v1/auth/login";
    let header = forward::sign(&rig.mesh_key, "POST", path, address.parse().unwrap(), rig.now().timestamp());
    let body: Value = json!({"username": name, "password": password});
    rig.send(rig.request("POST", path).header(forward::FORWARDED_HEADER, header).json(&body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_a_minute_for_an_account_and_a_source() {
    let rig = rig_with(&[("ROADSTEAD_RATE_LIMIT_LOGIN_PER_MINUTE", "10")]).await;
    rig.register("ada").await;
    for _ in 0..10 {
        assert_eq!(from(&rig, "192.0.2.1", "ada", "wrong-password").await.status, 401);
    }
    // The right one is refused too, and a forged header or another client program is no way out.
    for _ in 0..3 {
        let answer = from(&rig, "192.0.2.1", "ada", "password123").await;
        assert_eq!((answer.status, answer.code()), (429, "rate_limited"));
        assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap() >= 1);
    }
    let forged = rig
        .request("POST", "/api/v1/auth/login")
        .header("X-Forwarded-For", "192.0.2.1")
        .header(forward::FORWARDED_HEADER, "192.0.2.9 1800000000 00")
        .json(&json!({"username": "ada", "password": "password123"}));
    assert_eq!(rig.send(forged).await.status, 200, "its true address has not been used up");
    assert_eq!(from(&rig, "192.0.2.2", "ada", "password123").await.status, 200, "another source");
    rig.clock.advance(TimeDelta::minutes(1));
    assert_eq!(from(&rig, "192.0.2.1", "ada", "password123").await.status, 200);
    rig.stop().await;
}

/// Row F08: without Redis a process counts by itself, and does not stop counting.
#[tokio::test(flavor = "multi_thread")]
async fn f08_without_redis_guessing_ends_all_the_same() {
    let rig = rig_with(&[NO_REDIS, ("ROADSTEAD_RATE_LIMIT_LOGIN_PER_MINUTE", "10")]).await;
    rig.register("ada").await;
    for _ in 0..10 {
        assert_eq!(from(&rig, "192.0.2.1", "ada", "wrong-password").await.status, 401);
    }
    assert_eq!(from(&rig, "192.0.2.1", "ada", "password123").await.status, 429);
    assert_eq!(from(&rig, "192.0.2.2", "ada", "password123").await.status, 200, "another source");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_account_from_many_sources() {
    let rig = rig_with(&[("ROADSTEAD_RATE_LIMIT_LOGIN_PER_MINUTE", "10")]).await;
    rig.register("ada").await;
    for number in 0..20 {
        assert_eq!(from(&rig, &format!("192.0.2.{number}"), "ada", "wrong-password").await.status, 401, "{number}");
    }
    assert_eq!(from(&rig, "198.51.100.1", "ada", "password123").await.status, 429);
    rig.register("bob").await;
    assert_eq!(from(&rig, "198.51.100.1", "bob", "password123").await.status, 200);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_accounts_from_one_source() {
    let rig = rig_with(&[("ROADSTEAD_RATE_LIMIT_LOGIN_PER_MINUTE", "10")]).await;
    rig.register("ada").await;
    // The addresses of one IPv6 subscriber count as one.
    for number in 0..30 {
        let address = format!("2001:db8::{number:x}");
        assert_eq!(from(&rig, &address, &format!("user{number}"), "wrong-password").await.status, 401, "{number}");
    }
    assert_eq!(from(&rig, "2001:db8::ffff", "ada", "password123").await.status, 429);
    assert_eq!(from(&rig, "2001:db8:1::1", "ada", "password123").await.status, 200);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_names_look_like_wrong_passwords() {
    let rig = rig().await;
    rig.register("ada").await;
    let owner = rig.owner().await;
    rig.register("off").await;
    rig.as_key(owner.api_key.expose(), "PUT", "/users/off", Some(json!({"is_active": false}))).await;
    let mut bodies = Vec::new();
    for name in ["ada", "nobody", "off", "аdmin", "x", "' OR 1=1 --"] {
        let mut answer = rig.login(name, "wrong-password").await;
        assert_eq!(answer.status, 401, "{name}");
        answer.body["request_id"] = Value::Null;
        bodies.push(answer.body.to_string());
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");

    // The best of several runs each, because other tests share the machine.
    let best = |name: &'static str| {
        let rig = &rig;
        async move {
            let mut best = Duration::MAX;
            for _ in 0..8 {
                let began = Instant::now();
                rig.login(name, "wrong-password").await;
                best = best.min(began.elapsed());
            }
            best
        }
    };
    let (known, unknown) = (best("ada").await, best("nobody").await);
    let (small, large) = (known.min(unknown), known.max(unknown));
    assert!(large < small * 2, "known {known:?}, unknown {unknown:?}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_at_once_are_bounded_and_others_go_on() {
    let rig = std::sync::Arc::new(rig().await);
    rig.register("ada").await;
    let token = rig.login("ada", "password123").await.text("access_token");
    let mut logins = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let rig = std::sync::Arc::clone(&rig);
        logins.spawn(async move { rig.login("ada", "password123").await });
    }
    let began = Instant::now();
    assert_eq!(rig.get(&token, "/users/me").await.status, 200);
    assert!(began.elapsed() < Duration::from_secs(2), "other routes wait {:?}", began.elapsed());
    let (mut good, mut surplus) = (0, 0);
    while let Some(answer) = logins.join_next().await {
        let answer = answer.unwrap();
        match answer.status {
            200 => good += 1,
            429 | 503 => {
                assert!(answer.headers.contains_key("retry-after"), "{}", answer.body);
                surplus += 1;
            }
            other => panic!("{other} {}", answer.body),
        }
    }
    assert_eq!(good + surplus, 200);
    assert!(good >= 60 && surplus > 0, "{good} good, {surplus} refused");
    let rig = std::sync::Arc::into_inner(rig).unwrap();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changing_a_password_is_no_place_to_guess() {
    let rig = rig_with(&[("ROADSTEAD_RATE_LIMIT_LOGIN_PER_MINUTE", "5")]).await;
    let token = rig.account("ada").await.text("access_token");
    let body = json!({"current_password": "wrong-password", "new_password": "password124"});
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(rig.as_bearer(&token, "POST", "/api/v1/auth/change-password", Some(body.clone())).await.status);
    }
    assert_eq!((statuses[0], statuses[5]), (400, 429), "{statuses:?}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn password_login_can_be_switched_off() {
    let rig = rig_with(&[("ROADSTEAD_AUTH_PASSWORD_ENABLED", "false")]).await;
    rig.register("ada").await;
    assert_eq!(rig.login("ada", "password123").await.status, 403);
    let methods = rig.send(rig.request("GET", "/api/v1/auth/methods")).await;
    assert_eq!(methods.body["methods"][0]["enabled"], false);
    rig.stop().await;
}
