//! What kubectl prints: tables as the API server draws them, JSON with its indentation, and nothing of a Secret's values.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use super::{Told, printable, said};

/// Spaces between columns.
const GAP: usize = 3;
/// What stands for a value that is not shown.
const HIDDEN: &str = "***";
/// Annotation in which kubectl keeps a whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Rows of several answers under the columns of the first.
#[derive(Debug, Default)]
pub(super) struct Table {
    columns: Vec<Value>,
    rows: Vec<Value>,
}

impl Table {
    /// Adds the rows of an answer. A server that draws no tables gives objects: their names are the table.
    pub(super) fn extend(&mut self, mut page: Value) {
        if page["kind"] != "Table" {
            let items = match page.get_mut("items").and_then(Value::as_array_mut) {
                Some(items) => std::mem::take(items),
                None => vec![page],
            };
            self.columns = vec![serde_json::json!({ "name": "Name", "priority": 0 })];
            let rows = items
                .into_iter()
                .map(|item| serde_json::json!({ "cells": [item["metadata"]["name"]], "object": item }));
            self.rows.extend(rows);
            return;
        }
        if self.columns.is_empty()
            && let Some(columns) = page.get_mut("columnDefinitions").and_then(Value::as_array_mut)
        {
            self.columns = std::mem::take(columns);
        }
        if let Some(rows) = page.get_mut("rows").and_then(Value::as_array_mut) {
            self.rows.append(rows);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn rows_mut(&mut self) -> &mut [Value] {
        &mut self.rows
    }

    #[expect(clippy::fn_params_excessive_bools, reason = "kubectl's own switches, each independent")]
    pub(super) fn print(&self, wide: bool, headers: bool, labels: bool, namespaces: bool, prefix: &str) -> String {
        let shown: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .filter(|(_, column)| wide || column["priority"].as_i64().unwrap_or(0) == 0)
            .map(|(at, _)| at)
            .collect();
        let mut lines: Vec<Vec<String>> = Vec::with_capacity(self.rows.len() + 1);
        if headers {
            let mut line = Vec::new();
            if namespaces {
                line.push("NAMESPACE".to_owned());
            }
            line.extend(
                shown
                    .iter()
                    .filter_map(|at| self.columns.get(*at))
                    .map(|column| column["name"].as_str().unwrap_or_default().to_uppercase()),
            );
            if labels {
                line.push("LABELS".to_owned());
            }
            lines.push(line);
        }
        for row in &self.rows {
            let metadata = &row["object"]["metadata"];
            let mut line = Vec::new();
            if namespaces {
                line.push(metadata["namespace"].as_str().unwrap_or("<none>").to_owned());
            }
            for (number, at) in shown.iter().enumerate() {
                let cell = cell(&row["cells"][*at]);
                line.push(if number == 0 { format!("{prefix}{cell}") } else { cell });
            }
            if labels {
                line.push(pairs(&metadata["labels"], ","));
            }
            lines.push(line);
        }
        aligned(&lines)
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "<none>".to_owned(),
        Value::String(text) => printable(text),
        other => other.to_string(),
    }
}

/// `a=b,c=d`, or that there are none.
pub(super) fn pairs(map: &Value, between: &str) -> String {
    let pairs: Vec<String> = map
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", printable(value.as_str().unwrap_or_default())))
        .collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(between) }
}

/// Columns under each other; nothing behind the last.
pub(super) fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |at: usize| lines.iter().filter_map(|line| line.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for line in lines {
        for (at, cell) in line.iter().enumerate() {
            out.push_str(cell);
            if at + 1 < line.len() {
                let room = widths.get(at).copied().unwrap_or(0) + GAP - cell.chars().count();
                out.extend(std::iter::repeat_n(' ', room));
            }
        }
        out.push('\n');
    }
    out
}

/// JSON as kubectl indents it.
pub(super) fn to_json(value: &Value) -> String {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    if value.serialize(&mut serializer).is_err() {
        return String::new();
    }
    out.push(b'\n');
    String::from_utf8(out).unwrap_or_default()
}

/// A Secret without its values: which keys there are stays to be seen.
pub(crate) fn masked(mut secret: Value) -> Value {
    for field in ["data", "stringData"] {
        if let Some(values) = secret.get_mut(field).and_then(Value::as_object_mut) {
            for value in values.values_mut() {
                *value = HIDDEN.into();
            }
        }
    }
    if let Some(annotations) = secret.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    secret
}

/// Sorts by a field: `.metadata.name`, `{.lastTimestamp}`, `.status.containerStatuses[0].restartCount`.
pub(super) fn rows_by<T>(rows: &mut [T], path: &str, object: impl Fn(&T) -> &Value) -> Told<()> {
    let inner = path.trim().trim_start_matches('{').trim_end_matches('}');
    let pointer = inner.trim_start_matches('.').replace('[', ".").replace(']', "").replace('.', "/");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_');
    if pointer.is_empty() || !pointer.bytes().all(plain) {
        return said("error: sort-by takes a plain path such as .metadata.creationTimestamp");
    }
    let pointer = format!("/{pointer}");
    rows.sort_by(|one, two| by_value(object(one).pointer(&pointer), object(two).pointer(&pointer)));
    Ok(())
}

fn by_value(one: Option<&Value>, two: Option<&Value>) -> Ordering {
    match (one, two) {
        (Some(Value::Number(one)), Some(Value::Number(two))) => {
            one.as_f64().partial_cmp(&two.as_f64()).unwrap_or(Ordering::Equal)
        }
        (Some(Value::String(one)), Some(Value::String(two))) => one.cmp(two),
        // What has no such field comes first, as kubectl has it.
        (one, two) => one.is_some_and(|value| !value.is_null()).cmp(&two.is_some_and(|value| !value.is_null())),
    }
}

/// How long ago, as kubectl writes it: `45s`, `5m`, `3h`, `2d`.
pub(crate) fn time_of(created: Option<&str>, now: DateTime<Utc>) -> String {
    let Some(created) = created.and_then(|text| DateTime::parse_from_rfc3339(text).ok()) else {
        return "<unknown>".to_owned();
    };
    let seconds = (now - created.with_timezone(&Utc)).num_seconds().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_looks_like_kubectls() {
        let mut table = Table::default();
        table.extend(json!({
            "kind": "Table",
            "columnDefinitions": [{"name": "Name", "priority": 0}, {"name": "Ready", "priority": 0}, {"name": "IP", "priority": 1}],
            "rows": [
                {"cells": ["nginx-deployment-abc123-xyz789", "1/1", "10.0.0.1"], "object": {"metadata": {"namespace": "a"}}},
                {"cells": ["x\u{1b}[2J", 1, null], "object": {"metadata": {"namespace": "b", "labels": {"k": "v"}}}},
            ],
        }));
        let narrow = "NAME                             READY\nnginx-deployment-abc123-xyz789   1/1\nx [2J                            1\n";
        assert_eq!(table.print(false, true, false, false, ""), narrow);
        let wide = table.print(true, true, true, true, "pod/");
        assert!(wide.starts_with("NAMESPACE   NAME ") && wide.contains("   k=v\n"), "{wide}");
        assert!(!table.print(false, false, false, false, "").contains("NAME"));
    }

    #[test]
    fn k4_a_secret_keeps_its_values() {
        let secret = json!({
            "metadata": {"name": "s", "annotations": {LAST_APPLIED: "canary", "a": "b"}},
            "data": {"password": "Y2FuYXJ5"}, "stringData": {"x": "canary"},
        });
        let shown = masked(secret);
        assert_eq!(shown["data"], json!({"password": "***"}));
        assert!(!shown.to_string().contains("canary") && shown["metadata"]["annotations"]["a"] == "b");
    }

    #[test]
    fn rows_are_sorted_by_a_plain_path() {
        let mut rows = vec![json!({"t": "b", "n": 10}), json!({"t": "a", "n": 9}), json!({})];
        rows_by(&mut rows, "{.t}", |row| row).unwrap();
        assert_eq!(rows[1]["t"], "a");
        rows_by(&mut rows, ".n", |row| row).unwrap();
        assert_eq!(rows[2]["n"], 10);
        assert!(rows_by(&mut rows, ".a[?(@.x)]", |row| row).is_err());
        assert!(rows_by(&mut rows, "", |row| row).is_err());
    }

    #[test]
    fn ages_are_short() {
        let now = "2024-01-03T00:00:00Z".parse().unwrap();
        for (then, age) in [
            ("2024-01-02T23:59:30Z", "30s"),
            ("2024-01-02T23:00:00Z", "60m"),
            ("2024-01-02T12:00:00Z", "12h"),
            ("2023-12-31T00:00:00Z", "3d"),
            ("2025-01-01T00:00:00Z", "0s"),
            ("soon", "<unknown>"),
        ] {
            assert_eq!(time_of(Some(then), now), age);
        }
    }
}
