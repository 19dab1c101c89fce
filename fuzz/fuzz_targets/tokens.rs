//! Tokens of two halves and one-time codes: one right spelling, and a code counts once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roadstead_auth::token::{self, Kind};
use roadstead_auth::totp::TotpSecret;

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
    let _ = token::api_key_proof(text);
    let secret = TotpSecret::from_bytes(&[7; 20]).or_else(|| TotpSecret::from_bytes(&[7; 32]));
    if let Some(secret) = secret
        && let Some(step) = secret.accept(text, 1_800_000_000, 0)
    {
        assert_eq!(secret.accept(text, 1_800_000_000, step), None, "a code counts twice");
    }
});
