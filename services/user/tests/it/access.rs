//! Every route of the table with every kind of bad credential (reliability rows A01 to A06).

use roadstead_http_kit::Access;
use roadstead_user::routes;
use serde_json::json;

use crate::rig::{Answer, Rig, rig};

fn concrete(path: &str) -> String {
    path.replace("{id}", "1").replace("{user_id}", "1")
}

/// Routes that look at the credential by themselves and are public in the table.
const OWN_CHECK: [&str; 2] = ["/users/me/api-key", "/auth/register-admin"];

fn checks_itself(path: &str) -> bool {
    OWN_CHECK.iter().any(|own| path.ends_with(own))
}

async fn call(rig: &Rig, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request =
        rig.request(method, path).json(&json!({"username": "abc", "email": "a@b.cd", "password": "password123"}));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    rig.send(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_takes_a_bad_credential() {
    let rig = rig().await;
    let login = rig.account("ada").await;
    let access = login.text("access_token");
    let (signed, signature) = access.rsplit_once('.').unwrap();
    let long = format!("Bearer {}", "a".repeat(20 * 1024));
    let bearers = [
        "Bearer",
        "Bearer ",
        "Bearer a",
        "Bearer aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "Basic YWRhOnBhc3N3b3JkMTIz",
        "",
        "ada",
        &long,
        &format!("Bearer {signed}."),
        &format!("Bearer {signed}.{}", signature.chars().rev().collect::<String>()),
        &format!("Bearer {access} x"),
        &format!("Bearer {}", login.text("refresh_token")),
        "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.",
    ];
    let mut walked = 0;
    for row in routes() {
        let public = matches!(row.access, Access::Public);
        if public && !checks_itself(&row.path) {
            continue;
        }
        let path = concrete(&row.path);
        let method = row.method.as_str();
        walked += 1;
        let none = call(&rig, method, &path, &[]).await;
        assert_eq!(none.status, 401, "{method} {path} without a credential");
        assert!(none.headers.contains_key("www-authenticate"), "{method} {path}");
        for key in [
            "x",
            "rsk_0198c5b0000070008000000000000001_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "ks_0123456789abcdef",
        ] {
            let headers = [("X-API-Key", key), ("X-Bootstrap-Token", "wrong")];
            assert_eq!(call(&rig, method, &path, &headers).await.status, 401, "{method} {path} with key {key}");
        }
        if public {
            continue;
        }
        for bearer in bearers {
            let answer = call(&rig, method, &path, &[("Authorization", bearer)]).await;
            assert_eq!(answer.status, 401, "{method} {path} with {}", &bearer[..bearer.len().min(40)]);
        }
        let good = format!("Bearer {access}");
        let twice = call(&rig, method, &path, &[("Authorization", &good), ("Authorization", &good)]).await;
        assert_eq!(twice.status, 401, "{method} {path} with two bearers");
    }
    assert_eq!(walked, 87);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_low_a_role_is_told_so() {
    let rig = rig().await;
    let token = rig.account("ada").await.text("access_token");
    for row in routes() {
        let Access::Action(action) = row.access else { continue };
        let path = concrete(&row.path);
        let answer = rig.as_bearer(&token, row.method.as_str(), &path, Some(json!({}))).await;
        assert_eq!((answer.status, answer.code()), (403, "forbidden"), "{} {path} {action:?}", row.method);
    }
    rig.stop().await;
}

#[test]
fn public_routes_are_these_and_no_others() {
    let mut public: Vec<String> = routes()
        .into_iter()
        .filter(|row| matches!(row.access, Access::Public))
        .map(|row| format!("{} {}", row.method, row.path.trim_start_matches("/api/v1.0")))
        .collect();
    public.sort();
    public.dedup();
    assert_eq!(
        public,
        [
            "GET /.well-known/jwks.json",
            "GET /api/v1/auth/methods",
            "GET /api/v1/auth/oidc/callback",
            "GET /api/v1/auth/oidc/login",
            "GET /api/v1/auth/password-reset",
            "GET /api/v1/auth/sign-in",
            "GET /api/v1/auth/sign-in.js",
            "GET /auth/check-admin-exists",
            "GET /auth/check-password-reset-status",
            "GET /auth/confirm/{id}/{answer}",
            "GET /healthz",
            "GET /license/status",
            "GET /metrics",
            "GET /readyz",
            "GET /users/me/api-key",
            "GET /version",
            "POST /api/v1/auth/login",
            "POST /api/v1/auth/oidc/backchannel-logout",
            "POST /api/v1/auth/oidc/device",
            "POST /api/v1/auth/oidc/device/token",
            "POST /api/v1/auth/oidc/exchange",
            "POST /api/v1/auth/passkeys/login",
            "POST /api/v1/auth/passkeys/login/begin",
            "POST /api/v1/auth/password-reset",
            "POST /api/v1/auth/refresh",
            "POST /api/v1/auth/register",
            "POST /auth/login",
            "POST /auth/refresh",
            "POST /auth/register",
            "POST /auth/register-admin",
            "POST /auth/resend-confirm",
            "POST /auth/token",
            "POST /auth/token/refresh",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_are_refused_with_allow() {
    let rig = rig().await;
    for (method, path) in [("TRACE", "/users"), ("PROPFIND", "/users"), ("PATCH", "/users/1"), ("GET", "/auth/login")] {
        let answer = rig.send(rig.request(method, path)).await;
        assert_eq!(answer.status, 405, "{method} {path}");
        assert!(answer.headers.contains_key("allow"), "{method} {path}");
    }
    let token = rig.account("ada").await.text("access_token");
    let overridden = rig.request("GET", "/users/me").bearer_auth(token).header("X-HTTP-Method-Override", "DELETE");
    assert_eq!(rig.send(overridden).await.status, 200);
    rig.stop().await;
}
