use serde_json::json;

use super::*;

fn key() -> ObjectKey {
    ObjectKey {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: Some("shop".to_owned()),
        name: "web".to_owned(),
    }
}

fn entry(manager: &str, time: &str, fields: &Value) -> Value {
    json!({ "manager": manager, "operation": "Apply", "apiVersion": "apps/v1", "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields })
}

fn applied() -> Value {
    let ours = json!({
        "f:metadata": { "f:labels": { "f:app.kubernetes.io/name": {} }, "f:annotations": { ".": {} } },
        "f:spec": {
            "f:replicas": {},
            "f:template": { "f:spec": { "f:containers": { "k:{\"name\":\"web\"}": { ".": {}, "f:image": {}, "f:name": {} } } } },
        },
    });
    let status = json!({
        "manager": "kube-controller-manager", "subresource": "status", "apiVersion": "apps/v1",
        "fieldsV1": { "f:status": { "f:replicas": {} } },
    });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "web", "namespace": "shop", "labels": { "app.kubernetes.io/name": "web" }, "annotations": { "a": "b" },
            "managedFields": [entry("roadstead", "2026-01-01T00:00:00Z", &ours), status],
        },
        "spec": {
            "replicas": 2, "paused": false,
            "template": { "spec": { "containers": [{ "name": "web", "image": "web:1" }, { "name": "other", "image": "x" }] } },
        },
        "status": { "replicas": 2 },
    })
}

fn sealer() -> DigestKey {
    DigestKey([7; 32])
}

fn remembered() -> Vec<Field> {
    ours(&applied(), &key(), false, &sealer())
}

fn drift(live: &Value) -> Vec<DriftedField> {
    differing(&remembered(), live, &key(), &sealer()).0
}

#[test]
fn our_fields_and_no_others_are_remembered() {
    let paths: Vec<String> = remembered().iter().map(|field| shown(&field.0)).collect();
    let expected = [
        ".metadata.annotations",
        ".metadata.labels[\"app.kubernetes.io/name\"]",
        ".spec.replicas",
        ".spec.template.spec.containers[name=\"web\"].image",
        ".spec.template.spec.containers[name=\"web\"].name",
    ];
    assert_eq!(paths, expected);
    let text = serde_json::to_string(&remembered()).unwrap();
    assert!(!text.contains("web:1"), "{text}");
}

#[test]
fn what_others_write_is_no_drift() {
    let mut live = applied();
    live["spec"]["paused"] = json!(true);
    live["status"]["replicas"] = json!(0);
    live["metadata"]["annotations"]["c"] = json!("d");
    live["metadata"]["resourceVersion"] = json!("99");
    live["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().insert(0, json!({ "name": "sidecar" }));
    assert_eq!(drift(&live), []);
}

#[test]
fn changed_and_removed_fields_are_named_with_their_managers() {
    let mut live = applied();
    live["spec"]["replicas"] = json!(5);
    live["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:2");
    live["metadata"]["labels"] = json!({});
    let theirs = json!({ "f:spec": { "f:replicas": {}, "f:template": {} } });
    let managers = live["metadata"]["managedFields"].as_array_mut().unwrap();
    managers.push(entry("kubectl-edit", "2026-01-02T00:00:00Z", &theirs));
    managers.push(entry("older", "2026-01-01T12:00:00Z", &theirs));
    let named = drift(&live);
    let of = |path: &str| named.iter().find(|field| field.path == path).map(|field| field.manager.clone());
    assert_eq!(of(".spec.replicas"), Some(Some("kubectl-edit".to_owned())));
    assert_eq!(of(".spec.template.spec.containers[name=\"web\"].image"), Some(Some("kubectl-edit".to_owned())));
    // Nobody has it now; whom it was last of is still in the list of managers.
    assert_eq!(named.len(), 3, "{named:?}");
    // Put back by hand it is as it was.
    assert_eq!(drift(&applied()), []);
}

#[test]
fn digests_depend_on_key_object_and_path() {
    let value = json!("hunter2");
    let one = sealer().digest(&key(), "f:data", Some(&value));
    let elsewhere = ObjectKey { name: "other".to_owned(), ..key() };
    assert_ne!(one, sealer().digest(&elsewhere, "f:data", Some(&value)));
    assert_ne!(one, sealer().digest(&key(), "f:other", Some(&value)));
    assert_ne!(one, DigestKey([8; 32]).digest(&key(), "f:data", Some(&value)));
    assert_ne!(one, sealer().digest(&key(), "f:data", None));
    assert_ne!(sealer().digest(&key(), "f:data", Some(&Value::Null)), sealer().digest(&key(), "f:data", None));
    let (ab, ba) = (json!({ "a": 1, "b": [2] }), json!({ "b": [2], "a": 1 }));
    assert_eq!(sealer().digest(&key(), "f:data", Some(&ab)), sealer().digest(&key(), "f:data", Some(&ba)));
    assert_eq!(format!("{:?}", sealer()), "***");
}

#[test]
fn sets_places_and_garbage() {
    let object = json!({
        "apiVersion": "apps/v1",
        "metadata": { "finalizers": ["a", "b"], "managedFields": [entry("roadstead", "t", &json!({
            "f:metadata": { "f:finalizers": { "v:\"a\"": {} } }, "f:list": { "i:1": {} }, "k:{": {}, "x": {}, "": {},
        }))] },
        "list": [1, 2],
    });
    let fields = ours(&object, &key(), false, &sealer());
    let mut live = object.clone();
    live["metadata"]["finalizers"] = json!(["b"]);
    live["list"] = json!([2, 1]);
    let (named, more) = differing(&fields, &live, &key(), &sealer());
    let paths: Vec<&str> = named.iter().map(|field| field.path.as_str()).collect();
    assert_eq!((paths, more), (vec![".list[1]", ".metadata.finalizers[…]"], 0));
    assert_eq!(differing(&fields, &json!(null), &key(), &sealer()).0.len(), 2);
    assert!(ours(&json!({}), &key(), true, &sealer()).is_empty());
}

#[test]
fn what_is_named_is_bounded() {
    let names: Vec<String> = (0..3_000).map(|number| format!("f:k{number:04}-{}", "x".repeat(300))).collect();
    let tree: serde_json::Map<String, Value> = names.iter().map(|name| (name.clone(), json!({}))).collect();
    let object = json!({
        "apiVersion": "apps/v1", "metadata": { "managedFields": [entry("roadstead", "t", &json!({ "f:data": tree }))] },
        "data": names.iter().map(|name| (name[2..].to_owned(), json!("a"))).collect::<serde_json::Map<_, _>>(),
    });
    let fields = ours(&object, &key(), false, &sealer());
    assert_eq!(fields.len(), REMEMBERED_MAX);
    let (named, more) = differing(&fields, &json!({}), &key(), &sealer());
    assert_eq!((named.len(), more), (FIELDS_MAX, u32::try_from(REMEMBERED_MAX - FIELDS_MAX).unwrap()));
    assert!(named.iter().all(|field| field.path.len() <= FIELD_TEXT_MAX));
}

#[test]
fn only_what_was_set_is_as_it_is_now() {
    let drifts = |fields: &[Field], live: &Value| {
        let named = differing(fields, live, &key(), &sealer()).0;
        named.into_iter().map(|field| field.path).collect::<Vec<_>>()
    };
    let image = ".spec.template.spec.containers[name=\"web\"].image";
    // The image has drifted; then the replicas are set.
    let mut before = applied();
    before["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:2");
    let mut after = before.clone();
    after["spec"]["replicas"] = json!(5);
    let scaled = refreshed(remembered(), &["spec", "replicas"], (Some(&before), &after), &key(), &sealer());
    assert_eq!(drifts(&scaled, &after), [image]);
    assert_eq!(drifts(&scaled, &before), [".spec.replicas", image]);
    // The template is set, and somebody else sets the replicas in the same moment.
    let back = refreshed(remembered(), &["spec", "template"], (Some(&before), &after), &key(), &sealer());
    assert_eq!(drifts(&back, &after), [".spec.replicas"]);
    // A field that holds more than what is set is so only when it was as it was left.
    let whole =
        |object: &Value| vec![Field("f:spec".to_owned(), sealer().digest(&key(), "f:spec", object.get("spec")))];
    let set = |fields| refreshed(fields, &["spec", "replicas"], (Some(&before), &after), &key(), &sealer());
    assert!(drifts(&set(whole(&before)), &after).is_empty());
    assert_eq!(drifts(&set(whole(&applied())), &after), [".spec"]);
}
