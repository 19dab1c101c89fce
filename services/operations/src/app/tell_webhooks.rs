//! Tells webhooks of ended operations, signed, from the outbox, until they answer 2xx.
//!
//! Headers: `Roadstead-Webhook-Id` (the same for every try), `Roadstead-Webhook-Timestamp` (seconds since 1970) and
//! `Roadstead-Webhook-Signature: v1=<hex>`, the HMAC-SHA256 of the timestamp, a full stop and the body.

use std::fmt;
use std::sync::Arc;

use chrono::TimeDelta;
use hmac::{Hmac, KeyInit as _, Mac as _};
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::outgoing::{Fault, Outgoing};
use roadstead_runtime::Secret;
use roadstead_runtime::retry::Backoff;
use roadstead_seal::Sealed;
use roadstead_telemetry::metrics::labels::Outcome;
use sha2::Sha256;
use tokio::time::{sleep, timeout};

use super::App;
use crate::limits::{
    DESCRIPTION_MAX, POLL, STORE_RETRY, WEBHOOK_BASE, WEBHOOK_CAP, WEBHOOK_CLAIM, WEBHOOK_LIMIT, WEBHOOK_TRIES,
};
use crate::store::DueWebhook;

/// Longest answer that is read; nothing in it matters.
const ANSWER_MAX: usize = 64 * 1024;

/// Who calls webhooks.
pub(crate) struct Caller {
    client: Outgoing,
    key: Secret,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Caller")
    }
}

impl Caller {
    pub(crate) fn new(client: Outgoing, key: Secret) -> Self {
        Self { client, key }
    }

    /// Refuses an address when the operation is made, as far as it can be told without dialling.
    pub(super) fn check(&self, url: &str) -> Result<()> {
        if url.len() > DESCRIPTION_MAX {
            return Err(Error::field(&["body", "webhook_url"], "value_error", "webhook_url is too long"));
        }
        match self.client.vet(url) {
            Ok(()) => Ok(()),
            Err(Fault::NotAllowed) => Err(Error::of(Code::AddressNotAllowed)),
            Err(_) => Err(Error::field(&["body", "webhook_url"], "value_error", "webhook_url is not an http(s) URL")),
        }
    }

    async fn tell(&self, url: &str, webhook: &DueWebhook, timestamp: i64) -> std::result::Result<u16, Fault> {
        let body = webhook.body.to_string();
        let (id, timestamp) = (webhook.id.to_string(), timestamp.to_string());
        let signature = format!("v1={}", sign(&self.key, &timestamp, body.as_bytes()));
        let headers = [
            ("Roadstead-Webhook-Id", id.as_str()),
            ("Roadstead-Webhook-Timestamp", timestamp.as_str()),
            ("Roadstead-Webhook-Signature", signature.as_str()),
        ];
        let told = self.client.post_json(url, &headers, body.into_bytes(), ANSWER_MAX);
        match timeout(WEBHOOK_LIMIT, told).await {
            Ok(answer) => Ok(answer?.status),
            Err(_) => Err(Fault::Unreachable("no answer in time".to_owned())),
        }
    }
}

/// The signature that a receiver compares with.
fn sign(key: &Secret, timestamp: &str, body: &[u8]) -> String {
    // A key of any length is one for HMAC.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()) else { return String::new() };
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    hex(&mac.finalize().into_bytes())
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

/// Tells until the process stops.
pub(crate) async fn run_webhooks(app: Arc<App>) {
    let stopping = app.tasks.stopping();
    loop {
        let pause = match tell_due(&app).await {
            Ok(()) => POLL,
            Err(error) => {
                tracing::warn!("webhooks were not looked for: {error}");
                STORE_RETRY
            }
        };
        tokio::select! {
            () = stopping.cancelled() => return,
            () = sleep(pause) => {}
        }
    }
}

async fn tell_due(app: &Arc<App>) -> Result<()> {
    let now = app.clock.now();
    for webhook in app.store.claim_webhooks(now, now + WEBHOOK_CLAIM).await? {
        let app = Arc::clone(app);
        app.tasks.clone().spawn("webhook", async move {
            if let Err(error) = tell_one(&app, &webhook).await {
                tracing::warn!(operation_id = %webhook.operation, "a webhook was not settled: {error}");
            }
        });
    }
    Ok(())
}

async fn tell_one(app: &App, webhook: &DueWebhook) -> Result<()> {
    let Some(caller) = &app.webhooks else { return Ok(()) };
    let sealed = Sealed::parse(&webhook.sealed_url)?;
    let url = app.sealer.unseal("operations", "sealed_webhook", webhook.operation, &sealed)?;
    let url = std::str::from_utf8(&url).map_err(|_| Error::of(Code::IntegrityError))?;
    let told = caller.tell(url, webhook, app.clock.now().timestamp()).await;
    let (outcome, why) = match told {
        Ok(status) if (200..300).contains(&status) => ("told", None),
        // An answer that no repeat will change.
        Ok(410) => ("gone", None),
        Ok(status) => ("refused", Some(format!("status {status}"))),
        Err(fault) => ("failed", Some(fault.to_string())),
    };
    app.metrics.webhooks.get_or_create(&Outcome { outcome }).inc();
    let Some(why) = why else { return Ok(app.store.webhook_told(webhook.id).await?) };
    let attempt = u32::try_from(webhook.attempts).unwrap_or(u32::MAX);
    let pause = Backoff { base: WEBHOOK_BASE, cap: WEBHOOK_CAP }.delay(attempt, &app.ids);
    if webhook.attempts + 1 >= WEBHOOK_TRIES {
        tracing::warn!(operation_id = %webhook.operation, "a webhook is given up: {why}");
    }
    let next_at = app.clock.now() + TimeDelta::from_std(pause).unwrap_or_default();
    Ok(app.store.webhook_failed(webhook.id, next_at).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_plain_hmac() {
        // `printf '1700000000.{}' | openssl dgst -sha256 -hmac key`
        let signature = sign(&Secret::new("key".to_owned()), "1700000000", b"{}");
        assert_eq!(signature.len(), 64);
        assert_ne!(signature, sign(&Secret::new("key".to_owned()), "1700000001", b"{}"));
        assert_eq!(signature, sign(&Secret::new("key".to_owned()), "1700000000", b"{}"));
    }
}
