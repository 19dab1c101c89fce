//! What browsers hand over from authenticators: with any bytes it is refused, or is one of ours, and nothing breaks.
#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use roadstead_auth::webauthn::{self, AssertionAnswer, Expected, Known, Party, RegistrationAnswer};

const CHALLENGE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

static PARTY: LazyLock<Party> = LazyLock::new(|| Party::at("https://hub.example").expect("a party"));

/// The browser's statement as it must be, so that what lies behind it is reached.
fn said(kind: &str) -> String {
    let text =
        format!(r#"{{"type":"{kind}","challenge":"{CHALLENGE}","origin":"https://hub.example","crossOrigin":false}}"#);
    URL_SAFE_NO_PAD.encode(text)
}

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else { return };
    let expected = Expected { party: &PARTY, challenge: CHALLENGE, verified: first & 1 == 1 };
    let text = URL_SAFE_NO_PAD.encode(rest);
    let _ = webauthn::challenge_of(rest);
    // The id of a new key is wherever the data says: its name is taken from there, as a browser would.
    let length = usize::from(*first);
    let id = URL_SAFE_NO_PAD.encode(rest.get(..length.max(1)).unwrap_or(rest));
    if let Some(new) = RegistrationAnswer::parse(&id, &said("webauthn.create"), &text)
        && let Ok(key) = webauthn::register(&new, &expected)
    {
        assert_eq!(key.credential_id, new.id, "a key has another name");
        assert!(!key.backed_up || key.backup_eligible);
        assert!(key.user_verified || !expected.verified);
    }
    let (key, statement) = rest.split_at(rest.len() / 2);
    let known = Known { public_key: key, sign_count: 0, backup_eligible: first & 2 == 2 };
    let statement = URL_SAFE_NO_PAD.encode(statement);
    if let Some(sign_in) = AssertionAnswer::parse("AAAA", &said("webauthn.get"), &statement, "AAAA") {
        assert!(webauthn::assert(&sign_in, &known, &expected).is_err(), "three bytes are a signature");
    }
    if let Some(new) = RegistrationAnswer::parse("AAAA", &text, "oA") {
        assert!(webauthn::register(&new, &expected).is_err(), "an empty map is an attestation");
    }
});
