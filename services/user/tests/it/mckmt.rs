//! MCKMT's bodies for `/api/v1/auth/*`, member by member.

use serde_json::json;

use crate::rig::{members, rig, rig_with};

const USER: [&str; 8] = ["id", "username", "email", "auth_source", "active", "created_at", "updated_at", "roles"];

#[tokio::test(flavor = "multi_thread")]
async fn the_seeds_own_calls_work() {
    let rig = rig().await;
    // Verbatim from the seed's quick start, password and all.
    let body = json!({"username": "admin", "email": "admin@example.com", "password": "password123"});
    let registered = rig.post("/api/v1/auth/register", body).await;
    assert_eq!(registered.status, 201);
    assert_eq!(members(&registered.body), ["user"]);
    let user = &registered.body["user"];
    assert_eq!(members(user), USER);
    assert_eq!((user["username"].as_str(), user["email"].as_str()), (Some("admin"), Some("admin@example.com")));
    assert_eq!((user["auth_source"].as_str(), user["active"].as_bool()), (Some("password"), Some(true)));
    // A name gives no rights.
    assert_eq!(user["roles"].as_array().unwrap().len(), 1);
    assert_eq!(user["roles"][0]["name"], "viewer");
    assert_eq!(members(&user["roles"][0]), ["id", "name", "description", "created_at", "updated_at"]);
    assert_eq!(user["created_at"], "2027-01-15T08:00:00Z");

    let login = rig.login("admin", "password123").await;
    assert_eq!(login.status, 200);
    for member in ["access_token", "refresh_token", "expires_at", "token_type", "user"] {
        assert!(members(&login.body).contains(&member), "{member}");
    }
    assert_eq!(login.body["token_type"], "Bearer");
    assert_eq!(login.body["expires_at"], "2027-01-15T09:00:00Z");
    assert_eq!(members(&login.body["user"]), USER);
    let token = login.text("access_token");

    let profile = rig.get(&token, "/api/v1/auth/profile").await;
    assert_eq!(profile.status, 200);
    assert_eq!(
        members(&profile.body),
        ["id", "username", "email", "auth_source", "roles", "active", "created_at", "updated_at"]
    );
    assert_eq!(profile.body["roles"], json!(["viewer"]));

    let refreshed = rig.post("/api/v1/auth/refresh", json!({"refresh_token": login.text("refresh_token")})).await;
    assert_eq!(refreshed.status, 200);
    for member in ["access_token", "refresh_token", "expires_at", "token_type"] {
        assert!(members(&refreshed.body).contains(&member), "{member}");
    }
    let token = refreshed.text("access_token");

    let body = json!({"current_password": "password123", "new_password": "password124"});
    let changed = rig.as_bearer(&token, "POST", "/api/v1/auth/change-password", Some(body)).await;
    assert_eq!((changed.status, &changed.body), (200, &json!({"message": "Password changed successfully"})));

    let out = rig.as_bearer(&token, "POST", "/api/v1/auth/logout", None).await;
    assert_eq!((out.status, &out.body), (200, &json!({"message": "Logged out successfully"})));
    assert_eq!(rig.get(&token, "/api/v1/auth/profile").await.status, 401);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn methods() {
    let rig = rig().await;
    let methods = rig.send(rig.request("GET", "/api/v1/auth/methods")).await;
    assert_eq!(methods.status, 200);
    let password = &methods.body["methods"][0];
    assert_eq!(members(password), ["type", "name", "description", "enabled", "url"]);
    assert_eq!(
        (&password["type"], &password["enabled"], &password["url"]),
        (&json!("password"), &json!(true), &json!("/api/v1/auth/login"))
    );
    let passkey = &methods.body["methods"][1];
    assert_eq!((&passkey["type"], &passkey["enabled"]), (&json!("passkey"), &json!(false)));
    assert!(passkey["description"].as_str().unwrap().contains("server.public_url"), "it says why: {passkey}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_in_the_seeds_words() {
    let rig = rig().await;
    rig.register("ada").await;
    let cases = [
        (
            "/api/v1/auth/register",
            json!({"username": "ada", "email": "x@example.com", "password": "password123"}),
            409,
            "username already exists",
        ),
        (
            "/api/v1/auth/register",
            json!({"username": "ada", "email": "ada@example.com", "password": "password123"}),
            409,
            "username already exists",
        ),
        (
            "/api/v1/auth/register",
            json!({"username": "Ada", "email": "x@example.com", "password": "password123"}),
            409,
            "username already exists",
        ),
        (
            "/api/v1/auth/register",
            json!({"username": "bob", "email": "ADA@example.com", "password": "password123"}),
            409,
            "email already exists",
        ),
        ("/api/v1/auth/login", json!({}), 400, "username is required"),
        ("/api/v1/auth/login", json!({"username": "ada"}), 400, "password is required"),
        ("/api/v1/auth/login", json!({"username": "", "password": "x"}), 400, "username is required"),
        ("/api/v1/auth/login", json!({"username": "ada", "password": "wrong-password"}), 401, "Invalid credentials"),
        ("/api/v1/auth/login", json!({"username": "nobody", "password": "wrong-password"}), 401, "Invalid credentials"),
        ("/api/v1/auth/refresh", json!({}), 400, "refresh_token is required"),
        ("/api/v1/auth/refresh", json!({"refresh_token": "x"}), 401, "Invalid refresh token"),
    ];
    for (path, body, status, words) in cases {
        let answer = rig.post(path, body.clone()).await;
        assert_eq!((answer.status, answer.detail()), (status, words), "{path} {body}");
        assert_eq!(answer.body["error"], words);
        assert_eq!(answer.body["status"], status);
        assert_eq!(answer.headers.get("www-authenticate").is_some(), status == 401, "{path} {body}");
    }
    let none = rig.send(rig.request("POST", "/api/v1/auth/logout")).await;
    assert_eq!((none.status, none.detail()), (401, "Authorization header is required"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_bodies_are_refused_without_work() {
    let rig = rig().await;
    let send = |path: &'static str, text: Vec<u8>, kind: &'static str| {
        rig.send(rig.request("POST", path).header("content-type", kind).body(text))
    };
    for text in [
        "{\"username\":\"a\"",
        "{}{}",
        "",
        "\u{feff}{}",
        "[1]",
        "null",
        "7",
        "\"x\"",
        "{\"username\":7}",
        "{\"username\":\"\\ud800\"}",
    ] {
        for path in ["/api/v1/auth/register", "/api/v1/auth/login", "/api/v1/auth/refresh"] {
            let answer = send(path, text.as_bytes().to_vec(), "application/json").await;
            assert_eq!(answer.status, 400, "{path} {text}");
        }
        let answer = send("/auth/login", text.as_bytes().to_vec(), "application/json").await;
        assert!(matches!(answer.status, 400 | 422), "{text}");
    }
    assert_eq!(send("/api/v1/auth/login", b"{}".to_vec(), "text/plain").await.status, 415);
    assert_eq!(send("/auth/login", b"{}".to_vec(), "text/plain").await.status, 415);
    assert_eq!(
        send("/auth/token", b"username=a&username=%ff".to_vec(), "application/x-www-form-urlencoded").await.status,
        400
    );
    // A megabyte of password is refused before it is hashed (reliability row A13).
    let began = std::time::Instant::now();
    let long = json!({"username": "ada", "password": "x".repeat(900_000)});
    assert_eq!(rig.post("/api/v1/auth/login", long).await.status, 400);
    let long = json!({"username": "ada", "email": "ada@example.com", "password": "x".repeat(900_000)});
    assert_eq!(rig.post("/api/v1/auth/register", long).await.status, 400);
    assert!(began.elapsed() < std::time::Duration::from_secs(2));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_chooses_their_own_rights() {
    let rig = rig().await;
    // Row R03 of `docs/reliability.md`.
    let body = json!({
        "username": "eve", "email": "eve@example.com", "password": "password123",
        "roles": ["admin"], "role": "admin", "is_active": false, "active": false, "auth_source": "oidc",
        "id": "0198c5b0-0000-7000-8000-00000000ffff", "tenant_id": "x", "is_admin": true
    });
    let made = rig.post("/api/v1/auth/register", body.clone()).await;
    assert_eq!(made.status, 201);
    let user = &made.body["user"];
    assert_eq!(user["roles"][0]["name"], "viewer");
    assert_eq!((&user["active"], &user["auth_source"]), (&json!(true), &json!("password")));
    assert_ne!(user["id"], "0198c5b0-0000-7000-8000-00000000ffff");
    let mut body = body;
    body["username"] = json!("mallory");
    body["email"] = json!("mallory@example.com");
    body["roles"] = json!("Super Admin");
    let made = rig.post("/auth/register", body).await;
    assert_eq!((made.status, &made.body["roles"]), (201, &json!("Developer")));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_look_alike_are_one_or_refused() {
    let rig = rig().await;
    rig.register("admin").await;
    for (name, status) in [
        ("Admin", 409),
        ("ＡＤＭＩＮ", 409),
        ("admin ", 400),
        ("аdmin", 400),
        ("ad\u{200b}min", 400),
        ("ab", 400),
        ("100", 400),
        ("0198c5b0-0000-7000-8000-000000000001", 400),
    ] {
        let body = json!({"username": name, "email": "other@example.com", "password": "password123"});
        assert_eq!(rig.post("/api/v1/auth/register", body).await.status, status, "{name}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn registration_can_be_closed() {
    let rig = rig_with(&[("ROADSTEAD_USER_REGISTRATION", "closed")]).await;
    let body = json!({"username": "ada", "email": "ada@example.com", "password": "password123"});
    for path in ["/api/v1/auth/register", "/auth/register", "/api/v1.0/auth/register"] {
        let answer = rig.post(path, body.clone()).await;
        assert_eq!((answer.status, answer.code()), (403, "registration_closed"), "{path}");
    }
    // An admin makes accounts all the same.
    let owner = rig.owner().await;
    let answer = rig.as_key(owner.api_key.expose(), "POST", "/users", Some(body)).await;
    assert_eq!((answer.status, &answer.body["roles"]), (201, &json!("Developer")));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn password_classes_when_asked_for() {
    let rig = rig_with(&[("ROADSTEAD_AUTH_PASSWORD_REQUIRE_SPECIAL_CHARS", "true")]).await;
    let body = |password: &str| json!({"username": "ada", "email": "ada@example.com", "password": password});
    let answer = rig.post("/api/v1/auth/register", body("password123")).await;
    assert_eq!((answer.status, answer.code()), (400, "validation_failed"));
    assert_eq!(rig.post("/api/v1/auth/register", body("password-123")).await.status, 201);
    rig.stop().await;
}
