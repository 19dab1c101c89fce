//! Tokens of two halves and one-time codes: one right spelling, and a code counts once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roadstead_auth::token::{self, Kind};
use roadstead_auth::totp::TotpSecret;
use roadstead_contracts::message::CredentialProof;

const NOW: i64 = 1_800_000_000;
const SECRET: &[u8] = b"12345678901234567890";
const KINDS: [Kind; 4] = [Kind::ApiKey, Kind::Join, Kind::Refresh, Kind::PasswordReset];

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut read = 0;
    for kind in KINDS {
        if let Some(parts) = token::parse(kind, text) {
            assert_eq!(parts.format().expose(), text, "there is another spelling");
            assert!(!format!("{parts:?}").contains(parts.secret.expose()));
            read += 1;
        }
    }
    assert!(read <= 1, "a token is of two kinds");
    if let Some(CredentialProof::ApiKey { digest, .. } | CredentialProof::LegacyApiKey { digest }) =
        token::api_key_proof(text)
    {
        assert!(digest.len() == 64 && (3..=128).contains(&text.len()) && text.is_ascii());
    }
    // A code of the secret that the seeds know, and of one that the input brings along.
    for bytes in [SECRET, data.get(..20).unwrap_or(SECRET)] {
        let Some(secret) = TotpSecret::from_bytes(bytes) else { continue };
        if let Some(step) = secret.accept(text, NOW, 0) {
            assert_eq!(secret.code(step), text, "there is another spelling");
            assert_eq!(secret.accept(text, NOW, step), None, "a code counts twice");
        }
    }
});
