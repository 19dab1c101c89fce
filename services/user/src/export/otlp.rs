//! OTLP logs over HTTP, as JSON (OpenTelemetry protocol 1.x, `/v1/logs`).

use anyhow::Context as _;
use async_trait::async_trait;
use roadstead_http_kit::outgoing::{Fault, Outgoing};
use roadstead_runtime::Secret;
use roadstead_runtime::client_tls::{ClientTls, explain};
use roadstead_runtime::config::Audit;
use roadstead_runtime::outgoing::Policy;
use serde_json::{Value, json};

use super::{Delivered, Result, Row, Sink};

/// Longest answer that is read: a partial success has a sentence in it.
const ANSWER_MAX: usize = 64 * 1024;

/// A collector.
pub(crate) struct Otlp {
    url: String,
    client: Outgoing,
    token: Option<Secret>,
}

impl Otlp {
    pub(crate) fn new(endpoint: &str, audit: &Audit) -> anyhow::Result<Self> {
        let tls = ClientTls::read(audit.otlp_ca_file.as_deref(), None, None)
            .context("TLS to the collector cannot be set up")?;
        let endpoint = endpoint.trim_end_matches('/');
        let url = if endpoint.ends_with("/v1/logs") { endpoint.to_owned() } else { format!("{endpoint}/v1/logs") };
        // The settings name it: it is dialled wherever it is.
        let client = Outgoing::trusting(Policy::mesh(), [url.as_str()], tls.ca_pem.as_deref())
            .context("failed to make the client of the collector")?;
        Ok(Self { url, client, token: audit.otlp_token.clone() })
    }
}

#[async_trait]
impl Sink for Otlp {
    fn name(&self) -> &'static str {
        "otlp"
    }

    async fn deliver(&self, rows: &[Row]) -> Result<Delivered> {
        let body = serde_json::to_vec(&request(rows)).map_err(|_| "the rows cannot be written".to_owned())?;
        let bearer = self.token.as_ref().map(|token| Secret::new(format!("Bearer {}", token.expose())));
        let headers: Vec<(&str, &str)> = bearer.iter().map(|bearer| ("authorization", bearer.expose())).collect();
        let answer =
            self.client.post_json(&self.url, &headers, body, ANSWER_MAX).await.map_err(|fault| match fault {
                Fault::Unreachable(text) => explain(&text).unwrap_or("nobody answers there").to_owned(),
                other => other.to_string(),
            })?;
        if !(200..300).contains(&answer.status) {
            return Err(format!("it answers {}", answer.status));
        }
        Ok(Delivered { rejected: rejected(&answer.body) })
    }
}

/// What the collector took in part only. Its protocol forbids to send that again.
fn rejected(body: &[u8]) -> u64 {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let count = &answer["partialSuccess"]["rejectedLogRecords"];
    // 64-bit integers are texts in its JSON.
    count.as_u64().or_else(|| count.as_str()?.parse().ok()).unwrap_or(0)
}

fn request(rows: &[Row]) -> Value {
    let records: Vec<Value> = rows.iter().map(log_record).collect();
    json!({"resourceLogs": [{
        "resource": {"attributes": [text("service.name", "roadstead"), text("service.version", roadstead_telemetry::VERSION)]},
        "scopeLogs": [{"scope": {"name": "roadstead.audit"}, "logRecords": records}],
    }]})
}

fn log_record(row: &Row) -> Value {
    let record = &row.record;
    let (number, word) = match row.severity() {
        3 => (17, "ERROR"),
        4 => (13, "WARN"),
        _ => (9, "INFO"),
    };
    let at = record.at.timestamp_micros().saturating_mul(1_000).to_string();
    let mut attributes = vec![
        json!({"key": "audit.seq", "value": {"intValue": row.seq.to_string()}}),
        text("audit.action", record.action.as_str()),
        text("audit.request_id", record.origin.request_id.as_str()),
    ];
    if let Some(name) = &record.actor.name {
        attributes.push(text("audit.actor", name.as_str()));
    }
    json!({
        "timeUnixNano": at,
        "observedTimeUnixNano": at,
        "severityNumber": number,
        "severityText": word,
        "body": {"stringValue": row.line},
        "attributes": attributes,
    })
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_collector_did_not_want_is_counted() {
        for (body, count) in [
            (&b""[..], 0),
            (b"{}", 0),
            (b"not json", 0),
            (br#"{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"x"}}"#, 3),
            (br#"{"partialSuccess":{"rejectedLogRecords":2}}"#, 2),
        ] {
            assert_eq!(rejected(body), count);
        }
    }
}
