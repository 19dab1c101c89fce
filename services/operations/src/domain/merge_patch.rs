//! Manifests with the patches of one cluster: JSON merge patch (RFC 7396) per object.

use roadstead_contracts::message::RolloutOverride;
use roadstead_contracts::operation::ObjectKey;
use roadstead_contracts::{Code, Error, Result};
use serde_json::Value;

/// Deepest patch: manifests have some twenty levels.
const DEPTH_MAX: usize = 64;

/// The documents of a body, lists taken apart.
pub(crate) fn documents(body: &[u8]) -> Result<Vec<Value>> {
    let fault = || Error::new(Code::Validation, "the manifests are not YAML or JSON documents");
    let text = std::str::from_utf8(body).map_err(|_| fault())?;
    let read: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|_| fault())?;
    let mut documents = Vec::new();
    for document in read {
        match document {
            Value::Null => {}
            Value::Object(mut fields) if is_list(&fields) => {
                if let Some(Value::Array(items)) = fields.remove("items") {
                    documents.extend(items);
                }
            }
            other => documents.push(other),
        }
    }
    Ok(documents)
}

fn is_list(fields: &serde_json::Map<String, Value>) -> bool {
    let kind = fields.get("kind").and_then(Value::as_str).unwrap_or_default();
    kind.ends_with("List") && fields.get("items").is_some_and(Value::is_array)
}

/// The body for one cluster: every patch applied to the objects that it names. A patch that names no object is an error: it
/// is a mistake that would go unnoticed.
pub(crate) fn patched(body: &[u8], patches: &[&RolloutOverride]) -> Result<Vec<u8>> {
    let mut documents = documents(body)?;
    for patch in patches {
        let mut hit = false;
        for document in documents.iter_mut().filter(|document| is(document, &patch.object)) {
            merge(document, &patch.patch, 0)?;
            hit = true;
        }
        if !hit {
            let object = &patch.object;
            let message = format!("no object of the manifests is {} {}", object.kind, object.name);
            return Err(Error::field(&["body", "plan", "overrides"], "value_error", message));
        }
    }
    let mut out = Vec::new();
    for document in &documents {
        out.extend_from_slice(b"---\n");
        serde_json::to_writer(&mut out, document).map_err(|_| Error::of(Code::Internal))?;
        out.push(b'\n');
    }
    Ok(out)
}

fn is(document: &Value, key: &ObjectKey) -> bool {
    let text = |path: &str| document.pointer(path).and_then(Value::as_str);
    text("/kind") == Some(&key.kind)
        && text("/metadata/name") == Some(&key.name)
        && (key.api_version.is_empty() || text("/apiVersion") == Some(&key.api_version))
        && key.namespace.as_deref().is_none_or(|namespace| text("/metadata/namespace") == Some(namespace))
}

fn merge(target: &mut Value, patch: &Value, depth: usize) -> Result<()> {
    if depth > DEPTH_MAX {
        return Err(Error::field(&["body", "plan", "overrides"], "value_error", "the patch is too deep"));
    }
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return Ok(());
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(fields) = target else { return Ok(()) };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), value, depth + 1)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Appendix A of RFC 7396.
    #[test]
    fn the_examples_of_the_rfc() {
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a": "b"}), json!(["c"]), json!(["c"])),
            (json!({"a": "foo"}), json!(null), json!(null)),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut merged = target.clone();
            merge(&mut merged, &patch, 0).unwrap();
            assert_eq!(merged, result, "{target} + {patch}");
        }
    }

    #[test]
    fn a_patch_finds_its_object_or_says_so() {
        let body = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: x}\ndata: {k: v}\n---\n\
            kind: List\nitems: [{apiVersion: v1, kind: Secret, metadata: {name: b}}]\n";
        let patch = |kind: &str, name: &str| RolloutOverride {
            labels: roadstead_contracts::names::Labels::default(),
            cluster: None,
            object: ObjectKey {
                api_version: String::new(),
                kind: kind.to_owned(),
                namespace: None,
                name: name.to_owned(),
            },
            patch: json!({"data": {"k": "w"}}),
        };
        let out = patched(body, &[&patch("ConfigMap", "a"), &patch("Secret", "b")]).unwrap();
        let documents = documents(&out).unwrap();
        assert_eq!(documents.len(), 2);
        assert!(documents.iter().all(|document| document["data"]["k"] == "w"), "{documents:?}");
        assert!(patched(body, &[&patch("ConfigMap", "z")]).is_err());
    }
}
