//! The keys that access tokens are checked with: the user service's key set, fetched over HTTP and kept; an unknown key
//! id leads to one more fetch, at most every ten seconds (reliability rows A04, F25).

use std::time::Duration;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use roadstead_auth::jwt::{AccessClaims, KEY_SET_BYTES_MAX, KeySet, Verifier};
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::{OnFailure, ReadyPart, SharedClock, Tasks};
use tokio::sync::Mutex;

use crate::options::Options;

/// Between two fetches that unknown key ids lead to.
const FETCH_PAUSE: Duration = Duration::from_secs(10);
/// How long a fetch may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two fetches without cause: keys rotate over days.
const FETCH_EVERY: Duration = Duration::from_secs(600);

/// Checks access tokens.
pub(crate) struct TokenKeys {
    verifier: Verifier,
    /// Where the key set is; nothing for HS256.
    url: Option<String>,
    client: reqwest::Client,
    clock: SharedClock,
    last_fetch: Mutex<Option<DateTime<Utc>>>,
}

impl TokenKeys {
    pub(crate) fn new(options: &Options, client: reqwest::Client, clock: SharedClock) -> anyhow::Result<Self> {
        let (issuer, audience) = (&options.issuer, &options.audience);
        let (verifier, url) = if let Some(secret) = &options.hs256 {
            let verifier = Verifier::hs256(secret, issuer, audience);
            (verifier.context("auth.jwt.secret cannot be used")?, None)
        } else {
            let url = format!("{}/.well-known/jwks.json", options.user_url.trim_end_matches('/'));
            (Verifier::eddsa(KeySet::default(), issuer, audience), Some(url))
        };
        Ok(Self { verifier, url, client, clock, last_fetch: Mutex::new(None) })
    }

    /// What a token says, if it is good.
    pub(crate) async fn verify(&self, token: &str) -> Result<AccessClaims> {
        let refuse = || Error::of(Code::InvalidCredential);
        match self.verifier.verify(token, self.clock.now()) {
            Ok(claims) => Ok(claims),
            Err(roadstead_auth::Error::UnknownKey) => {
                self.fetch_at_most_once_a_while().await?;
                self.verifier.verify(token, self.clock.now()).map_err(|_| refuse())
            }
            Err(_) => Err(refuse()),
        }
    }

    async fn fetch_at_most_once_a_while(&self) -> Result<()> {
        // Held over the fetch: whoever comes meanwhile finds it done.
        let mut last = self.last_fetch.lock().await;
        let now = self.clock.now();
        let pause = chrono::Duration::from_std(FETCH_PAUSE).unwrap_or_default();
        if last.is_some_and(|last| now < last + pause) {
            return Ok(());
        }
        *last = Some(now);
        self.fetch().await.map_err(|fault| {
            tracing::warn!("failed to fetch the user service's key set: {fault:#}");
            Error::new(Code::Unavailable, "User authentication service unavailable").retry_after(1)
        })
    }

    async fn fetch(&self) -> anyhow::Result<()> {
        let Some(url) = &self.url else { return Ok(()) };
        let mut answer = self.client.get(url).timeout(FETCH_TIMEOUT).send().await?.error_for_status()?;
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if bytes.len() + chunk.len() > KEY_SET_BYTES_MAX {
                bail!("the key set is longer than {KEY_SET_BYTES_MAX} bytes");
            }
            bytes.extend_from_slice(&chunk);
        }
        self.verifier.update_keys(KeySet::parse(&bytes).context("the key set cannot be read")?);
        Ok(())
    }

    /// Fetches the key set now and every now and then. A service that cannot check tokens is not ready.
    pub(crate) fn start(self: std::sync::Arc<Self>, part: ReadyPart, tasks: &Tasks) {
        if self.url.is_none() {
            part.set(true, "shared secret");
            return;
        }
        let stopping = tasks.stopping();
        tasks.run("token-keys", OnFailure::Restart, move || {
            let (keys, part, stopping) = (std::sync::Arc::clone(&self), part.clone(), stopping.clone());
            async move {
                loop {
                    keys.fetch().await.context("failed to fetch the user service's key set")?;
                    // From here on the known keys serve, also while the user service is away.
                    part.set(true, "fetched");
                    tokio::select! {
                        () = stopping.cancelled() => return Ok(()),
                        () = tokio::time::sleep(FETCH_EVERY) => {}
                    }
                }
            }
        });
    }
}
