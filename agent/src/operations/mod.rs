//! Operations: changes to the cluster that are ordered by the hub, done as a person, and remembered on disk.
//!
//! - [`order`]: an order as it comes, and whether the user service signed exactly this one.
//! - [`ledger`]: what is remembered, so that a repeat is recognised and a killed run goes on at the right object.
//! - [`continuity`]: whether the ledger knows everything that was ordered.
//! - [`run`]: one attempt; the work goes on while streams come and go.
//! - [`work`]: what is done, a verb each. [`ready`] and [`wait`]: when an object is what it should be. [`inventory`]: what
//!   belongs together, for pruning.
//!
//! Nothing is done as the agent itself: every request to the API server impersonates the person of the order.

mod continuity;
mod inventory;
mod ledger;
mod order;
mod ready;
mod run;
mod wait;
mod work;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use roadstead_auth::identity::Verifier;
use roadstead_contracts::ids::{ClusterId, OperationId};
use roadstead_contracts::operation::{
    CancelRun, CancelledRun, Counts, Ending, OperationKind, RunEnding, RunEvent, SettleRun,
};
use roadstead_contracts::{Code, Error};
use roadstead_runtime::{SharedClock, Tasks, kill};
use roadstead_tunnel::Stream;
use tokio::sync::{Mutex, Semaphore};

use crate::drift::Drift;
use crate::kubernetes::Cluster;
use crate::kubernetes::kinds::Kinds;
use continuity::Sessions;
use ledger::{Folder, Found, Head, Ledger, Record};
use order::Order;
pub(crate) use order::hex;
use run::{About, Progress, Run, say};
use work::{Job, Plan, Remember, Tools};

/// Operations that are worked on at once in one cluster: each holds a body and has a request at the API server.
const RUNS_MAX: usize = 16;
/// How long a new attempt waits for the one before to come between two objects.
const TAKE_OVER_LIMIT: Duration = Duration::from_secs(20);
/// Seconds after which a refused order may come again.
const BUSY_AGAIN: u32 = 2;

/// The operations of one cluster.
#[derive(Debug)]
pub struct Operations {
    folder: Result<Folder, String>,
    cluster: Cluster,
    kinds: Arc<Kinds>,
    runs: Mutex<HashMap<OperationId, Arc<Run>>>,
    room: Arc<Semaphore>,
    /// The configured `helm`; none = the one on `PATH`.
    helm: Option<PathBuf>,
    /// What they left, and whether it is still so.
    drift: Option<Arc<Drift>>,
    /// Of a hosted agent: whether the folder was there for all of them.
    sessions: Sessions,
}

impl Operations {
    /// Remembers in this folder. Without one that can be written, orders are refused and said why: an agent that forgets
    /// would do things twice.
    pub fn new(cluster: Cluster, folder: Option<PathBuf>) -> Self {
        let folder = match folder {
            Some(path) => Folder::open(&path).map_err(|error| {
                tracing::warn!("operations are refused: the folder {} cannot be written: {error}", path.display());
                format!("the agent's folder for operations cannot be written ({error}); see state.ledger_dir")
            }),
            None => Err("the agent has no folder for operations; set state.ledger_dir".to_owned()),
        };
        let kinds = Arc::new(Kinds::default());
        let drift = folder.as_ref().ok().and_then(|folder| {
            let opened = Drift::open(folder.drift(), cluster.clone(), Arc::clone(&kinds));
            opened.map(Arc::new).inspect_err(|error| tracing::warn!("drift is not watched: {error}")).ok()
        });
        Self {
            folder,
            cluster,
            kinds,
            runs: Mutex::default(),
            room: Arc::new(Semaphore::new(RUNS_MAX)),
            helm: None,
            drift,
            sessions: Sessions::default(),
        }
    }

    /// A session of a hosted agent begins. When others may have hosted it since this folder was used last, what the folder
    /// remembers to watch is old, and a repeated order may be one that was begun elsewhere.
    pub(crate) fn attend(&self, epoch: i64, now: DateTime<Utc>) {
        let Ok(folder) = &self.folder else { return };
        if self.sessions.attend(&folder.sessions(), epoch, now)
            && let Some(drift) = &self.drift
            && let Err(error) = drift.forget_all()
        {
            tracing::warn!("what was watched for drift cannot be forgotten: {error}");
        }
    }

    /// Whether none is worked on.
    pub(crate) fn is_idle(&self) -> bool {
        self.room.available_permits() == RUNS_MAX
    }

    /// What was applied here, and whether it is still so; none without a folder that can be written.
    pub(crate) fn drift(&self) -> Option<Arc<Drift>> {
        self.drift.clone()
    }

    /// Takes this program for charts.
    #[must_use]
    pub fn with_helm(mut self, program: Option<PathBuf>) -> Self {
        self.helm = program;
        self
    }

    /// Takes an order from a stream, and tells the stream how it goes until it ends or another stream takes over.
    pub(crate) async fn run(
        self: &Arc<Self>,
        stream: &mut Stream,
        verifier: &Verifier,
        cluster_id: ClusterId,
        clock: &SharedClock,
        tasks: &Tasks,
    ) -> io::Result<()> {
        let begun = match order::read(stream).await? {
            Ok(read) => match order::check(read, verifier, cluster_id, clock) {
                Ok(order) => {
                    let stored = order.head.stored;
                    self.begin(order, tasks).await.map(|run| (run, stored))
                }
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        match begun {
            Ok((run, stored)) => run.tell(stream, stored).await,
            Err(error) => {
                tracing::info!("an order was not taken: {error}");
                say(stream, &RunEvent::Refused(error)).await?;
                tokio::io::AsyncWriteExt::shutdown(stream).await
            }
        }
    }

    /// Finds the run of an order, goes on with it, or begins it.
    async fn begin(self: &Arc<Self>, order: Order, tasks: &Tasks) -> Result<Arc<Run>, Error> {
        let folder = self.folder.as_ref().map_err(|why| Error::new(Code::Unavailable, why.clone()))?;
        let (id, epoch) = (order.head.operation_id, order.head.epoch);
        kill::point("agent.order_checked");
        let plan = Plan::read(order).await?;
        let mut runs = loop {
            if tasks.stopping().is_cancelled() {
                return Err(busy());
            }
            let mut runs = self.runs.lock().await;
            let Some(known) = runs.get(&id).cloned() else { break runs };
            let (left, has_ended) = {
                let progress = known.progress.borrow();
                (progress.left, progress.ending.is_some())
            };
            if epoch < known.epoch {
                return Err(stale());
            }
            if epoch == known.epoch && (!left || has_ended) {
                return if known.digest == plan.order.digest { Ok(known) } else { Err(other_content()) };
            }
            if left {
                // Without an ending (the disk was full), or of an earlier attempt: taken up from the ledger.
                runs.remove(&id);
                break runs;
            }
            if !known.repeatable {
                return Err(Error::new(Code::Conflict, "an earlier attempt of it still runs and must not be repeated"));
            }
            known.cancel.send_replace(true);
            drop(runs);
            if tokio::time::timeout(TAKE_OVER_LIMIT, known.left()).await.is_err() {
                return Err(busy());
            }
        };
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else { return Err(busy()) };
        let ordered = &plan.order.head;
        let begun = ordered.begun || (ordered.sent && self.sessions.may_have_missed(id));
        let opened = tokio::task::spawn_blocking({
            let (folder, head, fault) = (folder.clone(), plan.head(), plan.fault.clone());
            move || start(&folder, &head, begun, fault)
        });
        let Started { ledger, ending, cancelled } = opened.await.map_err(|_| Error::of(Code::Internal))??;
        kill::point("agent.ledger_begun");
        let about = About {
            epoch,
            digest: plan.order.digest.clone(),
            repeatable: plan.order.head.work.kind().is_repeatable(),
            objects: plan.objects(),
            path: ledger.path.clone(),
        };
        let finished = u32::try_from(ledger.story.finished.len()).unwrap_or(u32::MAX);
        let left = ending.is_some();
        let run = Arc::new(Run::new(
            about,
            Progress { written: ledger.story.length, finished, ending, left, ..Progress::default() },
        ));
        if left {
            return Ok(run);
        }
        run.cancel.send_replace(cancelled);
        runs.insert(id, Arc::clone(&run));
        drop(runs);
        let remember = self.drift.clone().map(|drift| Arc::new(Remember::new(drift)));
        let tools = Tools { helm: self.helm.clone(), scratch: folder.scratch(id, epoch), remember };
        let job = Job::new(self.cluster.clone(), Arc::clone(&self.kinds), plan, ledger, Arc::clone(&run), tools, tasks);
        let (operations, worked) = (Arc::clone(self), Arc::clone(&run));
        tasks.spawn("operation", async move {
            // Whatever happens to the task, its readers learn that nobody works on it any more.
            let leave = Leave(Arc::clone(&worked));
            job.run().await;
            drop(leave);
            drop(permit);
            let mut runs = operations.runs.lock().await;
            if runs.get(&id).is_some_and(|known| Arc::ptr_eq(known, &worked)) {
                runs.remove(&id);
            }
        });
        Ok(run)
    }

    /// Asks a run to stop between two objects.
    pub(crate) async fn cancel(&self, request: &CancelRun) -> Result<CancelledRun, Error> {
        let CancelRun { operation_id, epoch } = *request;
        let folder = self.folder.as_ref().map_err(|why| Error::new(Code::Unavailable, why.clone()))?.clone();
        let runs = self.runs.lock().await;
        if let Some(run) = runs.get(&operation_id) {
            if epoch < run.epoch {
                return Err(stale());
            }
            if epoch == run.epoch {
                if run.progress.borrow().ending.is_some() {
                    return Ok(CancelledRun::Ended);
                }
                let run = Arc::clone(run);
                let kept = tokio::task::spawn_blocking(move || {
                    // On the disk first: an agent that is killed after the run wrote what it skips must know why. The run
                    // stops whatever comes of that, and also when whoever asked does not wait.
                    let kept = folder.cancel(operation_id, epoch);
                    run.cancel.send_replace(true);
                    kept
                });
                kept.await.map_err(|_| Error::of(Code::Internal))?.map_err(|error| unkept(&error))?;
                return Ok(CancelledRun::Stopping);
            }
        }
        let looked = tokio::task::spawn_blocking(move || {
            let known = folder.latest(operation_id)?.filter(|found| found.epoch >= epoch);
            let story = match &known {
                Some(found) => ledger::read(&found.path)?.ok(),
                None => None,
            };
            if story.as_ref().is_some_and(|story| story.ending.is_some()) {
                return Ok(CancelledRun::Ended);
            }
            // A run that a killed agent left: it will stop at once when it is taken up.
            folder.cancel(operation_id, epoch)?;
            Ok::<_, io::Error>(if story.is_some() { CancelledRun::Stopping } else { CancelledRun::Unknown })
        });
        looked.await.map_err(|_| Error::of(Code::Internal))?.map_err(|error| unkept(&error))
    }

    /// The hub has the ending.
    pub(crate) async fn settle(&self, request: &SettleRun) -> Result<SettleRun, Error> {
        let SettleRun { operation_id, epoch } = *request;
        let folder = self.folder.as_ref().map_err(|why| Error::new(Code::Unavailable, why.clone()))?.clone();
        let settled = tokio::task::spawn_blocking(move || {
            if let Some(found) = folder.latest(operation_id)?.filter(|found| found.epoch == epoch) {
                folder.settle(&found, operation_id)?;
            }
            Ok::<_, io::Error>(())
        });
        settled.await.map_err(|_| Error::of(Code::Internal))?.map_err(|error| unkept(&error))?;
        kill::point("agent.settled");
        Ok(request.clone())
    }
}

/// Says that nobody works on a run any more.
struct Leave(Arc<Run>);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.progress.send_modify(|progress| progress.left = true);
    }
}

/// The ledger of an attempt.
struct Started {
    ledger: Ledger,
    /// It has ended already.
    ending: Option<RunEnding>,
    /// A stop was asked for.
    cancelled: bool,
}

/// Opens or begins the ledger of an attempt, and decides what a repeat of it means.
/// `begun`: it was, or may have been, with another ledger. `fault`: the body cannot be read.
fn start(folder: &Folder, head: &Head, begun: bool, fault: Option<Error>) -> Result<Started, Error> {
    let (id, epoch, repeatable) = (head.operation_id, head.epoch, head.kind.is_repeatable());
    let mut latest = folder.latest(id).map_err(|error| unkept(&error))?;
    if let Some(found) = latest.clone() {
        if found.epoch > epoch {
            return Err(stale());
        }
        if found.epoch == epoch {
            match Folder::resume(&found).map_err(|error| unkept(&error))? {
                Ok(ledger) => return resumed(folder, ledger, head),
                // Set aside: for what may be repeated like never seen, for the rest like a crash.
                Err(_) => latest = None,
            }
        }
    }
    let was_begun = begun || folder.is_damaged(id, epoch) || latest.is_some();
    let ending = if !repeatable && was_begun {
        let known = latest.as_ref().and_then(|found| ledger::read(&found.path).ok()?.ok()?.ending);
        Some(known.unwrap_or_else(interrupted))
    } else if folder.is_cancelled(id, epoch) {
        let counts = Counts { skipped: head.objects, ..Counts::default() };
        Some(RunEnding { ending: Ending::Cancelled, counts, error: None, exit_code: None })
    } else {
        fault.map(|error| RunEnding {
            ending: Ending::Failed,
            counts: Counts::default(),
            error: Some(error),
            exit_code: None,
        })
    };
    // The same content: what an earlier attempt found before it changed anything is what an undo must bring back.
    let carried = latest.filter(|found| same_content(found, head));
    let mut ledger = folder.begin(head, carried.as_ref()).map_err(|error| unkept(&error))?;
    if let Some(ending) = &ending {
        ledger.add_now(&Record::Ended { ending: ending.clone() }).map_err(|error| unkept(&error))?;
    }
    Ok(Started { ledger, ending, cancelled: false })
}

fn resumed(folder: &Folder, mut ledger: Ledger, head: &Head) -> Result<Started, Error> {
    if ledger.story.head.as_ref().is_none_or(|known| known.digest != head.digest) {
        return Err(other_content());
    }
    let mut ending = ledger.story.ending.clone();
    // A chart's run looks up itself what the one before it did.
    if ending.is_none() && !head.kind.is_repeatable() && head.kind != OperationKind::Helm {
        ledger.add_now(&Record::Ended { ending: interrupted() }).map_err(|error| unkept(&error))?;
        ending = Some(interrupted());
    }
    if ending.is_none() {
        tracing::info!(operation = %head.operation_id, "goes on after {} objects", ledger.story.finished.len());
    }
    let cancelled = folder.is_cancelled(head.operation_id, head.epoch);
    Ok(Started { ledger, ending, cancelled })
}

fn same_content(found: &Found, head: &Head) -> bool {
    let story = ledger::read(&found.path).ok().and_then(Result::ok);
    story.and_then(|story| story.head).is_some_and(|known| known.digest == head.digest)
}

fn interrupted() -> RunEnding {
    let why = "the agent died while it ran; it is not run again by itself";
    let error = Some(Error::new(Code::AgentError, why));
    RunEnding { ending: Ending::Interrupted, counts: Counts::default(), error, exit_code: None }
}

fn busy() -> Error {
    Error::of(Code::AgentBusy).retry_after(BUSY_AGAIN)
}

fn stale() -> Error {
    Error::new(Code::StaleEpoch, "a later attempt of this operation is known")
}

fn other_content() -> Error {
    Error::new(Code::Conflict, "this attempt was begun with another content")
}

/// The ledger could not be read or written.
fn unkept(error: &io::Error) -> Error {
    tracing::error!("the ledger of operations cannot be kept: {error}");
    match error.kind() {
        io::ErrorKind::StorageFull => {
            Error::new(Code::AgentBusy, "the agent's folder for operations is full").retry_after(30)
        }
        _ => Error::new(Code::StorageUnavailable, "the agent cannot write its folder for operations"),
    }
}

#[cfg(test)]
mod tests;
