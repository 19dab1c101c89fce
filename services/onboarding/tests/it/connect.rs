use std::time::{Duration, Instant};

use roadstead_auth::agent_key::AgentKey;
use roadstead_contracts::agent::{CONNECT_PATH, SUBPROTOCOL};
use roadstead_contracts::message::RevokeAgent;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::agent::{Joined, assertion, dial, enrol, try_dial};
use crate::rig::{NO_REDIS, Rig};
use crate::wire::{Answer, get, send, upgrade};

async fn knock(rig: &Rig, lines: &str) -> Answer {
    let lines = format!("Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n{lines}");
    send(rig.address(), &upgrade(CONNECT_PATH, &lines)).await
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

#[tokio::test]
async fn only_the_enrolled_key_opens() {
    let rig = Rig::new().await;
    let (token, _) = rig.cluster(&rig.alice, "prod").await;
    let joined = enrol(rig.address(), &token, None).await;
    let none = knock(&rig, "").await;
    assert_eq!((none.status, none.code().as_str()), (401, "unauthenticated"));
    assert_eq!(none.header("www-authenticate"), Some("Bearer"));
    let stranger =
        Joined { key: std::sync::Arc::new(AgentKey::generate().unwrap()), enrolled: joined.enrolled.clone() };
    let mut nobody = joined.clone();
    nobody.enrolled.agent_id = rig.ids.uuid().to_string();
    let good = assertion(&joined, 0);
    let lines = [
        bearer(&assertion(&stranger, 0)),
        bearer(&assertion(&nobody, 0)),
        bearer(&token),
        bearer(&rig.alice_key),
        bearer("x"),
        bearer(&"x".repeat(8_000)),
        bearer(&good[..good.len() - 4]),
        "Authorization: Bearer\r\n".to_owned(),
        format!("Authorization: Basic {good}\r\n"),
        format!("{}{}", bearer(&good), bearer(&good)),
        format!("X-API-Key: {}\r\n", rig.alice_key),
    ];
    for line in lines {
        let answer = knock(&rig, &line).await;
        assert_eq!(answer.status, 401, "{line}");
    }
    assert_eq!(rig.replicas[0].service.sessions(), 0);
    assert_eq!(knock(&rig, &bearer(&good)).await.status, 101);
}

#[tokio::test]
async fn an_assertion_is_good_once() {
    let rig = Rig::new().await;
    let (token, _) = rig.cluster(&rig.alice, "prod").await;
    let joined = enrol(rig.address(), &token, None).await;
    let line = bearer(&assertion(&joined, 0));
    assert_eq!(knock(&rig, &line).await.status, 101);
    assert_eq!(knock(&rig, &line).await.status, 401);
}

/// Row F08: without Redis a replica remembers by itself what was shown to it.
#[tokio::test]
async fn f08_without_redis_an_assertion_is_good_once() {
    let rig = Rig::with(&[NO_REDIS], 1).await;
    let (token, _) = rig.cluster(&rig.alice, "prod").await;
    let joined = enrol(rig.address(), &token, None).await;
    let line = bearer(&assertion(&joined, 0));
    assert_eq!(knock(&rig, &line).await.status, 101);
    assert_eq!(knock(&rig, &line).await.status, 401);
    assert_eq!(knock(&rig, &bearer(&assertion(&joined, 0))).await.status, 101, "a new one");
}

#[tokio::test]
async fn a_wrong_clock_is_told_the_time() {
    let rig = Rig::new().await;
    let (token, _) = rig.cluster(&rig.alice, "prod").await;
    let joined = enrol(rig.address(), &token, None).await;
    for seconds in [-600, 600] {
        let answer = knock(&rig, &bearer(&assertion(&joined, seconds))).await;
        assert_eq!(answer.status, 401);
        assert!(answer.json()["detail"].as_str().unwrap().contains("clock"), "{:?}", answer.json());
        assert!(answer.header("date").unwrap().ends_with("GMT"));
    }
    for seconds in [-20, 20] {
        assert_eq!(knock(&rig, &bearer(&assertion(&joined, seconds))).await.status, 101, "{seconds}");
    }
}

#[tokio::test]
async fn browsers_and_other_protocols_stay_outside() {
    let rig = Rig::new().await;
    let (token, _) = rig.cluster(&rig.alice, "prod").await;
    let joined = enrol(rig.address(), &token, None).await;
    let line = bearer(&assertion(&joined, 0));
    assert_eq!(knock(&rig, &format!("Origin: https://evil.example\r\n{line}")).await.status, 403);
    let other =
        send(rig.address(), &upgrade(CONNECT_PATH, &format!("Sec-WebSocket-Protocol: roadstead.tunnel.v9\r\n{line}")))
            .await;
    assert_eq!(other.status, 400);
    assert_eq!(send(rig.address(), &upgrade(CONNECT_PATH, &line)).await.status, 400);
    assert_eq!(get(rig.address(), CONNECT_PATH).await.status, 400);
    assert_eq!(rig.replicas[0].service.sessions(), 0);
}

#[tokio::test]
async fn a_revoked_agent_stays_outside() {
    let rig = Rig::new().await;
    let (token, _) = rig.cluster(&rig.alice, "prod").await;
    let joined = enrol(rig.address(), &token, None).await;
    rig.call(RevokeAgent { principal: rig.alice.clone(), agent_id: joined.enrolled.agent_id.clone() }).await.unwrap();
    let answer = knock(&rig, &bearer(&assertion(&joined, 0))).await;
    assert_eq!(answer.status, 401);
    assert!(answer.json()["detail"].as_str().unwrap().contains("revoked"));
}

#[tokio::test]
async fn half_open_handshakes_do_not_keep_others_out() {
    let rig = Rig::new().await;
    let (token, _) = rig.cluster(&rig.alice, "prod").await;
    let joined = enrol(rig.address(), &token, None).await;
    let mut half = Vec::new();
    for number in 0..1_000 {
        let Ok(mut stream) = TcpStream::connect(rig.address()).await else { break };
        if number % 2 == 0 {
            stream.write_all(b"GET /agent/v1/connect HTTP/1.1\r\nHost: h\r\nX-Slow: ").await.unwrap();
        }
        half.push(stream);
    }
    assert!(half.len() > 500);
    let began = Instant::now();
    let agent = dial(rig.address(), &joined).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(agent.session.close_reason().is_none());
    // Slow ones are cut within ten seconds.
    let mut last = half.pop().unwrap();
    let mut buffer = [0; 512];
    let cut =
        tokio::time::timeout(Duration::from_secs(13), tokio::io::AsyncReadExt::read(&mut last, &mut buffer)).await;
    assert!(cut.is_ok(), "a slow handshake was not cut");
}

#[tokio::test]
async fn too_many_at_once_are_told_when_to_come_back() {
    let rig = Rig::with(&[("ROADSTEAD_AGENTS_ADMIT_PER_SECOND", "4")], 1).await;
    let line = bearer("x");
    let mut statuses = Vec::new();
    for _ in 0..6 {
        let answer = knock(&rig, &line).await;
        if answer.status == 503 {
            assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
        }
        statuses.push(answer.status);
    }
    assert!(statuses.contains(&401) && statuses.contains(&503), "{statuses:?}");
}

#[tokio::test]
async fn no_more_sessions_than_allowed() {
    let rig = Rig::with(&[("ROADSTEAD_AGENTS_MAX_SESSIONS", "1")], 1).await;
    let (token, _) = rig.cluster(&rig.alice, "prod").await;
    let one = enrol(rig.address(), &token, None).await;
    let two = enrol(rig.address(), &token, None).await;
    let agent = dial(rig.address(), &one).await;
    let refused = try_dial(rig.address(), &two).await;
    assert!(matches!(&refused, Err(roadstead_tunnel::ws::DialError::Refused(answer)) if answer.status() == 503));
    drop(agent);
}

#[tokio::test]
async fn the_probes_answer() {
    let rig = Rig::new().await;
    assert_eq!(get(rig.address(), "/healthz").await.status, 200);
    let ready = get(rig.address(), "/readyz").await;
    assert_eq!((ready.status, ready.json()["status"].as_str()), (200, Some("ready")));
    let version = get(rig.address(), "/version").await.json();
    assert_eq!(version["service"], "onboarding");
    let metrics = get(rig.address(), "/metrics").await;
    assert!(String::from_utf8_lossy(&metrics.body).contains("roadstead_agent_sessions"));
    let missing = get(rig.address(), "/nope").await;
    assert_eq!((missing.status, missing.code().as_str()), (404, "not_found"));
}
