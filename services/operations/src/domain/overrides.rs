//! Manifests with the patches of one cluster: JSON merge patch (RFC 7396) per object.

use roadstead_contracts::message::RolloutOverride;
use roadstead_contracts::operation::ObjectKey;
use roadstead_contracts::{Error, Result};
use roadstead_manifest::{merge_patch, parse, render};
use serde_json::Value;

/// Deepest patch: manifests have some twenty levels.
const DEPTH_MAX: usize = 64;

/// The body for one cluster: every patch applied to the objects that it names. A patch that names no object is an error: it
/// is a mistake that would go unnoticed.
pub(crate) fn patched(body: &[u8], patches: &[&RolloutOverride]) -> Result<Vec<u8>> {
    let mut documents = parse(body)?;
    for patch in patches {
        if is_deeper(&patch.patch, DEPTH_MAX) {
            return Err(fault("the patch is too deep"));
        }
        let mut hit = false;
        for document in documents.iter_mut().filter(|document| is(&document.value, &patch.object)) {
            merge_patch(&mut document.value, &patch.patch);
            hit = true;
        }
        if !hit {
            let object = &patch.object;
            return Err(fault(format!("no object of the manifests is {} {}", object.kind, object.name)));
        }
    }
    Ok(render(&documents))
}

fn fault(message: impl Into<String>) -> Error {
    Error::field(&["body", "plan", "overrides"], "value_error", message.into())
}

fn is(document: &Value, key: &ObjectKey) -> bool {
    let text = |path: &str| document.pointer(path).and_then(Value::as_str);
    text("/kind") == Some(&key.kind)
        && text("/metadata/name") == Some(&key.name)
        && (key.api_version.is_empty() || text("/apiVersion") == Some(&key.api_version))
        && key.namespace.as_deref().is_none_or(|namespace| text("/metadata/namespace") == Some(namespace))
}

/// Whether it has objects within objects beyond a depth.
fn is_deeper(value: &Value, depth: usize) -> bool {
    match value {
        Value::Object(fields) => depth == 0 || fields.values().any(|value| is_deeper(value, depth - 1)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patch(kind: &str, name: &str) -> RolloutOverride {
        RolloutOverride {
            labels: roadstead_contracts::names::Labels::default(),
            cluster: None,
            object: ObjectKey {
                api_version: String::new(),
                kind: kind.to_owned(),
                namespace: None,
                name: name.to_owned(),
            },
            patch: json!({"data": {"k": "w"}}),
        }
    }

    #[test]
    fn a_patch_finds_its_object_or_says_so() {
        let body = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: x}\ndata: {k: v}\n---\n\
            kind: List\nitems: [{apiVersion: v1, kind: Secret, metadata: {name: b}}]\n";
        let out = patched(body, &[&patch("ConfigMap", "a"), &patch("Secret", "b")]).unwrap();
        let documents = parse(&out).unwrap();
        assert_eq!(documents.len(), 2);
        assert!(documents.iter().all(|document| document.value["data"]["k"] == "w"), "{documents:?}");
        assert!(patched(body, &[&patch("ConfigMap", "z")]).is_err());
        let mut deep = patch("ConfigMap", "a");
        (0..DEPTH_MAX).for_each(|_| deep.patch = json!({"a": deep.patch}));
        assert!(patched(body, &[&deep]).is_err());
    }

    #[test]
    fn regression_several_files_are_patched_as_one_is() {
        let one: &[u8] = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
        let two: &[u8] = b"apiVersion: v1\nkind: Secret\nmetadata: {name: b}\n";
        let body = roadstead_manifest::bundle([("one.yaml", one), ("two.yaml", two)]);
        let out = patched(&body, &[&patch("Secret", "b")]).unwrap();
        let documents = parse(&out).unwrap();
        assert_eq!((documents.len(), &documents[1].source[..]), (2, "two.yaml#1"));
        assert_eq!(documents[1].value["data"]["k"], "w");
    }
}
