//! `roadstead get KIND`: one table of a kind over many clusters. What does not answer in time is named, not waited for; as with
//! kubectl, a list that lacks something ends with 1.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use comfy_table::Cell;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::super::ended::Ended;
use super::super::hub::Hub;
use super::super::output::{Output, plain as clean, table};
use super::door::Door;
use super::names;
use crate::args::kube::GetArgs;

/// Clusters that are asked at once: so many that hang hold nobody up.
const AT_ONCE: usize = 64;
/// Longest wait for one cluster: the others' rows are there by then.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for all of them, however many are away.
const PATIENCE_IN_ALL: Duration = Duration::from_secs(30);
/// And so much more for each: the door takes 200 requests a second from one credential, and a cluster is asked three times.
const PATIENCE_FOR_EACH: Duration = Duration::from_millis(15);

pub(in crate::client) async fn get(hub: &mut Hub, args: &GetArgs, output: Output) -> Result<()> {
    let clusters = match &args.cluster {
        Some(cluster) => vec![super::name_of(hub, cluster).await?],
        None => names(hub, args.clusters.as_deref()).await?,
    };
    if clusters.is_empty() {
        bail!("no cluster that you can see matches");
    }
    let door = &Door::open(hub).await?;
    let answers = ask_all(clusters, async |cluster| door.list(&cluster, args).await).await;
    show(&answers, output)
}

/// Asks every cluster, many at once, and waits for none too long. Answers are in the order of the clusters' names.
async fn ask_all(clusters: Vec<String>, ask: impl AsyncFn(String) -> Result<Value>) -> Vec<(String, Result<Value>)> {
    let whole = PATIENCE_IN_ALL + PATIENCE_FOR_EACH * u32::try_from(clusters.len()).unwrap_or(u32::MAX);
    let end = Instant::now() + whole;
    let ask = &ask;
    let asked = clusters.into_iter().map(|cluster| async move {
        let now = Instant::now();
        if now >= end {
            let why = anyhow!("not asked in time: others had no answer, and {} s are over", whole.as_secs());
            return (cluster, Err(why));
        }
        let until = (now + PATIENCE).min(end);
        let answer = timeout_at(until, ask(cluster.clone())).await;
        let late = || Err(anyhow!("no answer in {} s", (until - now).as_secs().max(1)));
        (cluster, answer.unwrap_or_else(|_| late()))
    });
    let mut answers: Vec<(String, Result<Value>)> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
    answers.sort_by(|one, other| one.0.cmp(&other.0));
    answers
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

    /// Clusters in the order in which they are asked; those whose names begin with `hung` never answer.
    async fn asked(hung: usize, well: usize) -> Vec<(String, Result<Value>)> {
        let names = (0..hung).map(|number| format!("hung-{number:04}"));
        let names = names.chain((0..well).map(|number| format!("well-{number:04}"))).collect();
        ask_all(names, async |name| {
            if name.starts_with("hung") {
                std::future::pending::<()>().await;
            }
            Ok(json!({}))
        })
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn regression_clusters_that_answer_do_not_wait_behind_those_that_hang() {
        let answers = asked(150, 40).await;
        assert_eq!(answers.len(), 190);
        for (cluster, answer) in answers {
            match answer {
                Ok(_) => assert!(cluster.starts_with("well"), "{cluster}"),
                Err(fault) => assert_eq!((&cluster[..4], fault.to_string().as_str()), ("hung", "no answer in 10 s")),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn regression_a_cluster_that_was_not_asked_is_not_called_silent() {
        let began = Instant::now();
        let answers = asked(1_000, 1).await;
        assert!(began.elapsed() < Duration::from_secs(46), "{:?}", began.elapsed());
        let said = |(cluster, answer): &(String, Result<Value>)| format!("{cluster}: {}", answer.as_ref().unwrap_err());
        assert_eq!(said(&answers[0]), "hung-0000: no answer in 10 s");
        let last = "well-0000: not asked in time: others had no answer, and 45 s are over";
        assert_eq!(said(&answers[1_000]), last);
        assert!(answers.iter().all(|answer| !said(answer).contains("in 0 s")));
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
