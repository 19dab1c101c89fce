//! Keys and orders.

use roadstead_contracts::operation::ObjectKey;
use roadstead_manifest::{apply_order, content, delete_order, is_cluster_wide, keys, parse, prepare, strip};
use serde_json::json;

fn key(api_version: &str, kind: &str, name: &str) -> ObjectKey {
    ObjectKey { api_version: api_version.to_owned(), kind: kind.to_owned(), namespace: None, name: name.to_owned() }
}

#[test]
fn what_others_need_comes_first_and_leaves_last() {
    let given = [
        key("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "w"),
        key("cert.example.com/v1", "Issuer", "i"),
        key("apps/v1", "Deployment", "d"),
        key("serving.example.dev/v1", "Service", "not-ours"),
        key("v1", "Service", "s"),
        key("v1", "ConfigMap", "second"),
        key("v1", "Secret", "third"),
        key("rbac.authorization.k8s.io/v1", "RoleBinding", "b"),
        key("apiextensions.k8s.io/v1", "CustomResourceDefinition", "issuers.cert.example.com"),
        key("v1", "Namespace", "n"),
    ];
    let names = |order: Vec<usize>| order.into_iter().map(|index| given[index].name.as_str()).collect::<Vec<_>>();
    let expected = ["n", "issuers.cert.example.com", "second", "third", "b", "s", "d", "i", "not-ours", "w"];
    assert_eq!(names(apply_order(&given)), expected);
    let mut backwards = expected;
    backwards.reverse();
    assert_eq!(names(delete_order(&given)), backwards);
}

#[test]
fn names_follow_their_kinds() {
    let body = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: 'system:node:Reader', namespace: ignored}\n";
    let key = keys(&parse(body.as_bytes()).unwrap(), None).unwrap().remove(0);
    assert_eq!((key.name.as_str(), key.namespace), ("system:node:Reader", None));
    let body = body.replace("ClusterRole", "ConfigMap").replace("rbac.authorization.k8s.io/", "");
    assert!(keys(&parse(body.as_bytes()).unwrap(), None).is_err());
    assert!(
        is_cluster_wide("v1", "Namespace") && !is_cluster_wide("v1", "Pod") && !is_cluster_wide("x.io/v1", "Namespace")
    );
}

#[test]
fn a_live_object_is_told_from_what_the_cluster_writes() {
    let live = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "d",
            "uid": "u",
            "resourceVersion": "7",
            "generation": 2,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [],
            "annotations": {"deployment.kubernetes.io/revision": "3"},
        },
        "spec": {"replicas": 1},
        "status": {"replicas": 1},
    });
    let kept = strip(&live);
    assert_eq!(kept["metadata"], json!({"name": "d", "annotations": {"deployment.kubernetes.io/revision": "3"}}));
    assert!(kept.get("status").is_none());
    let mut later = live.clone();
    later["metadata"]["resourceVersion"] = json!("9");
    later["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": "4"});
    later["status"] = json!({"replicas": 0});
    assert_eq!(content(&live), content(&later));
    later["spec"]["replicas"] = json!(2);
    assert_ne!(content(&live), content(&later));
    let sent = prepare(live);
    assert_eq!(sent["metadata"], json!({"name": "d", "annotations": {"deployment.kubernetes.io/revision": "3"}}));
}
