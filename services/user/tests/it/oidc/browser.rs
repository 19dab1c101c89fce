//! Sessions of browsers: a cookie that scripts cannot read, and changes that only the hub's own pages send.

use serde_json::json;

use super::{Sso, ada, set_cookie, sso, sso_with};

async fn cookie(sso: &Sso) -> String {
    let browser = sso.begin("next=/clusters").await;
    let query = sso.provider.approve(&browser.to, ada());
    let answer = sso.back(&query, Some(&browser.cookie)).await;
    assert_eq!((answer.status, answer.headers["location"].to_str().unwrap()), (302, "/clusters"));
    assert_eq!(answer.body, serde_json::Value::Null, "no token in the page");
    let text = set_cookie(&answer.headers, "roadstead_session").unwrap();
    assert!(text.contains("HttpOnly; SameSite=Lax"), "{text}");
    assert!(set_cookie(&answer.headers, "roadstead_login").unwrap().contains("Max-Age=0"));
    text.split(';').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_reads_and_changes_need_the_hubs_own_page() {
    let sso = sso().await;
    let cookie = cookie(&sso).await;
    let me = sso.get("/api/v1/auth/profile", &[("cookie", &cookie)]).await;
    assert_eq!((me.status, me.text("username").as_str()), (200, "ada"));
    let body = json!({"key_name": "mine"});
    let host = sso.rig.url.trim_start_matches("http://");
    let foreign = [
        vec![],
        vec![("sec-fetch-site", "cross-site")],
        vec![("sec-fetch-site", "same-site")],
        vec![("origin", "https://evil.example")],
        vec![("origin", "null")],
        vec![("origin", "http://127.0.0.1:1")],
    ];
    for mut headers in foreign {
        headers.push(("cookie", &cookie));
        let answer = sso.post("/api-keys", &headers, body.clone()).await;
        assert_eq!((answer.status, answer.code()), (403, "cross_site"), "{headers:?}");
    }
    let own = format!("http://{host}");
    for headers in [[("sec-fetch-site", "same-origin"), ("cookie", &cookie)], [("origin", &own), ("cookie", &cookie)]] {
        let name = format!("key of {}", headers[0].0);
        assert_eq!(sso.post("/api-keys", &headers, json!({"key_name": name})).await.status, 201);
    }
    // A program's credential in a header needs none of this, and takes the cookie's place.
    let owner = sso.rig.owner().await;
    let key = owner.api_key.expose();
    let mixed = sso.post("/api-keys", &[("x-api-key", key), ("cookie", &cookie)], json!({"key_name": "x"})).await;
    assert_eq!(mixed.status, 201);
    assert_eq!(mixed.body["user_id"], 2, "{}: the key's account, not the cookie's", mixed.body);
    sso.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_logs_out() {
    let sso = sso().await;
    let cookie = cookie(&sso).await;
    let headers = [("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin")];
    let out = sso.post("/api/v1/auth/oidc/logout", &headers, json!({})).await;
    assert_eq!(out.status, 200, "{}", out.body);
    assert!(set_cookie(&out.headers, "roadstead_session").unwrap().contains("Max-Age=0"));
    assert!(out.text("logout_url").contains("id_token_hint="));
    assert_eq!(
        sso.get("/api/v1/auth/profile", &[("cookie", &cookie)]).await.status,
        401,
        "the session is over, not only the cookie"
    );
    sso.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browsers_session_outlives_an_access_token() {
    let sso = sso().await;
    let cookie = cookie(&sso).await;
    sso.rig.clock.advance(chrono::TimeDelta::days(6));
    assert_eq!(sso.get("/api/v1/auth/profile", &[("cookie", &cookie)]).await.status, 200);
    sso.rig.clock.advance(chrono::TimeDelta::days(2));
    assert_eq!(sso.get("/api/v1/auth/profile", &[("cookie", &cookie)]).await.status, 401);
    sso.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn next_stays_on_the_hub() {
    let sso = sso().await;
    for evil in ["//evil", "/%5Cevil", "https:evil", "https://evil/", "/%09/evil"] {
        let browser = sso.begin(&format!("next={evil}")).await;
        let query = sso.provider.approve(&browser.to, ada());
        let answer = sso.back(&query, Some(&browser.cookie)).await;
        assert_eq!((answer.status, answer.headers["location"].to_str().unwrap()), (302, "/"), "{evil}");
    }
    sso.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_only_the_prefixed_cookies_count() {
    let sso = sso_with(&[("ROADSTEAD_AUTH_OIDC_REDIRECT_URL", "https://hub.example/api/v1/auth/oidc/callback")]).await;
    let browser = sso.begin("next=/x").await;
    let (name, value) = browser.cookie.split_once('=').unwrap();
    assert_eq!(name, "__Host-roadstead_login");
    let query = sso.provider.approve(&browser.to, ada());
    // What a neighbour under the same domain could plant.
    let planted = format!("roadstead_login={value}");
    assert_eq!(sso.back(&query, Some(&planted)).await.code(), "login_refused");
    let browser = sso.begin("next=/x").await;
    let query = sso.provider.approve(&browser.to, ada());
    let answer = sso.back(&query, Some(&browser.cookie)).await;
    let session = set_cookie(&answer.headers, "__Host-roadstead_session").unwrap();
    assert!(session.ends_with("; Secure"), "{session}");
    sso.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cross_origin_answer_is_given() {
    let sso = sso().await;
    let cookie = cookie(&sso).await;
    for origin in ["null", "https://evil.example"] {
        let answer = sso.get("/api/v1/auth/profile", &[("cookie", &cookie), ("origin", origin)]).await;
        assert!(!answer.headers.keys().any(|name| name.as_str().starts_with("access-control-")), "{origin}");
    }
    sso.rig.stop().await;
}
