use chrono::TimeDelta;
use proptest::prelude::*;
use roadstead_auth::Error;
use roadstead_auth::ed25519::PrivateKey;
use roadstead_auth::identity::{RootKey, SigningKeys, Verifier};
use roadstead_contracts::agent::IdentityClaims;
use roadstead_contracts::ids::ClusterId;
use roadstead_runtime::{Ids, SystemClock};

use crate::forge::{spoiled, start};

struct Hub {
    root: RootKey,
    signing: SigningKeys,
    cluster: ClusterId,
}

fn hub() -> Hub {
    let key = || PrivateKey::generate().unwrap();
    let cluster = Ids::system(SystemClock::shared()).next();
    Hub { root: RootKey::new(key()), signing: SigningKeys::new(key(), []), cluster }
}

impl Hub {
    fn claims(&self) -> IdentityClaims {
        IdentityClaims {
            sub: "ada".to_owned(),
            uid: "0198c5b0-0000-7000-8000-000000000001".to_owned(),
            roles: vec!["viewer".to_owned()],
            aud: self.cluster.to_string(),
            iat: start().timestamp(),
            exp: start().timestamp() + 60,
            actor: None,
            only: None,
        }
    }

    fn agent(&self) -> Verifier {
        let verifier = Verifier::new(&self.root.public_base64url()).unwrap();
        verifier.update_keys(&self.root.sign_key_set(self.signing.key_set(), start()).unwrap(), start()).unwrap();
        verifier
    }
}

#[test]
fn an_agent_takes_an_identity_for_its_cluster_only() {
    let hub = hub();
    let assertion = hub.signing.sign(&hub.claims()).unwrap();
    let agent = hub.agent();
    assert_eq!(agent.verify(&assertion, hub.cluster, start()).unwrap(), hub.claims());
    let other = Ids::system(SystemClock::shared()).next();
    assert_eq!(agent.verify(&assertion, other, start()), Err(Error::Invalid));
    assert_eq!(agent.verify(&assertion, hub.cluster, start() + TimeDelta::seconds(91)), Err(Error::OutOfTime));
    for (what, bad) in spoiled(&assertion) {
        assert!(agent.verify(&bad, hub.cluster, start()).is_err(), "{what}");
    }
}

#[test]
fn an_identity_that_was_seen_is_looked_at_again() {
    let hub = hub();
    let agent = hub.agent();
    let assertion = hub.signing.sign(&hub.claims()).unwrap();
    for _ in 0..2 {
        assert_eq!(agent.verify(&assertion, hub.cluster, start()).unwrap(), hub.claims());
    }
    assert_eq!(agent.verify(&assertion, hub.cluster, start() + TimeDelta::seconds(91)), Err(Error::OutOfTime));
    // More than are remembered, and the first once more.
    for number in 0..600 {
        let claims = IdentityClaims { sub: format!("person-{number}"), ..hub.claims() };
        let assertion = hub.signing.sign(&claims).unwrap();
        assert_eq!(agent.verify(&assertion, hub.cluster, start()).unwrap(), claims);
    }
    assert_eq!(agent.verify(&assertion, hub.cluster, start()).unwrap(), hub.claims());
    // It is forgotten with the key that signed it.
    let fresh = SigningKeys::new(PrivateKey::generate().unwrap(), []);
    let later = start() + TimeDelta::seconds(1);
    agent.update_keys(&hub.root.sign_key_set(fresh.key_set(), later).unwrap(), later).unwrap();
    assert_eq!(agent.verify(&assertion, hub.cluster, later), Err(Error::UnknownKey));
}

#[test]
fn a_longer_life_than_a_minute_is_refused() {
    let hub = hub();
    let mut claims = hub.claims();
    claims.exp += 1;
    assert_eq!(hub.agent().verify(&hub.signing.sign(&claims).unwrap(), hub.cluster, start()), Err(Error::Invalid));
}

#[test]
fn only_the_pinned_root_names_keys_and_old_sets_do_not_come_back() {
    let (hub, stranger) = (hub(), hub());
    let agent = hub.agent();
    let foreign = stranger.root.sign_key_set(stranger.signing.key_set(), start()).unwrap();
    assert_eq!(agent.update_keys(&foreign, start()), Err(Error::UnknownKey));

    let later = start() + TimeDelta::hours(1);
    let old_set = hub.root.sign_key_set(hub.signing.key_set(), start()).unwrap();
    let rotated = SigningKeys::new(PrivateKey::generate().unwrap(), []);
    agent.update_keys(&hub.root.sign_key_set(rotated.key_set(), later).unwrap(), later).unwrap();
    assert_eq!(agent.update_keys(&old_set, later), Err(Error::OutOfTime));
    assert_eq!(agent.verify(&hub.signing.sign(&hub.claims()).unwrap(), hub.cluster, start()), Err(Error::UnknownKey));
}

#[test]
fn a_key_set_is_no_identity_and_back() {
    let hub = hub();
    let agent = hub.agent();
    let set = hub.root.sign_key_set(hub.signing.key_set(), start()).unwrap();
    assert!(agent.verify(&set, hub.cluster, start()).is_err());
    assert!(agent.update_keys(&hub.signing.sign(&hub.claims()).unwrap(), start()).is_err());
}

proptest! {
    #[test]
    fn garbage_does_not_panic(text in ".{0,300}") {
        let hub = hub();
        prop_assert!(hub.agent().verify(&text, hub.cluster, start()).is_err());
        prop_assert!(hub.agent().update_keys(&text, start()).is_err());
        let _ = Verifier::new(&text);
    }
}
