//! Orders for operations: decided at each dispatch, signed for the agent.

use std::collections::BTreeSet;

use roadstead_auth::identity::{OrderedRun, Verifier, operation_digest};
use roadstead_auth::token::api_key_proof;
use roadstead_contracts::Code;
use roadstead_contracts::ids::{ClusterId, OperationId, TypedId as _, UserId};
use roadstead_contracts::message::{Authenticate, IdentityKeys, SignOperation};
use roadstead_contracts::operation::Work;
use roadstead_contracts::scope::Scope;
use serde_json::json;

use crate::rig::{context, rig};

const BODY: &str = "ab";

fn ask(user_id: UserId, work: &Work) -> SignOperation {
    SignOperation {
        user_id,
        operation_id: OperationId::from_uuid(uuid::Uuid::from_u128(20)),
        epoch: 1,
        cluster_id: ClusterId::from_uuid(uuid::Uuid::from_u128(7)),
        owner: false,
        scope: None,
        digest: operation_digest(work, BODY).unwrap(),
        lifetime_seconds: 86_400,
        cluster: None,
        changes: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_gets_an_order_that_the_agent_takes() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let work = Work::Undo { force: false };
    let request = ask(owner.principal.user_id, &work);
    let signed = rig.bus.call(&request, &context()).await.unwrap();
    let keys = rig.bus.call(&IdentityKeys {}, &context()).await.unwrap();
    let agent = Verifier::new(&keys.root).unwrap();
    agent.update_keys(&keys.key_set, rig.now()).unwrap();
    let run = OrderedRun {
        cluster: request.cluster_id,
        operation: request.operation_id,
        epoch: 1,
        work: &work,
        body_sha256: BODY,
    };
    let claims = agent.verify_operation(&signed.order, run, rig.now()).unwrap();
    assert_eq!((claims.sub.as_str(), claims.roles), ("owner", vec!["admin".to_owned()]));
    assert!(claims.exp - claims.iat <= 900, "however long was asked for");
    assert_eq!(agent.verify(&signed.assertion, request.cluster_id, rig.now()).unwrap().sub, "owner");
    assert!(agent.verify_operation(&signed.order, OrderedRun { epoch: 2, ..run }, rig.now()).is_err());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_any_more_gets_none() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let token = rig.account("ada").await.text("access_token");
    let key = rig.as_bearer(&token, "POST", "/api-keys", Some(json!({"key_name": "ci"}))).await.text("api_key");
    let question =
        Authenticate { credential: api_key_proof(&key).unwrap(), cluster_id: None, source: None, raise: None };
    let ada = rig.bus.call(&question, &context()).await.unwrap().principal;
    let work = Work::Undo { force: false };
    let nobody = UserId::from_uuid(uuid::Uuid::from_u128(99));
    let only_reads = Scope { permissions: Some(BTreeSet::from(["clusters:read".to_owned()])), ..Scope::default() };
    let elsewhere = Scope { clusters: Some(BTreeSet::new()), ..Scope::default() };
    let by_owner = ask(owner.principal.user_id, &work);
    for (what, request) in [
        ("a viewer of a cluster that is not granted", ask(ada.user_id, &work)),
        ("a viewer of an own cluster", SignOperation { owner: true, ..ask(ada.user_id, &work) }),
        ("an account that is gone", ask(nobody, &work)),
        ("a key that only reads", SignOperation { scope: Some(only_reads), ..by_owner.clone() }),
        ("a key of other clusters", SignOperation { scope: Some(elsewhere), ..by_owner.clone() }),
    ] {
        let refused = rig.bus.call(&request, &context()).await.unwrap_err();
        assert_eq!(refused.code, Code::PermissionRevoked, "{what}");
    }
    let odd = SignOperation { digest: "x".to_owned(), ..by_owner };
    assert_eq!(rig.bus.call(&odd, &context()).await.unwrap_err().code, Code::Validation);
    rig.stop().await;
}
