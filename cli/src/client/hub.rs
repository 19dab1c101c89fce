//! A hub over REST: sends the credential, refreshes the session, turns error bodies into sentences.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::header::{HeaderMap, LINK};
use reqwest::{Method, StatusCode};
/// A path segment or a query's value made of what a person typed.
pub(super) use roadstead_contracts::percent::escape as segment;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::kube::{SessionLock, newer};
use super::profile::Profile;

/// The longest a command waits: above the hub's own 30 s for an agent.
const TIMEOUT: Duration = Duration::from_secs(45);
/// Longest answer a command takes: 1,000 clusters with labels are far below.
const ANSWER_MAX: usize = 32 * 1024 * 1024;

/// Rows asked for at a time: the hub's maximum.
const PAGE: usize = 1_000;
/// Most pages of a list: whoever may see little of much may get pages that are not full.
const PAGES_MAX: usize = 100;
/// Most rows of a list that is only shown.
pub(super) const ROWS_MAX: usize = PAGE * PAGES_MAX;

/// The longest one stream of events lasts; then it is taken up again.
const EVENTS_TIMEOUT: Duration = Duration::from_secs(3_600);

/// The hub said no.
#[derive(Debug, thiserror::Error)]
#[error("{detail} ({code}, request {request_id})")]
pub struct Refused {
    /// HTTP status.
    pub status: u16,
    /// Stable code.
    pub code: String,
    /// The hub's sentence.
    pub detail: String,
    /// Id to look for in the hub's log.
    pub request_id: String,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    detail: Value,
    #[serde(default)]
    code: String,
    #[serde(default)]
    request_id: String,
}

#[derive(Deserialize)]
struct Pair {
    access_token: String,
    refresh_token: String,
}

/// A hub, and who we are there.
pub struct Hub {
    client: reqwest::Client,
    profile: Profile,
    /// Where a refreshed session is written back; none when the credential came from the environment.
    file: Option<PathBuf>,
}

impl Hub {
    /// The hub of `ROADSTEAD_URL` and `ROADSTEAD_API_KEY`, else the one that `login` remembered.
    pub fn remembered() -> Result<Self> {
        let path = Profile::path()?;
        let url = std::env::var("ROADSTEAD_URL").ok().filter(|url| !url.is_empty());
        let api_key = std::env::var("ROADSTEAD_API_KEY").ok().filter(|key| !key.is_empty());
        let stored = Profile::read(&path)?;
        if let (Some(url), Some(api_key)) = (&url, &api_key) {
            let ca_file = stored.and_then(|profile| profile.ca_file);
            return Self::new(
                Profile { url: url.clone(), api_key: Some(api_key.clone()), ca_file, ..Profile::default() },
                None,
            );
        }
        let Some(mut profile) = stored else {
            bail!("no hub is known: run `roadstead login --url URL`, or set ROADSTEAD_URL and ROADSTEAD_API_KEY");
        };
        // A stored credential goes to the hub it was made for and to no other.
        if url.is_some_and(|url| url.trim_end_matches('/') != profile.url) {
            bail!(
                "ROADSTEAD_URL is not the hub that `roadstead login` remembered; set ROADSTEAD_API_KEY too, or log in there"
            );
        }
        if let Some(api_key) = api_key {
            profile.api_key = Some(api_key);
            return Self::new(profile, None);
        }
        Self::new(profile, Some(path))
    }

    /// A hub with a profile.
    pub fn new(mut profile: Profile, file: Option<PathBuf>) -> Result<Self> {
        roadstead_runtime::install_crypto();
        profile.url.truncate(profile.url.trim_end_matches('/').len());
        if !profile.url.starts_with("http://") && !profile.url.starts_with("https://") {
            bail!("the hub's address must begin with http:// or https://");
        }
        let mut client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("roadstead/", env!("CARGO_PKG_VERSION")));
        if let Some(file) = &profile.ca_file {
            let pem = std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
            for certificate in reqwest::Certificate::from_pem_bundle(&pem)
                .with_context(|| format!("{} holds no PEM certificate", file.display()))?
            {
                client = client.add_root_certificate(certificate);
            }
        }
        Ok(Self { client: client.build().context("failed to set up HTTP")?, profile, file })
    }

    /// What is remembered of it.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// What is remembered of it, to change.
    pub fn profile_mut(&mut self) -> &mut Profile {
        &mut self.profile
    }

    /// `GET path`.
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T> {
        let body = self.send(Method::GET, path, None).await?;
        serde_json::from_slice(&body).with_context(|| format!("the hub's answer to GET {path} was not understood"))
    }

    /// Every row of a list with cursors, page after page. Nothing is left out: more than `most` is an error.
    pub(super) async fn all<T: DeserializeOwned>(&mut self, path: &str, filter: &str, most: usize) -> Result<Vec<T>> {
        let first = format!("{path}?limit={PAGE}{filter}");
        let (mut rows, mut next) = (Vec::new(), first.clone());
        for _ in 0..PAGES_MAX {
            let (head, body) = self.send_for_head(Method::GET, &next, None).await?;
            let page: Vec<T> = serde_json::from_slice(&body)
                .with_context(|| format!("the hub's answer to GET {path} was not understood"))?;
            rows.extend(page);
            if rows.len() > most {
                bail!("the hub lists more than {most} of {path}");
            }
            // Only the place is taken from the link: the filter stays what was asked for.
            match head.get(LINK).and_then(|link| link.to_str().ok()).and_then(cursor) {
                Some(cursor) => next = format!("{first}&cursor={cursor}"),
                None => return Ok(rows),
            }
        }
        bail!("the hub's list {path} does not end after {PAGES_MAX} pages")
    }

    /// Sends a body and reads one.
    pub async fn exchange<T: DeserializeOwned>(&mut self, method: Method, path: &str, body: &Value) -> Result<T> {
        let answer = self.send(method.clone(), path, Some(body)).await?;
        serde_json::from_slice(&answer)
            .with_context(|| format!("the hub's answer to {method} {path} was not understood"))
    }

    /// `DELETE path`.
    pub async fn delete(&mut self, path: &str) -> Result<()> {
        self.send(Method::DELETE, path, None).await.map(drop)
    }

    /// Asks without a credential, for what the head of the answer tells.
    pub async fn probe(&self, path: &str) -> Result<reqwest::Response> {
        let answer = self.client.get(format!("{}{path}", self.profile.url)).send().await;
        answer.with_context(|| format!("failed to reach the hub at {}", self.profile.url))
    }

    /// Sends a request; on 401 refreshes the session once and sends it again.
    pub async fn send(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<Vec<u8>> {
        self.send_for_head(method, path, body).await.map(|(_, body)| body)
    }

    async fn send_for_head(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(HeaderMap, Vec<u8>)> {
        match self.send_once(method.clone(), path, body).await {
            Err(fault) if is_unauthenticated(&fault) && self.refresh().await? => {
                self.send_once(method, path, body).await
            }
            other => other,
        }
    }

    async fn send_once(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(HeaderMap, Vec<u8>)> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.answer(request).await
    }

    /// Sends a body of another kind than JSON, with headers; on 401 refreshes the session once and sends it again.
    pub(super) async fn post_bytes(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Vec<u8>> {
        let once = async |hub: &Self| {
            let request = headers
                .iter()
                .fold(hub.request(Method::POST, path), |request, (name, value)| request.header(*name, *value));
            hub.answer(request.body(body.to_vec())).await.map(|(_, body)| body)
        };
        match once(self).await {
            Err(fault) if is_unauthenticated(&fault) && self.refresh().await? => once(self).await,
            other => other,
        }
    }

    /// Begins to read a stream of events after one of them; the answer's body is the caller's to read.
    pub(super) async fn events(&mut self, path: &str, after: i64) -> Result<reqwest::Response> {
        let once = async |hub: &Self| -> Result<reqwest::Response> {
            let request = hub.request(Method::GET, path).timeout(EVENTS_TIMEOUT).header("accept", "text/event-stream");
            let response = request.header("last-event-id", after).send().await;
            let response = response.with_context(|| format!("failed to reach the hub at {}", hub.profile.url))?;
            if response.status().is_success() {
                return Ok(response);
            }
            let status = response.status();
            Err(refusal(status, &response.bytes().await.unwrap_or_default()).into())
        };
        match once(self).await {
            Err(fault) if is_unauthenticated(&fault) && self.refresh().await? => once(self).await,
            other => other,
        }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.profile.url));
        if let Some(key) = &self.profile.api_key {
            request.header("X-API-Key", key)
        } else if let Some(token) = &self.profile.access_token {
            request.bearer_auth(token)
        } else {
            request
        }
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<(HeaderMap, Vec<u8>)> {
        let mut response =
            request.send().await.with_context(|| format!("failed to reach the hub at {}", self.profile.url))?;
        let (status, head) = (response.status(), std::mem::take(response.headers_mut()));
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.context("the hub's answer broke off")? {
            if bytes.len() + chunk.len() > ANSWER_MAX {
                bail!("the hub's answer is larger than {ANSWER_MAX} bytes");
            }
            bytes.extend_from_slice(&chunk);
        }
        if status.is_success() { Ok((head, bytes)) } else { Err(refusal(status, &bytes).into()) }
    }

    /// Trades the refresh token for a new pair. False when there is none.
    pub(super) async fn refresh(&mut self) -> Result<bool> {
        // One command at a time: kubectl calls this program from every terminal at once, and a refresh token that is used
        // twice ends the session.
        let _lock = self.file.as_deref().map(SessionLock::take).transpose()?;
        if let Some(newer) = self.file.as_deref().and_then(|file| newer(&self.profile, file)) {
            self.profile = newer;
            return Ok(true);
        }
        let (None, Some(token)) = (&self.profile.api_key, self.profile.refresh_token.clone()) else { return Ok(false) };
        let body = json!({ "refresh_token": token });
        let (_, bytes) = self.send_once(Method::POST, "/api/v1/auth/refresh", Some(&body)).await?;
        let pair: Pair = serde_json::from_slice(&bytes).context("the hub's answer to a refresh was not understood")?;
        self.profile.access_token = Some(pair.access_token);
        self.profile.refresh_token = Some(pair.refresh_token);
        if let Some(file) = &self.file {
            self.profile.write(file)?;
        }
        Ok(true)
    }
}

/// The place of the next page in a `Link` (RFC 8288), escaped as it stands there.
fn cursor(link: &str) -> Option<&str> {
    link.split(',').find_map(|link| {
        let (target, attributes) = link.trim().strip_prefix('<')?.split_once('>')?;
        attributes.split(';').any(|one| matches!(one.trim(), "rel=next" | "rel=\"next\"")).then_some(())?;
        let (_, query) = target.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix("cursor=")).filter(|cursor| !cursor.is_empty())
    })
}

fn is_unauthenticated(fault: &anyhow::Error) -> bool {
    fault.downcast_ref::<Refused>().is_some_and(|refused| refused.status == StatusCode::UNAUTHORIZED.as_u16())
}

fn refusal(status: StatusCode, body: &[u8]) -> Refused {
    let problem: Option<Problem> = serde_json::from_slice(body).ok();
    let (detail, code, request_id) =
        problem.map(|problem| (problem.detail, problem.code, problem.request_id)).unwrap_or_default();
    let detail = match detail {
        Value::String(text) => text,
        Value::Null => format!("the hub answered {status}"),
        other => other.to_string(),
    };
    Refused { status: status.as_u16(), code, detail, request_id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_become_sentences() {
        let body = br#"{"detail":"Cluster not found","code":"not_found","request_id":"r-1"}"#;
        let refused = refusal(StatusCode::NOT_FOUND, body);
        assert_eq!(refused.to_string(), "Cluster not found (not_found, request r-1)");
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, b"<html>").detail, "the hub answered 502 Bad Gateway");
    }

    #[test]
    fn the_next_page_is_found_in_a_link() {
        assert_eq!(cursor("</api/v1/clusters?limit=1000&cursor=a%3Db>; rel=\"next\""), Some("a%3Db"));
        assert_eq!(cursor("</x>; rel=\"first\", </x?cursor=c&limit=1>; rel=next"), Some("c"));
        for none in ["", "</x?cursor=c>; rel=\"prev\"", "</x?limit=1>; rel=\"next\"", "</x?cursor=>; rel=next"] {
            assert_eq!(cursor(none), None, "{none}");
        }
    }
}
