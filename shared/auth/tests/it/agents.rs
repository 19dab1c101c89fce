use chrono::TimeDelta;
use proptest::prelude::*;
use roadstead_auth::Error;
use roadstead_auth::agent_key::{AgentKey, claimed_agent, verify_dial};

use crate::forge::{spoiled, start};

#[test]
fn a_dial_proves_the_key_for_a_minute() {
    let key = AgentKey::generate().unwrap();
    let token = AgentKey::load(key.pem().expose()).unwrap().sign_dial("agent-1", start(), "once").unwrap();
    let claims = verify_dial(&token, &key.public_base64url(), start()).unwrap();
    assert_eq!((claims.sub.as_str(), claims.jti.as_str()), ("agent-1", "once"));
    assert_eq!(claimed_agent(&token).as_deref(), Some("agent-1"));
    let late = start() + TimeDelta::seconds(91);
    assert_eq!(verify_dial(&token, &key.public_base64url(), late).unwrap_err(), Error::OutOfTime);
    let other = AgentKey::generate().unwrap();
    assert_eq!(verify_dial(&token, &other.public_base64url(), start()).unwrap_err(), Error::Invalid);
    for (what, bad) in spoiled(&token) {
        assert!(verify_dial(&bad, &key.public_base64url(), start()).is_err(), "{what}");
    }
}

proptest! {
    #[test]
    fn garbage_does_not_panic(text in ".{0,300}", key in ".{0,60}") {
        let good = AgentKey::generate().unwrap().public_base64url();
        prop_assert!(verify_dial(&text, &good, start()).is_err());
        prop_assert!(verify_dial(&text, &key, start()).is_err());
        prop_assert!(claimed_agent(&text).is_none());
        let _ = AgentKey::load(&text);
    }
}
