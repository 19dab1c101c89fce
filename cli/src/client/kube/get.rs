//! `roadstead get KIND`: one table of a kind over many clusters. What does not answer in time is named, not waited for; as with
//! kubectl, a list that lacks something ends with 1.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use comfy_table::Cell;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::super::ended::Ended;
use super::super::hub::{Hub, segment};
use super::super::output::{Output, plain as clean, table};
use super::{Doors, names};
use crate::args::kube::GetArgs;

/// Clusters that are asked at once.
const AT_ONCE: usize = 16;
/// Longest wait for one cluster: the others' rows are there by then.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for all of them, however many are away.
const PATIENCE_IN_ALL: Duration = Duration::from_secs(30);
/// Rows of one page, as kubectl asks.
const PAGE: usize = 500;
/// Most pages of one cluster: what nobody reads is not fetched.
const PAGES_MAX: usize = 40;
/// Largest answer of one cluster.
const ANSWER_MAX: usize = 32 * 1024 * 1024;
/// What the hub's own refusals begin with, to tell kubectl's users that it is not the cluster's.
const OWN_WORDS: &str = "roadstead: ";
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
    let began = Instant::now();
    let asked = clusters.into_iter().map(|cluster| {
        let door = door.clone();
        async move {
            let now = Instant::now();
            let until = (now + PATIENCE).min(began + PATIENCE_IN_ALL);
            let answer = timeout_at(until, door.list(&cluster, args)).await;
            let late = || Err(anyhow!("no answer in {} s", until.saturating_duration_since(now).as_secs()));
            (cluster, answer.unwrap_or_else(|_| late()))
        }
    });
    let mut answers: Vec<(String, Result<Value>)> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
    answers.sort_by(|one, other| one.0.cmp(&other.0));
    show(&answers, output)
}

/// Prints what there is, and says what there is not.
fn show(answers: &[(String, Result<Value>)], output: Output) -> Result<()> {
    let missing: Vec<String> = answers
        .iter()
        .filter_map(|(cluster, answer)| answer.as_ref().err().map(|fault| format!("{cluster}: {fault:#}")))
        .collect();
    let found: Vec<(&String, &Value)> =
        answers.iter().filter_map(|(cluster, answer)| Some((cluster, answer.as_ref().ok()?))).collect();
    let rows: Vec<Value> = found.iter().flat_map(|(cluster, answer)| objects(cluster, answer)).collect();
    let whole = json!({ "items": rows, "missing": missing });
    if found.is_empty() {
        // For programs the list is there whatever it lacks; people read which cluster said what.
        output.data(&whole)?;
        if let [only] = missing.as_slice() {
            bail!("{only}");
        }
        tell(&missing);
        bail!("none of {} clusters has an answer", answers.len());
    }
    output.print(&whole, |_| text(&found))?;
    tell(&missing);
    // Said already; a script must not take a part for the whole.
    if missing.is_empty() { Ok(()) } else { Err(Ended::silently(1).into()) }
}

/// Which cluster did not answer, and why.
fn tell(missing: &[String]) {
    for line in missing {
        eprintln!("missing {}", clean(line));
    }
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
    head.extend(columns.iter().map(|name| clean(name).to_uppercase()));
    let mut rows = Vec::new();
    for (cluster, answer) in found {
        let definitions = array(&answer["columnDefinitions"]);
        for row in array(&answer["rows"]) {
            let mut cells = vec![Cell::new(cluster)];
            if namespaced {
                cells.push(Cell::new(plain(&row["object"]["metadata"]["namespace"])));
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
            let said = body["message"].as_str().map(|message| message.strip_prefix(OWN_WORDS).unwrap_or(message));
            bail!("{}", said.map_or_else(|| format!("it answered {status}"), str::to_owned));
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
        let mut query = vec![format!("limit={PAGE}")];
        if let Some(selector) = &args.selector {
            query.push(format!("labelSelector={}", segment(selector)));
        }
        if let Some(name) = &args.name {
            query.push(format!("fieldSelector=metadata.name%3D{}", segment(name)));
        }
        let path = format!("{path}?{}", query.join("&"));
        let mut whole = self.ask(cluster, &path, AS_TABLE).await?;
        for _ in 1..PAGES_MAX {
            let Some(next) = rest(&whole) else { return Ok(whole) };
            let page = self.ask(cluster, &format!("{path}&continue={next}"), AS_TABLE).await?;
            extend(&mut whole, page);
        }
        match rest(&whole) {
            None => Ok(whole),
            Some(_) => bail!("it has more than {} of them; narrow it with -n or -l", PAGE * PAGES_MAX),
        }
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

/// Where a list goes on.
fn rest(page: &Value) -> Option<String> {
    page["metadata"]["continue"].as_str().filter(|next| !next.is_empty()).map(segment)
}

/// The rows of the next page behind those that are there.
fn extend(whole: &mut Value, mut page: Value) {
    if let (Some(rows), Some(more)) = (whole["rows"].as_array_mut(), page["rows"].as_array_mut()) {
        rows.append(more);
    }
    whole["metadata"] = page["metadata"].take();
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
    fn regression_a_list_that_lacks_a_cluster_is_no_success() {
        let output = Output::new(crate::args::OutputFormat::Table);
        let there = || ("alpha".to_owned(), Ok(json!({ "rows": [] })));
        let away = || ("beta".to_owned(), Err(anyhow!("no answer in 10 s")));
        assert!(show(&[there()], output).is_ok());
        let partly = show(&[there(), away()], output).unwrap_err();
        assert_eq!(partly.downcast_ref::<Ended>().map(|ended| ended.code), Some(1));
        assert!(show(&[away()], output).is_err() && show(&[away(), away()], output).is_err());
    }

    #[test]
    fn pages_become_one_list() {
        let page = |name: &str, next: &str| json!({ "metadata": { "continue": next }, "rows": [{ "cells": [name] }] });
        let mut whole = page("a", "t/1");
        assert_eq!(rest(&whole).as_deref(), Some("t%2F1"));
        extend(&mut whole, page("b", ""));
        assert_eq!((rest(&whole), array(&whole["rows"]).len()), (None, 2));
    }

    #[test]
    fn regression_k09_a_cluster_moves_no_cursor() {
        let odd = "\u{1b}]52;c;aGk=\u{7}\u{9b}2J";
        let answer = json!({ "columnDefinitions": [{ "name": format!("Name{odd}"), "priority": 0 }], "rows": [
            { "cells": [format!("a{odd}")], "object": { "metadata": { "namespace": format!("x{odd}") } } }] });
        let shown = text(&[(&"alpha".to_owned(), &answer)]);
        assert!(shown.contains("NAME") && shown.lines().count() == 2, "{shown:?}");
        assert!(!shown.contains(|character: char| character.is_control() && character != '\n'), "{shown:?}");
    }

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
