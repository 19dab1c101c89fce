//! `kubectl describe`: an object field by field, and what happened to it.

use serde_json::{Map, Value};

use super::command::Describe;
use super::kinds::{Resource, find};
use super::print::{Table, pairs};
use super::{Api, Ask, PAGE, Printed, Told, escape, json, printable, said};

/// Most objects of one command: each costs two requests.
const OBJECTS_MAX: usize = 20;
/// Fields that stand at the top by other names, or are of no interest.
const TOP: [&str; 3] = ["apiVersion", "kind", "metadata"];

pub(super) async fn describe(api: &dyn Api, describe: &Describe) -> Told<Printed> {
    let mut found: Vec<(Resource, Value)> = Vec::new();
    for target in &describe.targets {
        let resource = find(api, &target.kind).await?;
        if let Some(name) = &target.name {
            let Some(namespace) = describe.scope.name() else {
                return said("error: a resource cannot be retrieved by name across all namespaces");
            };
            let one = json(api, Ask::get(resource.path(Some(namespace), Some(name)))).await?;
            found.push((resource, one));
            continue;
        }
        let selector = describe.selector.as_ref().map(|selector| format!("&labelSelector={}", escape(selector)));
        let path = resource.path(describe.scope.name(), None);
        let mut list = json(api, Ask::get(format!("{path}?limit={PAGE}{}", selector.unwrap_or_default()))).await?;
        let items = list.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
        found.extend(items.into_iter().map(|item| (resource.clone(), item)));
    }
    if found.len() > OBJECTS_MAX {
        return said(format!("error: {} objects would be described; name at most {OBJECTS_MAX}", found.len()));
    }
    if found.is_empty() {
        return Ok(Printed { err: "No resources found\n".to_owned(), ..Printed::default() });
    }
    let mut out = Vec::new();
    for (resource, object) in found {
        let events = events(api, &resource, &object).await;
        out.push(text(&resource, &object) + &events);
    }
    Ok(Printed::out(out.join("\n\n")))
}

fn text(resource: &Resource, object: &Value) -> String {
    let metadata = &object["metadata"];
    let mut out = String::new();
    let mut line = |name: &str, value: &str| out.push_str(&format!("{:<14}{value}\n", format!("{name}:")));
    line("Name", metadata["name"].as_str().unwrap_or_default());
    if resource.namespaced {
        line("Namespace", metadata["namespace"].as_str().unwrap_or_default());
    }
    let below = format!("\n{:14}", "");
    line("Labels", &pairs(&metadata["labels"], &below));
    let mut annotations = metadata["annotations"].clone();
    if let Some(annotations) = annotations.as_object_mut() {
        // It repeats the object, secrets and all.
        annotations.retain(|key, _| key != "kubectl.kubernetes.io/last-applied-configuration");
    }
    line("Annotations", &pairs(&annotations, &below));
    line("API Version", &resource.api_version());
    line("Kind", &resource.kind);
    line("Created", metadata["creationTimestamp"].as_str().unwrap_or("<unknown>"));
    for (name, value) in object.as_object().into_iter().flatten() {
        if TOP.contains(&name.as_str()) {
            continue;
        }
        if resource.is_secret() && matches!(name.as_str(), "data" | "stringData") {
            out.push_str("Data:\n");
            for (key, value) in value.as_object().into_iter().flatten() {
                // Base64: three bytes in four characters.
                let text = value.as_str().unwrap_or_default();
                out.push_str(&format!("  {key}:  {} bytes\n", text.trim_end_matches('=').len() * 3 / 4));
            }
            continue;
        }
        field(&mut out, name, value, 0);
    }
    out
}

/// `containerStatuses` is `Container Statuses`.
fn title(name: &str) -> String {
    let mut out = String::new();
    for (at, letter) in name.chars().enumerate() {
        if at == 0 {
            out.extend(letter.to_uppercase());
        } else {
            if letter.is_uppercase() && out.chars().next_back().is_some_and(char::is_lowercase) {
                out.push(' ');
            }
            out.push(letter);
        }
    }
    out
}

/// Levels that are printed: no object of Kubernetes has more.
const DEPTH_MAX: usize = 32;

fn field(out: &mut String, name: &str, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    // Keys of maps that people fill in (labels, data) stay as they are.
    let name = if name.contains(['.', '/', '-', '_']) { name.to_owned() } else { title(name) };
    match value {
        _ if depth > DEPTH_MAX => {}
        Value::Object(fields) if fields.is_empty() => out.push_str(&format!("{indent}{name}:\n")),
        Value::Object(fields) => {
            out.push_str(&format!("{indent}{name}:\n"));
            all(out, fields, depth + 1);
        }
        Value::Array(items) => {
            out.push_str(&format!("{indent}{name}:\n"));
            for item in items {
                match item {
                    Value::Object(fields) => {
                        all(out, fields, depth + 1);
                        if items.len() > 1 {
                            out.push_str(&format!("{indent}  --\n"));
                        }
                    }
                    other => out.push_str(&format!("{indent}  {}\n", plain(other))),
                }
            }
        }
        other => out.push_str(&format!("{indent}{name}:  {}\n", plain(other))),
    }
}

fn all(out: &mut String, fields: &Map<String, Value>, depth: usize) {
    for (name, value) in fields {
        field(out, name, value, depth);
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        Value::Null => "<none>".to_owned(),
        other => other.to_string(),
    }
}

/// What happened to it. Who may not read events is told so, and gets the rest.
async fn events(api: &dyn Api, resource: &Resource, object: &Value) -> String {
    let metadata = &object["metadata"];
    let Some(name) = metadata["name"].as_str() else { return String::new() };
    let namespace = metadata["namespace"].as_str().unwrap_or("default");
    let selector = escape(&format!("involvedObject.name={name},involvedObject.kind={}", resource.kind));
    let path = format!("/api/v1/namespaces/{}/events?limit={PAGE}&fieldSelector={selector}", escape(namespace));
    match json(api, Ask::table(path)).await {
        Ok(page) => {
            let mut table = Table::default();
            table.extend(page);
            if table.is_empty() {
                return "Events:       <none>\n".to_owned();
            }
            let printed = table.print(false, true, false, false, "");
            let lines: String = printed.lines().map(|line| format!("  {line}\n")).collect();
            format!("Events:\n{lines}")
        }
        Err(_) => "Events:       <unknown>\n".to_owned(),
    }
}
