//! The hub's own audit trail, joined with what the cluster saw: nothing happens that was not announced.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{Effect, TERMINAL, Wanted};
use crate::Api;

/// Rows of a page of the trail; the most the hub gives.
const PAGE: usize = 1_000;

/// What the trail has of operations that ran.
#[derive(Debug, Clone, Default)]
pub struct Trail {
    runs: BTreeMap<String, Run>,
}

/// What the trail has of one of them.
#[derive(Debug, Clone, Default)]
struct Run {
    /// When it was announced; the first time, where there were more attempts.
    announced: Option<DateTime<Utc>>,
    /// Who it was announced for.
    actor: String,
    /// How often its end is told.
    endings: usize,
}

impl Trail {
    /// Reads it all.
    pub async fn read(api: &Api) -> Result<Self> {
        let mut trail = Self::default();
        let mut cursor = String::new();
        loop {
            let page =
                api.get(&format!("/api/v1/audit?action=operation.run&limit={PAGE}{cursor}")).await?.expect(200)?;
            let rows = page.as_array().context("the trail is no list")?;
            for row in rows {
                trail.take(&row["record"]);
            }
            match rows.last().filter(|_| rows.len() == PAGE) {
                Some(last) => cursor = format!("&cursor={}", last["seq"]),
                None => return Ok(trail),
            }
        }
    }

    fn take(&mut self, record: &Value) {
        let at = record["at"].as_str().and_then(|text| text.parse().ok());
        let (Some(operation), Some(at)) = (record["resource"]["name"].as_str(), at) else { return };
        let run = self.runs.entry(operation.to_owned()).or_default();
        if record["phase"] == "intent" {
            run.announced = Some(run.announced.map_or(at, |earlier: DateTime<Utc>| earlier.min(at)));
            record["actor"]["name"].as_str().unwrap_or_default().clone_into(&mut run.actor);
        } else {
            run.endings += 1;
        }
    }

    /// Everything is in it that must be, so that a reader who comes too early comes again.
    pub fn is_complete(&self, wanted: &[Wanted], effects: &[Effect], user: &str) -> Result<()> {
        let missing = self.silent(wanted, effects, user);
        ensure!(missing.is_empty(), "{}", missing.join("; "));
        Ok(())
    }

    /// Effects that were not announced, or whose end is not told.
    pub fn silent(&self, wanted: &[Wanted], effects: &[Effect], user: &str) -> Vec<String> {
        let mut found = Vec::new();
        for one in wanted {
            let Some(operation) = &one.operation else { continue };
            let own = effects.iter().filter(|effect| effect.code / 100 == 2 && one.objects.contains(&effect.name));
            let Some(first) = own.map(|effect| effect.at).min() else { continue };
            let run = self.runs.get(operation).cloned().unwrap_or_default();
            match run.announced {
                None => found.push(format!("{operation} changed something and is not in the trail")),
                Some(at) if at > first => {
                    found.push(format!("{operation} was announced at {at}, its effect was at {first}"));
                }
                Some(_) if !user.ends_with(&format!(":{}", run.actor)) => {
                    found.push(format!("{operation} is told as done by {:?}", run.actor));
                }
                Some(_) => {}
            }
            let ended = one.states.last().is_some_and(|state| TERMINAL.contains(&state.as_str()));
            if ended && run.endings != 1 {
                found.push(format!("the end of {operation} is told {} times", run.endings));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(phase: &str, at: &str) -> Value {
        json!({
            "phase": phase, "at": at, "actor": { "name": "owner" }, "resource": { "kind": "operation", "name": "op" },
        })
    }

    fn trail(rows: &[Value]) -> Trail {
        let mut trail = Trail::default();
        for row in rows {
            trail.take(row);
        }
        trail
    }

    #[test]
    fn what_is_announced_and_told_is_not_silent() {
        let wanted = [Wanted {
            operation: Some("op".to_owned()),
            objects: vec!["a".to_owned()],
            states: vec!["succeeded".to_owned()],
            ..Wanted::default()
        }];
        let effect = |code| Effect {
            verb: "patch".to_owned(),
            name: "a".to_owned(),
            user: "roadstead:owner".to_owned(),
            code,
            at: "2026-11-21T19:00:01Z".parse().unwrap(),
        };
        let (before, after) = (row("intent", "2026-11-21T19:00:00.999999Z"), row("intent", "2026-11-21T19:00:02Z"));
        let end = row("outcome", "2026-11-21T19:00:03Z");
        let silent = |rows: &[Value], code| trail(rows).silent(&wanted, &[effect(code)], "roadstead:owner").len();
        assert_eq!(silent(&[before.clone(), end.clone()], 201), 0);
        // The second attempt's intent comes later; the first one counts.
        assert_eq!(silent(&[after.clone(), before.clone(), end.clone()], 201), 0);
        assert_eq!(silent(&[after, end.clone()], 201), 1);
        assert_eq!(silent(std::slice::from_ref(&before), 201), 1);
        assert_eq!(silent(&[before.clone(), end.clone(), end.clone()], 201), 1);
        assert_eq!(silent(&[], 201), 2);
        assert_eq!(silent(&[], 409), 0);
        let (rows, effects) = ([before, end], [effect(201)]);
        assert_eq!(trail(&rows).silent(&wanted, &effects, "roadstead:somebody").len(), 1);
        assert!(trail(&rows).is_complete(&wanted, &effects, "roadstead:owner").is_ok());
    }
}
