//! What does not hold (reliability rows A15, A18, F25): no session comes of it.

use serde_json::{Value, json};

use super::{ada, sso, sso_with};

fn without(query: &[(String, String)], name: &str) -> Vec<(String, String)> {
    query.iter().filter(|(key, _)| key != name).cloned().collect()
}

fn with(query: &[(String, String)], name: &str, value: &str) -> Vec<(String, String)> {
    let mut query = without(query, name);
    query.push((name.to_owned(), value.to_owned()));
    query
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_belong_to_no_login_here() {
    let sso = sso().await;
    let stranger = sso.begin("").await;
    for case in [
        "no state",
        "foreign state",
        "no cookie",
        "other browser",
        "error",
        "other issuer",
        "no issuer",
        "no code",
        "code of nobody",
        "long state",
        "doubled",
    ] {
        let browser = sso.begin("").await;
        let query = sso.provider.approve(&browser.to, ada());
        let cookie = Some(browser.cookie.as_str());
        let (query, cookie) = match case {
            "no state" => (without(&query, "state"), cookie),
            "foreign state" => (with(&query, "state", "made-up"), cookie),
            "no cookie" => (query, None),
            "other browser" => (query, Some(stranger.cookie.as_str())),
            "error" => (with(&query, "error", "access_denied"), cookie),
            "other issuer" => (with(&query, "iss", "https://evil.example"), cookie),
            "no issuer" => (without(&query, "iss"), cookie),
            "no code" => (without(&query, "code"), cookie),
            "code of nobody" => (with(&query, "code", "made-up"), cookie),
            "long state" => (with(&query, "state", &"x".repeat(5_000)), cookie),
            _ => {
                let mut twice = query.clone();
                twice.extend(query);
                (twice, cookie)
            }
        };
        let answer = sso.back(&query, cookie).await;
        assert!(matches!(answer.status, 400 | 401), "{case}: {} {}", answer.status, answer.body);
        assert!(answer.status == 400 || answer.code() == "login_refused", "{case}: {}", answer.body);
        assert!(!answer.headers.contains_key("set-cookie"), "{case}");
    }
    // Nobody was made an account for.
    let owner = sso.rig.owner().await;
    let users = sso.rig.as_key(owner.api_key.expose(), "GET", "/users", None).await;
    assert_eq!(users.body["users"].as_array().unwrap().len(), 1, "{}", users.body);
    sso.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_and_code_count_once() {
    let sso = sso().await;
    let browser = sso.begin("").await;
    let query = sso.provider.approve(&browser.to, ada());
    assert_eq!(sso.back(&query, Some(&browser.cookie)).await.status, 200);
    let replay = sso.back(&query, Some(&browser.cookie)).await;
    assert_eq!((replay.status, replay.code()), (401, "login_refused"), "the state was used");
    // The same code under a state of its own: PKCE and the provider refuse it.
    let second = sso.begin("").await;
    let mut stolen = sso.provider.approve(&second.to, ada());
    stolen = with(&stolen, "code", &query[0].1);
    assert_eq!(sso.back(&stolen, Some(&second.cookie)).await.code(), "login_refused");
    // Two at once: one has it.
    let third = sso.begin("").await;
    let query = sso.provider.approve(&third.to, ada());
    let (one, two) = tokio::join!(sso.back(&query, Some(&third.cookie)), sso.back(&query, Some(&third.cookie)));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401]);
    // After ten minutes it is over.
    let late = sso.begin("").await;
    let query = sso.provider.approve(&late.to, ada());
    sso.rig.clock.advance(chrono::TimeDelta::minutes(10));
    assert_eq!(sso.back(&query, Some(&late.cookie)).await.status, 401);
    sso.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_for_another_login_does_not_fit() {
    // An attacker's code in the victim's login: the challenge belongs to another verifier.
    let sso = sso().await;
    let (mine, theirs) = (sso.begin("").await, sso.begin("").await);
    let (my_query, their_query) =
        (sso.provider.approve(&mine.to, ada()), sso.provider.approve(&theirs.to, json!({"sub": "evil"})));
    let mixed = with(&my_query, "code", &their_query[0].1);
    assert_eq!(sso.back(&mixed, Some(&mine.cookie)).await.code(), "login_refused");
    sso.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_not_for_this_login() {
    let sso = sso().await;
    let now = 1_800_000_000;
    for spoil in [
        json!({"nonce": "another"}),
        json!({"nonce": null}),
        json!({"aud": "another"}),
        json!({"aud": ["hub", "another"]}),
        json!({"azp": "another"}),
        json!({"iss": "https://evil.example"}),
        json!({"exp": now - 60}),
        json!({"exp": null}),
        json!({"iat": now + 60}),
        json!({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}),
        json!({"sub": null}),
    ] {
        sso.provider.with(|state| state.spoil = spoil.clone());
        let answer = sso.login(ada()).await;
        assert_eq!((answer.status, answer.code()), (401, "login_refused"), "{spoil}");
    }
    sso.provider.with(|state| state.spoil = json!({}));
    assert_eq!(sso.login(ada()).await.status, 200);
    sso.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_is_no_access_token() {
    let sso = sso().await;
    let token = sso.provider.logout_token(&json!({"sub": "ada-1"}));
    assert_eq!(sso.rig.get(&token, "/users/me").await.status, 401);
    sso.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate() {
    let sso = sso().await;
    let login = sso.login(ada()).await;
    assert_eq!(login.status, 200);
    sso.provider.rotate("k2");
    assert_eq!(sso.login(ada()).await.status, 200, "an unknown key is fetched");
    let fetches = sso.provider.with(|state| state.key_fetches);
    // A key that is published nowhere leads to one fetch a minute, however many ask (row F25).
    sso.provider.rotate("k3");
    sso.provider.with(|state| state.keys_text = Some(json!({"keys": []}).to_string()));
    sso.rig.clock.advance(chrono::TimeDelta::minutes(2));
    for _ in 0..5 {
        let answer = sso.login(ada()).await;
        assert!(matches!(answer.code(), "login_refused" | "provider_unavailable"), "{}", answer.body);
    }
    assert_eq!(sso.provider.with(|state| state.key_fetches), fetches + 1);
    // Sessions go on meanwhile.
    assert_eq!(sso.rig.get(&login.text("access_token"), "/users/me").await.status, 200);
    sso.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away() {
    let sso = sso().await;
    sso.rig.register("local").await;
    sso.provider.with(|state| state.away = true);
    let answer = sso.get("/api/v1/auth/oidc/login", &[]).await;
    assert_eq!((answer.status, answer.code()), (503, "provider_unavailable"));
    assert!(answer.headers.contains_key("retry-after") && !answer.detail().contains("127.0.0.1"));
    // Whoever comes next gets the failure at once, and the provider is not asked again and again.
    let before = sso.provider.with(|state| state.discovery_fetches);
    for _ in 0..5 {
        assert_eq!(sso.get("/api/v1/auth/oidc/login", &[]).await.status, 503);
    }
    assert_eq!(sso.provider.with(|state| state.discovery_fetches), before);
    assert_eq!(sso.rig.login("local", "password123").await.status, 200, "passwords work");
    sso.provider.with(|state| state.away = false);
    sso.rig.clock.advance(chrono::TimeDelta::seconds(5));
    let browser = sso.begin("").await;
    let query = sso.provider.approve(&browser.to, ada());
    sso.provider.with(|state| state.away = true);
    assert_eq!(sso.back(&query, Some(&browser.cookie)).await.code(), "provider_unavailable");
    sso.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_and_keys_that_are_not_to_be_used() {
    for (name, document, keys, redirect) in [
        ("another issuer", json!({"issuer": "https://evil.example"}), None, None),
        ("no TLS", json!({"token_endpoint": "http://id.example/token"}), None, None),
        ("keys at link-local", json!({"jwks_uri": "http://169.254.169.254/keys"}), None, None),
        ("ten megabytes", json!({}), Some(format!("{{\"keys\":[]}}{}", " ".repeat(10 << 20))), None),
        ("a redirect", json!({}), None, Some("http://169.254.169.254/latest/meta-data")),
        ("no JSON", json!({}), Some("<html>".to_owned()), None),
        (
            "keys to encrypt with",
            json!({}),
            Some(json!({"keys": [{"kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB"}]}).to_string()),
            None,
        ),
        (
            "a short key",
            json!({}),
            Some(json!({"keys": [{"kty": "RSA", "kid": "k", "n": "AQAB".repeat(21), "e": "AQAB"}]}).to_string()),
            None,
        ),
    ] {
        let sso = sso().await;
        sso.provider.with(|state| {
            state.document = document;
            state.keys_text = keys;
            state.keys_redirect = redirect.map(str::to_owned);
        });
        let answer = sso.get("/api/v1/auth/oidc/login", &[]).await;
        assert_eq!((answer.status, answer.code()), (503, "provider_unavailable"), "{name}: {}", answer.body);
        sso.rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_keys_stay_while_new_ones_cannot_be_read() {
    let sso = sso().await;
    assert_eq!(sso.login(ada()).await.status, 200);
    sso.provider.with(|state| state.keys_text = Some("<html>".into()));
    sso.rig.clock.advance(chrono::TimeDelta::hours(2));
    assert_eq!(sso.login(ada()).await.status, 200);
    sso.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_work_are_refused() {
    use roadstead_runtime::config::{ServiceRole, Settings};

    let refused = |env: &[(&str, &str)]| {
        let mut map = roadstead_runtime::config::MapEnv::default().with("ROADSTEAD_AUTH_OIDC_ENABLED", "true");
        for (name, value) in env {
            map = map.with(*name, *value);
        }
        Settings::load(ServiceRole::Up, None, &map).unwrap_err().to_string()
    };
    let all = refused(&[]);
    for name in ["ISSUER", "CLIENT_ID", "REDIRECT_URL"] {
        assert!(all.contains(&format!("ROADSTEAD_AUTH_OIDC_{name}")), "{name}: {all}");
    }
    assert!(refused(&[("ROADSTEAD_AUTH_OIDC_ROLE_MAP", "x=root")]).contains("ROLE_MAP"));
    let _: Value = json!(null);
    let sso = sso_with(&[]).await;
    sso.rig.stop().await;
}
