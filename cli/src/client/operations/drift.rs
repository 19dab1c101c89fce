//! `roadstead drift …`

use anyhow::{Result, bail};
use chrono::{DateTime, Utc};
use comfy_table::Cell;
use roadstead_runtime::{Clock as _, SystemClock};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::ended::Ended;
use super::super::hub::{Hub, segment};
use super::super::output::{Output, age, or_dash, state, table};
use super::model::plain;
use crate::args::OutputFormat;
use crate::args::operations::DriftCommand;

/// Clusters that are asked about one after another when none is named.
const CLUSTERS_MAX: usize = 200;

#[derive(Serialize, Deserialize)]
struct Drift {
    #[serde(default)]
    cluster_name: String,
    #[serde(default)]
    reported_at: Option<DateTime<Utc>>,
    #[serde(default)]
    drifted: u32,
    #[serde(default)]
    unseen: u32,
    #[serde(default)]
    left_out: u32,
    #[serde(default)]
    objects: Vec<Drifted>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct Drifted {
    key: Key,
    state: String,
    operation_id: String,
    #[serde(default)]
    since: Option<DateTime<Utc>>,
    #[serde(default)]
    fields: Vec<Field>,
    #[serde(default)]
    more_fields: u32,
}

#[derive(Serialize, Deserialize)]
struct Key {
    #[serde(default)]
    api_version: String,
    kind: String,
    #[serde(default)]
    namespace: Option<String>,
    name: String,
}

#[derive(Serialize, Deserialize)]
struct Field {
    path: String,
    #[serde(default)]
    manager: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// Runs `drift …`.
pub(in crate::client) async fn run(hub: &mut Hub, command: &DriftCommand, format: OutputFormat) -> Result<()> {
    let DriftCommand::Ls { cluster } = command;
    let clusters = if let Some(cluster) = cluster {
        vec![cluster.clone()]
    } else {
        let all: Vec<Named> = hub.get(&format!("/api/v1/clusters?limit={}", CLUSTERS_MAX + 1)).await?;
        if all.len() > CLUSTERS_MAX {
            bail!("there are more than {CLUSTERS_MAX} clusters: name one");
        }
        all.into_iter().map(|cluster| cluster.name).collect()
    };
    let mut answers: Vec<(String, Result<Drift>)> = Vec::with_capacity(clusters.len());
    for cluster in clusters {
        let answer = hub.get(&format!("/api/v1/clusters/{}/drift", segment(&cluster))).await;
        answers.push((cluster, answer));
    }
    tell(answers, Output::new(format))
}

/// Lists what is known. A cluster without an answer hides nobody else's, and is no reason to call all of it well.
fn tell(answers: Vec<(String, Result<Drift>)>, output: Output) -> Result<()> {
    let (mut found, mut missing) = (Vec::with_capacity(answers.len()), Vec::new());
    for (cluster, answer) in answers {
        match answer {
            Ok(drift) => found.push(drift),
            Err(fault) => missing.push(format!("{cluster}: {fault:#}")),
        }
    }
    if found.is_empty() && !missing.is_empty() {
        // Not "none": nobody knows.
        output.data(&found)?;
    } else {
        output.print(&found, |found| list(found))?;
    }
    if let ([], [only]) = (found.as_slice(), missing.as_slice()) {
        bail!("{only}");
    }
    for line in &missing {
        eprintln!("missing {}", plain(line));
    }
    if missing.is_empty() { Ok(()) } else { Err(Ended::silently(1).into()) }
}

fn list(found: &[Drift]) -> String {
    let now = SystemClock.now();
    let mut rows = Vec::new();
    for drift in found {
        for object in &drift.objects {
            rows.push(vec![
                Cell::new(&drift.cluster_name),
                Cell::new(&object.key.kind),
                or_dash(object.key.namespace.as_ref()),
                Cell::new(&object.key.name),
                state(&object.state),
                Cell::new(what(object)),
                Cell::new(age(object.since, now)),
                Cell::new(&object.operation_id),
            ]);
        }
    }
    let some = !rows.is_empty();
    let head = ["CLUSTER", "KIND", "NAMESPACE", "NAME", "STATE", "WHAT", "SINCE", "APPLIED BY"];
    let mut text = table(&head, rows);
    for drift in found {
        if drift.reported_at.is_none() {
            text.extend(["\n", drift.cluster_name.as_str(), ": never reported"]);
        }
        let named = u32::try_from(drift.objects.len()).unwrap_or(u32::MAX);
        let more = drift.drifted.saturating_sub(named);
        for (count, words) in [
            (more, "more have drifted"),
            (drift.unseen, "cannot be looked at by the agent: the cluster does not let viewers"),
            (drift.left_out, "are not watched: too many were applied"),
        ] {
            if count > 0 {
                text.extend(["\n", drift.cluster_name.as_str(), format!(": {count} {words}").as_str()]);
            }
        }
    }
    if some {
        text.push_str("\n\nput right what an operation applied: roadstead ops sync OPERATION --wait");
    }
    text
}

/// `.spec.replicas (kubectl-edit), 2 more`.
fn what(object: &Drifted) -> String {
    let mut words: Vec<String> = object
        .fields
        .iter()
        .take(2)
        .map(|field| match &field.manager {
            Some(manager) => format!("{} ({manager})", field.path),
            None => field.path.clone(),
        })
        .collect();
    let more = object.fields.len().saturating_sub(2) + usize::try_from(object.more_fields).unwrap_or(0);
    if more > 0 {
        words.push(format!("{more} more"));
    }
    if words.is_empty() { "-".to_owned() } else { plain(&words.join(", ")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_list_says_what_and_how_to_put_it_right() {
        let drift: Drift = serde_json::from_value(json!({
            "cluster_id": "c", "cluster_name": "prod", "drifted": 3, "unseen": 2,
            "objects": [
                { "key": { "api_version": "apps/v1", "kind": "Deployment", "namespace": "web", "name": "shop" },
                  "state": "changed", "operation_id": "op-1",
                  "fields": [{ "path": ".spec.replicas", "manager": "kubectl-edit" }, { "path": ".a" }, { "path": ".b" }], "more_fields": 4 },
                { "key": { "kind": "Namespace", "name": "web" }, "state": "missing", "operation_id": "op-2" },
            ],
        }))
        .unwrap();
        let kept = serde_json::to_value(&drift).unwrap();
        assert_eq!(kept["cluster_id"], "c");
        let text = list(&[drift]);
        for words in [
            ".spec.replicas (kubectl-edit), .a, 5 more",
            "missing",
            "op-2",
            "prod: 1 more have drifted",
            "prod: 2 cannot be looked at",
            "roadstead ops sync OPERATION",
        ] {
            assert!(text.contains(words), "{words} is not in\n{text}");
        }
        assert_eq!(list(&[]), "none");
    }

    #[test]
    fn regression_one_cluster_without_an_answer_hides_no_other() {
        let drift = |reported_at: serde_json::Value| -> Drift {
            serde_json::from_value(json!({ "cluster_name": "prod", "reported_at": reported_at })).unwrap()
        };
        let code = |fault: anyhow::Error| fault.downcast_ref::<Ended>().map(|ended| ended.code);
        let output = Output::new(OutputFormat::Table);
        let away = || Err(anyhow::anyhow!("away"));
        let known = drift(json!("2026-01-01T00:00:00Z"));
        assert!(!list(&[known]).contains("never"));
        let new = drift(json!(null));
        assert_eq!(list(std::slice::from_ref(&new)), "none\nprod: never reported");
        let both = vec![("prod".to_owned(), Ok(new)), ("east".to_owned(), away())];
        assert_eq!(code(tell(both, output).unwrap_err()), Some(1));
        let none = vec![("west".to_owned(), away()), ("east".to_owned(), away())];
        assert_eq!(code(tell(none, output).unwrap_err()), Some(1));
        // The only one says why by itself.
        assert_eq!(tell(vec![("east".to_owned(), away())], output).unwrap_err().to_string(), "east: away");
        assert!(tell(vec![("prod".to_owned(), Ok(drift(json!(null))))], output).is_ok());
    }
}
