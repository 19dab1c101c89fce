//! What is read from databases, files and other parties' documents: sealed values, keys, sets of keys, hashes of passwords,
//! exported audit trails.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use roadstead_auth::agent_key::AgentKey;
use roadstead_auth::audit::{GENESIS, Verifier};
use roadstead_auth::ed25519::{PrivateKey, PublicKey};
use roadstead_auth::jwt::{KEYS_MAX, KeySet};
use roadstead_auth::keyfile::KeyFile;
use roadstead_auth::oidc::ProviderKeys;
use roadstead_auth::password;
use roadstead_contracts::audit::{AuditStart, ExportLine};
use roadstead_contracts::policy::{Rule, RuleDraft};
use roadstead_seal::{Sealed, Sealer};

static SEALER: LazyLock<Sealer> = LazyLock::new(|| {
    roadstead_runtime::install_crypto();
    Sealer::ephemeral("fuzz").expect("a key")
});

fuzz_target!(|data: &[u8]| {
    let sealer = &*SEALER;
    if let Ok(keys) = KeySet::parse(data) {
        let json = keys.to_json();
        assert!(json["keys"].as_array().is_some_and(|keys| (1..=KEYS_MAX).contains(&keys.len())));
        assert_eq!(KeySet::parse(json.to_string().as_bytes()), Ok(keys));
    }
    if let Ok(keys) = ProviderKeys::parse(data) {
        assert!(!keys.is_empty());
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(sealed) = Sealed::parse(text) {
        assert_eq!(sealed.as_str(), text);
        assert!(Sealed::looks_sealed(text));
        assert!(sealer.unseal("table", "column", 1, &sealed).is_err(), "it was never sealed");
        assert!(sealer.rewrap(&sealed).map_or(true, |fresh| fresh.is_none()));
    }
    if let Ok(keys) = roadstead_seal::fuzz::ring(text) {
        assert!((1..=16).contains(&keys.versions().count()) && keys.versions().all(|version| version <= keys.newest()));
        // A key is 32 bytes of base64: nothing so long is printed.
        assert!(!format!("{keys:?}").split_ascii_whitespace().any(|word| word.len() >= 43));
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
    if let Ok(file) = KeyFile::parse(text) {
        let written = file.to_json().expect("keys that were read can be written");
        assert!(KeyFile::parse(written.expose()).is_ok_and(|again| again.same_hub(&file)));
    }
    // The costs are read; the work itself would be all that is done here.
    let _ = password::is_outdated(text);
    export(text);
    if let Ok(draft) = serde_json::from_str::<RuleDraft>(text)
        && let Ok(rule) = draft.checked(roadstead_contracts::ids::TypedId::from_uuid(uuid::Uuid::from_u128(1)))
    {
        let json = serde_json::to_string(&rule).expect("a rule");
        assert!(serde_json::from_str::<Rule>(&json).is_ok_and(|again| again == rule));
    }
});

/// The lines of an export, whoever wrote them.
fn export(text: &str) {
    let mut verifier = Verifier::new(&AuditStart { seq: 0, hash: GENESIS.to_owned() }, None);
    let mut rows = 0;
    for line in text.lines().take(64) {
        match ExportLine::parse(line) {
            Ok(ExportLine::Row(row)) => {
                verifier.row(&row);
                rows += 1;
            }
            Ok(ExportLine::Checkpoint(line)) => verifier.checkpoint(&line.checkpoint),
            Ok(ExportLine::Head(head)) => verifier = Verifier::new(&head.after, PublicKey::parse(&head.key).ok()),
            Err(_) => {}
        }
    }
    let report = verifier.finish();
    assert!(report.rows <= rows);
    if let Some(fault) = &report.fault {
        assert!(!fault.to_string().is_empty());
    }
}
