//! The queue doors: ours, and the seeds' peers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chrono::TimeDelta;
use roadstead_auth::identity::Verifier;
use roadstead_auth::token::api_key_proof;
use roadstead_bus::{Destination, Message, Subscriber, Transport as _};
use roadstead_contracts::Code;
use roadstead_contracts::event::Fact;
use roadstead_contracts::identity::{CredentialKind, Reach};
use roadstead_contracts::ids::{ClusterId, TypedId as _};
use roadstead_contracts::message::{Authenticate, GrantCluster, IdentifyPeer, IdentityKeys, RevokeCluster};
use serde_json::{Value, json};

use crate::rig::{Rig, context, eventually, rig, rig_with};

fn cluster(number: u128) -> ClusterId {
    ClusterId::from_uuid(uuid::Uuid::from_u128(number))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_known_and_an_identity_signed_for_the_cluster() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let credential = api_key_proof(owner.api_key.expose()).unwrap();
    let question = Authenticate { credential, cluster_id: Some(cluster(7)), source: None, raise: None };
    let known = rig.bus.call(&question, &context()).await.unwrap();
    assert_eq!((known.principal.username.as_str(), known.principal.user_seq), ("owner", 1));
    assert!(matches!(known.principal.credential, CredentialKind::ApiKey(_)));
    assert_eq!(known.principal.reach, Reach::All);
    // The agent's side: it pinned the root when it was enrolled.
    let keys = rig.bus.call(&IdentityKeys {}, &context()).await.unwrap();
    let agent = Verifier::new(&keys.root).unwrap();
    agent.update_keys(&keys.key_set, rig.now()).unwrap();
    let claims = agent.verify(known.assertion.as_deref().unwrap(), cluster(7), rig.now()).unwrap();
    assert_eq!((claims.sub.as_str(), claims.roles), ("owner", vec!["admin".to_owned()]));
    assert!(agent.verify(known.assertion.as_deref().unwrap(), cluster(8), rig.now()).is_err());
    // A proof with another digest.
    let wrong = match question.credential {
        roadstead_contracts::message::CredentialProof::ApiKey { id, .. } => {
            roadstead_contracts::message::CredentialProof::ApiKey { id, digest: roadstead_auth::token::digest("x") }
        }
        other => other,
    };
    let question = Authenticate { credential: wrong, cluster_id: None, source: None, raise: None };
    assert_eq!(rig.bus.call(&question, &context()).await.unwrap_err().code, Code::InvalidCredential);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_decide_what_is_reached() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let token = rig.account("ada").await.text("access_token");
    let key = rig.as_bearer(&token, "POST", "/api-keys", Some(json!({"key_name": "ci"}))).await.text("api_key");
    let question =
        Authenticate { credential: api_key_proof(&key).unwrap(), cluster_id: None, source: None, raise: None };
    let reach = || async { rig.bus.call(&question, &context()).await.unwrap().principal };
    let ada = reach().await;
    assert_eq!(ada.reach, Reach::Granted([].into()));
    let grant = GrantCluster { principal: owner.principal.clone(), cluster_id: cluster(7), account: "ada".to_owned() };
    for _ in 0..2 {
        let made = rig.bus.call(&grant, &context()).await.unwrap();
        assert_eq!((made.username.as_str(), made.user_id), ("ada", ada.user_id));
    }
    assert_eq!(reach().await.reach, Reach::Granted([cluster(7)].into()));
    // Row Z02: one does not grant what one does not have.
    let own = GrantCluster { principal: ada.clone(), cluster_id: cluster(8), account: "ada".to_owned() };
    assert_eq!(rig.bus.call(&own, &context()).await.unwrap_err().code, Code::Escalation);
    let unknown = GrantCluster { account: "nobody".to_owned(), ..grant.clone() };
    assert_eq!(rig.bus.call(&unknown, &context()).await.unwrap_err().code, Code::NotFound);
    let revoke =
        RevokeCluster { principal: owner.principal.clone(), cluster_id: cluster(7), account: ada.user_id.to_string() };
    for _ in 0..2 {
        assert!(rig.bus.call(&revoke, &context()).await.is_ok());
    }
    assert_eq!(reach().await.reach, Reach::Granted([].into()));
    // A cluster that is gone takes its grants along.
    rig.bus.call(&grant, &context()).await.unwrap();
    let gone = roadstead_contracts::event::Event {
        id: roadstead_contracts::ids::MessageId::from_uuid(uuid::Uuid::from_u128(1)),
        at: rig.now(),
        fact: Fact::ClusterDeleted { cluster_id: cluster(7) },
    };
    rig.bus.emit(&gone).await.unwrap();
    eventually("forgotten", || async { reach().await.reach == Reach::Granted([].into()) }).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_dev_everybody_sees_everything() {
    let rig = rig_with(&[("ROADSTEAD_DEV", "true")]).await;
    let token = rig.account("ada").await.text("access_token");
    let key = rig.as_bearer(&token, "POST", "/api-keys", Some(json!({"key_name": "ci"}))).await.text("api_key");
    let question =
        Authenticate { credential: api_key_proof(&key).unwrap(), cluster_id: None, source: None, raise: None };
    let known = rig.bus.call(&question, &context()).await.unwrap();
    assert_eq!(known.principal.reach, Reach::All);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_told_to_those_who_cache() {
    let rig = rig().await;
    let heard: Arc<Mutex<BTreeMap<&'static str, u32>>> = Arc::default();
    let sink = Arc::clone(&heard);
    rig.bus
        .subscribe(Subscriber::Own, &["user.*"], move |event| {
            *sink.lock().unwrap().entry(event.fact.routing_key()).or_default() += 1;
            async { Ok(()) }
        })
        .await
        .unwrap();
    let owner = rig.owner().await;
    let admin = owner.api_key.expose();
    let login = rig.account("ada").await;
    let token = login.text("access_token");
    rig.as_bearer(&token, "POST", "/api-keys", Some(json!({"key_name": "ci"}))).await;
    rig.as_bearer(&token, "DELETE", "/api-keys/2", None).await;
    rig.as_bearer(&token, "POST", "/auth/logout", None).await;
    rig.as_key(admin, "PUT", "/users/ada", Some(json!({"roles": "operator"}))).await;
    rig.as_key(admin, "DELETE", "/users/ada", None).await;
    for word in ["user.created", "user.api_key_revoked", "user.session_revoked", "user.changed", "user.deleted"] {
        eventually(word, || async { heard.lock().unwrap().contains_key(word) }).await;
    }
    rig.stop().await;
}

const PEERS: [(&str, &str); 1] = [("ROADSTEAD_COMPAT_QUEUE_PEERS", "kubesage=svc-kubesage")];

async fn ask(rig: &Rig, user: Option<&str>, body: impl Into<Bytes>) {
    let message = Message { body: body.into(), user_id: user.map(str::to_owned), ..Message::default() };
    rig.broker.publish(Destination::Queue("cluster_auth_requests".to_owned()), message).await.unwrap();
}

async fn result(rig: &Rig) -> Value {
    let found = Mutex::new(None);
    eventually("a result", || async {
        let message = rig.broker.take("cluster_auth_results").await.unwrap();
        let there = message.is_some();
        *found.lock().unwrap() = message;
        there
    })
    .await;
    let message = found.into_inner().unwrap().unwrap();
    serde_json::from_slice(&message.body).unwrap()
}

fn seed_body(key: &str) -> String {
    json!({"request_id": "r-1", "api_key": key, "service": "cluster_service", "timestamp": 123_456.789}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_of_the_seeds_gets_the_seeds_answer() {
    let rig = rig_with(&PEERS).await;
    let owner = rig.owner().await;
    let admin = owner.api_key.expose();
    rig.register("svc-kubesage").await;
    let token = rig.account("ada").await.text("access_token");
    let key = rig
        .as_bearer(&token, "POST", "/api-keys", Some(json!({"key_name": "ci", "expires_at": "2027-01-16T08:00:00Z"})))
        .await
        .text("api_key");

    ask(&rig, Some("kubesage"), seed_body(&key)).await;
    assert_eq!(
        result(&rig).await,
        json!({
            "request_id": "r-1", "valid": true,
            "user_data": {"id": 3, "username": "ada", "email": "ada@example.com", "roles": "Developer", "is_active": true},
            "message": "Authentication successful"
        })
    );
    for bad in ["", "x", &key[..40], "ks_0123456789abcdef0123456789abcdef"] {
        ask(&rig, Some("kubesage"), seed_body(bad)).await;
        assert_eq!(
            result(&rig).await,
            json!({"request_id": "r-1", "valid": false, "error": "Invalid API key"}),
            "{bad}"
        );
    }
    rig.clock.advance(TimeDelta::days(1));
    ask(&rig, Some("kubesage"), seed_body(&key)).await;
    assert_eq!(result(&rig).await["error"], "Invalid API key", "expired");
    rig.as_key(admin, "PUT", "/users/ada", Some(json!({"is_active": false}))).await;
    let token = rig.login("svc-kubesage", "password123").await.text("access_token");
    let own = rig.as_bearer(&token, "POST", "/api-keys", Some(json!({"key_name": "own"}))).await.text("api_key");
    ask(&rig, Some("kubesage"), seed_body(&own)).await;
    assert_eq!(result(&rig).await["valid"], true);
    rig.as_key(admin, "PUT", "/users/svc-kubesage", Some(json!({"is_active": false}))).await;
    ask(&rig, Some("kubesage"), seed_body(admin)).await;
    assert_eq!(
        result(&rig).await,
        json!({"request_id": "r-1", "valid": false, "error": "User not found or inactive"}),
        "the peer's own account is switched off"
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_strangers_are_dead_letters() {
    let rig = rig_with(&PEERS).await;
    rig.register("svc-kubesage").await;
    let long = json!({"request_id": "x".repeat(1000), "api_key": "x"}).to_string();
    let huge = json!({"request_id": "r", "api_key": "x".repeat(100_000)}).to_string();
    let letters = [
        (Some("stranger"), seed_body("x")),
        (None, seed_body("x")),
        (Some("kubesage"), "not json".to_owned()),
        (Some("kubesage"), String::new()),
        (Some("kubesage"), "{}".to_owned()),
        (Some("kubesage"), json!({"request_id": "", "api_key": "x"}).to_string()),
        (Some("kubesage"), long),
        (Some("kubesage"), huge),
    ];
    for (expected, (user, body)) in (1..).zip(letters) {
        ask(&rig, user, body).await;
        eventually("dead-lettered", || async {
            rig.broker.depth("cluster_auth_requests.dead").await.unwrap() == Some(expected)
        })
        .await;
    }
    assert_eq!(rig.broker.depth("cluster_auth_results").await.unwrap(), Some(0));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_listed_accounts_stand_for_peers() {
    let rig = rig_with(&PEERS).await;
    rig.owner().await;
    let identify =
        |account: &str| IdentifyPeer { account: account.to_owned(), cluster_id: Some(cluster(7)), raise: None };
    for account in ["svc-kubesage", "owner", "nobody", ""] {
        let refused = rig.bus.call(&identify(account), &context()).await.unwrap_err();
        assert_eq!(refused.code, Code::InvalidCredential, "{account}");
    }
    rig.register("svc-kubesage").await;
    let known = rig.bus.call(&identify("svc-kubesage"), &context()).await.unwrap();
    assert_eq!(known.principal.credential, CredentialKind::QueuePeer("svc-kubesage".to_owned()));
    assert!(known.assertion.is_some());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn q05_forged_messages_are_in_the_audit_trail() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let queue = roadstead_contracts::queue::IDENTITY.requests;
    let before = rig.as_key(owner.api_key.expose(), "GET", "/users/me", None).await;
    for _ in 0..3 {
        let forged = Message { body: Bytes::from_static(b"{\"secret\":\"c4nary\"}"), ..Message::default() };
        rig.broker.publish(Destination::Queue(queue.to_owned()), forged).await.unwrap();
    }
    let counted = || async {
        let path = "/api/v1/audit?action=message.refuse";
        let rows = rig.as_key(owner.api_key.expose(), "GET", path, None).await.body;
        let rows = rows.as_array().cloned().unwrap_or_default();
        assert!(rows.iter().all(|row| row["record"]["resource"]["name"] == queue), "{rows:?}");
        assert!(!Value::from(rows.clone()).to_string().contains("c4nary"));
        rows.iter().map(|row| row["record"]["detail"]["count"].as_str().unwrap().parse::<u32>().unwrap()).sum::<u32>()
    };
    eventually("each is counted", || async { counted().await == 3 }).await;
    assert_eq!(rig.as_key(owner.api_key.expose(), "GET", "/users/me", None).await.body, before.body, "nothing changed");
    rig.stop().await;
}
