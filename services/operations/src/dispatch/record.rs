//! Stores what an agent says: steps, results, counts and the state in one transaction, under the lease.

use std::collections::BTreeSet;

use roadstead_contracts::message::StepKind;
use roadstead_contracts::operation::{ObjectResult, RunEvent};
use roadstead_contracts::{Error, Result};

use crate::app::{App, before_row, conclude};
use crate::domain::life_cycle::{Input, Next};
use crate::domain::{Record, cut};
use crate::limits::{OUTPUT_MAX, PART_BYTES, STEP_TEXT_MAX};
use crate::store::{Change, Effects, NewObject};

/// What became of a batch.
#[derive(Debug)]
pub(super) enum Stored {
    /// It is stored, and this is the operation now.
    Now(Box<Record>),
    /// The lease is somebody else's, or the operation has ended: the batch is parked, nothing more is to be done.
    Late,
}

/// Stores a batch of one attempt.
pub(super) async fn store(app: &App, record: &Record, events: &[RunEvent]) -> Result<Stored> {
    let shown = &record.doc.shown;
    let (id, epoch, token) = (shown.id, shown.epoch, record.lease.token);
    let sealed = seal_all(app, record, events)?;
    let positions: Vec<u32> = events
        .iter()
        .filter_map(|event| match event {
            RunEvent::Object(object) => Some(object.position),
            _ => None,
        })
        .collect();
    let change = app.own_change();
    let (mut late, mut ended) = (false, false);
    let changed = app
        .store
        .change(id, &positions, &change, &mut |record, known| {
            let mut effects = Effects::default();
            if record.doc.shown.epoch != epoch || record.lease.token != token || record.state().is_terminal() {
                late = true;
                park(record, &mut effects, epoch, events);
                return effects;
            }
            let mut batch = Batch { app, change: &change, known: known.clone(), effects, sealed: &sealed };
            for event in events {
                batch.take(record, event);
            }
            ended = record.state().is_terminal();
            batch.effects
        })
        .await?;
    let Some(record) = changed else { return Ok(Stored::Late) };
    app.committed();
    if late {
        return Ok(Stored::Late);
    }
    if ended {
        app.ended(&record);
    }
    Ok(Stored::Now(Box::new(record)))
}

/// What came too late is kept as a step, when it would have been news.
fn park(record: &Record, effects: &mut Effects, epoch: i64, events: &[RunEvent]) {
    for event in events {
        let what = match event {
            RunEvent::Object(object) => format!("{} {} was done", object.key.kind, object.key.name),
            RunEvent::Done(ending) => {
                let word = serde_json::to_value(ending.ending).ok();
                format!("ended as {}", word.as_ref().and_then(|word| word.as_str()).unwrap_or("unknown"))
            }
            _ => continue,
        };
        // The next carrier of the same attempt gets the same results again, as results.
        if record.doc.shown.epoch == epoch && !record.state().is_terminal() {
            continue;
        }
        effects.steps.push(StepKind::Parked { epoch, what: cut(&what, STEP_TEXT_MAX) });
    }
    effects.touched = !effects.steps.is_empty();
}

/// A batch under the row's lock.
struct Batch<'a> {
    app: &'a App,
    change: &'a Change,
    known: BTreeSet<u32>,
    effects: Effects,
    sealed: &'a [(u32, Vec<String>)],
}

impl Batch<'_> {
    fn take(&mut self, record: &mut Record, event: &RunEvent) {
        let at = self.change.at;
        match event {
            RunEvent::Accepted { objects, .. } => {
                record.doc.shown.objects = *objects;
                record.doc.accepted = true;
                record.doc.shown.started_at.get_or_insert(at);
                self.input(record, Input::Accepted, None);
                self.effects.touched = true;
            }
            RunEvent::Object(object) => self.object(record, object),
            RunEvent::Waiting { left, on } => {
                self.step(StepKind::Waiting { left: *left, on: cut(on, STEP_TEXT_MAX) });
            }
            RunEvent::Output { text, stderr } => {
                let room = OUTPUT_MAX.saturating_sub(record.doc.output).min(STEP_TEXT_MAX);
                let text = cut(text, room);
                if !text.is_empty() {
                    record.doc.output += text.len();
                    self.step(StepKind::Output { text, stderr: *stderr });
                }
            }
            // A refusal ends the stream before anything of it is stored.
            RunEvent::Alive {} | RunEvent::Refused(_) => {}
            RunEvent::Done(done) => {
                record.doc.shown.counts = done.counts;
                record.doc.shown.error.clone_from(&done.error);
                record.doc.shown.exit_code = done.exit_code;
                record.doc.ended_by_agent = true;
                let why = done.error.as_ref().map(|error| error.detail.as_ref());
                self.input(record, Input::Ended(done.ending), why);
            }
        }
    }

    fn input(&mut self, record: &mut Record, input: Input, why: Option<&str>) {
        let (next, step) = record.take(input, why, self.change.at);
        self.effects.steps.extend(step);
        if matches!(next, Next::To(..)) {
            self.effects.touched = true;
            if record.state().is_terminal() {
                conclude(self.app, record, &mut self.effects, self.change);
            }
        }
    }

    fn step(&mut self, step: StepKind) {
        self.effects.touched = true;
        self.effects.steps.push(step);
    }

    /// A result counts once, however often it is sent.
    fn object(&mut self, record: &mut Record, object: &ObjectResult) {
        if record.state().is_terminal() || !self.known.insert(object.position) {
            return;
        }
        let sealed = self.sealed.iter().find(|(position, _)| *position == object.position);
        self.effects.objects.push(NewObject {
            position: object.position,
            key: object.key.clone(),
            outcome: object.outcome,
            undoable: object.undoable,
            existed: object.before.is_some(),
            left_version: object.left_version.clone(),
            sealed_before: sealed.map(|(_, parts)| parts.clone()).unwrap_or_default(),
        });
        record.doc.stored += 1;
        record.doc.shown.undoable |= object.undoable;
        record.doc.shown.counts.add(object.outcome);
        self.step(StepKind::Object {
            position: object.position,
            source: cut(&object.source, 512),
            key: object.key.clone(),
            outcome: object.outcome,
            error: object.error.clone().map(short),
            diff: object.diff.as_ref().map(|diff| cut(diff, STEP_TEXT_MAX)),
        });
    }
}

fn short(error: Error) -> Error {
    if error.detail.len() <= STEP_TEXT_MAX {
        return error;
    }
    Error { detail: cut(&error.detail, STEP_TEXT_MAX).into(), ..error }
}

/// Seals the earlier states of a batch, before the row is locked.
fn seal_all(app: &App, record: &Record, events: &[RunEvent]) -> Result<Vec<(u32, Vec<String>)>> {
    let shown = &record.doc.shown;
    let mut all = Vec::new();
    for event in events {
        let RunEvent::Object(object) = event else { continue };
        let Some(before) = object.before.as_ref().filter(|_| object.undoable) else { continue };
        let text = serde_json::to_vec(before).unwrap_or_default();
        let parts = text
            .chunks(PART_BYTES)
            .enumerate()
            .map(|(part, plain)| {
                let row = before_row(shown.id, shown.epoch, object.position, part);
                Ok(app.sealer.seal("object_parts", "sealed_before", row, plain)?.as_str().to_owned())
            })
            .collect::<Result<Vec<_>>>()?;
        all.push((object.position, parts));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use roadstead_contracts::operation::{Counts, Ending, ObjectKey, OperationState, RunEnding};
    use serde_json::json;

    use super::*;
    use crate::domain::Lease;

    fn record(epoch: i64, state: OperationState) -> Record {
        let at = "2026-01-01T00:00:00Z";
        let id = "0198c5b0-0000-7000-8000-000000000001";
        let doc = json!({
            "shown": {
                "id": id, "seq": 1, "cluster_id": id, "cluster_name": "alpha", "kind": "exec", "state": state,
                "work": {"kind": "exec", "namespace": "n", "pod": "p", "command": ["a"]}, "source": "test",
                "created_by": id, "created_by_name": "ada", "epoch": epoch, "priority": 5, "objects": 0, "counts": {},
                "last_step": 1, "deadline": at, "started_at": null, "finished_at": null, "created_at": at, "updated_at": at,
            },
            "actor": {"kind": "system"},
        });
        let doc = serde_json::from_value(doc).unwrap();
        let next_try_at = at.parse().unwrap();
        Record { doc, lease: Lease::default(), next_try_at, sealed_webhook: None, settle_at: None }
    }

    fn events() -> Vec<RunEvent> {
        let key = ObjectKey {
            api_version: "v1".to_owned(),
            kind: "Secret".to_owned(),
            namespace: None,
            name: "a".to_owned(),
        };
        let object = json!({ "position": 0, "key": key, "outcome": "created" });
        let ending = RunEnding { ending: Ending::Succeeded, counts: Counts::default(), error: None, exit_code: None };
        vec![
            RunEvent::Alive {},
            RunEvent::Object(Box::new(serde_json::from_value(object).unwrap())),
            RunEvent::Done(Box::new(ending)),
        ]
    }

    #[test]
    fn what_an_old_attempt_says_is_kept_and_changes_nothing() {
        for (record, parked) in [
            (record(2, OperationState::Running), true),
            (record(1, OperationState::Failed), true),
            (record(2, OperationState::Failed), true),
            // Its next carrier hears the same again, as results.
            (record(1, OperationState::Running), false),
        ] {
            let before = record.clone();
            let mut effects = Effects::default();
            park(&record, &mut effects, 1, &events());
            let told = ["Secret a was done", "ended as succeeded"];
            let told = told.map(|what| StepKind::Parked { epoch: 1, what: what.to_owned() }).to_vec();
            assert_eq!(effects.steps, if parked { told } else { Vec::new() }, "{:?}", record.state());
            assert_eq!((effects.touched, effects.objects.len(), effects.audit.len()), (parked, 0, 0));
            assert_eq!(record, before);
        }
    }
}
