//! Two dozen secrets through the doors of single sign-on, devices, machines, second factors and reset links: none of them in a
//! log line, a span, a record of the audit trail, an event, a metric, a `Debug` text or a file (reliability row L01).

use std::sync::{Arc, Mutex};

use roadstead_auth::totp::STEP_SECONDS;
use roadstead_bus::Subscriber;
use roadstead_testkit::logs;
use serde_json::{Value, json};

use crate::local_accounts::app_of;
use crate::oidc::{ada, pairs, sso_with};
use crate::rig::{Answer, BOOTSTRAP, Rig, eventually};

const CLIENT_SECRET: &str = "p@s/w#? of the hub, 32 bytes long";
const PASSWORD: &str = "c4nary-password-quay";
const NEXT: &str = "c4nary-password-pier";
const TYPED: &str = "c4nary-typed-as-name";
const MACHINES: &str = "/api/v1/service-accounts";

/// The secret part of a token: what stands behind its last point.
fn last_part(text: &str) -> String {
    text.rsplit('.').next().unwrap().to_owned()
}

/// The secrets of an answer with tokens. A secret part may begin with the very separator.
fn tokens(answer: &Answer) -> [String; 2] {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let access = answer.text("access_token");
    let refresh = answer.text("refresh_token");
    [access.rsplit('.').next().unwrap().to_owned(), refresh[37..].to_owned()]
}

#[tokio::test(flavor = "multi_thread")]
async fn l01_canaries_of_the_newer_doors() {
    logs::keep();
    let sso = sso_with(&[("ROADSTEAD_PUBLIC_URL", "https://hub.example/")]).await;
    let rig = &sso.rig;
    let events = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&events);
    let taking = rig.bus.subscribe(Subscriber::Own, &["#"], move |event| {
        kept.lock().unwrap().push_str(&serde_json::to_string(&event).unwrap());
        async { Ok(()) }
    });
    taking.await.unwrap();
    let owner = rig.owner().await.api_key.expose().to_owned();
    let mut canaries = vec![CLIENT_SECRET.to_owned(), BOOTSTRAP.to_owned(), PASSWORD.to_owned(), NEXT.to_owned()];
    canaries.extend([TYPED.to_owned(), owner[37..].to_owned()]);

    // A browser, and a program behind one.
    let browser = sso.begin("").await;
    canaries.push(browser.cookie.split_once('=').unwrap().1.to_owned());
    let query = sso.provider.approve(&browser.to, ada());
    canaries.extend(tokens(&sso.back(&query, Some(&browser.cookie)).await));
    let verifier = "c4nary".repeat(10);
    let challenge = roadstead_auth::oidc::challenge(&verifier);
    let browser = sso.begin(&format!("loopback_port=45678&loopback_state=abc&challenge={challenge}")).await;
    let query = sso.provider.approve(&browser.to, ada());
    let answer = sso.back(&query, Some(&browser.cookie)).await;
    let code = pairs(answer.headers["location"].to_str().unwrap()).remove(0).1;
    canaries.extend([verifier.clone(), last_part(&code)]);
    let fetched = rig.post("/api/v1/auth/oidc/exchange", json!({"code": code, "verifier": verifier})).await;
    canaries.extend(tokens(&fetched));
    // A device.
    let begun = rig.post("/api/v1/auth/oidc/device", json!({})).await;
    let device = json!({"device_code": begun.text("device_code")});
    canaries.push(last_part(&begun.text("device_code")));
    rig.post("/api/v1/auth/oidc/device/token", device.clone()).await;
    sso.provider.with(|state| state.device = Some(ada()));
    canaries.extend(tokens(&rig.post("/api/v1/auth/oidc/device/token", device).await));
    canaries.extend(machine(rig, &owner).await);
    canaries.extend(person(rig, &owner).await);
    assert_eq!(canaries.len(), 24);

    // And where they do not belong.
    let mut echoes = Vec::new();
    for canary in &canaries {
        for body in [json!({"device_code": canary}), json!({"device_code": [canary]}), json!({"provider": canary})] {
            rig.post("/api/v1/auth/oidc/device", body.clone()).await;
            echoes.push(rig.post("/api/v1/auth/oidc/device/token", body).await.body);
        }
        echoes.push(rig.post("/api/v1/auth/oidc/exchange", json!({"code": canary, "verifier": canary})).await.body);
        echoes
            .push(rig.post("/api/v1/auth/password-reset", json!({"token": canary, "new_password": canary})).await.body);
        echoes.push(rig.as_key(&owner, "POST", MACHINES, Some(json!({"username": {"a": canary}}))).await.body);
        let query = vec![("code".to_owned(), canary.clone()), ("state".to_owned(), canary.clone())];
        echoes.push(sso.back(&query, Some(&format!("roadstead_login={canary}"))).await.body);
    }
    let path = "/api/v1/audit?limit=1000";
    eventually("the end is in the trail", || async {
        rig.as_key(&owner, "GET", path, None).await.body.to_string().contains("reset")
    })
    .await;
    echoes.push(rig.as_key(&owner, "GET", path, None).await.body);
    echoes.push(rig.as_key(&owner, "GET", &format!("{MACHINES}/deployer/keys"), None).await.body);
    echoes.push(rig.send(rig.request("GET", "/metrics")).await.body);
    echoes.push(Value::String(format!("{:?} {:?}", rig.service, rig.bus)));
    echoes.push(Value::String(events.lock().unwrap().clone()));
    let lines = logs::lines();
    assert!(lines.contains("/api/v1/auth/oidc") && events.lock().unwrap().contains("user"), "nothing was kept");
    echoes.push(Value::String(lines));
    assert_clean(&canaries, &echoes);
    let folder = sso.rig.stop().await;
    assert_clean(&canaries, &files(folder.path()));
}

/// Looks for each secret as it is and as JSON writes it.
fn assert_clean(canaries: &[String], echoes: &[Value]) {
    for canary in canaries {
        let escaped = json!(canary).to_string();
        for echo in echoes {
            let text = echo.to_string();
            let clean = !text.contains(canary.as_str()) && !text.contains(escaped.trim_matches('"'));
            assert!(clean, "{canary} is in {text:.4000}");
        }
    }
}

/// What lies in a folder.
fn files(folder: &std::path::Path) -> Vec<Value> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    // The database's helper files go while it is closed.
    let read = paths.filter_map(|path| std::fs::read(path).ok());
    read.map(|bytes| Value::String(String::from_utf8_lossy(&bytes).into_owned())).collect()
}

/// The secrets of a machine's account: of its key, and of the key that took its place.
async fn machine(rig: &Rig, owner: &str) -> [String; 2] {
    rig.as_key(owner, "POST", MACHINES, Some(json!({"username": "deployer", "roles": ["operator"]}))).await;
    let body = Some(json!({"key_name": "main"}));
    let key = rig.as_key(owner, "POST", &format!("{MACHINES}/deployer/keys"), body).await;
    let path = format!("{MACHINES}/deployer/keys/{}/rotate", key.body["id"]);
    let rotated = rig.as_key(owner, "POST", &path, None).await;
    [&key, &rotated].map(|answer| answer.text("api_key")[37..].to_owned())
}

/// The secrets of a person's account: tokens, second factor, recovery codes, a link for a new password.
async fn person(rig: &Rig, owner: &str) -> Vec<String> {
    let body = json!({"username": "grace", "email": "grace@example.com", "password": PASSWORD});
    assert_eq!(rig.post("/api/v1/auth/register", body).await.status, 201);
    rig.login(TYPED, "x").await;
    let login = rig.login("grace", PASSWORD).await;
    let token = login.text("access_token");
    let mut canaries = tokens(&login).to_vec();
    let enrolment =
        rig.as_bearer(&token, "POST", "/api/v1/auth/authenticator", Some(json!({"password": PASSWORD}))).await;
    let code = app_of(&enrolment).code(rig.now().timestamp() / STEP_SECONDS);
    let confirmed =
        rig.as_bearer(&token, "POST", "/api/v1/auth/authenticator/confirm", Some(json!({"code": code}))).await;
    canaries.push(enrolment.text("secret"));
    for number in [0, 1] {
        let code = confirmed.body["recovery_codes"][number].as_str().unwrap().to_owned();
        let body = json!({"username": "grace", "password": PASSWORD, "code": code});
        assert_eq!(rig.post("/api/v1/auth/login", body).await.status, 200);
        canaries.push(code);
    }
    let link = rig.as_key(owner, "POST", "/api/v1/auth/password-resets", Some(json!({"user": "grace"}))).await;
    canaries.push(link.text("token")[37..].to_owned());
    let body = json!({"token": link.text("token"), "new_password": NEXT});
    assert_eq!(rig.post("/api/v1/auth/password-reset", body).await.status, 200);
    canaries
}
