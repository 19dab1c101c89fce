//! Rows W01, W04, W06, W08 and W09 of the catalogue of bad input that no other file here holds.

use std::time::Duration;

use bytes::Bytes;
use futures_util::SinkExt as _;
use roadstead_contracts::agent::{CONNECT_PATH, SUBPROTOCOL, VERB_ANSWER_MAX};
use roadstead_contracts::message::{AgentTarget, Cluster, ClusterFacts, GetCluster, GetNamespaces};
use roadstead_tunnel::Class;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message as Text;

use crate::agent::{assertion, connected, enrol};
use crate::rig::{Rig, eventually};
use crate::seeds::{dial, hello, onboarded, text};
use crate::wire::{send, upgrade};

async fn cluster(rig: &Rig, name: &str) -> Cluster {
    rig.call(GetCluster { principal: rig.admin.clone(), cluster: name.to_owned() }).await.unwrap()
}

/// Row W01: a credential in a URL ends up in logs, so it opens nothing.
#[tokio::test]
async fn w01_nothing_in_the_query_opens() {
    let rig = Rig::new().await;
    let (token, _) = rig.cluster(&rig.alice, "prod").await;
    let joined = enrol(rig.address(), &token, None).await;
    let line = format!("Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n");
    for (name, value) in
        [("token", assertion(&joined, 0)), ("access_token", assertion(&joined, 0)), ("join_token", token)]
    {
        let answer = send(rig.address(), &upgrade(&format!("{CONNECT_PATH}?{name}={value}"), &line)).await;
        assert_eq!(answer.status, 401, "{name}");
        assert!(!String::from_utf8_lossy(&answer.body).contains(&value), "{name}");
    }
    let (id, _) = onboarded(&rig, "old-cluster").await;
    for path in ["/ws", "/api/v2.0/ws", "/api/v3.0/ws"] {
        let path = format!("{path}?agent_id={id}&api_key={}", rig.alice_key);
        let answer = send(rig.address(), &upgrade(&path, "")).await;
        assert_eq!(answer.status, 401, "{path}");
    }
    assert_eq!(rig.replicas[0].service.sessions(), 0);
}

/// Row W04: a text of a seed's agent has a largest length.
#[tokio::test]
async fn w04_a_text_beyond_the_limit_ends_the_session() {
    let rig = Rig::new().await;
    let (id, _) = onboarded(&rig, "old-cluster").await;
    let mut socket = dial(rig.address(), "/ws", "agent_id", &id, &rig.alice_key).await.unwrap();
    hello(&mut socket).await;
    // The hub may hang up before it has read all of it.
    let _ = socket.send(Text::text("x".repeat(VERB_ANSWER_MAX + 1))).await;
    eventually("it is gone", || async { rig.replicas[0].service.sessions() == 0 }).await;
}

/// Row W06: notices that make no sense, and those that only a hub sends, change nothing and end nothing.
#[tokio::test]
async fn w06_odd_notices_are_dropped() {
    let rig = Rig::new().await;
    let (_, agent) = connected(&rig, "prod").await;
    let before = cluster(&rig, "prod").await;
    for odd in [
        &b"nonsense"[..],
        b"{}",
        b"[]",
        b"{\"type\":\"revoked\"}",
        b"{\"kind\":\"welcome\",\"epoch\":9,\"heartbeat_seconds\":0,\"key_set\":\"x\"}",
        b"\xff\xfe",
    ] {
        agent.session.notify(Bytes::copy_from_slice(odd)).unwrap();
    }
    // A stream to the hub is refused: there is nothing there to ask.
    let mut stream =
        agent.session.open(Bytes::from_static(b"{\"verb\":\"list-clusters\"}"), Class::Interactive).unwrap();
    let refused = tokio::time::timeout(Duration::from_secs(5), stream.chunk()).await.unwrap();
    assert!(!matches!(refused, Ok(Some(_))), "the hub answered");
    agent.beat(ClusterFacts { node_count: Some(5), health: Some("healthy".into()), ..ClusterFacts::default() });
    eventually("it is heard all the same", || async { cluster(&rig, "prod").await.facts.node_count == Some(5) }).await;
    let after = cluster(&rig, "prod").await;
    assert_eq!((after.id, after.status, after.agent_id), (before.id, before.status, before.agent_id));
    assert!(agent.session.close_reason().is_none());
}

/// Rows W08 and W09: an agent of the seeds names somebody else's cluster in its first text and in its heartbeats.
#[tokio::test]
async fn w08_an_agent_speaks_for_the_cluster_of_its_credential() {
    let rig = Rig::new().await;
    let (_, his) = rig.cluster(&rig.bob, "his").await;
    let (id, made) = onboarded(&rig, "hers").await;
    let before = cluster(&rig, "his").await;
    let mut socket = dial(rig.address(), "/ws", "agent_id", &id, &rig.alice_key).await.unwrap();
    let hello = json!({
        "cluster_name": "his", "cluster_id": his.id.to_string(),
        "metadata": {"cluster_name": "his", "cluster_id": his.seq, "node_count": 77, "agent_version": "0.9"},
    });
    socket.send(Text::text(hello.to_string())).await.unwrap();
    assert_eq!(text(&mut socket).await["status"], "connected");
    let beat = json!({"type": "heartbeat", "cluster_name": "his", "cluster_id": his.id.to_string(), "status": "error"});
    socket.send(Text::text(beat.to_string())).await.unwrap();
    eventually("her facts", || async { cluster(&rig, "hers").await.facts.node_count == Some(77) }).await;
    assert_eq!(cluster(&rig, "hers").await.id, made.cluster.id);
    assert_eq!(cluster(&rig, "his").await, before);
    // Both texts are in the audit trail, by the agent that sent them.
    eventually("they are recorded", || async { mismatches(&rig).await.len() == 2 }).await;
    assert!(
        mismatches(&rig)
            .await
            .iter()
            .all(|record| record.contains(&id) && record.contains(&made.cluster.id.to_string()))
    );
}

/// Records of agents that spoke for others, not handed on yet: nobody takes them here.
async fn mismatches(rig: &Rig) -> Vec<String> {
    let roadstead_store::Opened::Sqlite(pool) = &rig.opened else { panic!("another database") };
    let sql = "SELECT record FROM audit_outbox WHERE record LIKE '%identity_mismatch%'";
    roadstead_store::sqlx::query_scalar(sql).fetch_all(pool).await.unwrap()
}

/// Row W09: a result is taken from the agent that was asked, and from nobody else.
#[tokio::test]
async fn w09_nobody_answers_for_another_agent() {
    let rig = Rig::new().await;
    let (asked, _) = onboarded(&rig, "asked").await;
    let (other, _) = onboarded(&rig, "other").await;
    let mut one = dial(rig.address(), "/ws", "agent_id", &asked, &rig.alice_key).await.unwrap();
    let mut two = dial(rig.address(), "/ws", "agent_id", &other, &rig.alice_key).await.unwrap();
    hello(&mut one).await;
    hello(&mut two).await;
    eventually("both are here", || async { rig.replicas[0].service.sessions() == 2 }).await;
    let question =
        GetNamespaces { principal: rig.alice.clone(), assertion: None, target: AgentTarget::Agent(asked.clone()) };
    let answering = async {
        let request = text(&mut one).await;
        let reply = |name: &str| {
            let result = json!({"namespaces": [{"name": name, "status": "Active"}], "total_count": 1});
            Text::text(json!({"request_id": request["request_id"], "result": result.to_string()}).to_string())
        };
        two.send(reply("forged")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        one.send(reply("true")).await.unwrap();
    };
    let (answer, ()) = tokio::join!(rig.call(question), answering);
    assert_eq!(answer.unwrap().list.namespaces[0].name, "true");
    eventually("it is recorded", || async { mismatches(&rig).await.len() == 1 }).await;
    assert!(mismatches(&rig).await[0].contains(&other), "the other one did it");
}
