//! Passkeys: added, used after the password and alone, removed; and every answer that must not be believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use roadstead_auth::totp::STEP_SECONDS;
use roadstead_http_kit::forward;
use roadstead_testkit::passkey::{BACKUP_ELIGIBLE, PRESENT, SoftKey};
use serde_json::{Value, json};

use crate::local_accounts::app_of;
use crate::oidc::set_cookie;
use crate::rig::{Answer, Rig, eventually, rig_with};

pub const ORIGIN: &str = "https://hub.example";
pub const ALL: &str = "/api/v1/auth/passkeys";
pub const BEGIN: &str = "/api/v1/auth/passkeys/begin";
const LOGIN_BEGIN: &str = "/api/v1/auth/passkeys/login/begin";
const LOGIN: &str = "/api/v1/auth/passkeys/login";
pub const PASSWORD: &str = "password123";

/// Makes a key answer wrongly.
type Bend = fn(&mut SoftKey);

pub async fn hub() -> Rig {
    rig_with(&[("ROADSTEAD_PUBLIC_URL", "https://hub.example/")]).await
}

/// Adds a key to an account; answers what the hub said.
pub async fn add(rig: &Rig, token: &str, key: &mut SoftKey, name: &str) -> Answer {
    let begun = rig.as_bearer(token, "POST", BEGIN, Some(json!({"password": PASSWORD}))).await;
    assert_eq!(begun.status, 200, "{}", begun.body);
    let credential = key.create(&begun.body["publicKey"]);
    rig.as_bearer(token, "POST", ALL, Some(json!({"name": name, "credential": credential}))).await
}

/// A sign-in on its way: what the browser is asked for, and what it keeps.
struct Begun {
    options: Value,
    cookie: String,
}

async fn begin(rig: &Rig, body: Value) -> Begun {
    let begun = rig.post(LOGIN_BEGIN, body).await;
    assert_eq!(begun.status, 200, "{}", begun.body);
    let cookie = set_cookie(&begun.headers, "__Host-roadstead_passkey").unwrap();
    assert!(cookie.contains("HttpOnly; SameSite=Lax; Max-Age=300; Secure"), "{cookie}");
    Begun { options: begun.body["publicKey"].clone(), cookie: cookie.split(';').next().unwrap().to_owned() }
}

async fn finish(rig: &Rig, cookie: &str, credential: Value) -> Answer {
    let request = rig.request("POST", LOGIN).header("cookie", cookie).json(&json!({"credential": credential}));
    rig.send(request).await
}

/// A whole sign-in with a key alone.
pub async fn alone(rig: &Rig, key: &SoftKey) -> Answer {
    let begun = begin(rig, json!({})).await;
    finish(rig, &begun.cookie, key.get(&begun.options)).await
}

async fn after_password(rig: &Rig, name: &str, key: &SoftKey) -> Answer {
    let begun = begin(rig, json!({"username": name, "password": PASSWORD})).await;
    finish(rig, &begun.cookie, key.get(&begun.options)).await
}

/// Waits until the trail has a refused sign-in with this reason.
async fn refused_in_the_trail(rig: &Rig, admin: &str, reason: &str) {
    eventually(reason, || async {
        let path = "/api/v1/audit?action=user.login&phase=outcome&outcome=refused";
        let rows = rig.as_key(admin, "GET", path, None).await.body;
        rows.as_array().unwrap().iter().any(|row| row["record"].to_string().contains(&format!("\"{reason}\"")))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_is_added_used_and_removed() {
    let rig = hub().await;
    let token = rig.account("ada").await.text("access_token");
    let mut key = SoftKey::new(ORIGIN);
    let wrong = rig.as_bearer(&token, "POST", BEGIN, Some(json!({"password": "wrong-password"}))).await;
    assert_eq!(wrong.status, 400, "a stolen session adds no key");
    let begun = rig.as_bearer(&token, "POST", BEGIN, Some(json!({"password": PASSWORD}))).await;
    let options = &begun.body["publicKey"];
    assert_eq!(
        (&options["rp"], &options["attestation"]),
        (&json!({"id": "hub.example", "name": "Roadstead"}), &json!("none"))
    );
    assert_eq!((&options["user"]["name"], options["user"]["id"].as_str().unwrap().len()), (&json!("ada"), 64));
    // Its digits are base64url, too: some of them may well spell a name, what they stand for does not.
    let handle = URL_SAFE_NO_PAD.decode(options["user"]["id"].as_str().unwrap()).unwrap();
    assert!(!handle.windows(3).any(|part| part == b"ada"));
    assert_eq!(options["pubKeyCredParams"][0], json!({"type": "public-key", "alg": -7}));
    assert_eq!((&options["excludeCredentials"], &options["timeout"]), (&json!([]), &json!(300_000)));
    let credential = key.create(options);
    let body = json!({"name": "telephone", "credential": credential});
    let added = rig.as_bearer(&token, "POST", ALL, Some(body.clone())).await;
    assert_eq!(added.status, 201, "{}", added.body);
    let recovery: Vec<String> = serde_json::from_value(added.body["recovery_codes"].clone()).unwrap();
    assert_eq!(recovery.len(), 10);
    assert_eq!(rig.as_bearer(&token, "POST", ALL, Some(body)).await.status, 409, "a challenge counts once");
    let listed = rig.get(&token, ALL).await.body;
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["name"]), (1, &json!("telephone")));
    assert!(listed[0]["last_used_at"].is_null() && !listed.to_string().contains("public_key"));

    // The password is not enough from now on.
    let asked = rig.login("ada", PASSWORD).await;
    assert_eq!((asked.status, asked.code()), (401, "second_factor_required"));
    assert_eq!(asked.detail(), "a passkey, or a recovery code, is required");
    key.count = 2;
    let signed_in = after_password(&rig, "ada", &key).await;
    assert_eq!((signed_in.status, &signed_in.body["user"]["username"]), (200, &json!("ada")), "{}", signed_in.body);
    assert!(set_cookie(&signed_in.headers, "__Host-roadstead_device").is_some());
    assert!(set_cookie(&signed_in.headers, "__Host-roadstead_passkey").unwrap().contains("Max-Age=0"));
    key.count = 3;
    let signed_in = alone(&rig, &key).await;
    assert_eq!((signed_in.status, &signed_in.body["user"]["username"]), (200, &json!("ada")), "{}", signed_in.body);
    let fresh = signed_in.text("access_token");
    assert_eq!(rig.get(&fresh, "/users/me").await.status, 200);
    let with_code = json!({"username": "ada", "password": PASSWORD, "code": recovery[0]});
    assert_eq!(rig.post("/api/v1/auth/login", with_code).await.status, 200);

    // A second one: no codes come with it.
    let mut spare = SoftKey::new(ORIGIN);
    let another = add(&rig, &fresh, &mut spare, "spare").await;
    assert_eq!((another.status, another.body.get("recovery_codes")), (201, None), "{}", another.body);
    let one = format!("{ALL}/{}", listed[0]["id"].as_str().unwrap());
    let taken = rig.as_bearer(&fresh, "PUT", &one, Some(json!({"name": "spare"}))).await;
    assert_eq!((taken.status, taken.detail()), (409, "a passkey with this name exists already"));
    assert_eq!(rig.as_bearer(&fresh, "PUT", &one, Some(json!({"name": "old telephone"}))).await.status, 204);
    let bob = rig.account("bob").await.text("access_token");
    let remove = format!("{one}/remove");
    assert_eq!(rig.as_bearer(&bob, "PUT", &one, Some(json!({"name": "x"}))).await.status, 404);
    assert_eq!(rig.as_bearer(&bob, "POST", &remove, Some(json!({}))).await.status, 404);

    // What is older than a sign-in of just now takes a code.
    rig.clock.advance(TimeDelta::minutes(11));
    let late = rig.as_bearer(&fresh, "POST", &remove, Some(json!({}))).await;
    assert_eq!((late.status, late.code()), (401, "second_factor_required"));
    let late = rig.as_bearer(&fresh, "POST", BEGIN, Some(json!({"password": PASSWORD}))).await;
    assert_eq!((late.status, late.code()), (401, "second_factor_required"), "not even with the password");
    let code = |number: usize| Some(json!({"code": recovery[number]}));
    assert_eq!(rig.as_bearer(&fresh, "POST", &remove, code(0)).await.status, 401, "that one was used");
    assert_eq!(rig.as_bearer(&fresh, "POST", &remove, code(1)).await.status, 204);
    assert_eq!(alone(&rig, &key).await.status, 401, "it is gone");
    let listed = rig.get(&fresh, ALL).await.body;
    let remove = format!("{ALL}/{}/remove", listed[0]["id"].as_str().unwrap());
    assert_eq!(rig.as_bearer(&fresh, "POST", &remove, code(2)).await.status, 204);
    assert_eq!(rig.login("ada", PASSWORD).await.status, 200, "with the last one the second question goes");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_does_not_hold_is_refused_and_recorded() {
    let rig = hub().await;
    let admin = rig.owner().await.api_key.expose().to_owned();
    let token = rig.account("ada").await.text("access_token");
    let mut key = SoftKey::new(ORIGIN);
    assert_eq!(add(&rig, &token, &mut key, "key").await.status, 201);
    key.count = 5;

    // Replayed: the challenge is taken, in any browser.
    let begun = begin(&rig, json!({})).await;
    let answer = key.get(&begun.options);
    assert_eq!(finish(&rig, &begun.cookie, answer.clone()).await.status, 200);
    let replayed = finish(&rig, &begun.cookie, answer.clone()).await;
    assert_eq!((replayed.status, replayed.code()), (401, "login_refused"));
    let other = begin(&rig, json!({})).await;
    assert_eq!(finish(&rig, &other.cookie, answer).await.status, 401);
    refused_in_the_trail(&rig, &admin, "challenge").await;
    // Brought by another browser, or by none.
    key.count = 6;
    for cookie in ["", "__Host-roadstead_passkey=AAAA", "roadstead_passkey=AAAA"] {
        let begun = begin(&rig, json!({})).await;
        assert_eq!(finish(&rig, cookie, key.get(&begun.options)).await.status, 401, "{cookie}");
    }
    // Late.
    let begun = begin(&rig, json!({})).await;
    rig.clock.advance(TimeDelta::minutes(5));
    assert_eq!(finish(&rig, &begun.cookie, key.get(&begun.options)).await.status, 401);
    // For another purpose.
    let late = rig.login("ada", PASSWORD).await;
    assert_eq!(late.status, 401);
    let begun = begin(&rig, json!({})).await;
    let body = json!({"name": "x", "credential": SoftKey::new(ORIGIN).create(&begun.options)});
    assert_eq!(rig.as_bearer(&token, "POST", ALL, Some(body)).await.status, 409, "a sign-in's challenge adds no key");

    // A counter that went back: somebody has a copy.
    key.count = 5;
    assert_eq!(alone(&rig, &key).await.status, 401);
    refused_in_the_trail(&rig, &admin, "counter").await;
    key.count = 7;
    let bends: [(Bend, &str); 6] = [
        (|key| "https://evil.example".clone_into(&mut key.origin), "origin"),
        (|key| key.client = json!({"crossOrigin": true}), "origin"),
        (|key| "evil.example".clone_into(&mut key.party), "relying_party"),
        (|key| key.flags = PRESENT, "no_verification"),
        (|key| key.flags |= BACKUP_ELIGIBLE, "backup_flags"),
        (|key| key.handle = None, "user_handle"),
    ];
    let good = (key.origin.clone(), key.party.clone(), key.flags, key.handle.clone());
    for (bend, reason) in bends {
        bend(&mut key);
        let answer = alone(&rig, &key).await;
        assert_eq!((answer.status, answer.code()), (401, "login_refused"), "{reason}");
        assert_eq!(
            answer.detail(),
            "the passkey was refused, or this sign-in is over",
            "it does not say which check failed"
        );
        refused_in_the_trail(&rig, &admin, reason).await;
        (key.origin, key.party, key.flags, key.handle) = good.clone();
        key.client = json!({});
    }
    // Somebody else's key after ada's password, a key that nobody has, and garbage.
    let bob = rig.account("bob").await.text("access_token");
    let mut bobs = SoftKey::new(ORIGIN);
    assert_eq!(add(&rig, &bob, &mut bobs, "key").await.status, 201);
    bobs.count = 2;
    assert_eq!(after_password(&rig, "ada", &bobs).await.status, 401);
    refused_in_the_trail(&rig, &admin, "foreign_passkey").await;
    let mut nobodys = SoftKey::new(ORIGIN);
    nobodys.handle = key.handle.clone();
    assert_eq!(alone(&rig, &nobodys).await.status, 401);
    refused_in_the_trail(&rig, &admin, "unknown_passkey").await;
    let begun = begin(&rig, json!({})).await;
    let mut garbage = key.get(&begun.options);
    garbage["response"]["signature"] = json!("!");
    assert_eq!(finish(&rig, &begun.cookie, garbage).await.status, 400);
    let begun = begin(&rig, json!({})).await;
    let mut forged = bobs.get(&begun.options);
    forged["id"] = key.get(&begun.options)["id"].clone();
    forged["response"]["userHandle"] = json!(key.handle);
    assert_eq!(finish(&rig, &begun.cookie, forged).await.status, 401, "another key's signature");
    refused_in_the_trail(&rig, &admin, "signature").await;
    // The trail says whose key it was, never what was sent.
    let rows = rig.as_key(&admin, "GET", "/api/v1/audit?action=user.login", None).await.body.to_string();
    assert!(rows.contains("\"ada\"") && !rows.contains("clientDataJSON"));

    // An account that is switched off stays out; the key itself is as good as before.
    let off = rig.as_key(&admin, "PUT", "/users/ada", Some(json!({"is_active": false}))).await;
    assert_eq!(off.status, 200, "{}", off.body);
    assert_eq!(alone(&rig, &key).await.status, 401);
    rig.as_key(&admin, "PUT", "/users/ada", Some(json!({"is_active": true}))).await;
    assert_eq!(alone(&rig, &key).await.status, 200);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_keeps_a_passkey_out() {
    let rig =
        rig_with(&[("ROADSTEAD_PUBLIC_URL", "https://hub.example"), ("ROADSTEAD_RATE_LIMIT_LOGIN_PER_MINUTE", "10")])
            .await;
    let token = rig.account("ada").await.text("access_token");
    let mut key = SoftKey::new(ORIGIN);
    assert_eq!(add(&rig, &token, &mut key, "key").await.status, 201);
    for number in 0..20 {
        let path = "/api/v1/auth/login";
        let address = format!("198.51.100.{number}").parse().unwrap();
        let header = forward::sign(&rig.mesh_key, "POST", path, address, rig.now().timestamp());
        let body = json!({"username": "ada", "password": "wrong-password"});
        rig.send(rig.request("POST", path).header(forward::FORWARDED_HEADER, header).json(&body)).await;
    }
    assert_eq!(rig.login("ada", PASSWORD).await.status, 429, "whoever has the password only waits");
    let begun = rig.post(LOGIN_BEGIN, json!({"username": "ada", "password": PASSWORD})).await;
    assert_eq!(begun.status, 429, "here too: it is a try at the password");
    key.count = 2;
    assert_eq!(alone(&rig, &key).await.status, 200);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beginning_tells_nothing_without_the_password() {
    let rig = hub().await;
    let token = rig.account("ada").await.text("access_token");
    rig.register("bob").await;
    assert_eq!(add(&rig, &token, &mut SoftKey::new(ORIGIN), "key").await.status, 201);
    for name in ["ada", "bob", "nobody"] {
        let answer = rig.post(LOGIN_BEGIN, json!({"username": name, "password": "wrong-password"})).await;
        assert_eq!((answer.status, answer.code()), (401, "invalid_login"), "{name}");
    }
    for half in [json!({"username": "ada"}), json!({"password": PASSWORD}), json!({"username": "", "password": ""})] {
        assert_eq!(rig.post(LOGIN_BEGIN, half).await.status, 400);
    }
    let begun = begin(&rig, json!({"username": "ada", "password": PASSWORD})).await;
    assert_eq!(begun.options["allowCredentials"][0]["transports"], json!(["usb", "nfc"]));
    assert_eq!(begun.options["userVerification"], "discouraged");
    let begun = begin(&rig, json!({})).await;
    assert_eq!(
        (&begun.options["allowCredentials"], &begun.options["userVerification"]),
        (&json!([]), &json!("required"))
    );
    let none = rig.post(LOGIN_BEGIN, json!({"username": "bob", "password": PASSWORD})).await;
    assert_eq!((none.status, none.code()), (409, "conflict"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passkeys_and_an_app_stand_side_by_side() {
    let rig = hub().await;
    let admin = rig.owner().await.api_key.expose().to_owned();
    let token = rig.account("ada").await.text("access_token");
    let mut key = SoftKey::new(ORIGIN);
    assert_eq!(add(&rig, &token, &mut key, "key").await.status, 201);
    let begin = Some(json!({"password": PASSWORD}));
    let app = app_of(&rig.as_bearer(&token, "POST", "/api/v1/auth/authenticator", begin).await);
    let code = |ahead: i64| app.code(rig.now().timestamp() / STEP_SECONDS + ahead);
    let confirmed =
        rig.as_bearer(&token, "POST", "/api/v1/auth/authenticator/confirm", Some(json!({"code": code(0)}))).await;
    assert_eq!(confirmed.status, 200);
    assert_eq!(rig.login("ada", PASSWORD).await.detail(), "a passkey, or a code of the authenticator app, is required");
    rig.clock.advance(TimeDelta::seconds(STEP_SECONDS));
    let with_code = json!({"username": "ada", "password": PASSWORD, "code": code(0)});
    assert_eq!(rig.post("/api/v1/auth/login", with_code).await.status, 200);
    key.count = 2;
    assert_eq!(after_password(&rig, "ada", &key).await.status, 200);

    let path = "/api/v1/auth/second-factors/ada";
    assert_eq!(rig.as_bearer(&token, "DELETE", path, None).await.status, 403);
    assert_eq!(rig.as_key(&admin, "DELETE", path, None).await.status, 204);
    assert_eq!(rig.as_key(&admin, "DELETE", path, None).await.status, 404);
    assert_eq!(rig.login("ada", PASSWORD).await.status, 200);
    assert_eq!(alone(&rig, &key).await.status, 401);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_add_and_what_may_be_added() {
    let rig = hub().await;
    let owner = rig.owner().await;
    let token = rig.account("ada").await.text("access_token");
    let by_key = rig.as_key(owner.api_key.expose(), "POST", BEGIN, Some(json!({"password": "x"}))).await;
    assert_eq!((by_key.status, by_key.code()), (403, "forbidden"), "an API key has nobody beside it");
    let begun = rig.as_bearer(&token, "POST", BEGIN, Some(json!({"password": PASSWORD}))).await.body;
    let mut elsewhere = SoftKey::new("https://evil.example");
    let body = |name: &str, credential: Value| Some(json!({"name": name, "credential": credential}));
    let refused = rig.as_bearer(&token, "POST", ALL, body("x", elsewhere.create(&begun["publicKey"]))).await;
    assert_eq!((refused.status, refused.code()), (400, "validation_failed"));
    // Begun in one session, finished in another, or by somebody else.
    let other = rig.login("ada", PASSWORD).await.text("access_token");
    let bob = rig.account("bob").await.text("access_token");
    for token_of in [&other, &bob] {
        let begun = rig.as_bearer(&token, "POST", BEGIN, Some(json!({"password": PASSWORD}))).await.body;
        let credential = SoftKey::new(ORIGIN).create(&begun["publicKey"]);
        assert_eq!(rig.as_bearer(token_of, "POST", ALL, body("x", credential)).await.status, 409);
    }
    for name in ["", "a\u{202e}b", &"x".repeat(65)] {
        let begun = rig.as_bearer(&token, "POST", BEGIN, Some(json!({"password": PASSWORD}))).await.body;
        let credential = SoftKey::new(ORIGIN).create(&begun["publicKey"]);
        assert_eq!(rig.as_bearer(&token, "POST", ALL, body(name, credential)).await.status, 400, "{name:?}");
    }
    // A key that is somebody's already is nobody else's.
    let mut key = SoftKey::new(ORIGIN);
    assert_eq!(add(&rig, &token, &mut key, "key").await.status, 201);
    let taken = add(&rig, &bob, &mut key, "key").await;
    assert_eq!((taken.status, taken.detail()), (409, "this passkey was added already"));
    let begun = rig.as_bearer(&token, "POST", BEGIN, Some(json!({"password": PASSWORD}))).await.body;
    assert_eq!(begun["publicKey"]["excludeCredentials"].as_array().unwrap().len(), 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_off_where_browsers_have_none() {
    for env in
        [&[][..], &[("ROADSTEAD_PUBLIC_URL", "http://hub.example")], &[("ROADSTEAD_PUBLIC_URL", "https://192.0.2.1")]]
    {
        let rig = rig_with(env).await;
        let token = rig.account("ada").await.text("access_token");
        let refused = rig.as_bearer(&token, "POST", BEGIN, Some(json!({"password": PASSWORD}))).await;
        assert_eq!((refused.status, refused.code()), (403, "forbidden"));
        assert!(refused.detail().contains("server.public_url"), "{}", refused.detail());
        assert_eq!(rig.post(LOGIN_BEGIN, json!({})).await.status, 403);
        rig.stop().await;
    }
    let local = rig_with(&[("ROADSTEAD_PUBLIC_URL", "http://localhost:8008")]).await;
    let methods = local.send(local.request("GET", "/api/v1/auth/methods")).await.body;
    assert_eq!(methods["methods"][1]["enabled"], true);
    local.stop().await;
    let sso_only =
        rig_with(&[("ROADSTEAD_PUBLIC_URL", "https://hub.example"), ("ROADSTEAD_AUTH_PASSWORD_ENABLED", "false")])
            .await;
    assert_eq!(sso_only.post(LOGIN_BEGIN, json!({})).await.status, 403, "a passkey is no way past the provider");
    sso_only.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_has_its_session_in_a_cookie() {
    let rig = hub().await;
    let token = rig.account("ada").await.text("access_token");
    let by_password =
        rig.post("/api/v1/auth/login", json!({"username": "ada", "password": PASSWORD, "browser": true})).await;
    assert_eq!(by_password.status, 200);
    assert!(!by_password.body.to_string().contains("token"), "{}", by_password.body);
    let mut key = SoftKey::new(ORIGIN);
    assert_eq!(add(&rig, &token, &mut key, "key").await.status, 201);
    key.count = 2;
    let begun = begin(&rig, json!({})).await;
    let body = json!({"credential": key.get(&begun.options), "browser": true});
    let by_key = rig.send(rig.request("POST", LOGIN).header("cookie", &begun.cookie).json(&body)).await;
    for answer in [by_password, by_key] {
        let cookie = set_cookie(&answer.headers, "__Host-roadstead_session").unwrap();
        assert!(cookie.contains("HttpOnly; SameSite=Lax") && cookie.ends_with("; Secure"), "{cookie}");
        let cookie = cookie.split(';').next().unwrap();
        let me = rig.send(rig.request("GET", "/api/v1/auth/profile").header("cookie", cookie)).await;
        assert_eq!((me.status, &me.body["username"]), (200, &json!("ada")));
    }
    let page = rig.send(rig.request("GET", "/api/v1/auth/sign-in")).await;
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; connect-src 'self'"), "{policy}");
    assert!(!policy.contains("unsafe") && page.body.as_str().unwrap().contains("src=\"/api/v1/auth/sign-in.js\""));
    let script = rig.send(rig.request("GET", "/api/v1/auth/sign-in.js")).await;
    assert_eq!(script.headers["content-type"], "text/javascript; charset=utf-8");
    rig.stop().await;
}
