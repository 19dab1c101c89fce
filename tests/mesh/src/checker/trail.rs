//! The hub's own audit trail, joined with what the cluster saw: nothing happens that was not announced.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::judge::{CONTROLLERS, by_object};
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
        let (mut found, first) = (Vec::new(), first_effects(wanted, effects));
        for one in wanted {
            let Some(operation) = &one.operation else { continue };
            let Some(first) = first.get(operation.as_str()).copied() else { continue };
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

/// When each operation changed something first. Changes of one object take turns: what was called after the end of one, and
/// before the end of the next, is the next one's, however early that is announced.
fn first_effects<'a>(wanted: &'a [Wanted], effects: &[Effect]) -> BTreeMap<&'a str, DateTime<Utc>> {
    let mut calls: BTreeMap<&str, Vec<DateTime<Utc>>> = BTreeMap::new();
    for effect in effects.iter().filter(|effect| effect.code / 100 == 2 && !effect.user.starts_with(CONTROLLERS)) {
        calls.entry(&effect.name).or_default().push(effect.at);
    }
    let mut first: BTreeMap<&str, DateTime<Utc>> = BTreeMap::new();
    for (name, changes) in by_object(wanted) {
        let Some(calls) = calls.get(name) else { continue };
        let mut from = None;
        for (number, one) in changes.iter().enumerate() {
            let until = one.ended.filter(|_| number + 1 < changes.len());
            let own = calls.iter().filter(|at| from.is_none_or(|from| **at > from));
            let own = own.filter(|at| until.is_none_or(|until| **at <= until)).min();
            if let (Some(at), Some(operation)) = (own, &one.operation) {
                let first = first.entry(operation).or_insert(*at);
                *first = (*first).min(*at);
            }
            from = until.or(from);
        }
    }
    first
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
            below: String::new(),
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
    #[test]
    fn changes_of_one_object_are_told_apart_by_their_ends() {
        let at = |text: &str| format!("2026-11-21T19:00:{text}Z").parse::<DateTime<Utc>>().unwrap();
        let change = |operation: &str, ended: &str| Wanted {
            operation: Some(operation.to_owned()),
            objects: vec!["a".to_owned()],
            states: vec!["succeeded".to_owned()],
            ended: Some(at(ended)),
            ..Wanted::default()
        };
        let wanted = [change("op", "02"), change("later", "05")];
        let effect = |text: &str| Effect {
            verb: "patch".to_owned(),
            below: String::new(),
            name: "a".to_owned(),
            user: "roadstead:owner".to_owned(),
            code: 200,
            at: at(text),
        };
        let firsts = |effects: &[Effect]| {
            let first = first_effects(&wanted, effects);
            (first.get("op").copied(), first.get("later").copied())
        };
        assert_eq!(firsts(&[effect("04"), effect("01"), effect("01.5")]), (Some(at("01")), Some(at("04"))));
        // Later than its end: the next one's, which was not announced by then.
        assert_eq!(firsts(&[effect("01"), effect("02.5")]), (Some(at("01")), Some(at("02.5"))));
        assert_eq!(firsts(&[effect("07")]), (None, Some(at("07"))));
    }
}
