//! Operations and rollouts as the hub shows them. What is not looked at is kept, so that `-o json` prints all of it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(super) use super::super::output::plain;

/// Objects by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Counts {
    pub(super) created: u32,
    pub(super) configured: u32,
    pub(super) unchanged: u32,
    pub(super) deleted: u32,
    pub(super) drifted: u32,
    pub(super) failed: u32,
    pub(super) skipped: u32,
}

impl Counts {
    /// Objects that were reached.
    pub(super) fn done(self) -> u32 {
        self.created + self.configured + self.unchanged + self.deleted + self.drifted + self.failed
    }

    /// `2 created, 1 failed`.
    pub(super) fn words(self) -> String {
        let all = [
            (self.created, "created"),
            (self.configured, "configured"),
            (self.unchanged, "unchanged"),
            (self.deleted, "deleted"),
            (self.drifted, "differ"),
            (self.failed, "failed"),
            (self.skipped, "not reached"),
        ];
        let words: Vec<String> =
            all.iter().filter(|(number, _)| *number > 0).map(|(number, word)| format!("{number} {word}")).collect();
        if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
    }
}

/// Why something failed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Fault {
    #[serde(default)]
    pub(super) code: String,
    #[serde(default)]
    pub(super) detail: String,
}

/// An operation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Operation {
    pub(super) id: String,
    #[serde(default)]
    pub(super) cluster_name: String,
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) status: String,
    pub(super) state: String,
    #[serde(default)]
    pub(super) reason: String,
    #[serde(default)]
    pub(super) created_by: String,
    #[serde(default)]
    pub(super) objects: u32,
    #[serde(default)]
    pub(super) counts: Counts,
    #[serde(default)]
    pub(super) error: Option<Fault>,
    #[serde(default)]
    pub(super) undoable: bool,
    #[serde(default)]
    pub(super) created_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub(super) finished_at: Option<DateTime<Utc>>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

impl Operation {
    /// The exit code that a state stands for.
    pub(super) fn exit_code(&self) -> u8 {
        match self.state.as_str() {
            "succeeded" => 0,
            "cancelled" | "timed_out" => 3,
            _ => 1,
        }
    }

    /// One line about where it is.
    pub(super) fn summary(&self) -> String {
        let why = match (&self.error, self.reason.as_str()) {
            (Some(error), _) => format!(": {}", error.detail),
            (None, "") => String::new(),
            (None, reason) => format!(": {reason}"),
        };
        format!("{} {} {}{why} ({})", self.cluster_name, self.kind, self.state.replace('_', " "), self.counts.words())
    }
}

/// Which object a step is about.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Key {
    #[serde(default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) namespace: Option<String>,
    #[serde(default)]
    pub(super) name: String,
}

impl Key {
    pub(super) fn words(&self) -> String {
        let place = self.namespace.as_ref().map_or_else(String::new, |namespace| format!("{namespace}/"));
        format!("{} {place}{}", self.kind, self.name)
    }
}

/// Something that happened in an operation.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Step {
    #[serde(default)]
    pub(super) number: i64,
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) state: String,
    #[serde(default)]
    pub(super) reason: String,
    #[serde(default)]
    pub(super) source: String,
    #[serde(default)]
    pub(super) key: Key,
    #[serde(default)]
    pub(super) outcome: String,
    #[serde(default)]
    pub(super) error: Option<Fault>,
    #[serde(default)]
    pub(super) diff: Option<String>,
    #[serde(default)]
    pub(super) left: u32,
    #[serde(default)]
    pub(super) on: String,
    #[serde(default)]
    pub(super) text: String,
}

impl Step {
    /// As a line for people; none for what is no line.
    pub(super) fn line(&self) -> Option<String> {
        match self.kind.as_str() {
            "state" if self.reason.is_empty() => Some(self.state.replace('_', " ")),
            "state" => Some(format!("{}: {}", self.state.replace('_', " "), self.reason)),
            "object" => {
                let why = self
                    .error
                    .as_ref()
                    .map_or_else(String::new, |error| format!(": {} ({})", error.detail, error.code));
                let place = if self.error.is_some() && !self.source.is_empty() {
                    format!(" [{}]", self.source)
                } else {
                    String::new()
                };
                Some(format!("{:<10} {}{place}{why}", self.outcome, self.key.words()))
            }
            "waiting" => Some(format!("waiting for {}: {}", self.left, self.on)),
            "output" => Some(self.text.trim_end().to_owned()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_become_lines() {
        let line = |value: Value| serde_json::from_value::<Step>(value).unwrap().line().unwrap();
        let key = json!({ "kind": "Deployment", "namespace": "web", "name": "shop" });
        assert_eq!(
            line(json!({ "type": "object", "outcome": "created", "key": key })),
            "created    Deployment web/shop"
        );
        let failed = json!({
            "type": "object", "outcome": "failed", "key": key, "source": "a.yaml#2",
            "error": { "code": "apply_conflict", "detail": "helm owns .spec" }
        });
        assert_eq!(line(failed), "failed     Deployment web/shop [a.yaml#2]: helm owns .spec (apply_conflict)");
        assert_eq!(line(json!({ "type": "state", "state": "timed_out" })), "timed out");
        assert_eq!(plain("a\u{1b}[2Jb"), "a [2Jb");
    }

    #[test]
    fn nothing_of_an_operation_is_lost() {
        let whole = json!({ "id": "x", "state": "failed", "payload": { "wait": true }, "counts": { "failed": 1 } });
        let operation: Operation = serde_json::from_value(whole).unwrap();
        assert_eq!((operation.exit_code(), operation.counts.words().as_str()), (1, "1 failed"));
        assert_eq!(serde_json::to_value(&operation).unwrap()["payload"]["wait"], true);
    }
}
