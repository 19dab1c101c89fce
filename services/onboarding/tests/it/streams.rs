//! Streams to agents, as the front door of the same process opens them.

use std::time::{Duration, Instant};

use roadstead_contracts::Code;
use roadstead_contracts::agent::{StreamHead, StreamTarget};
use roadstead_contracts::ids::{ClusterId, TypedId as _};
use roadstead_contracts::message::{LocateAgent, RevokeAgent};
use roadstead_tunnel::{Class, Event, Stream};

use crate::agent::{dial, enrol};
use crate::rig::{Rig, eventually, head};

async fn open(rig: &Rig, cluster: ClusterId) -> roadstead_contracts::Result<Stream> {
    rig.replicas[0].service.streams().open(cluster, &head(), Class::Bulk).await
}

#[tokio::test]
async fn a_stream_reaches_the_agent_with_its_head() {
    let rig = Rig::new().await;
    let (token, cluster) = rig.cluster(&rig.alice, "prod").await;
    let joined = enrol(rig.address(), &token, None).await;
    let mut agent = dial(rig.address(), &joined).await;
    let _stream = open(&rig, cluster.id).await.unwrap();
    loop {
        if let Some(Event::Stream { head, .. }) = agent.incoming.next().await {
            let head: StreamHead = serde_json::from_slice(&head).unwrap();
            assert_eq!((head.target, head.assertion.as_deref()), (StreamTarget::Kubernetes {}, Some("signed")));
            break;
        }
    }
}

#[tokio::test]
async fn an_agent_that_never_was_is_not_waited_for() {
    let rig = Rig::new().await;
    let (_, cluster) = rig.cluster(&rig.alice, "prod").await;
    let began = Instant::now();
    let fault = open(&rig, cluster.id).await.unwrap_err();
    assert_eq!((fault.code, fault.retry_after), (Code::AgentOffline, None));
    let fault = open(&rig, ClusterId::from_uuid(rig.ids.uuid())).await.unwrap_err();
    assert_eq!(fault.code, Code::AgentOffline);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(rig.code(LocateAgent { cluster_id: cluster.id }).await, Code::AgentOffline);
}

#[tokio::test]
async fn an_agent_that_comes_back_is_waited_for() {
    let rig = Rig::new().await;
    let (token, cluster) = rig.cluster(&rig.alice, "prod").await;
    let joined = enrol(rig.address(), &token, None).await;
    let agent = dial(rig.address(), &joined).await;
    agent.session.close("a pod that moved");
    eventually("the session is gone", || async { rig.replicas[0].service.sessions() == 0 }).await;
    let (opened, again) = tokio::join!(open(&rig, cluster.id), async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        dial(rig.address(), &joined).await
    });
    opened.unwrap();
    drop(again);
}

#[tokio::test]
async fn a_revoked_agent_gets_no_stream() {
    let rig = Rig::new().await;
    let (token, cluster) = rig.cluster(&rig.alice, "prod").await;
    let joined = enrol(rig.address(), &token, None).await;
    let _agent = dial(rig.address(), &joined).await;
    open(&rig, cluster.id).await.unwrap();
    rig.call(RevokeAgent { principal: rig.alice.clone(), agent_id: joined.enrolled.agent_id.clone() }).await.unwrap();
    eventually("the session is gone", || async { rig.replicas[0].service.sessions() == 0 }).await;
    assert_eq!(open(&rig, cluster.id).await.unwrap_err().code, Code::AgentOffline);
}
