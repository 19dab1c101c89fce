//! Agents and queue peers of the predecessors.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use roadstead_bus::{Destination, Message, Transport as _};
use roadstead_contracts::Code;
use roadstead_contracts::identity::{Principal, Reach, Role};
use roadstead_contracts::message::{
    Agent, AgentTarget, AskSeedAgent, GenerateAgentId, GetNamespaces, ListAgents, ListSeedClusters, OnboardSeedCluster,
    PageRequest, SeedCluster, SeedClusterDetails, SeedView,
};
use roadstead_contracts::names::ClusterName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message as Text;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::agent::connected;
use crate::rig::{Rig, eventually};
use crate::wire::{send, upgrade};

pub type Socket = WebSocketStream<TcpStream>;

pub async fn onboarded(rig: &Rig, name: &str) -> (String, SeedCluster) {
    let agent: Agent = rig.call(GenerateAgentId { principal: rig.alice.clone(), cluster_seq: None }).await.unwrap();
    let details = SeedClusterDetails {
        provider_name: Some("kubernetes".into()),
        tags: vec!["a".into()],
        ..SeedClusterDetails::default()
    };
    let request = OnboardSeedCluster {
        principal: rig.alice.clone(),
        agent_id: agent.agent_id.clone(),
        name: ClusterName::parse(name).unwrap(),
        details,
    };
    (agent.agent_id, rig.call(request).await.unwrap())
}

pub async fn dial(address: SocketAddr, path: &str, id_header: &str, id: &str, key: &str) -> Option<Socket> {
    let request = http::Request::get(format!("ws://{address}{path}"))
        .header("Host", "hub")
        .header("Upgrade", "websocket")
        .header("Connection", "Upgrade")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header(id_header, id)
        .header("X-API-Key", key)
        .body(())
        .unwrap();
    let io = TcpStream::connect(address).await.unwrap();
    client_async(request, io).await.ok().map(|(socket, _)| socket)
}

pub async fn hello(socket: &mut Socket) -> Value {
    let hello = json!({"cluster_name": "whatever", "metadata": {"agent_version": "0.9", "node_count": 3, "kubernetes_version": "v1.28.0"}});
    socket.send(Text::text(hello.to_string())).await.unwrap();
    text(socket).await
}

pub async fn text(socket: &mut Socket) -> Value {
    loop {
        match tokio::time::timeout(Duration::from_secs(10), socket.next()).await.unwrap() {
            Some(Ok(Text::Text(text))) => return serde_json::from_str(text.as_str()).unwrap(),
            Some(Ok(Text::Close(frame))) => return json!({"closed": frame.map(|frame| u16::from(frame.code))}),
            Some(Ok(_)) => {}
            _ => return json!({"closed": null}),
        }
    }
}

#[tokio::test]
async fn an_agent_of_the_seeds_answers() {
    let rig = Rig::new().await;
    let (id, made) = onboarded(&rig, "old-cluster").await;
    assert_eq!((made.owner_seq, made.details.tags.len()), (1, 1));
    let mut socket = dial(rig.address(), "/api/v2.0/ws", "agent_id", &id, &rig.alice_key).await.unwrap();
    assert_eq!(hello(&mut socket).await["status"], "connected");
    let serving = tokio::spawn(async move {
        let request = text(&mut socket).await;
        assert_eq!(request["request"]["message"], "get-namespaces");
        assert_eq!(request["user"], json!({"id": 1, "username": "alice", "email": "alice@example.com"}));
        assert!(request["request"].get("token").is_none());
        let result = json!({"namespaces": ["bare", {"name": "full", "status": "Active", "createdAt": "2024-01-02T03:04:05Z"}], "total_count": 2});
        let reply = json!({"request_id": request["request_id"], "result": result.to_string()});
        socket.send(Text::text(reply.to_string())).await.unwrap();
        let request = text(&mut socket).await;
        let reply = json!({"request_id": request["request_id"], "result": "", "error": "boom\r\n"});
        socket.send(Text::text(reply.to_string())).await.unwrap();
        socket
    });
    let ask =
        || GetNamespaces { principal: rig.alice.clone(), assertion: None, target: AgentTarget::Agent(id.clone()) };
    let mut asked = Err(Code::AgentOffline.into());
    for _ in 0..200 {
        asked = rig.call(ask()).await;
        if !matches!(&asked, Err(fault) if fault.code == Code::AgentOffline) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let list = asked.unwrap().list.namespaces;
    assert_eq!((list[0].name.as_str(), list[1].created_at.as_deref()), ("bare", Some("2024-01-02T03:04:05Z")));
    let fault = rig.call(ask()).await.unwrap_err();
    assert_eq!((fault.code, fault.detail.as_ref()), (Code::AgentError, "boom  "));
    let agents = || ListAgents { principal: rig.alice.clone(), page: PageRequest::default(), connected_only: true };
    eventually("its version is known", || async {
        rig.call(agents()).await.unwrap().items[0].version.as_deref() == Some("0.9")
    })
    .await;
    drop(serving.await.unwrap());
    eventually("it is gone", || async { rig.call(agents()).await.unwrap().items.is_empty() }).await;
}

/// What it sees beside its namespaces, asked by its own commands; it asks its cluster as itself, so the hub decides.
#[tokio::test]
async fn an_agent_of_the_seeds_is_asked_what_it_sees() {
    let rig = Rig::new().await;
    let (id, made) = onboarded(&rig, "old-cluster").await;
    let mut socket = dial(rig.address(), "/ws", "agent_id", &id, &rig.alice_key).await.unwrap();
    assert_eq!(hello(&mut socket).await["status"], "connected");
    let serving = tokio::spawn(async move {
        let request = text(&mut socket).await;
        assert_eq!(request["request"]["message"], "get-pods");
        assert_eq!(request["request"]["namespace"], "shop");
        assert!(request["request"].get("token").is_none() && request.to_string().find("assertion").is_none());
        let result = json!({"namespace": "shop", "pods": [{"name": "web-1"}], "count": 1});
        let reply = json!({"request_id": request["request_id"], "result": result.to_string()});
        socket.send(Text::text(reply.to_string())).await.unwrap();
        let request = text(&mut socket).await;
        let reply = json!({"request_id": request["request_id"], "result": "Unknown command."});
        socket.send(Text::text(reply.to_string())).await.unwrap();
        socket
    });
    let ask = |principal: &Principal, view: SeedView| AskSeedAgent {
        principal: principal.clone(),
        target: AgentTarget::Agent(id.clone()),
        view,
    };
    let pods = || SeedView::GetPods { namespace: "shop".to_owned() };
    let connected = || ListAgents { principal: rig.alice.clone(), page: PageRequest::default(), connected_only: true };
    eventually("it is here", || async { !rig.call(connected()).await.unwrap().items.is_empty() }).await;
    assert!(rig.call(connected()).await.unwrap().items[0].commands_only);
    let answer = rig.call(ask(&rig.alice, pods())).await.unwrap();
    assert_eq!(answer["pods"][0]["name"], "web-1");
    let fault = rig.call(ask(&rig.alice, SeedView::GetNodes {})).await.unwrap_err();
    assert_eq!((fault.code, fault.detail.as_ref()), (Code::AgentError, "Unknown command."));
    drop(serving.await.unwrap());
    // Of others' agents nothing, and a viewer sees nothing of what is in no namespace.
    assert_eq!(rig.code(ask(&rig.bob, pods())).await, Code::NotFound);
    let granted = Reach::Granted([made.cluster.id].into());
    let viewer = Principal { roles: [Role::Viewer].into(), reach: granted, ..rig.bob.clone() };
    assert_eq!(rig.code(ask(&viewer, SeedView::GetNodes {})).await, Code::Forbidden);
    assert_eq!(rig.code(ask(&viewer, SeedView::GetClusterResources {})).await, Code::Forbidden);
}

#[tokio::test]
async fn headers_and_paths_of_the_seeds() {
    let rig = Rig::new().await;
    let (id, _) = onboarded(&rig, "old-cluster").await;
    for (path, header) in [("/ws", "agent_id"), ("/api/v2.0/ws", "Agent-Id"), ("/api/v3.0/ws", "X-Agent-ID")] {
        let mut socket = dial(rig.address(), path, header, &id, &rig.alice_key).await.unwrap();
        assert_eq!(hello(&mut socket).await["agent_id"], Value::from(id.clone()));
    }
    let (joined, _agent) = connected(&rig, "new-cluster").await;
    for (id, key) in [
        (id.as_str(), "ks_unknown"),
        (id.as_str(), ""),
        ("nope", &rig.alice_key),
        (&joined.enrolled.agent_id, &rig.alice_key),
    ] {
        assert!(dial(rig.address(), "/ws", "agent_id", id, key).await.is_none(), "{id}");
    }
    let answer = send(rig.address(), &upgrade("/ws", &format!("agent_id: {id}\r\n"))).await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "unauthenticated"));
    let origin = format!("agent_id: {id}\r\nX-API-Key: {}\r\nOrigin: https://evil.example\r\n", rig.alice_key);
    assert_eq!(send(rig.address(), &upgrade("/ws", &origin)).await.status, 403);
}

#[tokio::test]
async fn what_makes_no_sense_ends_a_session_of_the_seeds() {
    let rig = Rig::new().await;
    let (id, _) = onboarded(&rig, "old-cluster").await;
    let mut socket = dial(rig.address(), "/ws", "agent_id", &id, &rig.alice_key).await.unwrap();
    socket.send(Text::text("not json")).await.unwrap();
    assert_eq!(text(&mut socket).await["closed"], 1008);
    let mut socket = dial(rig.address(), "/ws", "agent_id", &id, &rig.alice_key).await.unwrap();
    hello(&mut socket).await;
    socket.send(Text::text(json!({"type": "heartbeat"}).to_string())).await.unwrap();
    socket.send(Text::text(json!({"request_id": "nobody", "result": "late"}).to_string())).await.unwrap();
    for odd in ["[]", "{}", "{\"type\":\"shell\"}"] {
        socket.send(Text::text(odd)).await.unwrap();
    }
    assert_eq!(text(&mut socket).await["closed"], 1008);
    let mut socket = dial(rig.address(), "/ws", "agent_id", &id, &rig.alice_key).await.unwrap();
    hello(&mut socket).await;
    socket.send(Text::binary(Bytes::from_static(b"x"))).await.unwrap();
    assert_eq!(text(&mut socket).await["closed"], 1003);
}

#[tokio::test]
async fn onboarding_again_gives_the_same_cluster() {
    let rig = Rig::new().await;
    let (id, made) = onboarded(&rig, "old-cluster").await;
    let again = OnboardSeedCluster {
        principal: rig.alice.clone(),
        agent_id: id.clone(),
        name: ClusterName::parse("another").unwrap(),
        details: SeedClusterDetails { tags: vec!["b".into()], ..SeedClusterDetails::default() },
    };
    let second = rig.call(again.clone()).await.unwrap();
    assert_eq!((second.cluster.id, second.cluster.name.as_str()), (made.cluster.id, "old-cluster"));
    assert_eq!(second.details.tags, ["b"]);
    let mut foreign = again;
    foreign.principal = rig.bob.clone();
    let fault = rig.call(foreign).await.unwrap_err();
    assert_eq!((fault.code, fault.detail.contains("not found or does not belong to you")), (Code::NotFound, true));
    let other: Agent = rig.call(GenerateAgentId { principal: rig.bob.clone(), cluster_seq: None }).await.unwrap();
    let taken = OnboardSeedCluster {
        principal: rig.bob.clone(),
        agent_id: other.agent_id,
        name: ClusterName::parse("old-cluster").unwrap(),
        details: SeedClusterDetails::default(),
    };
    let fault = rig.call(taken).await.unwrap_err();
    assert_eq!(
        (fault.code, fault.detail.as_ref()),
        (Code::Conflict, "Cluster 'old-cluster' already exists for this user")
    );
    let missing = rig
        .call(GenerateAgentId { principal: rig.bob.clone(), cluster_seq: Some(made.cluster.seq) })
        .await
        .unwrap_err();
    assert_eq!(missing.detail, format!("Cluster with ID '{}' not found or does not belong to you", made.cluster.seq));
    let bound =
        rig.call(GenerateAgentId { principal: rig.alice.clone(), cluster_seq: Some(made.cluster.seq) }).await.unwrap();
    assert_eq!(bound.cluster_id, Some(made.cluster.id));
    let list = rig.call(ListSeedClusters { principal: rig.alice.clone() }).await.unwrap();
    assert_eq!((list.len(), list[0].details.tags[0].as_str()), (1, "b"));
}

async fn peer_asks(rig: &Rig, user: &str, body: &str) -> Option<Value> {
    let message = Message { user_id: Some(user.to_owned()), body: Bytes::from(body.to_owned()), ..Message::default() };
    rig.broker.publish(Destination::Queue("cluster_namespace_requests".into()), message).await.unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    loop {
        if let Some(answer) = rig.broker.take("cluster_namespace_results").await.unwrap() {
            return Some(serde_json::from_slice(&answer.body).unwrap());
        }
        if rig.broker.take("cluster_namespace_requests.dead").await.unwrap().is_some() {
            return None;
        }
        assert!(tokio::time::Instant::now() < deadline, "no answer");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_queue_peer_gets_the_seeds_answer() {
    let rig = Rig::new().await;
    let (joined, agent) = connected(&rig, "prod").await;
    let (_session, count) = agent.answer_with(&["default"]);
    let id = &joined.enrolled.agent_id;
    let body = json!({"request_id": "r1", "agent_id": id, "command": "get-namespaces", "timestamp": 1.5,
        "cluster_config": {"message": "delete-cluster", "agent_id": "other"}});
    let answer = peer_asks(&rig, "peer", &body.to_string()).await.unwrap();
    assert_eq!(
        (&answer["request_id"], &answer["agent_id"], &answer["error"]),
        (&json!("r1"), &json!(id), &Value::Null)
    );
    let result: Value = serde_json::from_str(answer["result"].as_str().unwrap()).unwrap();
    assert_eq!(result["namespaces"][0]["createdAt"], "2024-01-02T03:04:05Z");
    assert_eq!((result["total_count"].as_u64(), &result["cluster_info"]["cluster_name"]), (Some(1), &json!("prod")));
    assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 1);

    for (body, text) in [
        (json!({"request_id": "r2", "agent_id": id, "command": "delete-cluster"}), "Unknown command."),
        (json!({"request_id": "r2", "agent_id": "nope", "command": "get-namespaces"}), "Agent nope is not connected"),
    ] {
        let answer = peer_asks(&rig, "peer", &body.to_string()).await.unwrap();
        let error = answer["error"].as_str().unwrap();
        assert!(error.starts_with("Failed to communicate with agent: ") && error.contains(text), "{error}");
        assert_eq!(answer["request_id"], "r2");
    }
    for garbage in [
        "",
        "not json",
        "[]",
        r#"{"agent_id":"a","command":"get-namespaces"}"#,
        &json!({"request_id": "x".repeat(1 << 18), "agent_id": "a", "command": "get-namespaces"}).to_string(),
    ] {
        assert!(peer_asks(&rig, "peer", garbage).await.is_none());
    }
    assert!(peer_asks(&rig, "stranger", &body.to_string()).await.is_none());
    // The queue is still read.
    assert!(peer_asks(&rig, "peer", &body.to_string()).await.is_some());
}
