use roadstead_contracts::Code;
use roadstead_contracts::message::{
    CheckJoinToken, CreateJoinToken, JOIN_TOKEN_SECONDS_MAX, JOIN_TOKEN_USES_MAX, ListJoinTokens, PageRequest,
    RevokeJoinToken,
};

use crate::rig::Rig;

#[tokio::test]
async fn a_token_is_listed_checked_and_revoked_by_its_owner() {
    let rig = Rig::new().await;
    let (_, new) = rig.token(3);
    let made =
        rig.call(CreateJoinToken { principal: rig.alice.clone(), token: new.clone(), cluster: None }).await.unwrap();
    assert_eq!((made.uses_left, made.cluster_id), (3, None));
    let list = |principal: &roadstead_contracts::identity::Principal| ListJoinTokens {
        principal: principal.clone(),
        page: PageRequest::default(),
    };
    assert_eq!(rig.call(list(&rig.alice)).await.unwrap().items[0], made);
    assert_eq!(rig.call(list(&rig.bob)).await.unwrap().total, 0);
    assert_eq!(rig.call(list(&rig.admin)).await.unwrap().total, 1);

    let check = CheckJoinToken { id: new.id, digest: new.digest.clone() };
    assert_eq!(rig.call(check.clone()).await.unwrap(), made);
    let wrong = CheckJoinToken { id: new.id, digest: "0".repeat(64) };
    assert_eq!(rig.code(wrong).await, Code::InvalidJoinToken);
    assert_eq!(rig.code(RevokeJoinToken { principal: rig.bob.clone(), id: new.id }).await, Code::NotFound);
    let revoked = rig.call(RevokeJoinToken { principal: rig.alice.clone(), id: new.id }).await.unwrap();
    assert!(revoked.revoked_at.is_some());
    assert_eq!(rig.code(check).await, Code::InvalidJoinToken);
}

#[tokio::test]
async fn a_token_has_limits() {
    let rig = Rig::new().await;
    let create = |change: fn(&mut roadstead_contracts::message::NewJoinToken)| {
        let (_, mut token) = rig.token(1);
        change(&mut token);
        CreateJoinToken { principal: rig.alice.clone(), token, cluster: None }
    };
    for odd in [
        create(|token| token.uses = 0),
        create(|token| token.uses = JOIN_TOKEN_USES_MAX + 1),
        create(|token| token.lifetime_seconds = 0),
        create(|token| token.lifetime_seconds = JOIN_TOKEN_SECONDS_MAX + 1),
        create(|token| token.digest = "x".repeat(64)),
        create(|token| token.digest = "AB".repeat(32)),
    ] {
        assert_eq!(rig.code(odd).await, Code::Validation);
    }
    // Bound to what one cannot see: not there.
    let (_, hers) = rig.cluster(&rig.alice, "hers").await;
    let (_, token) = rig.token(1);
    let bound = CreateJoinToken { principal: rig.bob.clone(), token, cluster: Some(hers.id.to_string()) };
    assert_eq!(rig.code(bound).await, Code::NotFound);
}

#[tokio::test]
async fn expiry_counts_at_use() {
    let rig = Rig::new().await;
    let (text, made) = rig.join_token(&rig.alice, 5).await;
    let digest = roadstead_auth::token::parse(roadstead_auth::token::Kind::Join, &text).unwrap().digest();
    let check = CheckJoinToken { id: made.id, digest };
    rig.moved.advance(599);
    rig.call(check.clone()).await.unwrap();
    rig.moved.advance(2);
    assert_eq!(rig.code(check).await, Code::InvalidJoinToken);
    let key = roadstead_auth::agent_key::AgentKey::generate().unwrap();
    let answer = crate::agent::try_enrol(rig.address(), &text, Some("late"), &key).await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_join_token"));
}
