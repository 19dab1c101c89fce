//! Credentials: keys and tokens, what is kept of them and for how long.

use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use roadstead_auth::jwt::{AccessClaims, Signer};
use roadstead_contracts::event::Fact;
use roadstead_contracts::identity::CredentialKind;
use roadstead_runtime::{Clock as _, Secret};
use serde_json::json;

use crate::rig::{Answer, Rig, Signing};

const PATH: &str = "/api/v1/clusters";

async fn bearer(rig: &Rig, token: &str) -> Answer {
    rig.send_with("GET", PATH, &[("authorization", &format!("Bearer {token}"))], None).await
}

#[tokio::test]
async fn callers_that_come_together_ask_once() {
    let rig = Rig::new().await;
    let answers = futures_util::future::join_all((0..20).map(|_| rig.get(PATH, Some(&rig.viewer.key)))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(rig.world.asked("authenticate.v1"), 1);
    rig.clock.advance(chrono::Duration::seconds(2));
    rig.get(PATH, Some(&rig.viewer.key)).await;
    assert_eq!(rig.world.asked("authenticate.v1"), 1);
    rig.clock.advance(chrono::Duration::seconds(2));
    rig.get(PATH, Some(&rig.viewer.key)).await;
    assert_eq!(rig.world.asked("authenticate.v1"), 2);
}

#[tokio::test]
async fn a_revoked_key_is_out_at_once_by_event_and_in_three_seconds_without() {
    let rig = Rig::new().await;
    for with_event in [true, false] {
        let account = if with_event { &rig.operator } else { &rig.viewer };
        assert_eq!(rig.get(PATH, Some(&account.key)).await.status, 200);
        let CredentialKind::ApiKey(id) = account.principal.credential else { panic!("not a key") };
        rig.world.keys.lock().unwrap().retain(|(known, _), _| *known != id);
        assert_eq!(rig.get(PATH, Some(&account.key)).await.status, 200, "the answer is kept");
        if with_event {
            rig.emit(Fact::ApiKeyRevoked { user_id: account.principal.user_id, api_key_id: id }).await;
            let mut status = 200;
            for _ in 0..100 {
                status = rig.get(PATH, Some(&account.key)).await.status;
                if status == 401 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(status, 401);
        } else {
            rig.clock.advance(chrono::Duration::seconds(3));
            assert_eq!(rig.get(PATH, Some(&account.key)).await.status, 401);
        }
    }
}

#[tokio::test]
async fn tokens_are_checked() {
    let rig = Rig::new().await;
    let good = rig.token(&rig.viewer);
    assert_eq!(bearer(&rig, &good).await.status, 200);
    // An API key may ride as a bearer too.
    assert_eq!(bearer(&rig, &rig.viewer.key).await.status, 200);

    let claims: AccessClaims =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(good.split('.').nth(1).unwrap()).unwrap()).unwrap();
    let signed = |change: &dyn Fn(&mut AccessClaims)| {
        let mut claims = claims.clone();
        change(&mut claims);
        rig.signing.lock().unwrap().signer.sign(&claims).unwrap()
    };
    let now = rig.clock.now().timestamp();
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut parts: Vec<&str> = good.split('.').collect();
    let none = format!("{}.{}.", part(json!({"alg": "none", "typ": "at+jwt"})), parts[1]);
    let odd_none = format!("{}.{}.", part(json!({"alg": "nOnE", "typ": "at+jwt"})), parts[1]);
    let hs = Signer::hs256(&Secret::new("h".repeat(32)), "roadstead", "roadstead").unwrap().sign(&claims).unwrap();
    let stranger = Signing::new().signer.sign(&claims).unwrap();
    let changed = part(json!({"sub": claims.sub, "sid": claims.sid}));
    parts[1] = &changed;
    for (what, token) in [
        ("garbage", "a.b.c".to_owned()),
        ("one byte", "x".to_owned()),
        ("49 bytes", "x".repeat(49)),
        ("none", none),
        ("nOnE", odd_none),
        ("HS256", hs),
        ("a stranger's key", stranger),
        ("changed claims", parts.join(".")),
        ("over", signed(&|claims| claims.exp = now - 31)),
        ("not yet", signed(&|claims| claims.nbf = now + 31)),
        ("from the future", signed(&|claims| claims.iat = now + 31)),
        ("other issuer", signed(&|claims| claims.iss = "x".to_owned())),
        ("other audience", signed(&|claims| claims.aud = "x".to_owned())),
        ("refresh token", signed(&|claims| claims.typ = "refresh".to_owned())),
    ] {
        let answer = bearer(&rig, &token).await;
        assert_eq!((answer.status, answer.detail().as_str()), (401, "Invalid token"), "{what}");
    }
    // Within the leeway clocks may differ.
    assert_eq!(bearer(&rig, &signed(&|claims| claims.exp = now - 29)).await.status, 200);
}

#[tokio::test]
async fn an_ended_session_ends_its_tokens() {
    let rig = Rig::new().await;
    let token = rig.token(&rig.viewer);
    assert_eq!(bearer(&rig, &token).await.status, 200);
    rig.world.sessions.lock().unwrap().remove(&rig.viewer.session);
    rig.emit(Fact::SessionRevoked { user_id: rig.viewer.principal.user_id, session_id: rig.viewer.session }).await;
    let mut status = 200;
    for _ in 0..100 {
        status = bearer(&rig, &token).await.status;
        if status == 401 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(status, 401);
}

#[tokio::test]
async fn new_keys_are_fetched_and_unknown_ones_not_for_ever() {
    let rig = Rig::env(&[("RATE_LIMIT_ENABLED", "false")]).await;
    let fetches = || rig.key_fetches.load(Ordering::SeqCst);
    let before = fetches();
    *rig.signing.lock().unwrap() = Signing::new();
    let token = rig.token(&rig.viewer);
    assert_eq!(bearer(&rig, &token).await.status, 200, "a rotated key is fetched");
    assert_eq!(fetches(), before + 1);
    let claims: AccessClaims =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap();
    for _ in 0..20 {
        let stranger = Signing::new().signer.sign(&claims).unwrap();
        assert_eq!(bearer(&rig, &stranger).await.status, 401);
    }
    assert_eq!(fetches(), before + 1, "strangers' keys fetch nothing for ten seconds");
    rig.clock.advance(chrono::Duration::seconds(11));
    let stranger = Signing::new().signer.sign(&claims).unwrap();
    assert_eq!(bearer(&rig, &stranger).await.status, 401);
    assert_eq!(fetches(), before + 2);
}

#[tokio::test]
async fn a_shared_secret_works_as_the_seeds_ask() {
    let secret = "0123456789abcdef0123456789abcdef-hs256";
    let rig = Rig::env(&[("MCKMT_JWT_SECRET", secret)]).await;
    let eddsa = rig.token(&rig.viewer);
    assert_eq!(bearer(&rig, &eddsa).await.status, 401);
    rig.signing.lock().unwrap().signer = Signer::hs256(&Secret::new(secret), "roadstead", "roadstead").unwrap();
    assert_eq!(bearer(&rig, &rig.token(&rig.viewer)).await.status, 200);
}
