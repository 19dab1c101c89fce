//! Rules of the policy: each object of a manifest is judged before anything is kept, and what is told of operations is what
//! the reader may know.

use std::collections::BTreeSet;

use roadstead_contracts::Code;
use roadstead_contracts::identity::{Principal, Reach, Role};
use roadstead_contracts::ids::{RuleId, TypedId as _};
use roadstead_contracts::message::*;
use roadstead_contracts::names::Labels;
use roadstead_contracts::operation::Work;
use roadstead_contracts::policy::{ClustersDraft, Effect, Rule, RuleDraft};

use crate::rig::{Rig, cluster, create, name, principal, rig};

/// A rule for the cluster 1, or for every cluster.
pub fn rule(
    number: u128,
    effect: Effect,
    permissions: &[&str],
    namespaces: &[&str],
    kinds: &[&str],
    here: bool,
) -> Rule {
    let texts = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let names = here.then(|| name(cluster(1)).to_string()).into_iter().collect();
    let draft = RuleDraft {
        name: format!("r{number}"),
        effect,
        subjects: vec!["*".to_owned()],
        permissions: texts(permissions),
        clusters: ClustersDraft { names, labels: None },
        namespaces: texts(namespaces),
        kinds: texts(kinds),
        verbs: Vec::new(),
        until: None,
        reason: None,
    };
    draft.checked(RuleId::from_uuid(uuid::Uuid::from_u128(number))).unwrap()
}

fn with(user: u128, role: Role, granted: bool, rules: Vec<Rule>) -> Principal {
    let reach = Reach::Granted(granted.then(|| cluster(1)).into_iter().collect());
    Principal { rules, ..principal(user, role, reach) }
}

async fn apply(rig: &Rig, who: &Principal, manifest: &str) -> Result<Operation, Code> {
    let mut request = create(who.clone(), cluster(1));
    request.body_sha256 = Some(rig.stage(manifest).await);
    rig.ask(&request).await.map_err(|error| {
        assert!(error.code == Code::NotFound || !error.errors.is_empty(), "nothing is told: {error:?}");
        error.code
    })
}

const A: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: team-a}}\n";
const B: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: b, namespace: team-b}}\n";
const SECRET: &str = "{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: team-a}}\n";

#[tokio::test(flavor = "multi_thread")]
async fn each_object_is_judged() {
    let rig = rig().await;
    let in_a = || vec![rule(1, Effect::Allow, &["operations:*", "*:read"], &["team-a"], &[], true)];
    let viewer = with(5, Role::Viewer, true, in_a());
    let of_namespace = with(6, Role::Viewer, false, in_a());
    let no_secrets = vec![rule(2, Effect::Deny, &["operations:write"], &[], &["secrets"], false)];
    let operator = with(7, Role::Operator, true, no_secrets);
    let both = format!("{A}---\n{B}");
    let with_secret = format!("{A}---\n{SECRET}");
    for (who, manifest, expected) in [
        (&viewer, A, None),
        (&viewer, B, Some(Code::Forbidden)),
        (&viewer, both.as_str(), Some(Code::Forbidden)),
        (&viewer, "nonsense", Some(Code::Forbidden)),
        (&of_namespace, A, None),
        (&of_namespace, B, Some(Code::Forbidden)),
        (&operator, both.as_str(), None),
        (&operator, with_secret.as_str(), Some(Code::Forbidden)),
        (&operator, SECRET, Some(Code::Forbidden)),
        (&with(8, Role::Operator, false, Vec::new()), A, Some(Code::NotFound)),
        (&with(9, Role::Viewer, true, Vec::new()), A, Some(Code::Forbidden)),
    ] {
        assert_eq!(apply(&rig, who, manifest).await.err(), expected, "{} {manifest}", who.username);
    }
    // What was kept is asked about again at its dispatch, in the same words.
    crate::rig::eventually("three dispatches", || async { rig.world.signed.lock().unwrap().len() >= 3 }).await;
    let asked = rig.world.signed.lock().unwrap().clone();
    let of_viewer = asked.iter().find(|asked| asked.user_id == viewer.user_id).unwrap();
    let changes: Vec<String> = of_viewer
        .changes
        .iter()
        .map(|change| {
            format!("{} {} {}", change.verb, change.kind.as_deref().unwrap(), change.namespace.as_deref().unwrap())
        })
        .collect();
    assert_eq!(changes, ["create configmaps team-a", "patch configmaps team-a"]);
    assert_eq!(of_viewer.cluster.as_ref().unwrap().name.as_deref(), Some(name(cluster(1)).as_str()));
    // Work without manifests, too.
    let mut scale = create(viewer.clone(), cluster(1));
    let object = |namespace: &str| roadstead_contracts::operation::ObjectKey {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: Some(namespace.to_owned()),
        name: "web".to_owned(),
    };
    scale.work = Work::Scale { object: object("team-a"), replicas: 1, wait: false };
    assert!(rig.ask(&scale).await.is_ok());
    scale.work = Work::Scale { object: object("team-b"), replicas: 1, wait: false };
    assert_eq!(rig.ask(&scale).await.unwrap_err().code, Code::Forbidden);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_of_operations() {
    let rig = rig().await;
    rig.agent.set_offline(cluster(1), true);
    let operator = with(5, Role::Operator, true, Vec::new());
    let (in_a, in_b) = (apply(&rig, &operator, A).await.unwrap(), apply(&rig, &operator, B).await.unwrap());
    let rules = vec![rule(1, Effect::Allow, &["operations:*", "*:read"], &["team-a"], &[], true)];
    let of_namespace = with(6, Role::Viewer, false, rules);
    let get = |who: &Principal, id| GetOperation { principal: who.clone(), id };
    assert!(rig.ask(&get(&of_namespace, in_a.id)).await.is_ok());
    assert_eq!(rig.ask(&get(&of_namespace, in_b.id)).await.unwrap_err().code, Code::Forbidden);
    let steps = |id| ListOperationSteps { principal: of_namespace.clone(), id, after: 0, limit: 10 };
    assert!(rig.ask(&steps(in_a.id)).await.is_ok());
    assert_eq!(rig.ask(&steps(in_b.id)).await.unwrap_err().code, Code::Forbidden);
    let cancel = |id| CancelOperation { principal: of_namespace.clone(), id, reason: String::new() };
    assert_eq!(rig.ask(&cancel(in_b.id)).await.unwrap_err().code, Code::Forbidden);
    assert!(rig.ask(&cancel(in_a.id)).await.is_ok());
    let other = with(7, Role::Viewer, false, Vec::new());
    assert_eq!(rig.ask(&get(&other, in_a.id)).await.unwrap_err().code, Code::NotFound);
    // A rule that denies reading operations denies it to whoever made them.
    let denied = with(5, Role::Operator, true, vec![rule(3, Effect::Deny, &["operations:read"], &[], &[], true)]);
    assert_eq!(rig.ask(&get(&denied, in_a.id)).await.unwrap_err().code, Code::Forbidden);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_is_allowed_everywhere_or_not_begun() {
    let rig = rig().await;
    let rules = vec![rule(1, Effect::Deny, &["operations:write"], &["team-a"], &[], true)];
    let reach = Reach::Granted(BTreeSet::from([cluster(1), cluster(2)]));
    let operator = Principal { rules, ..principal(5, Role::Operator, reach) };
    let request = async |clusters: &[u128]| CreateRollout {
        principal: operator.clone(),
        name: "fleet".to_owned(),
        targets: clusters
            .iter()
            .map(|number| RolloutTarget {
                cluster_id: cluster(*number),
                cluster_name: name(cluster(*number)),
                labels: Labels::default(),
            })
            .collect(),
        work: create(operator.clone(), cluster(1)).work,
        body_sha256: Some(rig.stage(A).await),
        plan: serde_json::from_value(serde_json::json!({})).unwrap(),
        confirmed: true,
        idempotency_key: None,
        clusters_asked: None,
    };
    let refused = rig.ask(&request(&[2, 1]).await).await.unwrap_err();
    assert_eq!((refused.code, refused.errors[0].loc.join(" ").as_str()), (Code::Forbidden, "rule r1"));
    assert!(rig.ask(&request(&[2]).await).await.is_ok());
    rig.stop().await;
}
