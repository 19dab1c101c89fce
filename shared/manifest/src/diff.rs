//! What changes in an object, line by line, for people.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use similar::{Algorithm, TextDiff};

use crate::limits::{DIFF_INPUT_MAX, DIFF_MAX};
use crate::print::to_yaml;
use crate::strip::strip;

/// Lines of context around a change.
const CONTEXT: usize = 3;
/// Time for finding the shortest diff; after it a longer one is good enough.
const PATIENCE: Duration = Duration::from_millis(200);
/// Holds the object as it was last applied by kubectl, a Secret's values with it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// What stands for a value that is not shown.
const MASK: &str = "***";

/// A unified diff of two states of one object; `None` when nothing that a person would call a change is left. Managed
/// fields, status and what the API server numbers are hidden; of a Secret only that a value changed is shown.
pub fn diff(before: Option<&Value>, after: Option<&Value>) -> Option<String> {
    let (before, after) = (before.map(shown), after.map(shown));
    let (before, after) = masked(before, after);
    if before == after {
        return None;
    }
    let text = |value: &Option<Value>| value.as_ref().map(to_yaml).unwrap_or_default();
    let (old, new) = (text(&before), text(&after));
    if old.len() > DIFF_INPUT_MAX || new.len() > DIFF_INPUT_MAX {
        return Some("the object changes; it is too large to be shown\n".to_owned());
    }
    let deadline = Instant::now() + PATIENCE;
    let diff = TextDiff::configure().algorithm(Algorithm::Myers).deadline(deadline).diff_lines(&old, &new);
    let mut out = String::new();
    for hunk in diff.unified_diff().context_radius(CONTEXT).iter_hunks() {
        let hunk = hunk.to_string();
        if out.len() + hunk.len() > DIFF_MAX {
            push_cut(&mut out, &hunk);
            break;
        }
        out.push_str(&hunk);
    }
    (!out.is_empty()).then_some(out)
}

fn push_cut(out: &mut String, hunk: &str) {
    for line in hunk.split_inclusive('\n') {
        if out.len() + line.len() > DIFF_MAX {
            break;
        }
        out.push_str(line);
    }
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
    out.push_str("… the rest is not shown\n");
}

fn shown(live: &Value) -> Value {
    let mut value = strip(live);
    if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
        let empty = match metadata.get_mut("annotations") {
            Some(Value::Object(annotations)) => {
                annotations.shift_remove(LAST_APPLIED);
                annotations.is_empty()
            }
            _ => false,
        };
        if empty {
            metadata.shift_remove("annotations");
        }
    }
    value
}

fn is_secret(value: &Value) -> bool {
    value.get("kind").and_then(Value::as_str) == Some("Secret")
        && value.get("apiVersion").and_then(Value::as_str) == Some("v1")
}

/// Hides a Secret's values, so that a change is seen and the value is not.
fn masked(before: Option<Value>, after: Option<Value>) -> (Option<Value>, Option<Value>) {
    if !before.as_ref().is_some_and(is_secret) && !after.as_ref().is_some_and(is_secret) {
        return (before, after);
    }
    let (mut before, mut after) = (before, after);
    for field in ["data", "stringData"] {
        let of = |value: &Option<Value>| value.as_ref().and_then(|value| value.get(field)).cloned();
        let (old, new) = (of(&before), of(&after));
        mask(&mut before, field, new.as_ref(), "before");
        mask(&mut after, field, old.as_ref(), "after");
    }
    (before, after)
}

fn mask(value: &mut Option<Value>, field: &str, other: Option<&Value>, when: &str) {
    let Some(values) = value.as_mut().and_then(|value| value.get_mut(field)) else { return };
    let Value::Object(entries) = values else {
        *values = Value::String(MASK.to_owned());
        return;
    };
    let none = Map::new();
    let other = other.and_then(Value::as_object).unwrap_or(&none);
    for (key, value) in entries.iter_mut() {
        let changed = other.get(key).is_some_and(|other| other != value);
        *value = Value::String(if changed { format!("{MASK} ({when})") } else { MASK.to_owned() });
    }
}
