//! What rules show of the registry, and what they refuse.

use roadstead_contracts::Code;
use roadstead_contracts::identity::{Principal, Role};
use roadstead_contracts::ids::RuleId;
use roadstead_contracts::message::{
    AgentTarget, DeleteCluster, GetCluster, ListAgents, ListClusters, PageRequest, ResolveAgent, UpdateCluster,
};
use roadstead_contracts::names::Labels;
use roadstead_contracts::policy::{ClustersDraft, Effect, Rule, RuleDraft};

use crate::agent::connected;
use crate::rig::{Rig, labels, principal, with_reach};

fn rule(rig: &Rig, effect: Effect, permissions: &[&str], clusters: ClustersDraft, namespaces: &[&str]) -> Rule {
    let texts = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let draft = RuleDraft {
        name: "r".to_owned(),
        effect,
        subjects: vec!["*".to_owned()],
        permissions: texts(permissions),
        clusters,
        namespaces: texts(namespaces),
        kinds: Vec::new(),
        verbs: Vec::new(),
        until: None,
        reason: None,
    };
    draft.checked(rig.ids.next::<RuleId>()).unwrap()
}

fn named(name: &str) -> ClustersDraft {
    ClustersDraft { names: vec![name.to_owned()], labels: None }
}

async fn listed(rig: &Rig, who: &Principal) -> Vec<String> {
    let page = PageRequest { limit: 10, offset: 0, cursor: None };
    let request = ListClusters { principal: who.clone(), page, labels: Labels::default() };
    let found = rig.call(request).await.unwrap();
    assert_eq!(found.total, found.items.len() as u64);
    let mut names: Vec<String> = found.items.into_iter().map(|cluster| cluster.name.into()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn allow_rules_that_name_clusters_show_them() {
    let rig = Rig::new().await;
    let (_, _agent) = connected(&rig, "alpha").await;
    rig.cluster(&rig.alice, "beta").await;
    let relabel = UpdateCluster {
        principal: rig.alice.clone(),
        cluster: "beta".to_owned(),
        name: None,
        description: None,
        labels: Some(labels(&[("env", "prod")])),
    };
    rig.call(relabel).await.unwrap();
    let nobody = |rules: Vec<Rule>| Principal { rules, ..principal(&rig.ids, "nan", 9, Role::Viewer) };
    let by_label = ClustersDraft { names: Vec::new(), labels: Some("env=prod".to_owned()) };
    for (clusters, expected) in [
        (named("alpha"), &["alpha"][..]),
        (by_label, &["beta"]),
        (named("gamma"), &[]),
        // For every cluster: it gives rights on those that are seen otherwise.
        (ClustersDraft::default(), &[]),
    ] {
        let who = nobody(vec![rule(&rig, Effect::Allow, &["*:read"], clusters, &["team-a"])]);
        assert_eq!(listed(&rig, &who).await, expected);
        for name in ["alpha", "beta"] {
            let got = rig.call(GetCluster { principal: who.clone(), cluster: name.to_owned() }).await;
            assert_eq!(got.map_err(|error| error.code).err(), (!expected.contains(&name)).then_some(Code::NotFound));
        }
    }
    let who = nobody(vec![rule(&rig, Effect::Allow, &["*:read"], named("alpha"), &["team-a"])]);
    let page = PageRequest { limit: 10, offset: 0, cursor: None };
    let agents = ListAgents { principal: who.clone(), page, connected_only: true };
    assert_eq!(rig.call(agents).await.unwrap().items.len(), 1);
    // Whoever decides about requests to the cluster is told what rules look at.
    let target = AgentTarget::Cluster("alpha".to_owned());
    let agent = rig.call(ResolveAgent { principal: who.clone(), target }).await.unwrap();
    let facts = agent.cluster.unwrap();
    assert_eq!((facts.name.as_deref(), facts.owner), (Some("alpha"), Some(rig.alice.user_id)));
    assert!(facts.labels.is_some());
    // Something in a cluster is not the cluster.
    let delete = DeleteCluster { principal: who, cluster: "alpha".to_owned() };
    assert_eq!(rig.code(delete).await, Code::Forbidden);
}

#[tokio::test]
async fn deny_rules_hide_nothing_and_refuse() {
    let rig = Rig::new().await;
    let (_, made) = rig.cluster(&rig.alice, "alpha").await;
    let deny = rule(&rig, Effect::Deny, &["clusters:read"], named("alpha"), &[]);
    let bob = Principal { rules: vec![deny], ..with_reach(&rig.bob, &[&made]) };
    assert_eq!(listed(&rig, &bob).await, ["alpha"]);
    let refused = rig.call(GetCluster { principal: bob.clone(), cluster: "alpha".to_owned() }).await.unwrap_err();
    assert_eq!((refused.code, refused.errors[0].loc.join(" ").as_str()), (Code::Forbidden, "rule r"));
    let keep = rule(&rig, Effect::Deny, &["clusters:delete"], named("alpha"), &[]);
    let alice = Principal { rules: vec![keep], ..rig.alice.clone() };
    assert_eq!(rig.code(DeleteCluster { principal: alice, cluster: "alpha".to_owned() }).await, Code::Forbidden);
}
