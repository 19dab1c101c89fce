//! Tells webhooks of ended operations from the outbox, until they answer 2xx (`roadstead_http_kit::webhook` signs).

use std::sync::Arc;

use chrono::TimeDelta;
use roadstead_contracts::ids::OperationId;
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::outgoing::Fault;
use roadstead_http_kit::webhook::Webhooks;
use roadstead_runtime::retry::Backoff;
use roadstead_seal::Sealed;
use roadstead_telemetry::metrics::labels::Outcome;
use tokio::time::sleep;

use super::App;
use crate::domain::Record;
use crate::limits::{DESCRIPTION_MAX, POLL, STORE_RETRY, WEBHOOK_BASE, WEBHOOK_CAP, WEBHOOK_CLAIM, WEBHOOK_TRIES};
use crate::store::DueWebhook;

/// Between two tries: all together they are to be about a day.
const PAUSES: Backoff = Backoff { base: WEBHOOK_BASE, cap: WEBHOOK_CAP };

/// Refuses an address when the operation is made, as far as it can be told without dialling.
pub(super) fn check(webhooks: &Webhooks, url: &str) -> Result<()> {
    if url.len() > DESCRIPTION_MAX {
        return Err(Error::field(&["body", "webhook_url"], "value_error", "webhook_url is too long"));
    }
    match webhooks.vet(url) {
        Ok(()) => Ok(()),
        Err(Fault::NotAllowed) => Err(Error::of(Code::AddressNotAllowed)),
        Err(_) => Err(Error::field(&["body", "webhook_url"], "value_error", "webhook_url is not an http(s) URL")),
    }
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

impl App {
    /// The address that is told of an operation's end, for the one that is made of it.
    pub(super) fn webhook_of(&self, record: &Record) -> Result<Option<String>> {
        let sealed = record.sealed_webhook.as_ref().filter(|_| self.webhooks.is_some());
        sealed.map(|sealed| self.address(record.doc.shown.id, sealed)).transpose()
    }

    fn address(&self, operation: OperationId, sealed: &str) -> Result<String> {
        let sealed = Sealed::parse(sealed)?;
        let url = self.sealer.unseal("operations", "sealed_webhook", operation, &sealed)?;
        String::from_utf8(url.to_vec()).map_err(|_| Error::of(Code::IntegrityError))
    }
}

async fn tell_one(app: &App, webhook: &DueWebhook) -> Result<()> {
    let Some(webhooks) = &app.webhooks else { return Ok(()) };
    let why = match app.address(webhook.operation, &webhook.sealed_url) {
        Ok(url) => {
            let (now, body) = (app.clock.now(), webhook.body.to_string());
            let told = webhooks.tell(&url, &webhook.id.to_string(), now.timestamp(), body.into_bytes()).await;
            app.metrics.webhooks.get_or_create(&Outcome { outcome: told.outcome() }).inc();
            let Some(why) = told.again() else { return Ok(app.store.webhook_told(webhook.id).await?) };
            why
        }
        // A try like any other: it is not made for ever.
        Err(error) => error.to_string(),
    };
    let attempt = u32::try_from(webhook.attempts).unwrap_or(u32::MAX);
    let pause = PAUSES.steady(attempt, &app.ids);
    if webhook.attempts + 1 >= WEBHOOK_TRIES {
        tracing::warn!(operation_id = %webhook.operation, "a webhook is given up: {why}");
    }
    let next_at = app.clock.now() + TimeDelta::from_std(pause).unwrap_or_default();
    Ok(app.store.webhook_failed(webhook.id, next_at).await?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use roadstead_runtime::{Ids, SystemClock};

    use super::*;

    #[test]
    fn regression_a_receiver_may_be_away_for_a_night() {
        let tries = u32::try_from(WEBHOOK_TRIES).unwrap();
        for seed in 0..64 {
            let ids = Ids::seeded(SystemClock::shared(), seed);
            let all: Duration = (0..tries - 1).map(|attempt| PAUSES.steady(attempt, &ids)).sum();
            let hours = all.as_secs() / 3_600;
            assert!((17..30).contains(&hours), "{hours} h");
            let (first, last) = (PAUSES.steady(0, &ids), PAUSES.steady(u32::MAX, &ids));
            assert!(first < Duration::from_secs(13) && last < Duration::from_secs(4 * 3_600));
        }
    }
}
