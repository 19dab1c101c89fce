//! Accounts with a password: known leaks, devices that are never kept out, links to set a new one, authenticator apps.

use chrono::TimeDelta;
use roadstead_auth::totp::{STEP_SECONDS, TotpSecret};
use roadstead_http_kit::forward;
use serde_json::{Value, json};

use crate::rig::{Answer, Rig, rig, rig_with};

#[tokio::test(flavor = "multi_thread")]
async fn known_leaks_are_refused_unless_somebody_only_tries_the_hub() {
    let rig = rig_with(&[("ROADSTEAD_AUTH_PASSWORD_REFUSE_LEAKED", "true")]).await;
    let body = |password: &str| json!({"username": "ada", "email": "ada@example.com", "password": password});
    let refused = rig.post("/api/v1/auth/register", body("password123")).await;
    assert_eq!((refused.status, refused.code()), (400, "validation_failed"));
    assert!(!refused.body.to_string().contains("password123"));
    assert_eq!(rig.post("/api/v1/auth/register", body("lantern-quay-17")).await.status, 201);
    rig.stop().await;
}

/// A login that the front door forwards for a client at this address.
async fn from(rig: &Rig, address: &str, password: &str, cookie: Option<&str>) -> Answer {
    let path = "/api/v1/auth/login";
    let header = forward::sign(&rig.mesh_key, "POST", path, address.parse().unwrap(), rig.now().timestamp());
    let body: Value = json!({"username": "ada", "password": password});
    let mut request = rig.request("POST", path).header(forward::FORWARDED_HEADER, header).json(&body);
    if let Some(cookie) = cookie {
        request = request.header("cookie", cookie);
    }
    rig.send(request).await
}

fn device(answer: &Answer) -> String {
    let text = answer.headers["set-cookie"].to_str().unwrap();
    assert!(text.starts_with("roadstead_device=") && text.contains("HttpOnly"), "{text}");
    text.split(';').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_keeps_a_known_device_out() {
    let rig = rig_with(&[("ROADSTEAD_RATE_LIMIT_LOGIN_PER_MINUTE", "10")]).await;
    rig.register("ada").await;
    rig.register("bob").await;
    let known = device(&from(&rig, "192.0.2.1", "password123", None).await);
    let bobs = device(&rig.login("bob", "password123").await);
    for number in 0..20 {
        from(&rig, &format!("198.51.100.{number}"), "wrong-password", None).await;
    }
    assert_eq!(from(&rig, "192.0.2.1", "password123", None).await.status, 429, "everybody else waits");
    assert_eq!(from(&rig, "192.0.2.1", "password123", Some(&known)).await.status, 200);
    // A mark of another account, or one that somebody made up, is none.
    for odd in [bobs.as_str(), "roadstead_device=00112233445566778899aabbccddeeff.00", "roadstead_device=x"] {
        assert_eq!(from(&rig, "192.0.2.1", "password123", Some(odd)).await.status, 429, "{odd}");
    }
    // A stolen mark is no way to guess faster.
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(from(&rig, "203.0.113.9", "wrong-password", Some(&known)).await.status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 3, "{statuses:?}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_sets_a_password_once() {
    let rig = rig_with(&[
        ("ROADSTEAD_PUBLIC_URL", "https://hub.example/"),
        ("ROADSTEAD_AUTH_PASSWORD_REFUSE_LEAKED", "true"),
    ])
    .await;
    let owner = rig.owner().await;
    let body = json!({"username": "ada", "email": "ada@example.com", "password": "lantern-quay-17"});
    rig.post("/api/v1/auth/register", body).await;
    let session = rig.login("ada", "lantern-quay-17").await.text("access_token");
    let begin =
        || rig.as_key(owner.api_key.expose(), "POST", "/api/v1/auth/password-resets", Some(json!({"user": "ada"})));
    let first = begin().await;
    assert_eq!(first.status, 201, "{}", first.body);
    let second = begin().await;
    let token = second.text("token");
    assert_eq!(second.text("url"), format!("https://hub.example/api/v1/auth/password-reset?token={token}"));
    let finish = |token: &str, password: &str| {
        rig.post("/api/v1/auth/password-reset", json!({"token": token, "new_password": password}))
    };
    assert_eq!(finish(&first.text("token"), "harbour-lamp-42").await.status, 401, "a newer link takes its place");
    let last = if token.ends_with('A') { "E" } else { "A" };
    for odd in ["", "rsp_x", &token.replace("rsp_", "rsk_"), &format!("{}{last}", &token[..token.len() - 1])] {
        assert_eq!(finish(odd, "harbour-lamp-42").await.status, 401, "{odd}");
    }
    assert_eq!(finish(&token, "password123").await.status, 400, "a weak one does not use the link up");
    assert_eq!(finish(&token, "harbour-lamp-42").await.status, 200);
    assert_eq!(finish(&token, "harbour-lamp-43").await.status, 401, "once");
    assert_eq!(rig.get(&session, "/users/me").await.status, 401, "its sessions have ended");
    assert_eq!(rig.login("ada", "harbour-lamp-42").await.status, 200);
    // A day later it is over.
    let late = begin().await.text("token");
    rig.clock.advance(TimeDelta::hours(24));
    assert_eq!(finish(&late, "harbour-lamp-44").await.status, 401);
    // The page is a form without script, and what is in the address cannot become part of it.
    let page = rig.send(rig.request("GET", "/api/v1/auth/password-reset?token=%22%3E%3Cscript%3E")).await;
    let html = page.body.as_str().unwrap();
    assert!(html.contains("value=\"script\"") && !html.contains("<script"), "{html}");
    assert!(
        page.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'; form-action 'self'")
    );
    let form = rig
        .request("POST", "/api/v1/auth/password-reset")
        .form(&[("token", begin().await.text("token").as_str()), ("new_password", "harbour-lamp-45")]);
    assert_eq!(rig.send(form).await.status, 200);
    let token = rig.login("ada", "harbour-lamp-45").await.text("access_token");
    let own = rig.as_bearer(&token, "POST", "/api/v1/auth/password-resets", Some(json!({"user": "owner"}))).await;
    assert_eq!(own.status, 403);
    rig.stop().await;
}

pub fn app_of(enrolment: &Answer) -> TotpSecret {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let (mut bytes, mut buffer, mut bits) = (Vec::new(), 0u32, 0);
    for letter in enrolment.text("secret").bytes() {
        buffer = (buffer << 5) | u32::try_from(alphabet.iter().position(|known| *known == letter).unwrap()).unwrap();
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from((buffer >> bits) & 255).unwrap());
        }
    }
    TotpSecret::from_bytes(&bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authenticator_app() {
    const APP: &str = "/api/v1/auth/authenticator";
    const CONFIRM: &str = "/api/v1/auth/authenticator/confirm";
    let rig = rig().await;
    let token = rig.account("ada").await.text("access_token");
    let post = |path: &'static str, body: Value| {
        let (rig, token) = (&rig, token.clone());
        async move { rig.as_bearer(&token, "POST", path, Some(body)).await }
    };
    assert_eq!(post(APP, json!({"password": "wrong-password"})).await.status, 400, "a stolen session adds no app");
    let enrolment = post(APP, json!({"password": "password123"})).await;
    assert_eq!(enrolment.status, 200, "{}", enrolment.body);
    assert!(enrolment.text("uri").starts_with("otpauth://totp/Roadstead:ada?secret="));
    let app = app_of(&enrolment);
    let code = |ahead: i64| app.code(rig.now().timestamp() / STEP_SECONDS + ahead);
    assert_eq!(rig.login("ada", "password123").await.status, 200, "not asked for before it is shown to work");
    assert_eq!(post(CONFIRM, json!({"code": "000000"})).await.status, 400);
    let confirmed = post(CONFIRM, json!({"code": code(0)})).await;
    assert_eq!(confirmed.status, 200, "{}", confirmed.body);
    let recovery: Vec<String> = serde_json::from_value(confirmed.body["recovery_codes"].clone()).unwrap();
    assert_eq!(recovery.len(), 10);
    assert_eq!(post(APP, json!({"password": "password123"})).await.status, 409);

    let asked = rig.login("ada", "password123").await;
    assert_eq!((asked.status, asked.code()), (401, "second_factor_required"));
    assert_eq!(
        rig.login("ada", "wrong-password").await.code(),
        "invalid_login",
        "it is not told to who has no password"
    );
    let login = |code: String| {
        rig.post("/api/v1/auth/login", json!({"username": "ada", "password": "password123", "code": code}))
    };
    assert_eq!(login(code(0)).await.status, 401, "that code was used to confirm");
    rig.clock.advance(TimeDelta::seconds(STEP_SECONDS));
    let now = code(0);
    assert_eq!(login(now.clone()).await.status, 200);
    assert_eq!(login(now).await.status, 401, "a code counts once");
    let spelt = recovery[0].to_uppercase().replace('-', " ");
    assert_eq!(login(spelt).await.status, 200);
    assert_eq!(login(recovery[0].clone()).await.status, 401, "once");
    let form = rig.request("POST", "/auth/token").form(&[
        ("username", "ada"),
        ("password", "password123"),
        ("code", recovery[1].as_str()),
    ]);
    assert_eq!(rig.send(form).await.status, 200);
    let shown = rig.get(&token, APP).await;
    assert_eq!((&shown.body["enabled"], &shown.body["recovery_codes_left"]), (&json!(true), &json!(8)));

    // Guessing ends, and what ends it is not the password's own limit.
    let mut last = 0;
    for number in 0..25 {
        last = login(format!("{number:06}")).await.status;
    }
    assert_eq!(last, 429);
    rig.clock.advance(TimeDelta::hours(1));
    let token = login(code(0)).await.text("access_token");
    rig.clock.advance(TimeDelta::seconds(STEP_SECONDS));
    let removed =
        rig.as_bearer(&token, "POST", "/api/v1/auth/authenticator/remove", Some(json!({"code": code(0)}))).await;
    assert_eq!(removed.status, 204, "{}", removed.body);
    assert_eq!(rig.login("ada", "password123").await.status, 200);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_helps_after_a_lost_telephone() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let token = rig.account("ada").await.text("access_token");
    let begin = Some(json!({"password": "password123"}));
    let app = app_of(&rig.as_bearer(&token, "POST", "/api/v1/auth/authenticator", begin).await);
    let code = app.code(rig.now().timestamp() / STEP_SECONDS);
    let confirm = Some(json!({"code": code}));
    assert_eq!(rig.as_bearer(&token, "POST", "/api/v1/auth/authenticator/confirm", confirm).await.status, 200);
    assert_eq!(rig.as_bearer(&token, "DELETE", "/api/v1/auth/authenticator/owner", None).await.status, 403);
    let path = "/api/v1/auth/authenticator/ada";
    assert_eq!(rig.as_key(owner.api_key.expose(), "DELETE", path, None).await.status, 204);
    assert_eq!(rig.as_key(owner.api_key.expose(), "DELETE", path, None).await.status, 404);
    assert_eq!(rig.login("ada", "password123").await.status, 200);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_holds_no_secret_of_an_app() {
    let rig = rig().await;
    let token = rig.account("ada").await.text("access_token");
    let begin = Some(json!({"password": "password123"}));
    let enrolment = rig.as_bearer(&token, "POST", "/api/v1/auth/authenticator", begin).await;
    let app = app_of(&enrolment);
    let confirm = Some(json!({"code": app.code(rig.now().timestamp() / STEP_SECONDS)}));
    let codes = rig.as_bearer(&token, "POST", "/api/v1/auth/authenticator/confirm", confirm).await;
    let mut needles = vec![app.bytes().to_vec(), enrolment.text("secret").into_bytes()];
    needles.push(codes.body["recovery_codes"][0].as_str().unwrap().as_bytes().to_vec());
    for entry in std::fs::read_dir(rig.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_file() {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        for needle in &needles {
            assert!(!bytes.windows(needle.len()).any(|window| window == needle), "{}", path.display());
        }
    }
    rig.stop().await;
}
