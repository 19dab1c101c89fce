//! An object without what the cluster writes into it.

use serde_json::{Map, Value};

/// Fields of `metadata` that the API server sets.
const SERVER_FIELDS: [&str; 8] = [
    "managedFields",
    "resourceVersion",
    "uid",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
];
/// Annotations that controllers of Kubernetes itself write, by prefix: they change without anybody having changed the
/// object.
const CONTROLLER_ANNOTATIONS: [&str; 9] = [
    "kubernetes.io/service-account.uid",
    "deployment.kubernetes.io/",
    "deprecated.daemonset.template.generation",
    "pv.kubernetes.io/",
    "volume.kubernetes.io/",
    "volume.beta.kubernetes.io/",
    "batch.kubernetes.io/",
    "autoscaling.alpha.kubernetes.io/",
    "control-plane.alpha.kubernetes.io/",
];

/// Type of a Secret whose data a controller writes.
const ACCOUNT_TOKEN: &str = "kubernetes.io/service-account-token";

/// A live object as it is kept for an undo: without managed fields, status and what the API server numbers.
pub fn strip(live: &Value) -> Value {
    let mut kept = live.clone();
    if let Value::Object(map) = &mut kept {
        map.shift_remove("status");
        if let Some(Value::Object(metadata)) = map.get_mut("metadata") {
            remove(metadata, &SERVER_FIELDS);
        }
    }
    kept
}

/// The same without what controllers add by themselves: two of these are equal when nobody has changed the object.
pub fn content(live: &Value) -> Value {
    let mut kept = strip(live);
    if let Some(Value::Object(metadata)) = kept.get_mut("metadata") {
        metadata.shift_remove("finalizers");
        let empty = match metadata.get_mut("annotations") {
            Some(Value::Object(annotations)) => {
                annotations.retain(|key, _| !CONTROLLER_ANNOTATIONS.iter().any(|prefix| key.starts_with(prefix)));
                annotations.is_empty()
            }
            _ => false,
        };
        if empty {
            metadata.shift_remove("annotations");
        }
    }
    let kind = kept.get("kind").and_then(Value::as_str).unwrap_or_default();
    let filled = match kind {
        // Bound by the volume controller afterwards.
        "PersistentVolumeClaim" => Some("/spec/volumeName"),
        "PersistentVolume" => Some("/spec/claimRef"),
        // Set by the scheduler.
        "Pod" => Some("/spec/nodeName"),
        // Filled by the token controller.
        "Secret" if kept.get("type").is_some_and(|own| own == ACCOUNT_TOKEN) => Some("/data"),
        _ => None,
    };
    if let Some((parent, name)) = filled.and_then(|pointer| pointer.rsplit_once('/'))
        && let Some(Value::Object(parent)) = kept.pointer_mut(parent)
    {
        parent.shift_remove(name);
    }
    // One order of keys, so that equal objects have equal text.
    kept.sort_all_objects();
    kept
}

/// A document as it is sent: without what only the API server may set, which `kubectl get -o yaml` writes into files.
pub fn prepare(mut document: Value) -> Value {
    if let Some(Value::Object(metadata)) = document.get_mut("metadata") {
        remove(metadata, &SERVER_FIELDS);
        if metadata.get("ownerReferences").is_some_and(Value::is_null) {
            metadata.shift_remove("ownerReferences");
        }
    }
    document
}

fn remove(map: &mut Map<String, Value>, names: &[&str]) {
    for name in names {
        map.shift_remove(*name);
    }
}
