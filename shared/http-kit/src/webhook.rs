//! Tells a webhook, signed: of ended operations, of who asks for which rights.
//!
//! Headers: `Roadstead-Webhook-Id` (the same for every try), `Roadstead-Webhook-Timestamp` (seconds since 1970) and
//! `Roadstead-Webhook-Signature: v1=<hex>`, the HMAC-SHA256 of the timestamp, a full stop and the body. What is told stands
//! in the teller's outbox, written with what it tells of; when to try again is the teller's, too.

use std::fmt;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use roadstead_runtime::Secret;
use sha2::Sha256;
use tokio::time::timeout;

use crate::outgoing::{Fault, Outgoing};

/// Shortest key of the signatures: 256 bits in the least dense of usual spellings.
pub const SECRET_MIN: usize = 32;
/// Longest exchange.
const LIMIT: Duration = Duration::from_secs(10);
/// Longest answer that is read; nothing in it matters.
const ANSWER_MAX: usize = 64 * 1024;

/// Who tells webhooks.
pub struct Webhooks {
    client: Outgoing,
    key: Secret,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Webhooks")
    }
}

/// What came of it.
#[derive(Debug)]
pub enum Told {
    /// It took it (2xx).
    Taken,
    /// It is there no more and never will be (410).
    Gone,
    /// It did not take it (another status).
    Refused(u16),
    /// Nobody answered, or the address may not be dialled.
    Failed(Fault),
}

impl Told {
    /// The word for counts.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Taken => "told",
            Self::Gone => "gone",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
        }
    }

    /// Why it is to be tried again; `None` when it is not.
    pub fn again(&self) -> Option<String> {
        match self {
            Self::Taken | Self::Gone => None,
            Self::Refused(status) => Some(format!("status {status}")),
            Self::Failed(fault) => Some(fault.to_string()),
        }
    }
}

impl Webhooks {
    /// Tells with a client, signing with a key of at least [`SECRET_MIN`] characters.
    pub fn new(client: Outgoing, key: Secret) -> Self {
        Self { client, key }
    }

    /// Whether an address could be dialled at all, before a name in it is resolved.
    pub fn vet(&self, url: &str) -> Result<(), Fault> {
        self.client.vet(url)
    }

    /// Tells one, once.
    pub async fn tell(&self, url: &str, id: &str, timestamp: i64, body: Vec<u8>) -> Told {
        let timestamp = timestamp.to_string();
        let signature = format!("v1={}", sign(&self.key, &timestamp, &body));
        let headers = [
            ("Roadstead-Webhook-Id", id),
            ("Roadstead-Webhook-Timestamp", timestamp.as_str()),
            ("Roadstead-Webhook-Signature", signature.as_str()),
        ];
        let told = self.client.post_json(url, &headers, body, ANSWER_MAX);
        match timeout(LIMIT, told).await {
            Ok(Ok(answer)) if (200..300).contains(&answer.status) => Told::Taken,
            Ok(Ok(answer)) if answer.status == 410 => Told::Gone,
            Ok(Ok(answer)) => Told::Refused(answer.status),
            Ok(Err(fault)) => Told::Failed(fault),
            Err(_) => Told::Failed(Fault::Unreachable("no answer in time".to_owned())),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_plain_hmac() {
        // `printf '1700000000.{}' | openssl dgst -sha256 -hmac key`
        let signature = sign(&Secret::new("key".to_owned()), "1700000000", b"{}");
        assert_eq!(signature, "9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae");
        assert_ne!(signature, sign(&Secret::new("key".to_owned()), "1700000001", b"{}"));
    }
}
