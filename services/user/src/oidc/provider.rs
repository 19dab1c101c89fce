//! One provider.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use chrono::{DateTime, TimeDelta, Utc};
use roadstead_auth::oidc::{
    Expected, IdToken, LogoutToken, ProviderKeys, challenge, verify_id_token, verify_logout_token,
};
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::outgoing::{Answer, Outgoing};
use roadstead_runtime::{Secret, SharedClock};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::document::{self, Document};
use crate::domain::ProviderSettings;

/// How long what a provider publishes is believed without looking again.
const KEPT: TimeDelta = TimeDelta::hours(1);
/// Between two fetches after one that failed: whoever waits gets the failure at once.
const AFTER_FAILURE: TimeDelta = TimeDelta::seconds(3);
/// Between two fetches that tokens with unknown keys lead to (reliability row F25).
const UNKNOWN_KEY: TimeDelta = TimeDelta::minutes(1);
/// Longest answer of the token endpoint: three tokens with many groups.
const ANSWER_MAX: usize = 128 * 1024;
/// Longest code, state or device code of a provider that is sent on.
pub(crate) const CODE_MAX: usize = 4 * 1024;
/// Seconds after which a provider that was away may be back.
const AWAY_RETRY: u32 = 5;
/// Least and most seconds between two questions about a login on another device (RFC 8628 §3.2).
const INTERVAL: std::ops::RangeInclusive<u32> = 5..=60;

/// A provider, and what is known of it.
#[derive(Debug)]
pub struct Provider {
    /// As configured.
    pub settings: ProviderSettings,
    client: Outgoing,
    clock: SharedClock,
    known: ArcSwapOption<Known>,
    fetching: Mutex<Fetches>,
}

/// What a provider published.
#[derive(Debug)]
struct Known {
    document: Document,
    keys: ProviderKeys,
    at: DateTime<Utc>,
}

#[derive(Debug, Default)]
struct Fetches {
    failed: Option<DateTime<Utc>>,
    for_unknown_key: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct Tokens {
    #[serde(default)]
    id_token: Option<Secret>,
    #[serde(default)]
    access_token: Option<Secret>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

#[derive(Deserialize)]
struct DeviceAnswer {
    device_code: Secret,
    user_code: String,
    verification_uri: String,
    #[serde(default)]
    verification_uri_complete: Option<String>,
    expires_in: u32,
    #[serde(default)]
    interval: Option<u32>,
}

/// A login on another device, begun.
#[derive(Debug)]
pub struct DeviceStart {
    /// What to ask with: the provider's code, and the verifier of a challenge (PKCE) that the hub need not keep.
    pub device_code: Secret,
    /// What the person compares or types.
    pub user_code: String,
    /// Where the person goes.
    pub verification_uri: String,
    /// The same with the code in it.
    pub verification_uri_complete: Option<String>,
    /// Seconds until it is over.
    pub expires_in: u32,
    /// Seconds between two questions.
    pub interval: u32,
}

/// What became of a login on another device.
#[derive(Debug)]
pub enum Polled {
    /// The person approved.
    Done(Box<IdToken>, Secret),
    /// Not yet; ask again after so many seconds.
    Pending(u32),
}

impl Provider {
    pub(super) fn new(settings: ProviderSettings, client: Outgoing, clock: SharedClock) -> Self {
        Self { settings, client, clock, known: ArcSwapOption::empty(), fetching: Mutex::default() }
    }

    /// Where a browser is sent.
    pub async fn authorization_url(&self, state: &str, nonce: &str, verifier: &str) -> Result<String> {
        let known = self.known().await?;
        let scopes = self.settings.scopes.join(" ");
        let challenge = challenge(verifier);
        let query = [
            ("response_type", "code"),
            ("client_id", &self.settings.client_id),
            ("redirect_uri", &self.settings.redirect_url),
            ("scope", &scopes),
            ("state", state),
            ("nonce", nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        Ok(with_query(&known.document.authorization_endpoint, &query))
    }

    /// Where a browser is sent to end the provider's own session, when it has such a place.
    pub async fn logout_url(&self, id_token: Option<&str>, back_to: Option<&str>) -> Option<String> {
        let known = self.known().await.ok()?;
        let end = known.document.end_session_endpoint.as_deref()?;
        let mut query = vec![("client_id", self.settings.client_id.as_str())];
        query.extend(id_token.map(|token| ("id_token_hint", token)));
        query.extend(back_to.map(|url| ("post_logout_redirect_uri", url)));
        Some(with_query(end, &query))
    }

    /// Whether an answer without its issuer, or with another one, is a mix-up (RFC 9207).
    pub async fn check_answer_issuer(&self, issuer: Option<&str>) -> Result<()> {
        let must = self.known().await?.document.authorization_response_iss_parameter_supported;
        let good = match issuer {
            Some(issuer) => issuer == self.settings.issuer,
            None => !must,
        };
        if good { Ok(()) } else { Err(refused("the answer came from another identity provider")) }
    }

    /// Turns a code into what the provider says of the person; the token itself comes along for its own logout.
    pub async fn exchange(&self, code: &str, verifier: &str, nonce: &str) -> Result<(IdToken, Secret)> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.settings.redirect_url),
            ("code_verifier", verifier),
        ];
        let endpoint = self.known().await?.document.token_endpoint.clone();
        let answer = self.post(&endpoint, &form).await?;
        if answer.status != 200 {
            let why = serde_json::from_slice::<Refusal>(&answer.body).map(|refusal| word(&refusal.error));
            return match why {
                Ok(why) if answer.status < 500 => {
                    tracing::warn!(provider = self.settings.name, "the identity provider refused a code: {why}");
                    Err(refused("the identity provider did not accept the login"))
                }
                _ => Err(self.away(&format!("its token endpoint answered {}", answer.status))),
            };
        }
        self.judge(&answer, Some(nonce)).await
    }

    /// Begins a login on another device (RFC 8628 §3.1).
    pub async fn begin_device(&self, verifier: &Secret) -> Result<DeviceStart> {
        let known = self.known().await?;
        let endpoint =
            known.document.device_authorization_endpoint.as_deref().ok_or_else(|| {
                Error::new(Code::BadRequest, "this identity provider knows no login on another device")
            })?;
        let scopes = self.settings.scopes.join(" ");
        let challenge = challenge(verifier.expose());
        let form = [("scope", scopes.as_str()), ("code_challenge", &challenge), ("code_challenge_method", "S256")];
        let answer = self.post(endpoint, &form).await?;
        let read = serde_json::from_slice::<DeviceAnswer>(&answer.body).ok().filter(|_| answer.status == 200);
        let Some(read) = read else {
            return Err(self.away(&format!("its device endpoint answered {}", answer.status)));
        };
        Ok(DeviceStart {
            device_code: Secret::new(format!("{}.{}", read.device_code.expose(), verifier.expose())),
            user_code: read.user_code,
            verification_uri: read.verification_uri,
            verification_uri_complete: read.verification_uri_complete,
            expires_in: read.expires_in,
            interval: read.interval.unwrap_or(*INTERVAL.start()).clamp(*INTERVAL.start(), *INTERVAL.end()),
        })
    }

    /// Asks whether a login on another device was approved (RFC 8628 §3.4).
    pub async fn poll_device(&self, device_code: &Secret) -> Result<Polled> {
        let over = || refused("the login was refused, or is over");
        let (device_code, verifier) = device_code.expose().rsplit_once('.').ok_or_else(over)?;
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("device_code", device_code),
            ("code_verifier", verifier),
        ];
        let endpoint = self.known().await?.document.token_endpoint.clone();
        let answer = self.post(&endpoint, &form).await?;
        if answer.status == 200 {
            let (token, text) = self.judge(&answer, None).await?;
            return Ok(Polled::Done(Box::new(token), text));
        }
        let why = serde_json::from_slice::<Refusal>(&answer.body).map(|refusal| refusal.error).unwrap_or_default();
        match why.as_str() {
            "authorization_pending" => Ok(Polled::Pending(*INTERVAL.start())),
            "slow_down" => Ok(Polled::Pending(INTERVAL.start() * 2)),
            _ if answer.status < 500 => Err(over()),
            _ => Err(self.away(&format!("its token endpoint answered {}", answer.status))),
        }
    }

    /// Checks a logout token.
    pub async fn logout_token(&self, token: &str) -> Result<LogoutToken> {
        let expected = self.expected(None, None);
        let check = |keys: &ProviderKeys, now| verify_logout_token(token, keys, &expected, now);
        self.with_keys(check).await
    }

    async fn judge(&self, answer: &Answer, nonce: Option<&str>) -> Result<(IdToken, Secret)> {
        let tokens: Tokens =
            serde_json::from_slice(&answer.body).map_err(|_| self.away("its token endpoint answered no JSON"))?;
        let text = tokens.id_token.ok_or_else(|| self.away("it gave no ID token"))?;
        let access_token = tokens.access_token.as_ref().map(Secret::expose);
        let expected = self.expected(nonce, access_token);
        let check = |keys: &ProviderKeys, now| verify_id_token(text.expose(), keys, &expected, now);
        let token = self.with_keys(check).await?;
        Ok((token, text))
    }

    fn expected<'a>(&'a self, nonce: Option<&'a str>, access_token: Option<&'a str>) -> Expected<'a> {
        Expected { issuer: &self.settings.issuer, client_id: &self.settings.client_id, nonce, access_token }
    }

    /// Checks with the known keys, and once more with fresh ones when the key is unknown.
    async fn with_keys<T>(
        &self,
        check: impl Fn(&ProviderKeys, DateTime<Utc>) -> Result<T, roadstead_auth::Error>,
    ) -> Result<T> {
        let known = self.known().await?;
        let mut outcome = check(&known.keys, self.clock.now());
        if matches!(outcome, Err(roadstead_auth::Error::UnknownKey))
            && let Some(fresh) = self.after_unknown_key(&known).await?
        {
            outcome = check(&fresh.keys, self.clock.now());
        }
        outcome.map_err(|fault| {
            tracing::warn!(provider = self.settings.name, "a token of the identity provider is not good: {fault}");
            refused("the identity provider's token is not good")
        })
    }

    /// What the provider published, fetched when it is not known or old. An old one serves on while the provider is away.
    async fn known(&self) -> Result<Arc<Known>> {
        let fresh = |known: &Arc<Known>| self.clock.now() < known.at + KEPT;
        if let Some(known) = self.known.load_full().filter(fresh) {
            return Ok(known);
        }
        // Held over the fetch: whoever comes meanwhile finds it done.
        let mut fetches = self.fetching.lock().await;
        let old = self.known.load_full();
        if let Some(known) = old.clone().filter(fresh) {
            return Ok(known);
        }
        if fetches.failed.is_some_and(|failed| self.clock.now() < failed + AFTER_FAILURE) {
            return old.ok_or_else(|| self.is_away());
        }
        match self.fetch().await {
            Ok(known) => Ok(known),
            Err(error) => {
                fetches.failed = Some(self.clock.now());
                old.ok_or(error)
            }
        }
    }

    /// Fresh keys for a token whose key is not among the known ones, at most once a while.
    async fn after_unknown_key(&self, seen: &Arc<Known>) -> Result<Option<Arc<Known>>> {
        let mut fetches = self.fetching.lock().await;
        if let Some(newer) = self.known.load_full().filter(|known| !Arc::ptr_eq(known, seen)) {
            return Ok(Some(newer));
        }
        let now = self.clock.now();
        if fetches.for_unknown_key.is_some_and(|last| now < last + UNKNOWN_KEY) {
            return Ok(None);
        }
        fetches.for_unknown_key = Some(now);
        self.fetch().await.map(Some)
    }

    async fn fetch(&self) -> Result<Arc<Known>> {
        let fetched = self.read(&document::address(&self.settings.issuer), document::LONGEST).await?;
        let document = Document::parse(&fetched.body, &self.settings.issuer).map_err(|why| self.away(why))?;
        let fetched = self.read(&document.jwks_uri, roadstead_auth::oidc::KEY_SET_BYTES_MAX).await?;
        let keys = ProviderKeys::parse(&fetched.body).map_err(|fault| self.away(&fault.to_string()))?;
        let known = Arc::new(Known { document, keys, at: self.clock.now() });
        self.known.store(Some(Arc::clone(&known)));
        Ok(known)
    }

    async fn read(&self, url: &str, longest: usize) -> Result<Answer> {
        let answer = self.client.get(url, longest).await.map_err(|fault| self.away(&fault.to_string()))?;
        if answer.status == 200 { Ok(answer) } else { Err(self.away(&format!("{url} answered {}", answer.status))) }
    }

    async fn post(&self, url: &str, form: &[(&str, &str)]) -> Result<Answer> {
        let known = self.known().await?;
        let mut form = form.to_vec();
        let in_form = known.document.secret_in_form();
        // The client's name and secret are form-encoded before Basic encodes them (RFC 6749 §2.3.1).
        let basic = match &self.settings.client_secret {
            Some(secret) if !in_form => Some((escape(&self.settings.client_id), Secret::new(escape(secret.expose())))),
            _ => None,
        };
        if basic.is_none() {
            form.push(("client_id", &self.settings.client_id));
            form.extend(self.settings.client_secret.as_ref().map(|secret| ("client_secret", secret.expose())));
        }
        let basic = basic.as_ref().map(|(name, secret)| (name.as_str(), secret));
        self.client.post_form(url, &form, basic, ANSWER_MAX).await.map_err(|fault| self.away(&fault.to_string()))
    }

    fn away(&self, why: &str) -> Error {
        tracing::warn!(
            provider = self.settings.name,
            "the identity provider {} cannot be used: {why}",
            self.settings.name
        );
        self.is_away()
    }

    fn is_away(&self) -> Error {
        let words = format!("the identity provider {} does not answer", self.settings.name);
        Error::new(Code::ProviderUnavailable, words).retry_after(AWAY_RETRY)
    }
}

/// A login that does not hold.
pub(crate) fn refused(words: &'static str) -> Error {
    Error::new(Code::LoginRefused, words)
}

/// A provider's error word, as far as it may go into the log.
fn word(text: &str) -> String {
    text.chars().filter(|character| character.is_ascii_alphanumeric() || *character == '_').take(60).collect()
}

fn escape(text: &str) -> String {
    serde_urlencoded::to_string([("", text)])
        .map_or_else(|_| String::new(), |pair| pair.trim_start_matches('=').to_owned())
}

fn with_query(endpoint: &str, query: &[(&str, &str)]) -> String {
    let text = serde_urlencoded::to_string(query).unwrap_or_default();
    let join = if endpoint.contains('?') { '&' } else { '?' };
    format!("{endpoint}{join}{text}")
}
