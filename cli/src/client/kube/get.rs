//! `roadstead get KIND`: one table of a kind over many clusters. What does not answer in time is named, not waited for.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use comfy_table::Cell;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::super::hub::{Hub, segment};
use super::super::output::{Output, table};
use super::{Doors, names};
use crate::args::kube::GetArgs;

/// Clusters that are asked at once.
const AT_ONCE: usize = 16;
/// Longest wait for one cluster: the others' rows are there by then.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer of one cluster.
const ANSWER_MAX: usize = 32 * 1024 * 1024;
/// What asks for the columns that kubectl prints.
const AS_TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// A kind as a cluster serves it.
struct Kind {
    base: String,
    plural: String,
    namespaced: bool,
}

/// A way to the Kubernetes door.
#[derive(Clone)]
struct Door {
    client: reqwest::Client,
    url: String,
    token: String,
}

pub(in crate::client) async fn get(hub: &mut Hub, args: &GetArgs, output: Output) -> Result<()> {
    let clusters = match &args.cluster {
        Some(cluster) => vec![super::name_of(hub, cluster).await?],
        None => names(hub, args.clusters.as_deref()).await?,
    };
    if clusters.is_empty() {
        bail!("no cluster that you can see matches");
    }
    let door = Door::open(hub).await?;
    let asked = clusters.into_iter().map(|cluster| {
        let door = door.clone();
        async move {
            let answer = tokio::time::timeout(PATIENCE, door.list(&cluster, args)).await;
            (cluster, answer.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in {} s", PATIENCE.as_secs()))))
        }
    });
    let answers: Vec<(String, Result<Value>)> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    let missing: Vec<String> = answers
        .iter()
        .filter_map(|(cluster, answer)| answer.as_ref().err().map(|fault| format!("{cluster}: {fault:#}")))
        .collect();
    let found: Vec<(&String, &Value)> =
        answers.iter().filter_map(|(cluster, answer)| Some((cluster, answer.as_ref().ok()?))).collect();
    let rows: Vec<Value> = found.iter().flat_map(|(cluster, answer)| objects(cluster, answer)).collect();
    let whole = json!({ "items": rows, "missing": missing });
    output.print(&whole, |_| text(&found))?;
    for line in &missing {
        eprintln!("missing {line}");
    }
    if found.is_empty() {
        bail!("no cluster answered");
    }
    Ok(())
}

/// Rows as objects, for programs.
fn objects(cluster: &str, answer: &Value) -> Vec<Value> {
    let columns = array(&answer["columnDefinitions"]);
    let row = |row: &Value| {
        let mut one = json!({ "cluster": cluster, "namespace": row["object"]["metadata"]["namespace"] });
        for (column, cell) in columns.iter().zip(array(&row["cells"])) {
            if let Some(name) = column["name"].as_str() {
                one[name.to_lowercase().replace(' ', "_")] = cell.clone();
            }
        }
        one
    };
    array(&answer["rows"]).iter().map(row).collect()
}

fn text(found: &[(&String, &Value)]) -> String {
    let Some((_, first)) = found.iter().find(|(_, answer)| !array(&answer["rows"]).is_empty()) else {
        return "none".to_owned();
    };
    let wide = |column: &&Value| column["priority"].as_i64().unwrap_or(0) == 0;
    let columns: Vec<&str> =
        array(&first["columnDefinitions"]).iter().filter(wide).filter_map(|column| column["name"].as_str()).collect();
    let namespaced = found
        .iter()
        .any(|(_, answer)| array(&answer["rows"]).iter().any(|row| row["object"]["metadata"]["namespace"].is_string()));
    let mut head = vec!["CLUSTER".to_owned()];
    if namespaced {
        head.push("NAMESPACE".to_owned());
    }
    head.extend(columns.iter().map(|name| name.to_uppercase()));
    let mut rows = Vec::new();
    for (cluster, answer) in found {
        let definitions = array(&answer["columnDefinitions"]);
        for row in array(&answer["rows"]) {
            let mut cells = vec![Cell::new(cluster)];
            if namespaced {
                cells.push(Cell::new(row["object"]["metadata"]["namespace"].as_str().unwrap_or("-")));
            }
            // By name: clusters of two versions may have other columns.
            for name in &columns {
                let at = definitions.iter().position(|column| column["name"] == *name);
                cells.push(Cell::new(at.and_then(|at| row["cells"].get(at)).map_or_else(|| "-".to_owned(), plain)));
            }
            rows.push(cells);
        }
    }
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    table(&head, rows)
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace(char::is_control, " "),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

impl Door {
    async fn open(hub: &mut Hub) -> Result<Self> {
        let (url, authority) = Doors::of(hub).await?;
        let mut builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        if let Some(pem) = &authority {
            for certificate in reqwest::Certificate::from_pem_bundle(pem.as_bytes())? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        let profile = hub.profile();
        let token = profile.api_key.clone().or_else(|| profile.access_token.clone()).context("log in first")?;
        Ok(Self { client: builder.build().context("failed to set up HTTP")?, url, token })
    }

    async fn ask(&self, cluster: &str, path: &str, accept: &str) -> Result<Value> {
        let request = self.client.get(format!("{}/k/{cluster}{path}", self.url)).bearer_auth(&self.token);
        let mut response =
            request.header("accept", accept).send().await.context("the Kubernetes door is not reached")?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.context("the answer broke off")? {
            if bytes.len() + chunk.len() > ANSWER_MAX {
                bail!("the answer is larger than {ANSWER_MAX} bytes");
            }
            bytes.extend_from_slice(&chunk);
        }
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if !status.is_success() {
            bail!("{}", body["message"].as_str().map_or_else(|| format!("it answered {status}"), str::to_owned));
        }
        Ok(body)
    }

    async fn list(&self, cluster: &str, args: &GetArgs) -> Result<Value> {
        let kind = self.find(cluster, &args.kind).await?;
        let mut path = kind.base.clone();
        if let (true, Some(namespace)) = (kind.namespaced, &args.namespace) {
            path.push_str("/namespaces/");
            path.push_str(&segment(namespace));
        }
        path.push('/');
        path.push_str(&kind.plural);
        let mut query = vec!["limit=5000".to_owned()];
        if let Some(selector) = &args.selector {
            query.push(format!("labelSelector={}", segment(selector)));
        }
        if let Some(name) = &args.name {
            query.push(format!("fieldSelector=metadata.name%3D{}", segment(name)));
        }
        self.ask(cluster, &format!("{path}?{}", query.join("&")), AS_TABLE).await
    }

    /// Finds a kind by its plural, singular, short name or `plural.group`, the core group first.
    async fn find(&self, cluster: &str, kind: &str) -> Result<Kind> {
        let wanted = kind.to_lowercase();
        let (wanted, group) =
            wanted.split_once('.').map_or((wanted.as_str(), None), |(kind, group)| (kind, Some(group)));
        if group.is_none() {
            let core = self.ask(cluster, "/api/v1", "application/json").await?;
            if let Some(found) = pick(&core, wanted, "/api/v1") {
                return Ok(found);
            }
        }
        let groups = self.ask(cluster, "/apis", "application/json").await?;
        for entry in array(&groups["groups"]) {
            if group.is_some_and(|group| entry["name"] != group) {
                continue;
            }
            let Some(version) = entry["preferredVersion"]["groupVersion"].as_str() else { continue };
            let base = format!("/apis/{version}");
            // A group whose server is away must not hide the others.
            let Ok(resources) = self.ask(cluster, &base, "application/json").await else { continue };
            if let Some(found) = pick(&resources, wanted, &base) {
                return Ok(found);
            }
        }
        bail!("it has no kind {kind}")
    }
}

fn pick(resources: &Value, wanted: &str, base: &str) -> Option<Kind> {
    array(&resources["resources"]).iter().find_map(|resource| {
        let plural = resource["name"].as_str().filter(|name| !name.contains('/'))?;
        let singular = resource["singularName"].as_str().unwrap_or_default();
        let kind = resource["kind"].as_str().unwrap_or_default().to_lowercase();
        let short = array(&resource["shortNames"]).iter().any(|short| short == wanted);
        (plural == wanted || singular == wanted || kind == wanted || short).then(|| Kind {
            base: base.to_owned(),
            plural: plural.to_owned(),
            namespaced: resource["namespaced"].as_bool().unwrap_or(false),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_two_clusters_line_up() {
        let columns = json!([{ "name": "Name", "priority": 0 }, { "name": "Status", "priority": 0 }, { "name": "IP", "priority": 1 }]);
        let one = json!({ "columnDefinitions": columns, "rows": [
            { "cells": ["a", "Running", "1.1.1.1"], "object": { "metadata": { "namespace": "x" } } }] });
        let two = json!({ "columnDefinitions": [{ "name": "Name", "priority": 0 }], "rows": [
            { "cells": ["b"], "object": { "metadata": { "namespace": "y" } } }] });
        let (first, second) = ("alpha".to_owned(), "beta".to_owned());
        let text = text(&[(&first, &one), (&second, &two)]);
        assert!(text.contains("CLUSTER") && text.contains("NAMESPACE") && !text.contains("1.1.1.1"), "{text}");
        assert_eq!(text.lines().count(), 3, "{text}");
        assert_eq!(objects("alpha", &one)[0]["status"], "Running");
    }
}
