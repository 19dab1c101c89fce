//! A caller of the hub.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::{Client, Method};
use serde_json::Value;

/// Longer than any deadline of the hub (30 s to an agent): what comes later was never bounded.
const LIMIT: Duration = Duration::from_secs(45);

/// One caller at one door.
#[derive(Debug, Clone)]
pub struct Api {
    client: Client,
    base: String,
    headers: Vec<(&'static str, String)>,
}

/// An answer: its status and its JSON (or `null`).
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub body: Value,
}

impl Api {
    /// A caller without a credential.
    pub fn new(base: &str) -> Result<Self> {
        let client = Client::builder().timeout(LIMIT).no_proxy().build().context("failed to make a client")?;
        Ok(Self { client, base: base.trim_end_matches('/').to_owned(), headers: Vec::new() })
    }

    /// A caller that trusts one authority only, and shows a certificate (its files: chain, key) if it has one.
    pub fn showing(base: &str, ca: &Path, own: Option<(&Path, &Path)>) -> Result<Self> {
        let read = |path: &Path| std::fs::read(path).with_context(|| format!("failed to read {}", path.display()));
        let mut builder = Client::builder().timeout(LIMIT).no_proxy();
        builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(&read(ca)?)?);
        if let Some((chain, key)) = own {
            builder = builder.identity(reqwest::Identity::from_pem(&[read(chain)?, read(key)?].concat())?);
        }
        let client = builder.build().context("failed to make a client")?;
        Ok(Self { client, base: base.trim_end_matches('/').to_owned(), headers: Vec::new() })
    }

    /// The same caller with an API key.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self { headers: vec![("x-api-key", key.to_owned())], ..self.clone() }
    }

    /// The same caller with an access token.
    #[must_use]
    pub fn token(&self, token: &str) -> Self {
        Self { headers: vec![("authorization", format!("Bearer {token}"))], ..self.clone() }
    }

    /// The same caller with one more header.
    #[must_use]
    pub fn header(&self, name: &'static str, value: &str) -> Self {
        let mut other = self.clone();
        other.headers.push((name, value.to_owned()));
        other
    }

    /// The same caller, who waits so long for an answer.
    pub fn within(&self, limit: Duration) -> Result<Self> {
        let client = Client::builder().timeout(limit).no_proxy().build().context("failed to make a client")?;
        Ok(Self { client, ..self.clone() })
    }

    /// The same caller at another door.
    #[must_use]
    pub fn at(&self, base: &str) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), ..self.clone() }
    }

    /// Reads.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(Method::GET, path, None).await
    }

    /// Sends a body.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(Method::POST, path, Some(body)).await
    }

    /// Sets.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(Method::PUT, path, Some(body)).await
    }

    /// Removes.
    pub async fn delete(&self, path: &str) -> Result<Answer> {
        self.send(Method::DELETE, path, None).await
    }

    /// Sends a body of another kind than JSON.
    pub async fn post_as(&self, path: &str, kind: &str, body: impl Into<String>) -> Result<Answer> {
        let request = self.request(Method::POST, path).header("content-type", kind).body(body.into());
        Self::answer(&format!("POST {path}"), request).await
    }

    /// The same for what is no text.
    pub async fn post_bytes(&self, path: &str, kind: &str, body: Vec<u8>) -> Result<Answer> {
        let request = self.request(Method::POST, path).header("content-type", kind).body(body);
        Self::answer(&format!("POST {path}"), request).await
    }

    /// A stream whose end is far away, from the answer's head on.
    pub async fn stream(&self, path: &str) -> Result<reqwest::Response> {
        let answer = self.request(Method::GET, path).timeout(LIMIT * 10).send().await;
        answer.with_context(|| format!("no answer to GET {path}"))
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        self.headers.iter().fold(request, |request, (name, value)| request.header(*name, value))
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let what = format!("{method} {path}");
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        Self::answer(&what, request).await
    }

    async fn answer(what: &str, request: reqwest::RequestBuilder) -> Result<Answer> {
        let response = request.send().await.with_context(|| format!("no answer to {what}"))?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await.with_context(|| format!("the answer to {what} broke off"))?;
        Ok(Answer { status, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
    }
}

impl Answer {
    /// The body, when the status is the expected one.
    pub fn expect(self, status: u16) -> Result<Value> {
        ensure!(self.status == status, "answered {} instead of {status}: {}", self.status, self.body);
        Ok(self.body)
    }

    /// The stable code of an error.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}
