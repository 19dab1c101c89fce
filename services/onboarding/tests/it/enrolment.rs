use roadstead_auth::agent_key::AgentKey;
use roadstead_contracts::agent::ENROL_PATH;
use roadstead_contracts::message::{GetCluster, ListAgents, ListClusters, PageRequest, RevokeJoinToken};
use roadstead_contracts::names::Labels;

use crate::agent::{enrol, enrol_body, try_enrol};
use crate::rig::{Rig, labels};
use crate::wire::{post, send};

async fn totals(rig: &Rig) -> (u64, u64) {
    let clusters =
        ListClusters { principal: rig.admin.clone(), page: PageRequest::default(), labels: Labels::default() };
    let agents = ListAgents { principal: rig.admin.clone(), page: PageRequest::default(), connected_only: false };
    (rig.call(clusters).await.unwrap().total, rig.call(agents).await.unwrap().total)
}

#[tokio::test]
async fn a_new_cluster_with_the_tokens_labels() {
    let rig = Rig::new().await;
    let (text, mut token) = rig.token(2);
    token.labels = labels(&[("site", "there"), ("tier", "gold")]);
    let create = roadstead_contracts::message::CreateJoinToken { principal: rig.alice.clone(), token, cluster: None };
    rig.call(create).await.unwrap();
    let joined = enrol(rig.address(), &text, Some("edge-1")).await;
    assert_eq!(joined.enrolled.identity_root, rig.root);
    let made = rig.call(GetCluster { principal: rig.alice.clone(), cluster: "edge-1".into() }).await.unwrap();
    assert_eq!(made.id.to_string(), joined.enrolled.cluster_id);
    assert_eq!(made.labels, labels(&[("site", "there"), ("tier", "gold")]));
    assert_eq!(made.owner_id, Some(rig.alice.user_id));

    let key = AgentKey::generate().unwrap();
    let taken = try_enrol(rig.address(), &text, Some("edge-1"), &key).await;
    assert_eq!((taken.status, taken.code().as_str()), (409, "conflict"));
    // The refused try spent nothing.
    assert_eq!(try_enrol(rig.address(), &text, Some("edge-2"), &key).await.status, 201);
    let more = AgentKey::generate().unwrap();
    assert_eq!(try_enrol(rig.address(), &text, Some("edge-3"), &more).await.status, 401);
}

#[tokio::test]
async fn a_bound_token_decides_the_cluster() {
    let rig = Rig::new().await;
    rig.cluster(&rig.bob, "his").await;
    let (token, made) = rig.cluster(&rig.alice, "hers").await;
    let joined = enrol(rig.address(), &token, Some("his")).await;
    assert_eq!(joined.enrolled.cluster_id, made.id.to_string());
    assert_eq!(joined.enrolled.cluster_name.as_str(), "hers");
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again() {
    let rig = Rig::new().await;
    let (token, _) = rig.join_token(&rig.alice, 1).await;
    let key = AgentKey::generate().unwrap();
    let first = try_enrol(rig.address(), &token, Some("edge"), &key).await;
    let again = try_enrol(rig.address(), &token, Some("edge"), &key).await;
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.json(), again.json());
    assert_eq!(totals(&rig).await, (1, 1));
    // The same key with another token is another matter.
    let (other, _) = rig.join_token(&rig.alice, 1).await;
    assert_eq!(try_enrol(rig.address(), &other, Some("edge-2"), &key).await.status, 409);
}

#[tokio::test]
async fn uses_are_spent_once_each() {
    let rig = Rig::with(&[("ROADSTEAD_AGENTS_ADMIT_PER_SECOND", "100000")], 1).await;
    let (token, _) = rig.join_token(&rig.alice, 5).await;
    let address = rig.address();
    let mut joined = tokio::task::JoinSet::new();
    for number in 0..30 {
        let token = token.clone();
        joined.spawn(async move {
            let key = AgentKey::generate().unwrap();
            try_enrol(address, &token, Some(&format!("edge-{number}")), &key).await.status
        });
    }
    let statuses = joined.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 5, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 25);
    assert_eq!(totals(&rig).await, (5, 5));
}

#[tokio::test]
async fn bad_tokens_store_nothing() {
    let rig = Rig::new().await;
    let key = AgentKey::generate().unwrap();
    let (good, made) = rig.join_token(&rig.alice, 5).await;
    let (unknown, _) = rig.token(1);
    let mut wrong = good.clone();
    wrong.replace_range(wrong.len() - 2.., if good.ends_with("AA") { "BB" } else { "AA" });
    for bad in ["", "rsj_", &good[..40], &good.to_uppercase(), &unknown, &wrong, &good.replace("rsj_", "rsk_")] {
        let answer = try_enrol(rig.address(), bad, Some("edge"), &key).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_join_token"), "{bad}");
        assert!(bad.len() < 10 || !String::from_utf8_lossy(&answer.body).contains(bad));
    }
    let absent = post(rig.address(), ENROL_PATH, r#"{"public_key":"x","agent_version":"1"}"#).await;
    assert_eq!(absent.status, 400);
    let query =
        post(rig.address(), &format!("{ENROL_PATH}?join_token={good}"), &enrol_body(&good, Some("edge"), &key)).await;
    assert_eq!(query.status, 401);
    rig.call(RevokeJoinToken { principal: rig.alice.clone(), id: made.id }).await.unwrap();
    assert_eq!(try_enrol(rig.address(), &good, Some("edge"), &key).await.status, 401);
    assert_eq!(totals(&rig).await, (0, 0));
}

#[tokio::test]
async fn bad_bodies_are_refused() {
    let rig = Rig::new().await;
    let (token, _) = rig.join_token(&rig.alice, 5).await;
    let key = AgentKey::generate().unwrap();
    let address = rig.address();
    for (body, status) in [
        ("{".to_owned(), 400),
        ("[]".to_owned(), 400),
        (enrol_body(&token, Some("UPPER"), &key), 400),
        (enrol_body(&token, None, &key), 422),
        (enrol_body(&token, Some("edge"), &key).replace(&key.public_base64url(), "AAAA"), 422),
        (enrol_body(&token, Some("edge"), &key).replace("here", &"x".repeat(64)), 422),
        (enrol_body(&token, Some("edge"), &key).replace("\"labels\"", "\"cluster_id\":\"1\",\"labels\""), 400),
        ("x".repeat(70_000), 413),
    ] {
        let answer = post(address, ENROL_PATH, &body).await;
        assert_eq!(answer.status, status, "{}", &body[..body.len().min(200)]);
    }
    let plain =
        format!("POST {ENROL_PATH} HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{{}}");
    assert_eq!(send(address, &plain).await.status, 415);
    let wrong_method = send(address, &format!("DELETE {ENROL_PATH} HTTP/1.1\r\nHost: h\r\n\r\n")).await;
    assert_eq!((wrong_method.status, wrong_method.code().as_str()), (405, "method_not_allowed"));
    assert_eq!(totals(&rig).await, (0, 0));
}

#[tokio::test]
async fn the_version_of_an_agent_is_cut() {
    let rig = Rig::new().await;
    let (token, _) = rig.join_token(&rig.alice, 1).await;
    let key = AgentKey::generate().unwrap();
    let body =
        enrol_body(&token, Some("edge"), &key).replace("1.0.0", &format!("<script>\\r\\n{}", "v".repeat(20_000)));
    assert_eq!(post(rig.address(), ENROL_PATH, &body).await.status, 201);
    let agents = ListAgents { principal: rig.alice.clone(), page: PageRequest::default(), connected_only: false };
    let version = rig.call(agents).await.unwrap().items[0].version.clone().unwrap();
    assert!(version.len() <= 256 && !version.contains(['\r', '\n']), "{version}");
}
