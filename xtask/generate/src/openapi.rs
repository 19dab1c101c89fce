//! The one OpenAPI document of the hub, merged from what the services say of their own routes.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

/// Merges the services' documents; the first one's title stands. Each service names only its own paths; a schema that two name must be the same.
pub(crate) fn merge(documents: &[Value]) -> Result<Value> {
    let (mut paths, mut components, mut tags) = (Map::new(), Map::new(), Vec::new());
    for document in documents {
        for (path, item) in object(&document["paths"]) {
            if paths.insert(path.clone(), item.clone()).is_some() {
                bail!("two services document {path}");
            }
        }
        for (kind, named) in object(&document["components"]) {
            let all = components.entry(kind.clone()).or_insert_with(|| json!({}));
            for (name, component) in object(named) {
                let all = all.as_object_mut().context("components are objects")?;
                match all.insert(name.clone(), component.clone()) {
                    Some(other) if other != *component => bail!("two services mean different things by {kind}/{name}"),
                    _ => {}
                }
            }
        }
        for tag in document["tags"].as_array().into_iter().flatten() {
            if !tags.contains(tag) {
                tags.push(tag.clone());
            }
        }
    }
    paths.sort_keys();
    for named in components.values_mut().filter_map(Value::as_object_mut) {
        named.sort_keys();
    }
    check_operations(&paths)?;
    // Every scheme that a service names will do, except where a route says otherwise.
    let schemes = components.get("securitySchemes").map(object).into_iter().flatten();
    let security: Vec<Value> = schemes.map(|(name, _)| json!({ name: [] })).collect();
    let mut info = documents.first().map_or(Value::Null, |first| first["info"].clone());
    info["version"] = env!("CARGO_PKG_VERSION").into();
    Ok(json!({
        "openapi": "3.1.0",
        "info": info,
        "servers": [{ "url": "/" }],
        "security": security,
        "tags": tags,
        "paths": paths,
        "components": components,
    }))
}

/// Operation ids are unique, for clients are generated from them.
fn check_operations(paths: &Map<String, Value>) -> Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    for (path, item) in paths {
        for (method, operation) in object(item) {
            let Some(id) = operation["operationId"].as_str() else { continue };
            if !seen.insert(id.to_owned()) {
                bail!("{method} {path}: the operation id {id} is taken");
            }
        }
    }
    Ok(())
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(path: &str, schema: &Value) -> Value {
        json!({
            "paths": { path: { "get": { "operationId": path } } },
            "components": { "schemas": { "Thing": schema } },
        })
    }

    #[test]
    fn documents_are_merged() {
        let text = json!({ "type": "string" });
        let merged = merge(&[document("/b", &text), document("/a", &text)]).unwrap();
        assert_eq!(merged["paths"].as_object().unwrap().keys().collect::<Vec<_>>(), ["/a", "/b"]);
        assert_eq!(merged["components"]["schemas"]["Thing"], text);
    }

    #[test]
    fn contradictions_are_refused() {
        let (text, number) = (json!({ "type": "string" }), json!({ "type": "integer" }));
        assert!(merge(&[document("/a", &text), document("/a", &text)]).is_err());
        assert!(merge(&[document("/a", &text), document("/b", &number)]).is_err());
    }
}
