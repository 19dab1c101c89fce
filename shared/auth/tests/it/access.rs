use std::time::Duration;

use chrono::TimeDelta;
use proptest::prelude::*;
use roadstead_auth::Error;
use roadstead_auth::ed25519::PrivateKey;
use roadstead_auth::jwt::{KeySet, Signer, Subject, Verifier};
use roadstead_contracts::identity::Role;
use roadstead_runtime::{Ids, Secret, SystemClock};

use crate::forge::{spoiled, start};

const ISSUER: &str = "roadstead";
const AUDIENCE: &str = "roadstead-api";

fn subject() -> Subject {
    let ids = Ids::seeded(SystemClock::shared(), 3);
    Subject {
        user_id: ids.next(),
        seq: 7,
        session_id: ids.next(),
        username: "ada".to_owned(),
        email: "ada@example.com".to_owned(),
        roles: [Role::Viewer].into(),
    }
}

fn pair() -> (Signer, Verifier) {
    let key = PrivateKey::generate().unwrap();
    let verifier = Verifier::eddsa(KeySet::of([key.public()]), ISSUER, AUDIENCE);
    (Signer::eddsa(key, ISSUER, AUDIENCE), verifier)
}

fn token(signer: &Signer) -> String {
    signer.issue(subject(), start(), Duration::from_mins(15), "jti").unwrap().0.expose().to_owned()
}

#[test]
fn a_good_token_is_taken_until_it_ends() {
    let (signer, verifier) = pair();
    let token = token(&signer);
    let claims = verifier.verify(&token, start()).unwrap();
    assert_eq!((claims.seq, claims.username.as_str(), claims.typ.as_str()), (7, "ada", "access"));
    assert!(verifier.verify(&token, start() + TimeDelta::seconds(900 + 30)).is_ok(), "leeway");
    assert_eq!(verifier.verify(&token, start() + TimeDelta::seconds(900 + 31)), Err(Error::OutOfTime));
    assert_eq!(verifier.verify(&token, start() - TimeDelta::seconds(31)), Err(Error::OutOfTime), "nbf and iat");
}

#[test]
fn forgeries_are_refused() {
    let (signer, verifier) = pair();
    let token = token(&signer);
    for (what, bad) in spoiled(&token) {
        assert!(verifier.verify(&bad, start()).is_err(), "{what}");
    }
}

#[test]
fn short_tokens_do_not_panic() {
    // The predecessor cut the first 50 bytes off for its log and died on shorter ones.
    let (_, verifier) = pair();
    for length in 0..=60 {
        assert!(verifier.verify(&"a".repeat(length), start()).is_err());
    }
}

#[test]
fn other_issuer_audience_or_kind_is_refused() {
    let key = PrivateKey::generate().unwrap();
    let verifier = Verifier::eddsa(KeySet::of([key.public()]), ISSUER, AUDIENCE);
    for (issuer, audience) in [("else", AUDIENCE), (ISSUER, "else")] {
        let signer = Signer::eddsa(key.clone(), issuer, audience);
        assert_eq!(verifier.verify(&token(&signer), start()), Err(Error::Invalid));
    }
    let signer = Signer::eddsa(key, ISSUER, AUDIENCE);
    let (_, mut claims) = signer.issue(subject(), start(), Duration::from_mins(1), "jti").unwrap();
    claims.typ = "refresh".to_owned();
    assert_eq!(verifier.verify(&signer.sign(&claims).unwrap(), start()), Err(Error::Invalid));
}

#[test]
fn a_new_key_is_told_from_a_bad_signature() {
    let (signer, _) = pair();
    let (_, verifier) = pair();
    assert_eq!(verifier.verify(&token(&signer), start()), Err(Error::UnknownKey));
    let key = PrivateKey::generate().unwrap();
    verifier.update_keys(KeySet::of([key.public()]));
    assert!(verifier.verify(&token(&Signer::eddsa(key, ISSUER, AUDIENCE)), start()).is_ok());
}

#[test]
fn hs256_with_the_public_key_as_secret_is_refused() {
    let key = PrivateKey::generate().unwrap();
    let secret = Secret::new(key.public().base64url());
    let forger = Signer::hs256(&secret, ISSUER, AUDIENCE).unwrap();
    let verifier = Verifier::eddsa(KeySet::of([key.public()]), ISSUER, AUDIENCE);
    assert_eq!(verifier.verify(&token(&forger), start()), Err(Error::Invalid));
}

#[test]
fn hs256_where_the_settings_ask_for_it() {
    let secret = Secret::new("s".repeat(32));
    let signer = Signer::hs256(&secret, ISSUER, AUDIENCE).unwrap();
    let verifier = Verifier::hs256(&secret, ISSUER, AUDIENCE).unwrap();
    assert!(verifier.verify(&token(&signer), start()).is_ok());
    for (what, bad) in spoiled(&token(&signer)) {
        // Its own algorithm's name is no forgery.
        assert!(what == "alg HS256" || verifier.verify(&bad, start()).is_err(), "{what}");
    }
    let (eddsa, _) = pair();
    assert_eq!(verifier.verify(&token(&eddsa), start()), Err(Error::Invalid));
    assert!(Signer::hs256(&Secret::new("short"), ISSUER, AUDIENCE).is_err());
}

#[test]
fn key_sets_are_bounded_and_read_back() {
    let keys = KeySet::of((0..3).map(|_| PrivateKey::generate().unwrap().public()));
    assert_eq!(KeySet::parse(keys.to_json().to_string().as_bytes()).unwrap(), keys);
    let rsa = br#"{"keys":[{"kty":"RSA","n":"x","e":"AQAB"}]}"#;
    let encryption = keys.to_json().to_string().replace("\"sig\"", "\"enc\"");
    for bad in [&b"{}"[..], b"[]", b"", rsa, encryption.as_bytes(), &vec![b' '; 10 * 1024 * 1024]] {
        assert!(KeySet::parse(bad).is_err());
    }
}

proptest! {
    #[test]
    fn garbage_does_not_panic(text in ".{0,300}", parts in "[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,90}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let verifier = Verifier::eddsa(KeySet::default(), ISSUER, AUDIENCE);
        prop_assert!(verifier.verify(&text, start()).is_err());
        prop_assert!(verifier.verify(&parts, start()).is_err());
        let _ = KeySet::parse(&bytes);
    }
}
