//! Recorded sessions: refused when they cannot be recorded, and seen by whom they are for.

use roadstead_contracts::agent::VerbAnswer;
use roadstead_contracts::message::{
    Cluster, Handover, ListRecordings, Page, PageRequest, ReadRecording, Recording, SessionFacts,
};
use roadstead_contracts::{Code, Result};
use roadstead_tunnel::Class;

use crate::agent::{dial, enrol};
use crate::rig::{Rig, head};

fn session(rig: &Rig, cluster: &Cluster) -> SessionFacts {
    SessionFacts {
        user_id: rig.alice.user_id,
        username: "alice".to_owned(),
        cluster_id: cluster.id,
        cluster_name: "prod".to_owned(),
        namespace: "default".to_owned(),
        pod: "web".to_owned(),
        container: None,
        verb: "exec".to_owned(),
        command: vec!["echo".to_owned(), "canary".to_owned()],
        tty: false,
        protocol: "websocket".to_owned(),
    }
}

async fn hand<R: Handover>(rig: &Rig, request: &R) -> Result<R::Reply> {
    let body = serde_json::to_vec(request).unwrap();
    let answer = rig.replicas[0].service.streams().hand_over(R::VERB, &body).await;
    match serde_json::from_slice(&answer).unwrap() {
        VerbAnswer::Ok(reply) => Ok(reply),
        VerbAnswer::Error(fault) => Err(fault),
    }
}

async fn list(rig: &Rig, who: &roadstead_contracts::identity::Principal) -> Page<Recording> {
    let page = PageRequest { limit: 10, ..PageRequest::default() };
    hand(rig, &ListRecordings { principal: who.clone(), page }).await.unwrap()
}

#[tokio::test]
async fn a_session_is_recorded_for_its_owner_and_the_admins() {
    let rig = Rig::with(&[("ROADSTEAD_RECORDING_ENABLED", "true")], 1).await;
    let (token, cluster) = rig.cluster(&rig.alice, "prod").await;
    let joined = enrol(rig.address(), &token, None).await;
    let _agent = dial(rig.address(), &joined).await;
    let streams = rig.replicas[0].service.streams();
    let stream = streams.open_session(&session(&rig, &cluster), &head(), Class::Interactive).await.unwrap();
    let own = list(&rig, &rig.alice).await;
    assert_eq!((own.total, own.items[0].session.pod.as_str()), (1, "web"));
    assert_eq!(own.items[0].session.command, ["echo", "canary"]);
    assert_eq!((list(&rig, &rig.admin).await.total, list(&rig, &rig.bob).await.total), (1, 0));
    let read = |who: &roadstead_contracts::identity::Principal| ReadRecording {
        principal: who.clone(),
        id: own.items[0].id,
        part: 0,
    };
    assert!(hand(&rig, &read(&rig.alice)).await.unwrap().lines.starts_with("{\"version\":2,"));
    assert_eq!(hand(&rig, &read(&rig.bob)).await.unwrap_err().code, Code::NotFound);
    assert!(!rig.files_contain(b"canary"), "a recording is in the database in the clear");
    drop(stream);
}

#[tokio::test]
async fn without_a_store_there_is_no_session() {
    let rig = Rig::with(&[("ROADSTEAD_RECORDING_ENABLED", "true")], 1).await;
    let (token, cluster) = rig.cluster(&rig.alice, "prod").await;
    let joined = enrol(rig.address(), &token, None).await;
    let _agent = dial(rig.address(), &joined).await;
    let streams = rig.replicas[0].service.streams();
    rig.opened.close().await;
    let refused = streams.open_session(&session(&rig, &cluster), &head(), Class::Interactive).await.unwrap_err();
    assert_eq!(refused.code, Code::AuditUnavailable);
    // What is not recorded goes on.
    streams.open(cluster.id, &head(), Class::Interactive).await.unwrap();
}

/// What runs by the proxy of a node is a session that nobody can record: it runs only where none are.
#[tokio::test]
async fn regression_a_nodes_proxy_is_no_way_around_a_recording() {
    for (recorded, refused) in [("true", true), ("false", false)] {
        let rig = Rig::with(&[("ROADSTEAD_RECORDING_ENABLED", recorded)], 1).await;
        let (token, cluster) = rig.cluster(&rig.alice, "prod").await;
        let joined = enrol(rig.address(), &token, None).await;
        let _agent = dial(rig.address(), &joined).await;
        let by_node = SessionFacts { protocol: SessionFacts::NODE_PROXY.to_owned(), ..session(&rig, &cluster) };
        let streams = rig.replicas[0].service.streams();
        let answer = streams.open_session(&by_node, &head(), Class::Interactive).await;
        assert_eq!(answer.as_ref().is_err_and(|error| error.code == Code::Forbidden), refused);
        assert_eq!(answer.is_err(), refused);
    }
}

#[tokio::test]
async fn only_the_clusters_that_the_policy_names() {
    let rig =
        Rig::with(&[("ROADSTEAD_RECORDING_ENABLED", "true"), ("ROADSTEAD_RECORDING_LABELS", "record=yes")], 1).await;
    let (token, cluster) = rig.cluster(&rig.alice, "prod").await;
    let joined = enrol(rig.address(), &token, None).await;
    let _agent = dial(rig.address(), &joined).await;
    let streams = rig.replicas[0].service.streams();
    let _plain = streams.open_session(&session(&rig, &cluster), &head(), Class::Interactive).await.unwrap();
    assert_eq!(list(&rig, &rig.admin).await.total, 0);
    let labels = crate::rig::labels(&[("record", "yes")]);
    let change = roadstead_contracts::message::UpdateCluster {
        principal: rig.alice.clone(),
        cluster: "prod".to_owned(),
        name: None,
        description: None,
        labels: Some(labels),
    };
    rig.call(change).await.unwrap();
    let _recorded = streams.open_session(&session(&rig, &cluster), &head(), Class::Interactive).await.unwrap();
    assert_eq!(list(&rig, &rig.admin).await.total, 1);
}
