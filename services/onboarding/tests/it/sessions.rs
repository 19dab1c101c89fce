use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use roadstead_bus::Subscriber;
use roadstead_contracts::agent::{FACT_TEXT_MAX, ISSUES_MAX, Notice};
use roadstead_contracts::event::Event;
use roadstead_contracts::message::{
    AgentTarget, Cluster, ClusterFacts, ClusterStatus, GetCluster, GetNamespaces, ListAgents, Namespaces, PageRequest,
    ResolveAgent, RevokeAgent,
};
use roadstead_contracts::{Code, Result};
use roadstead_tunnel::Class;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::agent::{connected, dial, enrol, read_all, try_dial};
use crate::rig::{Rig, eventually, head};

async fn namespaces(rig: &Rig, target: AgentTarget) -> Result<Namespaces> {
    rig.call(GetNamespaces { principal: rig.alice.clone(), assertion: Some("signed".into()), target }).await
}

async fn cluster(rig: &Rig, name: &str) -> Cluster {
    rig.call(GetCluster { principal: rig.alice.clone(), cluster: name.into() }).await.unwrap()
}

#[tokio::test]
async fn a_question_goes_to_the_agent_and_back() {
    let rig = Rig::new().await;
    let (joined, agent) = connected(&rig, "prod").await;
    let (_session, count) = agent.answer_with(&["default", "kube-system"]);
    for target in [AgentTarget::Cluster("prod".into()), AgentTarget::Agent(joined.enrolled.agent_id.clone())] {
        let answer = namespaces(&rig, target).await.unwrap();
        assert_eq!(answer.agent_id, joined.id());
        assert_eq!(answer.cluster_id.to_string(), joined.enrolled.cluster_id);
        let names: Vec<_> = answer.list.namespaces.iter().map(|namespace| namespace.name.as_str()).collect();
        assert_eq!(names, ["default", "kube-system"]);
    }
    assert_eq!(count.load(Ordering::SeqCst), 2);
    let unsigned =
        GetNamespaces { principal: rig.alice.clone(), assertion: None, target: AgentTarget::Cluster("prod".into()) };
    assert_eq!(rig.code(unsigned).await, Code::IdentityRefused);
}

#[tokio::test]
async fn a_cluster_shows_its_agent_come_and_go() {
    let rig = Rig::new().await;
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    rig.bus
        .subscribe(Subscriber::Own, &["agent.*", "cluster.*"], move |event: Event| {
            let _ = sender.send(event.fact.routing_key());
            std::future::ready(Ok(()))
        })
        .await
        .unwrap();
    let (joined, agent) = connected(&rig, "prod").await;
    let shown = cluster(&rig, "prod").await;
    assert_eq!((shown.status, shown.agent_id), (ClusterStatus::Connected, Some(joined.id())));
    assert!(shown.last_seen_at.is_some());
    agent.session.close("bye");
    eventually("the cluster is disconnected", || async {
        cluster(&rig, "prod").await.status == ClusterStatus::Disconnected
    })
    .await;
    let offline = namespaces(&rig, AgentTarget::Cluster("prod".into())).await.unwrap_err();
    assert_eq!(offline.code, Code::AgentOffline);
    let mut heard = Vec::new();
    while heard.len() < 3 {
        heard.push(tokio::time::timeout(Duration::from_secs(10), events.recv()).await.unwrap().unwrap());
    }
    assert_eq!(heard, ["cluster.created", "agent.connected", "agent.disconnected"]);
    let again = dial(rig.address(), &joined).await;
    assert_eq!(again.epoch, 2);
    assert_eq!(cluster(&rig, "prod").await.status, ClusterStatus::Connected);
}

#[tokio::test]
async fn an_agent_that_is_silently_gone_is_noticed() {
    let rig = Rig::with(&[("ROADSTEAD_AGENTS_OFFLINE_AFTER", "12s")], 1).await;
    let (_, agent) = connected(&rig, "prod").await;
    // Its task is gone, its connection stays open: no byte, no good-bye.
    let began = Instant::now();
    agent.tasks.cut();
    eventually("noticed", || async { cluster(&rig, "prod").await.status == ClusterStatus::Disconnected }).await;
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn heartbeats_are_kept_and_cut() {
    let rig = Rig::new().await;
    let (_, agent) = connected(&rig, "prod").await;
    let facts = ClusterFacts {
        kubernetes_version: Some("v1.36.3".into()),
        agent_version: Some(format!("9.9\r\n{}", "x".repeat(5_000))),
        node_count: Some(3),
        ready_nodes: Some(2),
        health: Some("unhealthy".into()),
        issues: vec!["<script>\n".repeat(40); 50],
        ..ClusterFacts::default()
    };
    agent.beat(facts);
    eventually("the facts are there", || async { cluster(&rig, "prod").await.facts.node_count == Some(3) }).await;
    let shown = cluster(&rig, "prod").await;
    assert_eq!((shown.status, shown.facts.issues.len()), (ClusterStatus::Error, ISSUES_MAX));
    let version = shown.facts.agent_version.unwrap();
    assert!(version.len() <= FACT_TEXT_MAX && !version.contains('\n'));
    // One that says nothing keeps the facts.
    agent.beat(ClusterFacts { node_count: Some(4), health: Some("healthy".into()), ..ClusterFacts::default() });
    eventually("the next ones too", || async { cluster(&rig, "prod").await.status == ClusterStatus::Connected }).await;
    let agents = ListAgents { principal: rig.alice.clone(), page: PageRequest::default(), connected_only: true };
    assert_eq!(rig.call(agents).await.unwrap().items[0].version.as_deref(), Some(version.as_str()));
}

#[tokio::test]
async fn the_newest_session_wins() {
    let rig = Rig::new().await;
    let (joined, first) = connected(&rig, "prod").await;
    let second = dial(rig.address(), &joined).await;
    assert!(second.epoch > first.epoch);
    first.session.closed().await;
    let (_session, count) = second.answer_with(&["new"]);
    for _ in 0..5 {
        let answer = namespaces(&rig, AgentTarget::Cluster("prod".into())).await.unwrap();
        assert_eq!(answer.list.namespaces[0].name, "new");
    }
    assert_eq!(count.load(Ordering::SeqCst), 5);
    // The end of the old one does not take the new one's place.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(cluster(&rig, "prod").await.status, ClusterStatus::Connected);
    assert_eq!(rig.replicas[0].service.sessions(), 1);
}

#[tokio::test]
async fn a_revoked_agent_is_cut_at_once() {
    let rig = Rig::new().await;
    let (joined, mut agent) = connected(&rig, "prod").await;
    let began = Instant::now();
    let revoked = rig
        .call(RevokeAgent { principal: rig.alice.clone(), agent_id: joined.enrolled.agent_id.clone() })
        .await
        .unwrap();
    assert!(revoked.revoked && !revoked.connected);
    assert!(agent.notice(|notice| matches!(notice, Notice::Revoked {})).await);
    agent.session.closed().await;
    assert!(began.elapsed() < Duration::from_secs(2));
    assert!(try_dial(rig.address(), &joined).await.is_err());
    let resolve = ResolveAgent { principal: rig.alice.clone(), target: AgentTarget::Cluster("prod".into()) };
    assert_eq!(rig.code(resolve).await, Code::AgentOffline);
    // Another agent may take its place.
    let (token, _) = rig.token(1);
    let _ = token;
    assert_eq!(cluster(&rig, "prod").await.agent_id, None);
}

#[tokio::test]
async fn an_agent_takes_64_questions_at_once() {
    let rig = Rig::new().await;
    let (_, mut agent) = connected(&rig, "prod").await;
    let rig = Arc::new(rig);
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..70 {
        let rig = Arc::clone(&rig);
        asked.spawn(async move {
            namespaces(&rig, AgentTarget::Cluster("prod".into())).await.map(|_| ()).map_err(|fault| fault.code)
        });
    }
    // Six are turned away while nobody answers.
    for _ in 0..6 {
        assert_eq!(asked.join_next().await.unwrap().unwrap(), Err(Code::AgentBusy));
    }
    let mut streams = Vec::new();
    while streams.len() < 64 {
        if let Some(roadstead_tunnel::Event::Stream { stream, .. }) = agent.incoming.next().await {
            streams.push(stream);
        }
    }
    drop(streams);
    while let Some(done) = asked.join_next().await {
        assert_eq!(done.unwrap(), Err(Code::AgentError));
    }
}

#[tokio::test]
async fn a_silent_agent_costs_its_deadline() {
    let rig = Rig::new().await;
    let (_, mut agent) = connected(&rig, "prod").await;
    let request = GetNamespaces {
        principal: rig.alice.clone(),
        assertion: Some("s".into()),
        target: AgentTarget::Cluster("prod".into()),
    };
    let context = roadstead_bus::CallContext::new(Duration::from_millis(800), "test");
    let began = Instant::now();
    let answer = rig.bus.call(&request, &context).await.unwrap_err();
    assert_eq!(answer.code, Code::Timeout);
    assert!(began.elapsed() < Duration::from_secs(2));
    // The agent sees that nobody waits any more.
    let Some(roadstead_tunnel::Event::Stream { mut stream, .. }) = agent.incoming.next().await else {
        panic!("no stream")
    };
    assert_eq!(read_all(&mut stream).await, b"{}");
    let written = async {
        loop {
            if let Err(fault) = tokio::io::AsyncWriteExt::write_all(&mut stream, b"x").await {
                return fault;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), written).await.unwrap();
}

#[tokio::test]
async fn garbage_from_an_agent_is_an_error_of_the_agent() {
    let rig = Rig::new().await;
    let (_, mut agent) = connected(&rig, "prod").await;
    let answers: [Vec<u8>; 4] = [
        b"not json".to_vec(),
        br#"{"ok":{"namespaces":"x"}}"#.to_vec(),
        br#"{"error":{"code":"internal","detail":"secret \u001b[31m\r\n"}}"#.to_vec(),
        vec![b' '; 9 * 1024 * 1024],
    ];
    let serving = tokio::spawn(async move {
        for answer in answers {
            let Some(roadstead_tunnel::Event::Stream { mut stream, .. }) = agent.incoming.next().await else {
                panic!("no stream")
            };
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, &answer).await;
            stream.finish();
            let _ = stream.chunk().await;
            let _ = stream.chunk().await;
        }
        agent
    });
    for _ in 0..4 {
        let fault = namespaces(&rig, AgentTarget::Cluster("prod".into())).await.unwrap_err();
        assert_eq!(fault.code, Code::AgentError);
        assert!(!fault.detail.contains('\u{1b}') && !fault.detail.contains('\n'));
    }
    assert!(serving.await.unwrap().session.close_reason().is_none());
    assert_eq!(cluster(&rig, "prod").await.status, ClusterStatus::Connected);
}

#[tokio::test]
async fn a_stopping_hub_tells_its_agents_to_move() {
    let rig = Rig::new().await;
    let (_, mut agent) = connected(&rig, "prod").await;
    let began = Instant::now();
    let tasks = rig.replicas[0].tasks.clone();
    let stopped = tokio::spawn(async move { tasks.finish(Duration::from_secs(20)).await });
    assert!(agent.notice(|notice| matches!(notice, Notice::Move { .. })).await);
    agent.session.closed().await;
    stopped.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// Two seconds after the stop signal whatever was in flight was cut: a write behind a slow webhook, a large list, a shell.
#[tokio::test]
async fn regression_what_is_in_flight_when_the_hub_stops_is_answered_whole() {
    let rig = Rig::new().await;
    let (token, made) = rig.cluster(&rig.alice, "prod").await;
    let joined = enrol(rig.address(), &token, None).await;
    let mut agent = dial(rig.address(), &joined).await;
    let streams = rig.replicas[0].service.streams();
    let mut asked = streams.open(made.id, &head(), Class::Bulk).await.unwrap();
    asked.write_all(b"a write").await.unwrap();
    asked.finish();
    let mut answering = agent.stream().await;
    let tasks = rig.replicas[0].tasks.clone();
    let stopped = tokio::spawn(async move { tasks.finish(Duration::from_secs(20)).await });
    // Until it is told to move, the agent is there.
    let mut second = streams.open(made.id, &head(), Class::Bulk).await.unwrap();
    second.write_all(b"another").await.unwrap();
    second.finish();
    let mut answering_second = agent.stream().await;
    assert!(agent.notice(|notice| matches!(notice, Notice::Move { .. })).await);
    // From now on callers wait for it to be elsewhere; nothing new comes over this session.
    let third = timeout(Duration::from_millis(500), streams.open(made.id, &head(), Class::Bulk)).await;
    assert!(third.is_err(), "{third:?}");
    // Longer than an agent that was told and carries nothing is waited for.
    tokio::time::sleep(Duration::from_secs(4)).await;
    for (stream, asked, question) in
        [(&mut answering, &mut asked, &b"a write"[..]), (&mut answering_second, &mut second, b"another")]
    {
        assert_eq!(read_all(stream).await, question);
        let answer = vec![b'x'; 300_000];
        let written = async {
            stream.write_all(&answer).await.unwrap();
            stream.finish();
        };
        let (read, ()) = tokio::join!(read_all(asked), written);
        assert!(read == answer, "{} bytes came", read.len());
    }
    drop((asked, second, answering, answering_second));
    let began = Instant::now();
    agent.session.closed().await;
    stopped.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(3), "nothing is waited for any more: {:?}", began.elapsed());
}

/// What does not end is cut when the drain's time is over, not when the process is cut.
#[tokio::test]
async fn a_stopping_hub_does_not_wait_for_a_watch_for_ever() {
    let rig = Rig::new().await;
    let (token, made) = rig.cluster(&rig.alice, "prod").await;
    let joined = enrol(rig.address(), &token, None).await;
    let mut agent = dial(rig.address(), &joined).await;
    let mut watch = rig.replicas[0].service.streams().open(made.id, &head(), Class::Bulk).await.unwrap();
    watch.write_all(b"watch").await.unwrap();
    let mut answering = agent.stream().await;
    let began = Instant::now();
    let tasks = rig.replicas[0].tasks.clone();
    let stopped = tokio::spawn(async move { tasks.finish(Duration::from_secs(20)).await });
    let events = tokio::spawn(async move {
        while answering.write_all(b"event").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let mut heard = 0;
    while let Ok(Some(chunk)) = timeout(Duration::from_secs(2), watch.chunk()).await.expect("it went silent") {
        heard += chunk.len();
    }
    stopped.await.unwrap();
    let time = began.elapsed();
    assert!((Duration::from_secs(11)..Duration::from_secs(15)).contains(&time) && heard > 100, "{time:?} {heard}");
    events.await.unwrap();
}

#[tokio::test]
async fn presence_survives_a_restart() {
    let mut rig = Rig::new().await;
    let (token, _) = rig.cluster(&rig.alice, "prod").await;
    let joined = enrol(rig.address(), &token, None).await;
    let agent = dial(rig.address(), &joined).await;
    // Killed, not stopped: nothing is written.
    rig.replicas[0].tasks.cut();
    agent.session.closed().await;
    let next = rig.build().await;
    next.service.start().await.unwrap();
    rig.replicas = vec![next];
    eventually("ready again", || async { rig.replicas[0].readiness.is_ready() }).await;
    assert_eq!(cluster(&rig, "prod").await.status, ClusterStatus::Disconnected);
    let again = dial(rig.address(), &joined).await;
    assert!(again.epoch > agent.epoch);
    assert_eq!(cluster(&rig, "prod").await.status, ClusterStatus::Connected);
}
