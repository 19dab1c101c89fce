//! Everything that carries a signature. With any header, claims and signature it is refused, and nothing breaks; what the
//! right key has signed is taken only when the claims are for this door, for these times, and short.
//!
//! The first byte says what the rest is: `0` a token as it is; `1` header, claims and signature, each on a line; `2` header
//! and claims that the right key signs; `3` the same with the shared secret.
#![no_main]

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use libfuzzer_sys::fuzz_target;
use roadstead_auth::audit::{GENESIS, verify_checkpoint};
use roadstead_auth::ed25519::{PrivateKey, PublicKey};
use roadstead_auth::identity::{
    LIFETIME_MAX_SECONDS, ORDER_LIFETIME_MAX_SECONDS, OrderedRun, RootKey, Verifier as Identity, operation_digest,
};
use roadstead_auth::jwt::{ACCESS, KeySet, Verifier};
use roadstead_auth::oidc::{Expected, ProviderKeys};
use roadstead_auth::{agent_key, oidc};
use roadstead_contracts::agent::DIAL_AUDIENCE;
use roadstead_contracts::audit::AuditCheckpoint;
use roadstead_contracts::ids::{ClusterId, OperationId, TypedId as _};
use roadstead_contracts::operation::Work;
use roadstead_runtime::Secret;

/// The seeds name the key that follows from it.
const SEED: [u8; 32] = [7; 32];
const SHARED: &str = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk";
const NOW: i64 = 1_800_000_000;
const LEEWAY: i64 = 30;
const ISSUER: &str = "https://id.example";
const WORK: Work = Work::Undo { force: false };

struct Doors {
    pair: Ed25519KeyPair,
    public: PublicKey,
    access: Verifier,
    shared: Verifier,
    identity: Identity,
    provider: ProviderKeys,
    cluster: ClusterId,
    operation: OperationId,
}

static DOORS: LazyLock<Doors> = LazyLock::new(|| {
    roadstead_runtime::install_crypto();
    let key = PrivateKey::from_seed(&SEED).expect("a seed");
    let public = key.public();
    let keys = KeySet::of([public]);
    let identity = Identity::new(&public.base64url()).expect("a root");
    let set = RootKey::new(key).sign_key_set(&keys, now()).expect("a set of keys");
    identity.update_keys(&set, now()).expect("keys");
    Doors {
        pair: Ed25519KeyPair::from_seed_unchecked(&SEED).expect("a pair"),
        public,
        provider: ProviderKeys::parse(keys.to_json().to_string().as_bytes()).expect("a provider's keys"),
        access: Verifier::eddsa(keys, "roadstead", "roadstead"),
        shared: Verifier::hs256(&Secret::new(SHARED), "roadstead", "roadstead").expect("a secret"),
        identity,
        cluster: ClusterId::from_uuid(uuid::Uuid::from_u128(7)),
        operation: OperationId::from_uuid(uuid::Uuid::from_u128(8)),
    }
});

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW, 0).unwrap_or_default()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Nobody,
    Key,
    Shared,
}

/// The token, and who signed it.
fn token(data: &[u8], doors: &Doors) -> Option<(String, By)> {
    let (first, rest) = data.split_first()?;
    if first % 4 == 0 {
        return std::str::from_utf8(rest).ok().map(|text| (text.to_owned(), By::Nobody));
    }
    let mut parts = rest.splitn(3, |byte| *byte == b'\n').map(|part| URL_SAFE_NO_PAD.encode(part));
    let (header, claims) = (parts.next()?, parts.next().unwrap_or_default());
    let signed = format!("{header}.{claims}");
    let (signature, by) = match first % 4 {
        1 => (parts.next().unwrap_or_default(), By::Nobody),
        2 => (URL_SAFE_NO_PAD.encode(doors.pair.sign(signed.as_bytes())), By::Key),
        _ => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, SHARED.as_bytes());
            (URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes())), By::Shared)
        }
    };
    Some((format!("{signed}.{signature}"), by))
}

fn in_time(issued_at: i64, expires_at: i64, longest: i64) {
    assert!(issued_at <= NOW + LEEWAY && expires_at >= NOW - LEEWAY);
    assert!(expires_at.saturating_sub(issued_at) <= longest, "it lives too long");
}

fuzz_target!(|data: &[u8]| {
    let doors = &*DOORS;
    let Some((token, by)) = token(data, doors) else { return };
    let (now, of_key) = (now(), by == By::Key);

    for (claims, right) in
        [(doors.access.verify(&token, now), of_key), (doors.shared.verify(&token, now), by == By::Shared)]
    {
        if let Ok(claims) = claims {
            assert!(right && claims.typ == ACCESS && claims.iss == "roadstead" && claims.aud == "roadstead");
            in_time(claims.iat, claims.exp, i64::MAX);
        }
    }
    let fresh = Identity::new(&doors.public.base64url()).expect("a root");
    assert!(fresh.update_keys(&token, now).is_err() || of_key);
    // Twice: what was seen is remembered.
    for _ in 0..2 {
        if let Ok(claims) = doors.identity.verify(&token, doors.cluster, now) {
            assert!(of_key && claims.aud == doors.cluster.to_string());
            in_time(claims.iat, claims.exp, LIFETIME_MAX_SECONDS);
        }
    }
    let run =
        OrderedRun { cluster: doors.cluster, operation: doors.operation, epoch: 1, work: &WORK, body_sha256: "ab" };
    if let Ok(claims) = doors.identity.verify_operation(&token, run, now) {
        assert!(of_key && claims.aud == doors.cluster.to_string() && claims.operation == doors.operation.to_string());
        assert_eq!(Ok(claims.digest), operation_digest(&WORK, "ab"));
        in_time(claims.iat, claims.exp, ORDER_LIFETIME_MAX_SECONDS);
    }
    if let Ok(claims) = agent_key::verify_dial(&token, &doors.public.base64url(), now) {
        assert!(of_key && claims.aud == DIAL_AUDIENCE);
        assert!((1..=128).contains(&claims.sub.len()) && (1..=128).contains(&claims.jti.len()));
        in_time(claims.iat, claims.exp, agent_key::DIAL_LIFETIME_SECONDS);
        assert_eq!(agent_key::claimed_agent(&token), Some(claims.sub));
    }
    if let Some(agent) = agent_key::claimed_agent(&token) {
        assert!(agent.len() <= 128, "a claim of {} bytes", agent.len());
    }
    provider(&token, of_key, doors, now);
    let checkpoint = AuditCheckpoint { seq: 7, hash: GENESIS.to_owned(), at: now, signed: token };
    assert!(verify_checkpoint(&checkpoint, &doors.public).is_err() || of_key);
});

fn provider(token: &str, of_key: bool, doors: &Doors, now: DateTime<Utc>) {
    let expected = Expected { issuer: ISSUER, client_id: "hub", nonce: Some("n"), access_token: Some("a") };
    let login = oidc::verify_id_token(token, &doors.provider, &expected, now);
    let logout = oidc::verify_logout_token(token, &doors.provider, &expected, now);
    assert!(login.is_err() || logout.is_err(), "a token logs in and out");
    if let Ok(person) = &login {
        assert!(of_key && (1..=255).contains(&person.subject.len()));
        assert!(person.all["iss"] == ISSUER && person.all["nonce"] == "n" && !person.all.contains_key("events"));
        let age = NOW - person.all["iat"].as_i64().unwrap_or_default();
        assert!((-LEEWAY..=600 + LEEWAY).contains(&age));
    }
    if let Ok(ended) = &logout {
        assert!(of_key && !ended.id.is_empty() && (ended.subject.is_some() || ended.session.is_some()));
        assert!((NOW - LEEWAY..=NOW + LEEWAY + 300).contains(&ended.expires_at));
    }
    if login.is_ok() || logout.is_ok() {
        assert_eq!(oidc::issuer_of(token).as_deref(), Some(ISSUER));
    }
    let _ = oidc::issuer_of(token);
}
