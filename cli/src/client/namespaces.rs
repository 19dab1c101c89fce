//! `roadstead namespaces CLUSTER`

use std::collections::BTreeMap;

use anyhow::Result;
use chrono::{DateTime, Utc};
use comfy_table::Cell;
use roadstead_runtime::{Clock as _, SystemClock};
use serde::{Deserialize, Serialize};

use super::hub::{Hub, segment};
use super::output::{Output, age, labels, state, table};

#[derive(Serialize, Deserialize)]
struct Namespaces {
    cluster_id: String,
    cluster_name: String,
    namespaces: Vec<Namespace>,
    total_count: usize,
}

#[derive(Serialize, Deserialize)]
struct Namespace {
    name: String,
    status: String,
    created_at: Option<DateTime<Utc>>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

pub(super) async fn run(hub: &mut Hub, cluster: &str, output: Output) -> Result<()> {
    let answer: Namespaces = hub.get(&format!("/api/v1/clusters/{}/namespaces", segment(cluster))).await?;
    let now = SystemClock.now();
    output.print(&answer, |answer| {
        let rows = answer
            .namespaces
            .iter()
            .map(|namespace| {
                vec![
                    Cell::new(&namespace.name),
                    state(&namespace.status),
                    Cell::new(age(namespace.created_at, now)),
                    Cell::new(labels(&namespace.labels)),
                ]
            })
            .collect();
        table(&["NAMESPACE", "STATUS", "AGE", "LABELS"], rows)
    })
}
