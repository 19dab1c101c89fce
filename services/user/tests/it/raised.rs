//! Identities and orders that carry more than an account's own roles: decided here, for one thing only.

use std::collections::BTreeSet;

use roadstead_auth::identity::{OrderedRun, Verifier, operation_digest};
use roadstead_auth::token::api_key_proof;
use roadstead_contracts::Code;
use roadstead_contracts::agent::RequestKind;
use roadstead_contracts::ids::{ClusterId, OperationId, TypedId as _};
use roadstead_contracts::message::{
    ActsAs, Authenticate, AuthenticateAs, CredentialProof, GrantCluster, IdentifyPeer, IdentityKeys, Raise,
    SignOperation,
};
use roadstead_contracts::operation::Work;
use roadstead_contracts::policy::ClusterFacts;
use serde_json::json;

use crate::rig::{context, eventually, rig, rig_with};

fn cluster() -> ClusterFacts {
    let id = ClusterId::from_uuid(uuid::Uuid::from_u128(7));
    ClusterFacts { id, name: Some("quay".to_owned()), labels: None, owner: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_gives_is_signed_for_one_kind_of_request() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let token = rig.account("ada").await.text("access_token");
    let key = rig.as_bearer(&token, "POST", "/api-keys", Some(json!({"key_name": "ci"}))).await.text("api_key");
    let facts = cluster();
    let grant = GrantCluster { principal: owner.principal.clone(), cluster_id: facts.id, account: "ada".to_owned() };
    rig.bus.call(&grant, &context()).await.unwrap();
    let rule = json!({
        "name": "team-a", "effect": "allow", "subjects": ["user:ada"], "permissions": ["operations:*", "*:read"],
        "clusters": {"names": ["quay"]}, "namespaces": ["team-a"],
    });
    let made = rig.as_key(owner.api_key.expose(), "POST", "/api/v1/policies", Some(rule)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let proof = api_key_proof(&key).unwrap();
    let ask = async |raise: Option<RequestKind>| {
        let raise = raise.map(|request| Raise { cluster: cluster(), request });
        let question = Authenticate { credential: proof.clone(), cluster_id: Some(cluster().id), source: None, raise };
        rig.bus.call(&question, &context()).await
    };
    let in_a = || RequestKind::of("patch", "configmaps", Some("team-a"));
    eventually("the rule is known", || async { ask(Some(in_a())).await.is_ok() }).await;
    let keys = rig.bus.call(&IdentityKeys {}, &context()).await.unwrap();
    let agent = Verifier::new(&keys.root).unwrap();
    agent.update_keys(&keys.key_set, rig.now()).unwrap();
    let claims = async |raise: Option<RequestKind>| {
        let assertion = ask(raise).await.unwrap().assertion.unwrap();
        let claims = agent.verify(&assertion, cluster().id, rig.now()).unwrap();
        (claims.roles, claims.only)
    };
    let roles = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(claims(None).await, (roles(&["viewer"]), None));
    assert_eq!(claims(Some(in_a())).await, (roles(&["operator"]), Some(in_a())));
    // What the account may do by itself is signed as itself.
    let elsewhere = RequestKind::of("get", "configmaps", Some("team-b"));
    assert_eq!(claims(Some(elsewhere)).await, (roles(&["viewer"]), None));
    // An order, by the same rule; it is for its work only.
    let work = Work::Exec {
        namespace: "team-a".to_owned(),
        pod: "p".to_owned(),
        container: None,
        command: vec!["ls".to_owned()],
    };
    let who = ask(None).await.unwrap().principal;
    let order = |namespace: &str| SignOperation {
        user_id: who.user_id,
        operation_id: OperationId::from_uuid(uuid::Uuid::from_u128(20)),
        epoch: 1,
        cluster_id: cluster().id,
        owner: false,
        scope: None,
        digest: operation_digest(&work, "ab").unwrap(),
        lifetime_seconds: 60,
        cluster: Some(cluster()),
        changes: vec![RequestKind::of("create", "pods/exec", Some(namespace))],
    };
    let signed = rig.bus.call(&order("team-a"), &context()).await.unwrap();
    let (operation, run_cluster) = (order("team-a").operation_id, cluster().id);
    let run = OrderedRun { cluster: run_cluster, operation, epoch: 1, work: &work, body_sha256: "ab" };
    let claims_of_order = agent.verify_operation(&signed.order, run, rig.now()).unwrap();
    let expected: BTreeSet<&str> = ["operator", "viewer"].into();
    assert_eq!(claims_of_order.roles.iter().map(String::as_str).collect::<BTreeSet<_>>(), expected);
    let refused = rig.bus.call(&order("team-b"), &context()).await.unwrap_err();
    assert_eq!(refused.code, Code::PermissionRevoked);
    let mut elsewhere = order("team-a");
    elsewhere.cluster.as_mut().unwrap().id = ClusterId::from_uuid(uuid::Uuid::from_u128(8));
    assert_eq!(rig.bus.call(&elsewhere, &context()).await.unwrap_err().code, Code::PermissionRevoked);
    // Rule gone: nothing is signed for it any more.
    let gone = rig.as_key(owner.api_key.expose(), "DELETE", "/api/v1/policies/team-a", None).await;
    assert_eq!(gone.status, 204);
    eventually("the rule is gone", || async { claims(Some(in_a())).await.1.is_none() }).await;
    assert_eq!(rig.bus.call(&order("team-a"), &context()).await.unwrap_err().code, Code::PermissionRevoked);
    rig.stop().await;
}

/// Whoever acts as somebody else may do what both may: rules that deny it to either hold, and the identity is good for what was
/// judged only.
#[tokio::test(flavor = "multi_thread")]
async fn acting_as_somebody_takes_the_right_of_both() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let owner_key = owner.api_key.expose();
    rig.account("bob").await;
    let key = async |words: &[&str]| {
        let body = json!({"key_name": format!("k{}", words.join("").len()), "permissions": words});
        api_key_proof(&rig.as_key(owner_key, "POST", "/api-keys", Some(body)).await.text("api_key")).unwrap()
    };
    let every = key(&["*:*", "clusters:impersonate"]).await;
    let reads = key(&["clusters:read", "clusters:impersonate"]).await;
    let plain = key(&["*:*"]).await;
    let ask = async |credential: &CredentialProof, user: &str, request: RequestKind| {
        let question = AuthenticateAs {
            credential: credential.clone(),
            cluster_id: cluster().id,
            acts_as: ActsAs { user: user.to_owned(), roles: BTreeSet::new() },
            raise: Some(Raise { cluster: cluster(), request }),
        };
        rig.bus.call(&question, &context()).await.map_err(|error| error.code)
    };
    let delete = |namespace: &str| RequestKind::of("delete", "configmaps", Some(namespace));
    let signed = ask(&every, "bob", delete("team-a")).await.unwrap().assertion.unwrap();
    let keys = rig.bus.call(&IdentityKeys {}, &context()).await.unwrap();
    let agent = Verifier::new(&keys.root).unwrap();
    agent.update_keys(&keys.key_set, rig.now()).unwrap();
    let claims = agent.verify(&signed, cluster().id, rig.now()).unwrap();
    assert_eq!((claims.sub.as_str(), claims.actor.as_deref()), ("bob", Some("owner")));
    assert_eq!(claims.only, Some(delete("team-a")), "good for what was judged");
    assert_eq!(ask(&plain, "bob", delete("team-a")).await.err(), Some(Code::ImpersonationDenied));
    assert_eq!(ask(&reads, "bob", delete("team-a")).await.err(), Some(Code::Forbidden));
    ask(&reads, "bob", RequestKind::of("get", "configmaps", Some("team-a"))).await.unwrap();

    for (name, subject, namespace) in [("not-bob", "user:bob", "team-a"), ("not-owner", "user:owner", "team-b")] {
        let rule = json!({
            "name": name, "effect": "deny", "subjects": [subject], "permissions": ["operations:write"],
            "namespaces": [namespace],
        });
        let made = rig.as_key(owner_key, "POST", "/api/v1/policies", Some(rule)).await;
        assert_eq!(made.status, 201, "{}", made.body);
    }
    eventually("the rules are known", || async { ask(&every, "bob", delete("team-b")).await.is_err() }).await;
    for user in ["bob", "Bob"] {
        assert_eq!(ask(&every, user, delete("team-a")).await.err(), Some(Code::Forbidden), "{user}: denied to them");
    }
    assert_eq!(ask(&every, "bob", delete("team-b")).await.err(), Some(Code::Forbidden), "denied to the caller");
    ask(&every, "carol", delete("team-a")).await.unwrap();
    ask(&every, "bob", delete("team-c")).await.unwrap();
    rig.stop().await;
}

/// A peer of the seeds whose account has rights by a rule only: it is signed for what the rule gives.
#[tokio::test(flavor = "multi_thread")]
async fn regression_a_peer_with_a_rule_is_signed_by_it() {
    let rig = rig_with(&[("ROADSTEAD_COMPAT_QUEUE_PEERS", "kubesage=svc-kubesage")]).await;
    let owner = rig.owner().await;
    rig.register("svc-kubesage").await;
    let rule = json!({
        "name": "peer", "effect": "allow", "subjects": ["user:svc-kubesage"], "permissions": ["clusters:read"],
        "clusters": {"names": ["quay"]}, "kinds": ["namespaces"],
    });
    let made = rig.as_key(owner.api_key.expose(), "POST", "/api/v1/policies", Some(rule)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let list = || RequestKind::of("list", "namespaces", None);
    let ask = async |request: RequestKind| {
        let raise = Some(Raise { cluster: cluster(), request });
        let question = IdentifyPeer { account: "svc-kubesage".to_owned(), cluster_id: Some(cluster().id), raise };
        rig.bus.call(&question, &context()).await
    };
    eventually("the rule is known", || async { ask(list()).await.is_ok() }).await;
    let known = ask(list()).await.unwrap();
    assert_eq!(roadstead_policy::lists_namespaces_by(&known.principal, &cluster(), rig.now()), Some(list()));
    let keys = rig.bus.call(&IdentityKeys {}, &context()).await.unwrap();
    let agent = Verifier::new(&keys.root).unwrap();
    agent.update_keys(&keys.key_set, rig.now()).unwrap();
    let claims = agent.verify(&known.assertion.unwrap(), cluster().id, rig.now()).unwrap();
    assert_eq!((claims.roles, claims.only), (vec!["operator".to_owned()], Some(list())));
    assert_eq!(ask(RequestKind::of("list", "secrets", None)).await.unwrap_err().code, Code::Forbidden);
    rig.stop().await;
}
