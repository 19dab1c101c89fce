//! Single sign-on, with a provider that signs its own tokens.

mod accounts;
mod browser;
mod faults;
mod logins;
mod provider;

use reqwest::header::HeaderMap;
use roadstead_runtime::ManualClock;
use serde_json::{Value, json};

use crate::rig::{Answer, Rig, start_at};
pub use provider::pairs;
use provider::{CLIENT, Provider, SECRET};

pub struct Sso {
    pub rig: Rig,
    pub provider: Provider,
    client: reqwest::Client,
}

/// A browser that was sent to the provider.
pub struct Browser {
    pub to: String,
    pub cookie: String,
}

pub fn ada() -> Value {
    json!({"sub": "ada-1", "email": "ada@example.com", "email_verified": true, "preferred_username": "Ada"})
}

pub async fn sso() -> Sso {
    sso_with(&[]).await
}

pub async fn sso_with(env: &[(&str, &str)]) -> Sso {
    roadstead_runtime::install_crypto();
    let clock = ManualClock::at(chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap());
    let provider = Provider::start(clock.clone());
    let mut all = vec![
        ("ROADSTEAD_AUTH_OIDC_ENABLED", "true"),
        ("ROADSTEAD_AUTH_OIDC_ISSUER", provider.url.as_str()),
        ("ROADSTEAD_AUTH_OIDC_CLIENT_ID", CLIENT),
        ("ROADSTEAD_AUTH_OIDC_CLIENT_SECRET", SECRET),
        ("ROADSTEAD_AUTH_OIDC_REDIRECT_URL", "http://127.0.0.1:1/api/v1/auth/oidc/callback"),
    ];
    all.extend_from_slice(env);
    let rig = start_at(tempfile::tempdir().unwrap(), &all, clock).await;
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    Sso { rig, provider, client }
}

impl Sso {
    /// As a browser asks: no redirect is followed.
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.client.get(format!("{}{path}", self.rig.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.rig.send(request).await
    }

    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: Value) -> Answer {
        let mut request = self.client.post(format!("{}{path}", self.rig.url)).json(&body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.rig.send(request).await
    }

    pub async fn begin(&self, query: &str) -> Browser {
        let answer = self.get(&format!("/api/v1/auth/oidc/login?{query}"), &[]).await;
        assert_eq!(answer.status, 302, "{}", answer.body);
        let cookie = answer.headers["set-cookie"].to_str().unwrap();
        assert!(cookie.contains("HttpOnly; SameSite=Lax") && cookie.contains("Path=/;"), "{cookie}");
        Browser {
            to: answer.headers["location"].to_str().unwrap().to_owned(),
            cookie: cookie.split(';').next().unwrap().to_owned(),
        }
    }

    pub async fn back(&self, query: &[(String, String)], cookie: Option<&str>) -> Answer {
        let path = format!("/api/v1/auth/oidc/callback?{}", serde_urlencoded::to_string(query).unwrap());
        let headers: Vec<_> = cookie.into_iter().map(|cookie| ("cookie", cookie)).collect();
        self.get(&path, &headers).await
    }

    /// A whole login.
    pub async fn login(&self, claims: Value) -> Answer {
        let browser = self.begin("").await;
        let query = self.provider.approve(&browser.to, claims);
        self.back(&query, Some(&browser.cookie)).await
    }
}

pub fn set_cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all("set-cookie")
        .iter()
        .map(|value| value.to_str().unwrap())
        .find(|text| text.starts_with(&format!("{name}=")))
        .map(str::to_owned)
}
