use base64::Engine as _;
use serde_json::json;

use super::{ada, pairs, sso, sso_with};
use crate::rig::rig;

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_login() {
    let sso = sso().await;
    let answer = sso.login(ada()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let token = answer.text("access_token");
    let me = sso.rig.get(&token, "/api/v1/auth/profile").await;
    assert_eq!((me.text("username"), me.text("auth_source")), ("ada".into(), "oidc".into()));
    assert_eq!(me.body["roles"], json!(["viewer"]));
    // The refresh token works as any.
    let refreshed = sso.rig.post("/api/v1/auth/refresh", json!({"refresh_token": answer.text("refresh_token")})).await;
    assert_eq!(refreshed.status, 200);
    // The provider's name for a person counts, not its address: the address moves on, the account stays.
    let moved = json!({"sub": "ada-1", "email": "ada@elsewhere.example", "email_verified": false});
    let again = sso.login(moved).await;
    assert_eq!(again.body["user"]["id"], answer.body["user"]["id"]);
    assert_eq!(again.body["user"]["email"], "ada@example.com");
    sso.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ways_to_log_in_are_listed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        "- name: corp\n  title: The corporation\n  issuer: https://id.example\n  client_id: hub\n\
         - name: off\n  issuer: https://off.example\n  client_id: hub\n  enabled: false\n",
    )
    .unwrap();
    let path = file.path().display().to_string();
    let sso = sso_with(&[
        ("ROADSTEAD_AUTH_OIDC_PROVIDERS_FILE", &path),
        ("ROADSTEAD_AUTH_PASSWORD_ENABLED", "false"),
        ("ROADSTEAD_PUBLIC_URL", "http://127.0.0.1:1"),
    ])
    .await;
    let methods = sso.rig.send(sso.rig.request("GET", "/api/v1/auth/methods")).await;
    let shown: Vec<_> = methods.body["methods"]
        .as_array()
        .unwrap()
        .iter()
        .map(|method| {
            (method["type"].clone(), method["name"].clone(), method["enabled"].clone(), method["url"].clone())
        })
        .collect();
    assert_eq!(
        shown,
        [
            (json!("password"), json!("Password"), json!(false), json!("/api/v1/auth/login")),
            (json!("passkey"), json!("Passkey"), json!(false), json!("/api/v1/auth/passkeys/login/begin")),
            (json!("oidc"), json!("Single sign-on"), json!(true), json!("/api/v1/auth/oidc/login?provider=sso")),
            (json!("oidc"), json!("The corporation"), json!(true), json!("/api/v1/auth/oidc/login?provider=corp")),
        ]
    );
    assert_eq!(sso.get("/api/v1/auth/oidc/login?provider=off", &[]).await.status, 404);
    assert_eq!(sso.get("/api/v1/auth/oidc/login?provider=sso&provider=corp", &[]).await.status, 400);
    sso.rig.stop().await;
    let without = rig().await;
    assert_eq!(without.send(without.request("GET", "/api/v1/auth/oidc/login")).await.status, 404);
    without.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_on_the_persons_machine() {
    let sso = sso().await;
    let verifier = "v".repeat(64);
    let challenge = roadstead_auth::oidc::challenge(&verifier);
    let wish = format!("loopback_port=45678&loopback_state=abc&challenge={challenge}");
    let answer = |claims| async {
        let browser = sso.begin(&wish).await;
        let query = sso.provider.approve(&browser.to, claims);
        let answer = sso.back(&query, Some(&browser.cookie)).await;
        assert_eq!(answer.status, 302);
        answer.headers["location"].to_str().unwrap().to_owned()
    };
    let to = answer(ada()).await;
    assert!(to.starts_with("http://127.0.0.1:45678/callback?code="), "{to}");
    assert!(!to.contains("token"), "only a code goes through the browser");
    let code = pairs(&to).into_iter().find(|(name, _)| name == "code").unwrap().1;
    assert!(to.ends_with("&state=abc"));
    let fetch = |code: String, verifier: String| {
        sso.rig.post("/api/v1/auth/oidc/exchange", json!({"code": code, "verifier": verifier}))
    };
    // A code that somebody else saw is worth nothing, and it is spent by the try.
    assert_eq!(fetch(code.clone(), "w".repeat(64)).await.code(), "login_refused");
    assert_eq!(fetch(code, verifier.clone()).await.code(), "login_refused");
    let code = pairs(&answer(ada()).await).remove(0).1;
    let fetched = fetch(code.clone(), verifier.clone()).await;
    assert_eq!(fetched.status, 200, "{}", fetched.body);
    assert_eq!(sso.rig.get(&fetched.text("access_token"), "/users/me").await.status, 200);
    assert_eq!(fetch(code, verifier.clone()).await.status, 401, "once");
    // It is over after a minute.
    let code = pairs(&answer(ada()).await).remove(0).1;
    sso.rig.clock.advance(chrono::TimeDelta::seconds(61));
    assert_eq!(fetch(code, verifier).await.status, 401);
    // The program hears of a refusal.
    sso.provider.with(|state| state.spoil = json!({"aud": "other"}));
    assert_eq!(answer(ada()).await, "http://127.0.0.1:45678/callback?error=login_refused&state=abc");
    for odd in ["loopback_port=22", "loopback_port=45678&loopback_state=a%26b", "loopback_state=abc", "loopback_port=x"]
    {
        let path = format!("/api/v1/auth/oidc/login?{odd}&challenge={challenge}&loopback_state=abc");
        assert_eq!(sso.get(&path, &[]).await.status, 400, "{odd}");
    }
    sso.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_without_a_browser() {
    let sso = sso().await;
    let begun = sso.rig.post("/api/v1/auth/oidc/device", json!({})).await;
    assert_eq!((begun.status, begun.text("user_code").as_str()), (200, "WDJB-MJHT"));
    assert_eq!(begun.body["interval"], 5, "not more often than the standard says");
    let ask = |code: String| sso.rig.post("/api/v1/auth/oidc/device/token", json!({"device_code": code}));
    let waiting = ask(begun.text("device_code")).await;
    assert_eq!((waiting.status, waiting.code()), (400, "authorization_pending"));
    assert_eq!(waiting.headers["retry-after"], "5");
    sso.provider.with(|state| state.device = Some(ada()));
    let done = ask(begun.text("device_code")).await;
    assert_eq!(done.status, 200, "{}", done.body);
    assert_eq!(ask(format!("another.{}", "v".repeat(43))).await.code(), "login_refused");
    sso.provider.with(|state| state.document = json!({"device_authorization_endpoint": null}));
    sso.rig.clock.advance(chrono::TimeDelta::hours(2));
    assert_eq!(sso.rig.post("/api/v1/auth/oidc/device", json!({})).await.status, 400);
    sso.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logouts() {
    let sso = sso().await;
    let login = sso.login(ada()).await;
    let token = login.text("access_token");
    let out = sso.rig.as_bearer(&token, "POST", "/api/v1/auth/oidc/logout", None).await;
    assert_eq!(out.status, 200, "{}", out.body);
    let url = out.text("logout_url");
    let query = pairs(&url);
    assert!(url.starts_with(&format!("{}/logout?client_id=hub&", sso.provider.url)), "{url}");
    assert!(query.contains(&("post_logout_redirect_uri".into(), "http://127.0.0.1:1/".into())));
    let hint = &query.iter().find(|(name, _)| name == "id_token_hint").unwrap().1;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(hint.split('.').nth(1).unwrap()).unwrap();
    assert!(String::from_utf8_lossy(&claims).contains("ada-1"));
    assert_eq!(sso.rig.get(&token, "/users/me").await.status, 401);
    sso.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logouts_that_the_provider_tells_of() {
    let sso = sso().await;
    let (one, two) = (sso.login(ada()).await, sso.login(ada()).await);
    let other = json!({"sub": "bob-1", "email": "bob@example.com", "email_verified": true, "sid": "other"});
    let bob = sso.login(other).await;
    let tell = |token: String| {
        let request = sso.rig.request("POST", "/api/v1/auth/oidc/backchannel-logout").form(&[("logout_token", token)]);
        sso.rig.send(request)
    };
    for odd in [
        json!({"sid": "provider-session", "nonce": "x"}),
        json!({"aud": "other", "sub": "ada-1"}),
        json!({"iss": "https://evil.example", "sub": "ada-1"}),
    ] {
        assert_eq!(tell(sso.provider.logout_token(&odd)).await.status, 400, "{odd}");
    }
    assert_eq!(tell("x.y.z".into()).await.status, 400);
    assert_eq!(sso.rig.get(&one.text("access_token"), "/users/me").await.status, 200, "nothing ended");
    let good = sso.provider.logout_token(&json!({"sid": "provider-session"}));
    assert_eq!(tell(good.clone()).await.status, 200);
    for ended in [one, two] {
        assert_eq!(sso.rig.get(&ended.text("access_token"), "/users/me").await.status, 401);
    }
    assert_eq!(sso.rig.get(&bob.text("access_token"), "/users/me").await.status, 200, "another person's");
    assert_eq!(tell(good).await.status, 400, "a token counts once");
    let by_subject = sso.provider.logout_token(&json!({"sub": "bob-1", "jti": "j-2"}));
    assert_eq!(tell(by_subject).await.status, 200);
    assert_eq!(sso.rig.get(&bob.text("access_token"), "/users/me").await.status, 401);
    sso.rig.stop().await;
}
