//! Against a real API server.

use std::path::PathBuf;
use std::sync::Arc;

use roadstead_agent::Core;
use roadstead_agent::kubernetes::facts::Watcher;
use roadstead_contracts::Code;
use roadstead_contracts::agent::{GET_NAMESPACES, VerbAnswer};
use roadstead_contracts::identity::Role;
use roadstead_runtime::Tasks;
use roadstead_tunnel::transport::pipe;
use roadstead_tunnel::{Options, Role as Side, start};

use crate::hub::{CLUSTER, Keys, heartbeat, send};
use crate::session::ask;

fn kubeconfig() -> PathBuf {
    std::env::var("ROADSTEAD_TEST_KUBECONFIG").expect("ROADSTEAD_TEST_KUBECONFIG").into()
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_real_cluster_is_served() {
    let core = Arc::new(Core::from_kubeconfig(Some(&kubeconfig()), None).await.unwrap());
    let cluster = core.cluster().clone();
    let (keys, tasks) = (Keys::new(), Tasks::new());
    let (ours, theirs) = pipe();
    let (hub, mut incoming) = start(ours, Side::Hub, Options::default(), &tasks);
    let (session, agent_incoming) = start(theirs, Side::Agent, Options::default(), &tasks);
    let (root, own) = (keys.root.public_base64url(), tasks.clone());
    tokio::spawn(async move { core.serve(session, agent_incoming, root, CLUSTER.to_owned(), &own).await });
    send(&hub, &keys.welcome());
    let facts = heartbeat(&mut incoming).await;
    assert!(facts.kubernetes_version.is_some() && facts.node_count.is_some(), "{facts:?}");

    // The hub's roles are bound, and each may what it may.
    for role in Role::ALL {
        assert!(cluster.may_impersonate(role).await.unwrap());
        assert!(cluster.is_bound(role).await.unwrap());
        let assertion = keys.assertion(|claims| claims.roles = vec![role.as_str().to_owned()]);
        let answer = ask(&hub, GET_NAMESPACES, Some(assertion)).await;
        let VerbAnswer::Ok(list) = answer else { panic!("{answer:?}") };
        assert!(list.namespaces.iter().any(|namespace| namespace.name == "kube-system"), "{list:?}");
        assert!(list.namespaces.iter().all(|namespace| namespace.status == "Active"));
    }
    tasks.cut();
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_real_cluster_counts_its_nodes() {
    let cluster = roadstead_agent::kubernetes::Cluster::open(Some(&kubeconfig()), None).await.unwrap();
    let facts = Watcher::new(cluster).look().await;
    assert!(facts.issues.iter().all(|issue| !issue.starts_with("nodes:")), "{facts:?}");
    assert!(facts.ready_nodes <= facts.node_count);
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_real_cluster_refuses_who_is_not_bound() {
    let cluster = roadstead_agent::kubernetes::Cluster::open(Some(&kubeconfig()), None).await.unwrap();
    let claims = roadstead_contracts::agent::IdentityClaims {
        sub: "nobody".to_owned(),
        uid: "u".to_owned(),
        roles: vec!["viewer".to_owned()],
        aud: CLUSTER.to_owned(),
        iat: 0,
        exp: 60,
        actor: None,
        only: None,
    };
    let person = roadstead_agent::Identity::from_claims(&claims).unwrap();
    // Viewers see no secrets: RBAC decides as the person, not as the agent.
    let refused = cluster.get::<serde_json::Value>("/api/v1/secrets?limit=1", Some(&person)).await.unwrap_err();
    assert_eq!(refused.to_error().code, Code::Forbidden, "{refused}");
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_real_cluster_keeps_the_key() {
    use roadstead_agent::keep::{Keeper, Kept};

    let cluster = roadstead_agent::kubernetes::Cluster::open(Some(&kubeconfig()), None).await.unwrap();
    let name = format!("roadstead-agent-test-{}", std::process::id());
    let keeper = Keeper::Secret { cluster: cluster.clone(), name: name.clone() };
    keeper.check().await.unwrap();
    assert!(keeper.load().await.unwrap().is_none());
    let mut kept = Kept {
        agent_id: crate::hub::AGENT.to_owned(),
        cluster_id: CLUSTER.to_owned(),
        cluster_name: roadstead_contracts::names::ClusterName::parse("east").unwrap(),
        identity_root: "root".to_owned(),
        profile: roadstead_contracts::message::RightsProfile::default(),
        namespaces: Vec::new(),
        private_key: roadstead_auth::agent_key::AgentKey::generate().unwrap().pem(),
    };
    // Made, then changed.
    for root in ["first", "second"] {
        root.clone_into(&mut kept.identity_root);
        keeper.save(&kept).await.unwrap();
        let back = keeper.load().await.unwrap().unwrap();
        assert_eq!((back.identity_root.as_str(), back.private_key), (root, kept.private_key.clone()));
    }
    let path = format!("/api/v1/namespaces/{}/secrets/{name}", cluster.namespace);
    let gone = cluster
        .write::<_, serde_json::Value>(http::Method::DELETE, &path, "application/json", &serde_json::json!({}))
        .await;
    assert!(gone.is_ok(), "{gone:?}");
}
