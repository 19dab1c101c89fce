use roadstead_contracts::Code;
use roadstead_contracts::identity::Role;
use roadstead_contracts::message::{
    AgentTarget, ClusterStatus, CountClusters, DeleteCluster, GetCluster, GetNamespaces, ListAgents, ListClusters,
    PageRequest, ResolveAgent, RevokeAgent, UpdateCluster,
};
use roadstead_contracts::names::{ClusterName, Labels};

use crate::agent::{connected, enrol};
use crate::rig::{Rig, create, labels, principal, with_reach};

fn page(limit: u32, cursor: Option<String>) -> PageRequest {
    PageRequest { limit, offset: 0, cursor }
}

#[tokio::test]
async fn a_cluster_is_found_by_id_integer_and_name() {
    let rig = Rig::new().await;
    let (_, made) = rig.cluster(&rig.alice, "prod").await;
    assert_eq!(made.status, ClusterStatus::Pending);
    assert_eq!(made.owner_id, Some(rig.alice.user_id));
    for text in [made.id.to_string(), made.seq.to_string(), "prod".to_owned()] {
        let got = rig.call(GetCluster { principal: rig.alice.clone(), cluster: text }).await.unwrap();
        assert_eq!(got, made);
    }
    for odd in [
        "-1",
        "0",
        "99999999999999999999",
        "1e3",
        "0x10",
        " 1",
        "%31",
        "{0198c5b0-0000-7000-8000-000000000001}",
        "",
        "..",
        &"x".repeat(5_000),
    ] {
        let code = rig.code(GetCluster { principal: rig.alice.clone(), cluster: odd.to_owned() }).await;
        assert_eq!(code, Code::NotFound, "{odd}");
    }
}

#[tokio::test]
async fn what_is_not_yours_is_not_there() {
    let rig = Rig::new().await;
    let (joined, _agent) = connected(&rig, "hers").await;
    let (id, bob) = (joined.enrolled.cluster_id.clone(), rig.bob.clone());
    let mut codes = vec![
        rig.code(GetCluster { principal: bob.clone(), cluster: id.clone() }).await,
        rig.code(DeleteCluster { principal: bob.clone(), cluster: id.clone() }).await,
        rig.code(RevokeAgent { principal: bob.clone(), agent_id: joined.enrolled.agent_id.clone() }).await,
    ];
    let update = UpdateCluster {
        principal: bob.clone(),
        cluster: id.clone(),
        name: None,
        description: Some("x".into()),
        labels: None,
    };
    codes.push(rig.code(update).await);
    for target in [AgentTarget::Cluster(id.clone()), AgentTarget::Agent(joined.enrolled.agent_id.clone())] {
        codes.push(rig.code(ResolveAgent { principal: bob.clone(), target: target.clone() }).await);
        codes.push(rig.code(GetNamespaces { principal: bob.clone(), assertion: Some("signed".into()), target }).await);
    }
    assert!(codes.iter().all(|code| *code == Code::NotFound), "{codes:?}");
    let clusters = ListClusters { principal: bob.clone(), page: page(10, None), labels: Labels::default() };
    assert_eq!(rig.call(clusters).await.unwrap().total, 0);
    let agents = ListAgents { principal: bob.clone(), page: page(10, None), connected_only: false };
    assert_eq!(rig.call(agents).await.unwrap().total, 0);

    // A grant shows it, and the role decides the rest.
    let made = rig.call(GetCluster { principal: rig.alice.clone(), cluster: id.clone() }).await.unwrap();
    let granted = with_reach(&bob, &[&made]);
    assert_eq!(rig.call(GetCluster { principal: granted.clone(), cluster: id.clone() }).await.unwrap(), made);
    let agents = ListAgents { principal: granted, page: page(10, None), connected_only: true };
    assert_eq!(rig.call(agents).await.unwrap().items.len(), 1);
    let viewer = with_reach(&principal(&rig.ids, "eve", 9, Role::Viewer), &[&made]);
    assert_eq!(rig.code(DeleteCluster { principal: viewer.clone(), cluster: id }).await, Code::Forbidden);
    assert_eq!(rig.code(RevokeAgent { principal: viewer, agent_id: joined.enrolled.agent_id }).await, Code::Forbidden);
}

#[tokio::test]
async fn a_viewer_makes_nothing() {
    let rig = Rig::new().await;
    let viewer = principal(&rig.ids, "eve", 9, Role::Viewer);
    assert_eq!(rig.code(create(&viewer, "mine", None)).await, Code::Forbidden);
}

#[tokio::test]
async fn names_are_unique_and_fields_left_out_stay() {
    let rig = Rig::new().await;
    let (_, one) = rig.cluster(&rig.alice, "one").await;
    let (_, two) = rig.cluster(&rig.bob, "two").await;
    let taken = rig.call(create(&rig.bob, "one", None)).await.unwrap_err();
    assert_eq!(taken.code, Code::Conflict);
    let mut update = UpdateCluster {
        principal: rig.alice.clone(),
        cluster: "one".into(),
        name: None,
        description: None,
        labels: Some(labels(&[("tier", "gold")])),
    };
    let changed = rig.call(update.clone()).await.unwrap();
    assert_eq!((changed.name, changed.id, changed.labels), (one.name.clone(), one.id, labels(&[("tier", "gold")])));
    update.labels = None;
    update.description = Some("text".into());
    let changed = rig.call(update.clone()).await.unwrap();
    assert_eq!((changed.description.as_str(), changed.labels), ("text", labels(&[("tier", "gold")])));
    update.name = Some(two.name);
    assert_eq!(rig.code(update.clone()).await, Code::Conflict);
    update.name = Some(ClusterName::parse("renamed").unwrap());
    assert_eq!(rig.call(update.clone()).await.unwrap().name.as_str(), "renamed");
    update.cluster = "renamed".into();
    update.labels = Some(labels(&[("a b", "x")]));
    assert_eq!(rig.code(update).await, Code::Validation);
}

#[tokio::test]
async fn lists_have_pages_and_labels() {
    let rig = Rig::new().await;
    for number in 0..7 {
        let mut create = create(&rig.alice, &format!("c{number}"), None);
        create.labels =
            labels(&[("parity", if number % 2 == 0 { "even" } else { "odd" }), ("number", &number.to_string())]);
        rig.call(create).await.unwrap();
    }
    rig.cluster(&rig.bob, "other").await;
    let list = |page, wanted| ListClusters { principal: rig.alice.clone(), page, labels: wanted };
    let mut cursor = None;
    let mut names = Vec::new();
    loop {
        let got = rig.call(list(page(3, cursor), Labels::default())).await.unwrap();
        assert_eq!(got.total, 7);
        names.extend(got.items.into_iter().map(|cluster| cluster.name.to_string()));
        cursor = got.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(names, ["c6", "c5", "c4", "c3", "c2", "c1", "c0"]);
    let even = rig.call(list(page(0, None), labels(&[("parity", "even")]))).await.unwrap();
    assert_eq!(even.total, 4);
    let one = rig.call(list(page(0, None), labels(&[("parity", "even"), ("number", "2")]))).await.unwrap();
    assert_eq!((one.total, one.items[0].name.as_str()), (1, "c2"));
    assert_eq!(rig.call(list(page(0, None), labels(&[("number", "99")]))).await.unwrap().total, 0);
    let all = ListClusters { principal: rig.admin.clone(), page: page(0, None), labels: Labels::default() };
    assert_eq!(rig.call(all).await.unwrap().total, 8);
    for odd in [
        page(1_001, None),
        page(10, Some("zzz".into())),
        PageRequest { limit: 5, offset: 1, cursor: Some("AQAAAAAAAAAB".into()) },
    ] {
        assert_eq!(rig.code(list(odd, Labels::default())).await, Code::Validation);
    }
    let skipped = rig.call(list(PageRequest { limit: 2, offset: 5, cursor: None }, Labels::default())).await.unwrap();
    assert_eq!(skipped.items.len(), 2);
}

#[tokio::test]
async fn a_removed_cluster_takes_its_agents_and_tokens_along() {
    let rig = Rig::new().await;
    let (token, made) = rig.cluster(&rig.alice, "gone").await;
    let joined = enrol(rig.address(), &token, None).await;
    let mut agent = crate::agent::dial(rig.address(), &joined).await;
    let counts = rig.call(CountClusters {}).await.unwrap();
    assert_eq!((counts.len(), counts[0].status, counts[0].count), (1, ClusterStatus::Connected, 1));
    rig.call(DeleteCluster { principal: rig.alice.clone(), cluster: made.id.to_string() }).await.unwrap();
    assert!(agent.notice(|notice| matches!(notice, roadstead_contracts::agent::Notice::Revoked {})).await);
    agent.session.closed().await;
    assert_eq!(rig.code(GetCluster { principal: rig.alice.clone(), cluster: "gone".into() }).await, Code::NotFound);
    assert!(crate::agent::try_dial(rig.address(), &joined).await.is_err());
    let key = roadstead_auth::agent_key::AgentKey::generate().unwrap();
    assert_eq!(crate::agent::try_enrol(rig.address(), &token, None, &key).await.status, 401);
    assert!(rig.call(CountClusters {}).await.unwrap().is_empty());
}
