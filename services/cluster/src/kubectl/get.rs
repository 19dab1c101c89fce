//! `kubectl get`.

use serde_json::{Value, json as object};

use super::command::{Get, Output, Target};
use super::kinds::{Resource, find_all};
use super::lists::{items_of, pages};
use super::print::{Table, masked, rows_by, to_json};
use super::{AS_JSON, AS_TABLE, Api, Ask, COLLECTED_MAX, Failure, Printed, Scope, Told, escape, json, said};

pub(super) async fn get(api: &dyn Api, get: &Get) -> Told<Printed> {
    let mut wanted: Vec<(Resource, Vec<String>)> = Vec::new();
    for target in &get.targets {
        for resource in find_all(api, &target.kind).await? {
            let at = wanted.iter().position(|(known, _)| *known == resource);
            let at = at.unwrap_or_else(|| {
                wanted.push((resource, Vec::new()));
                wanted.len() - 1
            });
            if let (Some(name), Some((_, names))) = (&target.name, wanted.get_mut(at)) {
                names.push(name.clone());
            }
        }
    }
    match get.output {
        Output::Table { wide } => tables(api, get, &wanted, wide).await,
        Output::Json | Output::Yaml | Output::Name => objects(api, get, &wanted).await,
    }
}

async fn tables(api: &dyn Api, get: &Get, wanted: &[(Resource, Vec<String>)], wide: bool) -> Told<Printed> {
    let mut printed = Vec::new();
    let several = wanted.len() > 1;
    let mut bytes = 0;
    for (resource, names) in wanted {
        let mut table = Table::default();
        if names.is_empty() {
            let query = query(get) + &objects_too(get, '&');
            let path = resource.path(get.scope.name(), None);
            pages(api, &path, &query, AS_TABLE, |page, length| {
                collected(&mut bytes, length)?;
                table.extend(page);
                Ok(())
            })
            .await?;
        }
        for name in names {
            let path = format!("{}{}", resource.path(get.scope.name(), Some(name)), objects_too(get, '?'));
            match json(api, Ask::table(path)).await {
                Ok(page) => table.extend(page),
                Err(Failure::Cluster(404, _)) if get.ignore_not_found => {}
                Err(fault) => return Err(fault),
            }
        }
        if let Some(path) = &get.sort_by {
            rows_by(table.rows_mut(), path, |row| &row["object"])?;
        }
        if !table.is_empty() {
            let prefix = if several { format!("{}/", resource.shown()) } else { String::new() };
            let with_namespace = resource.namespaced && get.scope == Scope::All;
            printed.push(table.print(wide, get.headers, get.show_labels, with_namespace, &prefix));
        }
    }
    if printed.is_empty() {
        return Ok(nothing(get, wanted));
    }
    Ok(Printed::out(printed.join("\n")))
}

fn nothing(get: &Get, wanted: &[(Resource, Vec<String>)]) -> Printed {
    let named = wanted.iter().any(|(_, names)| !names.is_empty());
    let wide = wanted.iter().all(|(resource, _)| !resource.namespaced);
    let err = match get.scope.name().filter(|_| !wide) {
        _ if named => String::new(),
        Some(namespace) => format!("No resources found in {namespace} namespace.\n"),
        None => "No resources found\n".to_owned(),
    };
    Printed { err, ..Printed::default() }
}

async fn objects(api: &dyn Api, get: &Get, wanted: &[(Resource, Vec<String>)]) -> Told<Printed> {
    let mut items = Vec::new();
    let mut bytes = 0;
    for (resource, names) in wanted {
        let mut found = Vec::new();
        if names.is_empty() {
            pages(api, &resource.path(get.scope.name(), None), &query(get), AS_JSON, |mut page, length| {
                collected(&mut bytes, length)?;
                found.append(&mut items_of(&mut page));
                Ok(())
            })
            .await?;
        }
        for name in names {
            match json(api, Ask::get(resource.path(get.scope.name(), Some(name)))).await {
                Ok(one) => found.push(one),
                Err(Failure::Cluster(404, _)) if get.ignore_not_found => {}
                Err(fault) => return Err(fault),
            }
        }
        items.extend(found.into_iter().map(|item| (resource, complete(resource, item))));
    }
    if let Some(path) = &get.sort_by {
        rows_by(&mut items, path, |(_, item)| item)?;
    }
    let one = get.targets.len() == 1 && get.targets.iter().all(|target: &Target| target.name.is_some());
    let names = items.iter().map(|(resource, item)| {
        format!("{}/{}\n", resource.shown(), item["metadata"]["name"].as_str().unwrap_or_default())
    });
    if get.output == Output::Name {
        return Ok(Printed::out(names.collect::<String>()));
    }
    let mut values: Vec<Value> = items.into_iter().map(|(_, item)| item).collect();
    if one && values.is_empty() {
        return Ok(Printed::default());
    }
    let whole = match values.pop() {
        Some(single) if one => single,
        last => {
            values.extend(last);
            object!({ "apiVersion": "v1", "items": values, "kind": "List", "metadata": { "resourceVersion": "" } })
        }
    };
    Ok(Printed::out(if get.output == Output::Yaml { roadstead_manifest::to_yaml(&whole) } else { to_json(&whole) }))
}

/// Counts what is taken together. More than anybody is shown is not taken first.
fn collected(bytes: &mut usize, more: usize) -> Told<()> {
    *bytes += more;
    if *bytes > COLLECTED_MAX {
        return said(format!(
            "error: the objects are larger than {} MiB; narrow the request",
            COLLECTED_MAX / 1024 / 1024
        ));
    }
    Ok(())
}

/// An item of a list as an object by itself: lists leave its kind out. What is secret in it stays in the cluster (K4).
fn complete(resource: &Resource, item: Value) -> Value {
    let mut whole = object!({ "apiVersion": resource.api_version(), "kind": resource.kind });
    if let (Some(whole), Value::Object(fields)) = (whole.as_object_mut(), item) {
        whole.extend(fields);
    }
    if let Some(metadata) = whole.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    if resource.is_secret() { masked(whole) } else { whole }
}

/// Selectors, each with an ampersand before it.
fn query(get: &Get) -> String {
    let mut query = String::new();
    for (name, value) in [("labelSelector", &get.selector), ("fieldSelector", &get.fields)] {
        if let Some(value) = value {
            query = format!("{query}&{name}={}", escape(value));
        }
    }
    query
}

/// A table comes with the heads of its objects; what sorts by something else needs the whole.
fn objects_too(get: &Get, before: char) -> String {
    if get.sort_by.is_some() { format!("{before}includeObject=Object") } else { String::new() }
}
