use std::sync::atomic::Ordering;
use std::time::Duration;

use roadstead_contracts::Code;
use roadstead_contracts::agent::Notice;
use roadstead_contracts::message::{AgentTarget, ClusterStatus, GetCluster, GetNamespaces, RevokeAgent};

use crate::agent::{dial, enrol};
use crate::rig::{Rig, eventually};

#[tokio::test]
async fn any_replica_reaches_any_agent() {
    let rig = Rig::with(&[], 3).await;
    let (token, _) = rig.cluster(&rig.alice, "prod").await;
    let joined = enrol(rig.address(), &token, None).await;
    let agent = dial(rig.replicas[1].address(), &joined).await;
    let (_session, count) = agent.answer_with(&["default"]);
    for _ in 0..30 {
        let ask = GetNamespaces {
            principal: rig.alice.clone(),
            assertion: Some("s".into()),
            target: AgentTarget::Cluster("prod".into()),
        };
        assert_eq!(rig.call(ask).await.unwrap().list.namespaces[0].name, "default");
    }
    assert_eq!(count.load(Ordering::SeqCst), 30);
}

#[tokio::test]
async fn a_revoke_reaches_every_replica() {
    let rig = Rig::with(&[], 3).await;
    for index in 0..3 {
        let (token, _) = rig.cluster(&rig.alice, &format!("prod-{index}")).await;
        let joined = enrol(rig.address(), &token, None).await;
        let mut agent = dial(rig.replicas[index].address(), &joined).await;
        rig.call(RevokeAgent { principal: rig.alice.clone(), agent_id: joined.enrolled.agent_id.clone() })
            .await
            .unwrap();
        let told =
            tokio::time::timeout(Duration::from_secs(5), agent.notice(|notice| matches!(notice, Notice::Revoked {})));
        assert!(told.await.unwrap(), "replica {index}");
    }
}

#[tokio::test]
async fn an_agent_that_moves_is_the_new_replicas() {
    let rig = Rig::with(&[], 2).await;
    let (token, _) = rig.cluster(&rig.alice, "prod").await;
    let joined = enrol(rig.address(), &token, None).await;
    let first = dial(rig.replicas[0].address(), &joined).await;
    let second = dial(rig.replicas[1].address(), &joined).await;
    assert!(second.epoch > first.epoch);
    let (_session, count) = second.answer_with(&["default"]);
    // The old replica learns when it looks, or when the agent hangs up; until then it must not answer for it.
    first.session.close("moved");
    eventually("the old session is gone", || async { rig.replicas[0].service.sessions() == 0 }).await;
    for _ in 0..10 {
        let ask = GetNamespaces {
            principal: rig.alice.clone(),
            assertion: Some("s".into()),
            target: AgentTarget::Cluster("prod".into()),
        };
        rig.call(ask).await.unwrap();
    }
    assert_eq!(count.load(Ordering::SeqCst), 10);
}

#[tokio::test]
async fn the_agents_of_a_killed_replica_are_gone_within_seconds() {
    let rig = Rig::with(&[], 2).await;
    let (token, _) = rig.cluster(&rig.alice, "prod").await;
    let joined = enrol(rig.address(), &token, None).await;
    let _agent = dial(rig.replicas[1].address(), &joined).await;
    rig.replicas[1].tasks.cut();
    let ask = || GetNamespaces {
        principal: rig.alice.clone(),
        assertion: Some("s".into()),
        target: AgentTarget::Cluster("prod".into()),
    };
    let code = rig.code(ask()).await;
    assert!(matches!(code, Code::AgentOffline | Code::Unavailable), "{code}");
    eventually("disconnected", || async {
        let shown = rig.call(GetCluster { principal: rig.alice.clone(), cluster: "prod".into() }).await.unwrap();
        shown.status == ClusterStatus::Disconnected
    })
    .await;
    let agent = dial(rig.replicas[0].address(), &joined).await;
    let (_session, _) = agent.answer_with(&["default"]);
    rig.call(ask()).await.unwrap();
}

#[tokio::test]
async fn a_lost_broker_is_survived() {
    let rig = Rig::new().await;
    let (token, _) = rig.cluster(&rig.alice, "prod").await;
    let joined = enrol(rig.address(), &token, None).await;
    let agent = dial(rig.address(), &joined).await;
    let (session, _) = agent.answer_with(&["default"]);
    rig.broker.set_connected(false);
    let ask = || GetNamespaces {
        principal: rig.alice.clone(),
        assertion: Some("s".into()),
        target: AgentTarget::Cluster("prod".into()),
    };
    assert_eq!(rig.code(ask()).await, Code::Unavailable);
    tokio::time::sleep(Duration::from_millis(200)).await;
    rig.broker.set_connected(true);
    assert!(session.close_reason().is_none());
    eventually("asked again", || async { rig.call(ask()).await.is_ok() }).await;
}
