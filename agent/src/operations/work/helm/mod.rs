//! A chart's release: the Helm of the agent's host does it, through a door that is only for this run ([`door`]) and as the
//! person of the order. It is Helm's own release, so `helm list` and everybody's habits go on working; and as nothing
//! reaches the API server beside the door, everything that Helm changes is in the ledger before it is changed, as for every
//! other operation: it can be shown, undone, and stopped between two objects.
//!
//! Helm runs hooks, so a run whose agent died is not repeated: what it did is looked up ([`after_death`]), the release is
//! left as failed instead of pending ([`release`]), and the operation ends as interrupted.

mod door;
mod preview;
mod program;
mod release;
mod sent;

use std::process::ExitStatus;
use std::time::Duration;

use roadstead_contracts::names::is_dns_label;
use roadstead_contracts::operation::{
    Ending, HelmAction, OBJECTS_MAX, ObjectOutcome, ObjectResult, RELEASE_MAX, RunEnding, Work,
};
use roadstead_contracts::{Code, Error};
use tokio::time::Instant;

use super::exec::{OUTPUT_MAX, PIECE, next, tell};
use super::{Halt, Job, Stop, failed, number};
use crate::kubernetes::objects::Objects;
use crate::operations::ledger::{Keep, Record};
use door::{Door, Touch};
use program::Program;

/// How long Helm may take to write down that it was stopped, before it is ended.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// The same when the agent's process stops: less than the process's own grace.
const LEAVE_LIMIT: Duration = Duration::from_secs(4);
/// Results that are written down together.
const BATCH: usize = 64;
/// Characters of Helm's last words that become the reason.
const REASON_MAX: usize = 512;

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    action: HelmAction,
    release: String,
    namespace: String,
    revision: Option<u32>,
    create_namespace: bool,
    dry_run: bool,
    wait: bool,
}

/// Does what the work says.
pub(super) async fn run(job: &mut Job, objects: &Objects) -> Result<RunEnding, Halt> {
    let Work::Helm { action, release, namespace, revision, create_namespace, dry_run, wait } =
        job.plan.order.head.work.clone()
    else {
        return Ok(failed(Error::of(Code::Internal)));
    };
    let wish = Wish { action, release, namespace, revision, create_namespace, dry_run, wait };
    if let Some(error) = wish.fault() {
        return Ok(failed(error));
    }
    if !job.ledger.story.touched.is_empty() {
        return after_death(job, objects, &wish).await;
    }
    if let Some(stop) = job.stop()? {
        return Ok(job.ending(Some(stop), true, None));
    }
    let Some(found) = program::find(job.tools.helm.as_deref()) else {
        return Ok(failed(Error::new(Code::HelmMissing, "the agent's host has no helm program")));
    };
    let program = Program::prepare(found, job.tools.scratch.clone(), std::mem::take(&mut job.plan.files)).await?;
    if dry_run {
        return preview::run(job, objects, &wish, &program).await;
    }
    let door = Door::open(objects, &job.tasks).await?;
    let done = follow(job, &wish, &program, door).await?;
    program.remove().await;
    finish(job, objects, &wish, &done).await
}

impl Wish {
    /// What the hub has checked is checked here again: these become words of a command line.
    fn fault(&self) -> Option<Error> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        let name = &self.release;
        let edge = |character: Option<char>| character.is_some_and(|character| character.is_ascii_alphanumeric());
        let good = name.len() <= RELEASE_MAX
            && name.bytes().all(plain)
            && edge(name.chars().next())
            && edge(name.chars().last());
        let what = if !good {
            "the release's name is none of Helm's"
        } else if !is_dns_label(&self.namespace) {
            "the namespace must be a DNS label"
        } else if self.dry_run && self.action != HelmAction::Install {
            "only an install can be previewed"
        } else {
            return None;
        };
        Some(Error::new(Code::Validation, what))
    }
}

/// How Helm ended.
struct Done {
    status: Option<ExitStatus>,
    /// Why it was asked to stop.
    stop: Option<Stop>,
    /// Because this process stops.
    leaving: bool,
    /// It was ended by force.
    killed: bool,
    /// Its last words.
    words: String,
}

/// Runs Helm to its end, writing down what it is about to change and what it says.
async fn follow(job: &mut Job, wish: &Wish, program: &Program, mut door: Door) -> Result<Done, Halt> {
    let mut done = Done { status: None, stop: None, leaving: false, killed: false, words: String::new() };
    let mut child = match program.start(&program.arguments(wish, job.deadline), door.url()).await {
        Ok(child) => child,
        Err(error) => {
            done.words = format!("helm cannot be started: {error}");
            return Ok(done);
        }
    };
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let (mut out_piece, mut err_piece) = (vec![0; PIECE], vec![0; PIECE]);
    let mut room = OUTPUT_MAX;
    let mut kill_at = None;
    loop {
        let silent = out.is_none() && err.is_none();
        let (length, stderr) = tokio::select! {
            touch = door.next() => {
                record(job, touch).await?;
                continue;
            }
            length = next(&mut out, &mut out_piece), if out.is_some() => (length, false),
            length = next(&mut err, &mut err_piece), if err.is_some() => (length, true),
            status = child.wait(), if silent => {
                done.status = status.ok();
                return Ok(done);
            }
            () = job.told_to_stop(), if kill_at.is_none() => {
                done.leaving = job.leave().is_err();
                done.stop = Some(Stop::Cancel);
                door.close();
                kill_at = Some(Instant::now() + if done.leaving { LEAVE_LIMIT } else { STOP_LIMIT });
                continue;
            }
            () = tokio::time::sleep_until(job.deadline), if kill_at.is_none() => {
                done.stop = Some(Stop::Deadline);
                door.close();
                kill_at = Some(Instant::now() + STOP_LIMIT);
                continue;
            }
            () = tokio::time::sleep_until(kill_at.unwrap_or(job.deadline)), if kill_at.is_some() && !done.killed => {
                done.killed = true;
                // It has ended by itself when this fails.
                let _ = child.start_kill();
                continue;
            }
        };
        if length == 0 {
            if stderr {
                err = None;
            } else {
                out = None;
            }
            continue;
        }
        let piece = if stderr { &err_piece } else { &out_piece };
        let piece = piece.get(..length).unwrap_or_default();
        if stderr {
            done.hear(piece);
        }
        tell(job, piece, stderr, &mut room).await?;
    }
}

impl Done {
    /// Keeps the end of what is said on standard error.
    fn hear(&mut self, piece: &[u8]) {
        self.words.push_str(&String::from_utf8_lossy(piece));
        let over = self.words.len().saturating_sub(4 * REASON_MAX);
        let from = (over..self.words.len()).find(|at| self.words.is_char_boundary(*at)).unwrap_or(0);
        self.words.drain(..from);
    }

    /// The last line that says something.
    fn reason(&self) -> String {
        let line = self.words.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("helm failed");
        line.chars().filter(|character| !character.is_control()).take(REASON_MAX).collect()
    }
}

/// Writes an object down as it is before Helm touches it; only then Helm may.
async fn record(job: &mut Job, touch: Touch) -> Result<(), Halt> {
    // Without its earlier state an object could not be put back.
    if job.plan.keys.len() >= OBJECTS_MAX || !job.ledger.has_room() {
        // Its sender is dropped: the door refuses.
        return Ok(());
    }
    let position = number(job.plan.keys.len());
    let object = touch.live.as_ref().map(roadstead_manifest::strip);
    job.forget(&touch.key);
    let before = Record::Before { position, object, key: Some(touch.key.clone()) };
    job.ledger.add(vec![before], Keep::Written).await?;
    job.plan.keys.push(touch.key);
    // A request that is not waited for any more is not sent.
    let _ = touch.written.send(());
    Ok(())
}

/// What became of what Helm touched, and of the whole.
async fn finish(job: &mut Job, objects: &Objects, wish: &Wish, done: &Done) -> Result<RunEnding, Halt> {
    let good = done.status.is_some_and(|status| status.success());
    if !good {
        settle(job, objects, wish, "stopped by roadstead before its end").await;
    }
    results(job, objects).await?;
    let exit_code = done.status.and_then(|status| status.code());
    let ending = match (good, done.stop) {
        (true, Some(Stop::Cancel)) => job.ending(Some(Stop::Cancel), false, None),
        (true, _) => job.ending(None, false, None),
        (false, Some(_)) if done.leaving => interrupted(job),
        (false, Some(stop)) => job.ending(Some(stop), true, None),
        (false, None) => job.ending(None, false, Some(Error::new(Code::AgentError, done.reason()))),
    };
    Ok(RunEnding { exit_code, ..ending })
}

/// An agent died while Helm ran. Helm is gone with its door; what it did is told, and nothing is done again.
async fn after_death(job: &mut Job, objects: &Objects, wish: &Wish) -> Result<RunEnding, Halt> {
    job.plan.keys = job.ledger.story.touched.values().cloned().collect();
    let newest = release::newest(objects, &wish.namespace, &wish.release).await;
    let whole = match (wish.action, &newest) {
        (HelmAction::Uninstall, Ok(newest)) => newest.is_none(),
        (_, Ok(Some(newest))) => newest.is_deployed() && job.plan.keys.contains(&newest.key),
        (_, _) => false,
    };
    if !whole {
        settle(job, objects, wish, "its agent died").await;
    }
    results(job, objects).await?;
    Ok(if whole { job.ending(None, false, None) } else { interrupted(job) })
}

fn interrupted(job: &Job) -> RunEnding {
    let counts = job.ending(None, false, None).counts;
    let why = "the agent stopped while helm ran; it is not run again by itself";
    let error = Some(Error::new(Code::AgentError, why));
    RunEnding { ending: Ending::Interrupted, counts, error, exit_code: None }
}

/// A revision that this run left pending would keep Helm from ever touching the release again.
async fn settle(job: &Job, objects: &Objects, wish: &Wish, why: &str) {
    let settled = match release::newest(objects, &wish.namespace, &wish.release).await {
        Ok(Some(newest)) if newest.is_pending() && job.plan.keys.contains(&newest.key) => {
            release::mark_failed(objects, &newest, why).await
        }
        Ok(_) => Ok(()),
        Err(failure) => Err(failure),
    };
    if let Err(failure) = settled {
        tracing::warn!("a release was left pending: {failure}");
    }
}

/// Tells what became of each object that Helm touched.
async fn results(job: &mut Job, objects: &Objects) -> Result<(), Halt> {
    // Helm may have made and removed definitions.
    objects.forget_kinds();
    let mut batch = Vec::new();
    for position in 0..job.plan.keys.len() {
        if job.ledger.story.finished.contains_key(&number(position)) {
            continue;
        }
        let result = result(job, objects, position).await?;
        batch.push(result);
        if batch.len() == BATCH {
            job.finish(std::mem::take(&mut batch)).await?;
        }
    }
    job.finish(batch).await
}

async fn result(job: &Job, objects: &Objects, position: usize) -> Result<ObjectResult, Halt> {
    let origin = job.ledger.before(number(position)).await?.flatten();
    let at = match objects.find(job.key(position)).await {
        Ok(Some(at)) => at,
        Ok(None) => return Ok(gone(job, position, origin)),
        Err(failure) => return Ok(job.failed_by(position, &failure)),
    };
    Ok(match objects.get(&at).await {
        Ok(Some(live)) => job.changed(position, &at, origin, &live),
        Ok(None) => gone(job, position, origin),
        Err(failure) => job.failed_by(position, &failure),
    })
}

fn gone(job: &Job, position: usize, origin: Option<serde_json::Value>) -> ObjectResult {
    let outcome = if origin.is_some() { ObjectOutcome::Deleted } else { ObjectOutcome::Absent };
    ObjectResult { undoable: origin.is_some(), before: origin, ..job.result(position, outcome) }
}
