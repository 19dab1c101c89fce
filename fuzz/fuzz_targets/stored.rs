//! What is read from databases, files and other parties' documents: sealed values, keys, sets of keys.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use roadstead_auth::agent_key::AgentKey;
use roadstead_auth::ed25519::{PrivateKey, PublicKey};
use roadstead_auth::jwt::KeySet;
use roadstead_auth::keyfile::KeyFile;
use roadstead_seal::{Sealed, Sealer};

static SEALER: LazyLock<Sealer> = LazyLock::new(|| Sealer::ephemeral("fuzz").expect("a key"));

fuzz_target!(|data: &[u8]| {
    let _ = KeySet::parse(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(sealed) = Sealed::parse(text) {
        assert_eq!(sealed.as_str(), text);
        assert!(Sealed::looks_sealed(text));
        assert!(SEALER.unseal("table", "column", 1, &sealed).is_err(), "it was never sealed");
        assert!(SEALER.rewrap(&sealed).map_or(true, |fresh| fresh.is_none()));
    }
    if let Ok(key) = PublicKey::parse(text) {
        assert_eq!(key.base64url(), text, "there is another spelling");
    }
    for pem in [text.to_owned(), format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")] {
        if let Ok(key) = PrivateKey::from_pem(&pem) {
            assert!(!format!("{key:?}").contains(key.pem().expose()));
        }
        let _ = AgentKey::load(&pem);
    }
    let _ = KeyFile::parse(text);
});
