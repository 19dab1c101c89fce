//! Everything that carries a signature: with any header, claims and signature it is refused, and nothing breaks.
#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::DateTime;
use libfuzzer_sys::fuzz_target;
use roadstead_auth::ed25519::{PrivateKey, PublicKey};
use roadstead_auth::identity::Verifier as Identity;
use roadstead_auth::jwt::{KeySet, Verifier};
use roadstead_auth::{agent_key, oidc};
use roadstead_contracts::ids::{ClusterId, TypedId as _};
use roadstead_runtime::Secret;

struct Doors {
    public: String,
    access: Verifier,
    shared: Verifier,
    identity: Identity,
    cluster: ClusterId,
}

static DOORS: LazyLock<Doors> = LazyLock::new(|| {
    roadstead_runtime::install_crypto();
    let key = PrivateKey::from_seed(&[7; 32]).expect("a seed");
    let public = key.public().base64url();
    let known = PublicKey::parse(&public).expect("a key");
    Doors {
        access: Verifier::eddsa(KeySet::of([known]), "roadstead", "roadstead"),
        shared: Verifier::hs256(&Secret::new("k".repeat(32)), "roadstead", "roadstead").expect("a secret"),
        identity: Identity::new(&public).expect("a root"),
        cluster: ClusterId::from_uuid(uuid::Uuid::from_u128(7)),
        public,
    }
});

/// Three parts of the input, encoded as a token has them; or the input as it is.
fn token(data: &[u8]) -> Option<String> {
    let (first, rest) = data.split_first()?;
    if first % 4 == 0 {
        return std::str::from_utf8(rest).ok().map(str::to_owned);
    }
    let mut parts = rest.splitn(3, |byte| *byte == 0).map(|part| URL_SAFE_NO_PAD.encode(part));
    let (header, claims) = (parts.next()?, parts.next().unwrap_or_default());
    Some(format!("{header}.{claims}.{}", parts.next().unwrap_or_default()))
}

fuzz_target!(|data: &[u8]| {
    let Some(token) = token(data) else { return };
    let doors = &*DOORS;
    let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap_or_default();
    assert!(doors.access.verify(&token, now).is_err());
    assert!(doors.shared.verify(&token, now).is_err());
    assert!(doors.identity.update_keys(&token, now).is_err());
    assert!(doors.identity.verify(&token, doors.cluster, now).is_err());
    assert!(agent_key::verify_dial(&token, &doors.public, now).is_err());
    if let Some(agent) = agent_key::claimed_agent(&token) {
        assert!(agent.len() <= 256, "a claim of {} bytes", agent.len());
    }
    let _ = oidc::issuer_of(&token);
});
