//! The work of a run: object by object, each written down before and after, until it is done or told to stop.

mod ahead;
mod apply;
mod delete;
mod ending;
mod exec;
mod helm;
mod keeper;
mod look;
mod outcome;
mod plan;
mod prune;
mod remember;
mod restart;
mod rollback;
mod scale;
mod sync;
mod undo;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use roadstead_contracts::operation::{
    Counts, Ending, ObjectKey, ObjectOutcome, ObjectResult, RunEnding, RunEvent, Work,
};
use roadstead_contracts::{Code, Error};
use roadstead_runtime::{Tasks, kill};
use serde_json::Value;
use tokio::time::Instant;

use super::ledger::{Keep, Ledger, Record};
use super::run::Run;
use super::wait::{self, Waited};
use crate::kubernetes::kinds::Kinds;
use crate::kubernetes::objects::{At, Objects};
use crate::kubernetes::{Cluster, Failure};

use ahead::Ahead;
use keeper::Keeper;
pub(super) use outcome::{left_version, object_error};
pub(super) use plan::Plan;
pub(super) use remember::Remember;

/// Longest time an operation may take, whatever the hub says.
const DEADLINE_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long an object that must be there for the next ones is waited for: an established definition, a removed object.
const STEP_LIMIT: Duration = Duration::from_secs(60);

fn number(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

/// Why a run ends without an ending.
#[derive(Debug)]
pub(super) enum Halt {
    /// The process stops: the run is taken up by its successor.
    Left,
    /// The ledger cannot be written: nothing more may be done.
    Unkept(io::Error),
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        Self::Unkept(error)
    }
}

/// Why the work stops before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Cancel,
    Deadline,
}

/// A run at work.
pub(super) struct Job {
    pub(super) plan: Plan,
    pub(super) ledger: Ledger,
    pub(super) run: Arc<Run>,
    cluster: Cluster,
    kinds: Arc<Kinds>,
    pub(super) deadline: Instant,
    tasks: Tasks,
    /// Kinds that definitions of the body make.
    defined: BTreeSet<(String, String)>,
    ahead: Ahead,
    keeper: Option<Keeper>,
    tools: Tools,
}

/// What a run may use of the agent's host.
#[derive(Debug, Clone)]
pub(super) struct Tools {
    /// The configured `helm`; none = the one on `PATH`.
    pub(super) helm: Option<PathBuf>,
    /// A folder for the files of this run. It may not be there.
    pub(super) scratch: PathBuf,
    /// Where what it leaves is remembered.
    pub(super) remember: Option<Arc<Remember>>,
}

impl Job {
    pub(super) fn new(
        cluster: Cluster,
        kinds: Arc<Kinds>,
        plan: Plan,
        ledger: Ledger,
        run: Arc<Run>,
        tools: Tools,
        tasks: &Tasks,
    ) -> Self {
        let seconds = Duration::from_secs(u64::from(plan.order.head.deadline_seconds)).min(DEADLINE_MAX);
        let defined = apply::defined(&plan.documents);
        let deadline = Instant::now() + seconds;
        let ahead = Ahead::of(VecDeque::new());
        let tasks = tasks.clone();
        Self { plan, ledger, run, cluster, kinds, deadline, tasks, defined, ahead, keeper: None, tools }
    }

    /// Does it, and writes its ending down.
    pub(super) async fn run(mut self) {
        let id = self.plan.order.head.operation_id;
        let done = match self.work().await {
            Ok(ending) => {
                let record = Record::Ended { ending: ending.clone() };
                self.ledger.add(vec![record], Keep::Synced).await.map(|()| ending).map_err(Halt::Unkept)
            }
            Err(halt) => Err(halt),
        };
        match done {
            Ok(ending) => {
                kill::point("agent.ending_written");
                tracing::info!(operation = %id, "ended: {:?}", ending.ending);
                let written = self.ledger.story.length;
                self.run.progress.send_modify(|progress| {
                    progress.written = written;
                    progress.waiting = None;
                    progress.ending = Some(ending);
                });
            }
            Err(Halt::Left) => tracing::info!(operation = %id, "left for the agent that comes next"),
            Err(Halt::Unkept(error)) => {
                let fault = super::unkept(&error);
                self.run.progress.send_modify(|progress| progress.fault = Some(fault));
            }
        }
    }

    async fn work(&mut self) -> Result<RunEnding, Halt> {
        let objects = match Objects::new(&self.cluster, &self.plan.order.person, Arc::clone(&self.kinds)) {
            Ok(objects) => objects,
            Err(failure) => return Ok(failed(failure.to_error())),
        };
        if let Work::Exec { .. } = &self.plan.order.head.work {
            return exec::run(self, &objects).await;
        }
        if let Work::Helm { .. } = &self.plan.order.head.work {
            return helm::run(self, &objects).await;
        }
        let before = self.stopped_before();
        // A run that had stopped changes nothing more, so it needs no list either.
        let inventory = match before {
            Some(_) => None,
            None => match self.open_inventory(&objects).await {
                Ok(inventory) => inventory,
                Err(error) => return Ok(self.ending(None, false, Some(error))),
            },
        };
        let positions = self.plan.positions();
        self.keeper = Some(Keeper::start(self.ledger.file()?, Arc::clone(&self.run), &self.tasks));
        if let Work::Apply { dry_run: false, .. } = &self.plan.order.head.work {
            let next = positions.iter().filter(|at| !self.ledger.story.finished.contains_key(&number(**at)));
            self.ahead = Ahead::of(next.map(|at| (*at, self.key(*at).clone())).collect());
        }
        let mut stop = before;
        for position in &positions {
            if stop.is_some() {
                break;
            }
            if self.ledger.story.finished.contains_key(&number(*position)) {
                continue;
            }
            stop = self.stop()?;
            if stop.is_some() {
                break;
            }
            let result = self.one(&objects, *position).await?;
            self.finish(vec![result]).await?;
        }
        let mut error = None;
        if stop.is_none()
            && let Some(inventory) = inventory
        {
            (stop, error) = self.prune(&objects, inventory).await?;
        }
        let left: Vec<usize> =
            positions.iter().copied().filter(|at| !self.ledger.story.finished.contains_key(&number(*at))).collect();
        if !left.is_empty() {
            let skipped = left.iter().map(|at| self.result(*at, ObjectOutcome::Skipped)).collect();
            self.finish(skipped).await?;
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.flush().await?;
        }
        if stop.is_none() && error.is_none() {
            match self.settle_down(&objects).await? {
                Waited::Done => {}
                Waited::Failed(why) => error = Some(Error::new(Code::AgentError, why)),
                Waited::Late(why) => {
                    let mut ending = self.ending(Some(Stop::Deadline), false, None);
                    ending.error = Some(Error::new(Code::Timeout, why));
                    return Ok(ending);
                }
                Waited::Stopped => {
                    self.leave()?;
                    stop = Some(Stop::Cancel);
                }
            }
        }
        Ok(self.ending(stop, self.has_skipped(), error))
    }

    /// Does what the work says to one object.
    async fn one(&mut self, objects: &Objects, position: usize) -> Result<ObjectResult, Halt> {
        match self.plan.order.head.work.clone() {
            Work::Apply { dry_run, force_conflicts, .. } => {
                apply::one(self, objects, position, dry_run, force_conflicts).await
            }
            Work::Delete { dry_run, wait, .. } => delete::one(self, objects, position, dry_run, wait).await,
            Work::Sync { correct, .. } => sync::one(self, objects, position, correct).await,
            Work::Undo { force } => undo::one(self, objects, position, force).await,
            Work::Scale { replicas, .. } => scale::one(self, objects, replicas).await,
            Work::Restart { .. } => restart::one(self, objects).await,
            Work::Rollback { revision, .. } => rollback::one(self, objects, revision).await,
            Work::Exec { .. } | Work::Helm { .. } => Ok(self.result(position, ObjectOutcome::Skipped)),
        }
    }

    /// Waits for readiness, or until what was removed is gone, where the work asks for it.
    async fn settle_down(&mut self, objects: &Objects) -> Result<Waited, Halt> {
        let gone = match &self.plan.order.head.work {
            // A look at what an earlier operation applied: a rollout's, after its bake.
            Work::Apply { wait: true, dry_run: true, .. } => return look::at_all(self, objects).await,
            Work::Apply { wait: true, dry_run: false, .. }
            | Work::Scale { wait: true, .. }
            | Work::Restart { wait: true, .. }
            | Work::Rollback { wait: true, .. } => false,
            // An undo that says that something is gone means it.
            Work::Delete { wait: true, dry_run: false, .. } | Work::Undo { .. } => true,
            _ => return Ok(Waited::Done),
        };
        let mut waited = Vec::new();
        for position in self.plan.positions() {
            let wanted = match self.ledger.story.finished.get(&number(position)) {
                Some(ObjectOutcome::Created | ObjectOutcome::Configured | ObjectOutcome::Unchanged) => !gone,
                Some(ObjectOutcome::Deleted) => gone,
                _ => false,
            };
            if !wanted {
                continue;
            }
            // A kind that is gone has no objects.
            if let Ok(Some(at)) = objects.find(self.key(position)).await {
                waited.push(at);
            }
        }
        let judge = if gone { super::ready::gone } else { super::ready::judge };
        Ok(wait::for_all(self, objects, waited, judge).await)
    }

    /// Whether to stop before the next object.
    fn stop(&self) -> Result<Option<Stop>, Halt> {
        self.leave()?;
        if *self.run.cancel.borrow() {
            return Ok(Some(Stop::Cancel));
        }
        Ok((Instant::now() >= self.deadline).then_some(Stop::Deadline))
    }

    fn leave(&self) -> Result<(), Halt> {
        if self.tasks.stopping().is_cancelled() { Err(Halt::Left) } else { Ok(()) }
    }

    /// Fires when a wait should end early: a cancel, or the process stops.
    pub(super) async fn told_to_stop(&self) {
        let mut cancel = self.run.cancel.subscribe();
        let stopping = self.tasks.stopping();
        tokio::select! {
            _ = cancel.wait_for(|cancel| *cancel) => {}
            () = stopping.cancelled() => {}
        }
    }

    /// Until when an object that the next ones need is waited for.
    fn step_limit(&self) -> Instant {
        self.deadline.min(Instant::now() + STEP_LIMIT)
    }

    /// Writes results down, then lets them be told.
    async fn finish(&mut self, mut results: Vec<ObjectResult>) -> Result<(), Halt> {
        self.remember(&results);
        for result in &mut results {
            if let Some(error) = &result.error {
                // The detail is the API server's and may repeat what somebody wrote: it is for the person only.
                let id = self.plan.order.head.operation_id;
                tracing::info!(operation = %id, kind = %result.key.kind, "an object failed: {}", error.code);
            }
            if !self.ledger.has_room() && result.before.take().is_some() {
                tracing::warn!("the ledger of an operation is full; it cannot be undone whole");
                result.undoable = false;
            }
        }
        let records =
            results.into_iter().map(|result| Record::Event { told: RunEvent::Object(Box::new(result)) }).collect();
        let Some(keeper) = &self.keeper else {
            self.ledger.add(records, Keep::Synced).await?;
            self.publish();
            return Ok(());
        };
        self.ledger.add(records, Keep::Written).await?;
        kill::point("agent.result_written");
        let finished = u32::try_from(self.ledger.story.finished.len()).unwrap_or(u32::MAX);
        Ok(keeper.ask(self.ledger.story.length, finished)?)
    }

    /// The object as it is now; perhaps as it was read a moment ago.
    async fn read_ahead(&mut self, position: usize, objects: &Objects, at: &At) -> Result<Option<Value>, Failure> {
        match self.ahead.take(position, objects, &self.tasks).await {
            Some(read) => read,
            None => objects.get(at).await,
        }
    }

    fn publish(&self) {
        let story = &self.ledger.story;
        let finished = u32::try_from(story.finished.len()).unwrap_or(u32::MAX);
        self.run.progress.send_modify(|progress| {
            progress.written = story.length;
            progress.finished = finished;
        });
    }

    /// The object as it was before this operation, written down before it is touched. `live` is how it is now.
    async fn origin(&mut self, position: usize, live: Option<&Value>) -> Result<Origin, Halt> {
        let position = number(position);
        if let Some(known) = self.ledger.before(position).await? {
            return Ok(Origin { object: known, earlier: true });
        }
        self.write_origin(position, live).await
    }

    async fn write_origin(&mut self, position: u32, live: Option<&Value>) -> Result<Origin, Halt> {
        let object = live.map(roadstead_manifest::strip);
        let kept = kept(object.as_ref(), self.ledger.has_room());
        self.ledger.add(vec![Record::Before { position, object: kept, key: None }], Keep::Written).await?;
        kill::point("agent.origin_written");
        Ok(Origin { object, earlier: false })
    }

    fn key(&self, position: usize) -> &ObjectKey {
        // Positions come from the keys.
        self.plan.keys.get(position).unwrap_or(&NOWHERE)
    }

    fn document(&self, position: usize) -> Value {
        self.plan.documents.get(position).map(|document| document.value.clone()).unwrap_or_default()
    }

    /// A result without more to it.
    fn result(&self, position: usize, outcome: ObjectOutcome) -> ObjectResult {
        ObjectResult {
            position: number(position),
            source: self.plan.documents.get(position).map(|document| document.source.clone()).unwrap_or_default(),
            key: self.key(position).clone(),
            outcome,
            error: None,
            diff: None,
            before: None,
            undoable: false,
            left_version: None,
        }
    }

    fn failed(&self, position: usize, error: Error) -> ObjectResult {
        ObjectResult { error: Some(error), ..self.result(position, ObjectOutcome::Failed) }
    }

    fn failed_by(&self, position: usize, failure: &Failure) -> ObjectResult {
        self.failed(position, object_error(failure))
    }

    /// Result of a change from `origin` to `after`.
    fn changed(&self, position: usize, at: &At, origin: Option<Value>, after: &Value) -> ObjectResult {
        self.mark(number(position), &at.key, origin.as_ref(), after);
        let outcome = match &origin {
            None => ObjectOutcome::Created,
            Some(origin) if *origin == roadstead_manifest::strip(after) => ObjectOutcome::Unchanged,
            Some(_) => ObjectOutcome::Configured,
        };
        let undoable = outcome != ObjectOutcome::Unchanged;
        ObjectResult {
            key: at.key.clone(),
            before: origin.filter(|_| undoable),
            undoable,
            left_version: Some(left_version(after)),
            ..self.result(position, outcome)
        }
    }
}

/// An object before the operation.
struct Origin {
    object: Option<Value>,
    /// Written down by a run before this one: whatever is there now may be the operation's own work.
    earlier: bool,
}

static NOWHERE: ObjectKey =
    ObjectKey { api_version: String::new(), kind: String::new(), namespace: None, name: String::new() };

/// What is written down of an object's earlier state. Where there is no room for it: only that it was there, or a run that is
/// taken up again would say that it made the object, and an undo would remove it.
fn kept(object: Option<&Value>, has_room: bool) -> Option<Value> {
    object.map(|object| if has_room { object.clone() } else { Value::Object(serde_json::Map::new()) })
}

fn failed(error: Error) -> RunEnding {
    RunEnding { ending: Ending::Failed, counts: Counts::default(), error: Some(error), exit_code: None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn regression_what_was_there_is_never_written_down_as_absent() {
        let object = json!({ "kind": "ConfigMap" });
        assert_eq!(kept(Some(&object), true), Some(object.clone()));
        assert_eq!(kept(Some(&object), false), Some(json!({})));
        assert_eq!((kept(None, true), kept(None, false)), (None, None));
    }
}
