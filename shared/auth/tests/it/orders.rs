//! Orders for operations.

use chrono::TimeDelta;
use roadstead_auth::Error;
use roadstead_auth::ed25519::PrivateKey;
use roadstead_auth::identity::{
    ORDER_LIFETIME_MAX_SECONDS, OrderedRun, RootKey, SigningKeys, Verifier, operation_digest,
};
use roadstead_contracts::ids::{ClusterId, OperationId};
use roadstead_contracts::operation::{OperationClaims, Work};
use roadstead_runtime::{Ids, SystemClock};

use crate::forge::{spoiled, start};

struct Hub {
    signing: SigningKeys,
    agent: Verifier,
    cluster: ClusterId,
    operation: OperationId,
    work: Work,
}

impl Hub {
    fn new() -> Self {
        let ids = Ids::system(SystemClock::shared());
        let root = RootKey::new(PrivateKey::generate().unwrap());
        let signing = SigningKeys::new(PrivateKey::generate().unwrap(), []);
        let agent = Verifier::new(&root.public_base64url()).unwrap();
        agent.update_keys(&root.sign_key_set(signing.key_set(), start()).unwrap(), start()).unwrap();
        Self { signing, agent, cluster: ids.next(), operation: ids.next(), work: Work::Undo { force: false } }
    }

    fn claims(&self) -> OperationClaims {
        OperationClaims {
            sub: "ada".to_owned(),
            uid: "u".to_owned(),
            roles: vec!["operator".to_owned()],
            aud: self.cluster.to_string(),
            operation: self.operation.to_string(),
            epoch: 1,
            digest: operation_digest(&self.work, "ab").unwrap(),
            iat: start().timestamp(),
            exp: start().timestamp() + ORDER_LIFETIME_MAX_SECONDS,
        }
    }

    fn run(&self) -> OrderedRun<'_> {
        OrderedRun { cluster: self.cluster, operation: self.operation, epoch: 1, work: &self.work, body_sha256: "ab" }
    }
}

#[test]
fn an_order_is_for_one_run_only() {
    let hub = Hub::new();
    let order = hub.signing.sign_operation(&hub.claims()).unwrap();
    assert_eq!(hub.agent.verify_operation(&order, hub.run(), start()).unwrap(), hub.claims());
    let ids = Ids::system(SystemClock::shared());
    let (cluster, operation, other) = (ids.next(), ids.next(), Work::Undo { force: true });
    for run in [
        OrderedRun { cluster, ..hub.run() },
        OrderedRun { operation, ..hub.run() },
        OrderedRun { epoch: 2, ..hub.run() },
        OrderedRun { work: &other, ..hub.run() },
        OrderedRun { body_sha256: "cd", ..hub.run() },
    ] {
        assert_eq!(hub.agent.verify_operation(&order, run, start()), Err(Error::Invalid), "{run:?}");
    }
    for (what, bad) in spoiled(&order) {
        assert!(hub.agent.verify_operation(&bad, hub.run(), start()).is_err(), "{what}");
    }
}

#[test]
fn an_order_has_its_time_and_is_no_identity() {
    let hub = Hub::new();
    let order = hub.signing.sign_operation(&hub.claims()).unwrap();
    assert_eq!(ORDER_LIFETIME_MAX_SECONDS, 900);
    let late = start() + TimeDelta::seconds(ORDER_LIFETIME_MAX_SECONDS + 31);
    assert_eq!(hub.agent.verify_operation(&order, hub.run(), late), Err(Error::OutOfTime));
    assert!(hub.agent.verify(&order, hub.cluster, start()).is_err());
    let long = OperationClaims { exp: hub.claims().exp + 1, ..hub.claims() };
    let long = hub.signing.sign_operation(&long).unwrap();
    assert_eq!(hub.agent.verify_operation(&long, hub.run(), start()), Err(Error::Invalid));
}
