//! What a fake agent does with operations: it speaks the agent's side of `contracts::operation`, with a ledger as the real one
//! has it but in memory, and changes nothing anywhere. It believes every order; checking one is the real agent's work.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use roadstead_contracts::agent::{StreamHead, StreamTarget, VerbAnswer};
use roadstead_contracts::ids::OperationId;
use roadstead_contracts::operation::{
    BODY_MAX, CANCEL_OPERATION, CancelRun, CancelledRun, Counts, Ending, ObjectKey, ObjectOutcome, ObjectResult,
    RUN_HEAD_MAX, RUN_OPERATION, RunEnding, RunEvent, RunOperation, SETTLE_OPERATION, SettleRun, Work,
};
use roadstead_contracts::{Code, Error};
use roadstead_tunnel::Stream;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What all fake agents of a process did.
#[derive(Debug, Default)]
pub struct Deeds {
    /// Objects that were applied.
    pub applied: AtomicUsize,
    /// Objects that one operation applied again: there must be none.
    pub twice: AtomicUsize,
}

/// The operations of one fake agent. Outlives its sessions.
#[derive(Debug)]
pub struct Ledger {
    entries: Mutex<HashMap<OperationId, Entry>>,
    deeds: Arc<Deeds>,
}

#[derive(Debug, Default, Clone)]
struct Entry {
    epoch: i64,
    keys: Vec<ObjectKey>,
    /// Positions in the order of the work.
    positions: Vec<usize>,
    /// Results of the first of them.
    results: Vec<ObjectResult>,
    cancelled: bool,
    ending: Option<RunEnding>,
    /// Streams so far: a later one takes over.
    streams: u32,
}

/// The stream ended, or was taken over.
struct Gone;

impl Ledger {
    /// An empty one.
    pub fn new(deeds: Arc<Deeds>) -> Self {
        Self { entries: Mutex::default(), deeds }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<OperationId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a stream of the hub's.
    pub async fn answer(&self, head: &Bytes, mut stream: Stream) {
        let Ok(StreamHead { target: StreamTarget::Agent { verb }, .. }) = serde_json::from_slice(head) else { return };
        let mut request = Vec::new();
        let most = (RUN_HEAD_MAX + BODY_MAX) as u64;
        if (&mut stream).take(most).read_to_end(&mut request).await.is_err() {
            return;
        }
        match verb.as_str() {
            // Whoever takes over, or comes again, is told what this one was not.
            RUN_OPERATION => drop(self.run(&request, &mut stream).await),
            CANCEL_OPERATION => {
                if let Ok(run) = serde_json::from_slice(&request) {
                    say(&mut stream, &VerbAnswer::Ok(self.cancel(&run))).await;
                }
            }
            SETTLE_OPERATION => {
                if let Ok(run) = serde_json::from_slice::<SettleRun>(&request) {
                    self.settle(&run);
                    say(&mut stream, &VerbAnswer::Ok(run)).await;
                }
            }
            _ => say(&mut stream, &VerbAnswer::<()>::Error(Error::not_found("the fake agent has no such verb"))).await,
        }
        stream.finish();
    }

    fn cancel(&self, run: &CancelRun) -> CancelledRun {
        let mut entries = self.entries();
        match entries.get_mut(&run.operation_id).filter(|entry| entry.epoch == run.epoch) {
            Some(entry) if entry.ending.is_some() => CancelledRun::Ended,
            Some(entry) => {
                entry.cancelled = true;
                CancelledRun::Stopping
            }
            None => {
                let barred = Entry { epoch: run.epoch, cancelled: true, ..Entry::default() };
                entries.insert(run.operation_id, barred);
                CancelledRun::Unknown
            }
        }
    }

    fn settle(&self, run: &SettleRun) {
        if let Some(entry) = self.entries().get_mut(&run.operation_id).filter(|entry| entry.epoch == run.epoch) {
            // The ending stays, as with the real one, for an order that comes once more.
            entry.keys = Vec::new();
            entry.positions = Vec::new();
            entry.results = Vec::new();
        }
    }

    async fn run(&self, request: &[u8], stream: &mut Stream) -> Result<(), Gone> {
        let (id, entry, stored) = match self.begin(request) {
            Ok(begun) => begun,
            Err(error) => return tell(stream, &RunEvent::Refused(error)).await,
        };
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let accepted =
            RunEvent::Accepted { objects: number(entry.positions.len()), finished: number(entry.results.len()) };
        tell(stream, &accepted).await?;
        for result in entry.results.iter().skip(stored) {
            tell(stream, &RunEvent::Object(Box::new(result.clone()))).await?;
        }
        loop {
            match self.next(id, entry.streams)? {
                Step::Applied(result) => tell(stream, &RunEvent::Object(result)).await?,
                Step::Ended(ending) => return tell(stream, &RunEvent::Done(Box::new(ending))).await,
            }
        }
    }

    /// Finds the entry of an order, or makes it. Answers it with the number of results that the hub has.
    fn begin(&self, request: &[u8]) -> Result<(OperationId, Entry, usize), Error> {
        let bad = |why: &'static str| Error::new(Code::BadRequest, why);
        let end = request.iter().position(|byte| *byte == b'\n').ok_or_else(|| bad("no order"))?;
        let (line, body) = request.split_at(end);
        let run: RunOperation = serde_json::from_slice(line).map_err(|_| bad("an order that cannot be read"))?;
        let mut entries = self.entries();
        let known = entries.get(&run.operation_id).map(|entry| entry.epoch);
        if known.is_some_and(|known| known > run.epoch) {
            return Err(Error::of(Code::StaleEpoch));
        }
        if known != Some(run.epoch) {
            let (keys, positions) = plan(&run, body.get(1..).unwrap_or_default())?;
            entries.insert(run.operation_id, Entry { epoch: run.epoch, keys, positions, ..Entry::default() });
        }
        let entry = entries.get_mut(&run.operation_id).ok_or_else(|| bad("no entry"))?;
        entry.streams += 1;
        let stored = usize::try_from(run.stored).unwrap_or(usize::MAX);
        let stored = if stored <= entry.results.len() { stored } else { 0 };
        Ok((run.operation_id, entry.clone(), stored))
    }

    /// The next thing that happens to an operation, for its latest stream.
    fn next(&self, id: OperationId, mine: u32) -> Result<Step, Gone> {
        let mut entries = self.entries();
        let entry = entries.get_mut(&id).filter(|entry| entry.streams == mine).ok_or(Gone)?;
        if let Some(ending) = &entry.ending {
            return Ok(Step::Ended(ending.clone()));
        }
        let at = entry.results.len();
        let Some(position) = entry.positions.get(at).copied().filter(|_| !entry.cancelled) else {
            let applied = u32::try_from(at).unwrap_or(u32::MAX);
            let skipped = u32::try_from(entry.positions.len() - at).unwrap_or(u32::MAX);
            let ending =
                if skipped > 0 || (entry.cancelled && at == 0) { Ending::Cancelled } else { Ending::Succeeded };
            let counts = Counts { created: applied, skipped, ..Counts::default() };
            let ending = RunEnding { ending, counts, error: None, exit_code: None };
            entry.ending = Some(ending.clone());
            return Ok(Step::Ended(ending));
        };
        let number = u32::try_from(position).unwrap_or(u32::MAX);
        if entry.results.iter().any(|result| result.position == number) {
            self.deeds.twice.fetch_add(1, Ordering::Relaxed);
        }
        self.deeds.applied.fetch_add(1, Ordering::Relaxed);
        let result = ObjectResult {
            position: number,
            source: format!("manifest#{position}"),
            key: entry.keys.get(position).cloned().ok_or(Gone)?,
            outcome: ObjectOutcome::Created,
            error: None,
            diff: None,
            before: None,
            undoable: true,
            left_version: Some(format!("{}", position + 1)),
        };
        entry.results.push(result.clone());
        Ok(Step::Applied(Box::new(result)))
    }
}

enum Step {
    Applied(Box<ObjectResult>),
    Ended(RunEnding),
}

/// Keys of the objects and the order in which they are applied, as the real agent reads them.
fn plan(run: &RunOperation, body: &[u8]) -> Result<(Vec<ObjectKey>, Vec<usize>), Error> {
    let Work::Apply { namespace, .. } = &run.work else {
        return Err(Error::new(Code::Validation, "the fake agent only applies"));
    };
    let documents = roadstead_manifest::parse(body)?;
    let keys = roadstead_manifest::keys(&documents, namespace.as_deref())?;
    let mut positions = roadstead_manifest::apply_order(&keys);
    if let Some(only) = &run.only {
        positions.retain(|position| only.iter().any(|wanted| usize::try_from(*wanted) == Ok(*position)));
    }
    Ok((keys, positions))
}

async fn tell(stream: &mut Stream, event: &RunEvent) -> Result<(), Gone> {
    let mut line = serde_json::to_vec(event).map_err(|_| Gone)?;
    line.push(b'\n');
    stream.write_all(&line).await.map_err(|_| Gone)
}

async fn say(stream: &mut Stream, answer: &impl Serialize) {
    if let Ok(text) = serde_json::to_vec(answer) {
        // The hub asks again.
        let _ = stream.write_all(&text).await;
    }
}
