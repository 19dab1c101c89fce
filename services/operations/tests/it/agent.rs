//! A pretended agent: speaks the agent's side of `contracts::operation` over a tunnel in memory, keeps a ledger, counts its
//! effects, and misbehaves as a test wants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use roadstead_contracts::agent::{StreamHead, StreamTarget, VerbAnswer};
use roadstead_contracts::ids::{ClusterId, OperationId};
use roadstead_contracts::message::SessionFacts;
use roadstead_contracts::operation::{
    CANCEL_OPERATION, CancelRun, CancelledRun, Counts, Ending, ObjectKey, ObjectOutcome, ObjectResult, RUN_OPERATION,
    RunEnding, RunEvent, RunOperation, SETTLE_OPERATION, SettleRun, Work,
};
use roadstead_contracts::{Code, Error, Result};
use roadstead_relay::AgentStreams;
use roadstead_runtime::Tasks;
use roadstead_tunnel::transport::pipe;
use roadstead_tunnel::{Class, Event, Options, Role, Session, Stream, start};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;

#[derive(Default, Clone)]
struct Entry {
    epoch: i64,
    results: Vec<ObjectResult>,
    positions: Vec<u32>,
    cancel: bool,
    ended: Option<RunEnding>,
    /// Streams of this attempt so far: a later one takes over.
    streams: u32,
}

#[derive(Default)]
struct Ledger {
    entries: BTreeMap<OperationId, Entry>,
    /// Never to be begun.
    barred: BTreeSet<(OperationId, i64)>,
    settled: BTreeSet<OperationId>,
    effects: BTreeMap<(OperationId, u32), u32>,
    /// Operations in the order in which they were begun.
    begun: Vec<(ClusterId, OperationId)>,
    bodies: BTreeMap<OperationId, Vec<u8>>,
    runs: BTreeMap<OperationId, RunOperation>,
}

/// How it behaves. Everything can be changed while it runs.
pub struct Agent {
    ledger: Mutex<Ledger>,
    sessions: Mutex<BTreeMap<ClusterId, Session>>,
    tasks: Tasks,
    /// Clusters without an agent.
    offline: Mutex<BTreeSet<ClusterId>>,
    /// It comes back just when somebody was told that it is away: what is then to happen, before that is told.
    pub returns: Mutex<Option<BoxFuture<'static, ()>>>,
    /// Clusters whose objects fail.
    broken: Mutex<BTreeSet<ClusterId>>,
    /// The stream is cut after so many more events, once; negative = never.
    cut_after: AtomicI64,
    /// Every event is sent so often.
    pub copies: AtomicUsize,
    /// Objects may be applied up to this number.
    gate: watch::Sender<u32>,
    /// Objects fail at this position.
    pub fails_at: AtomicI64,
    /// Refuses the next runs so often.
    pub busy: AtomicUsize,
    /// Ends nothing: says nothing after it accepted.
    pub silent: AtomicBool,
    /// Does everything, and waits in vain for it to become ready.
    pub waits_in_vain: AtomicBool,
}

impl Agent {
    pub fn new(tasks: Tasks) -> Arc<Self> {
        Arc::new(Self {
            ledger: Mutex::default(),
            sessions: Mutex::default(),
            tasks,
            offline: Mutex::default(),
            returns: Mutex::default(),
            broken: Mutex::default(),
            cut_after: AtomicI64::new(-1),
            copies: AtomicUsize::new(1),
            gate: watch::channel(u32::MAX).0,
            fails_at: AtomicI64::new(-1),
            busy: AtomicUsize::new(0),
            silent: AtomicBool::new(false),
            waits_in_vain: AtomicBool::new(false),
        })
    }

    pub fn set_offline(&self, cluster: ClusterId, offline: bool) {
        let mut clusters = self.offline.lock().unwrap();
        if offline {
            clusters.insert(cluster)
        } else {
            clusters.remove(&cluster)
        };
    }

    pub fn set_broken(&self, cluster: ClusterId, broken: bool) {
        let mut clusters = self.broken.lock().unwrap();
        if broken {
            clusters.insert(cluster)
        } else {
            clusters.remove(&cluster)
        };
    }

    pub fn cut_after(&self, events: i64) {
        self.cut_after.store(events, Ordering::SeqCst);
    }

    pub fn gate(&self, objects: u32) {
        self.gate.send_replace(objects);
    }

    /// Effects of an operation by position.
    pub fn effects(&self, id: OperationId) -> BTreeMap<u32, u32> {
        let ledger = self.ledger.lock().unwrap();
        let own = ledger.effects.iter().filter(|((operation, _), _)| *operation == id);
        own.map(|((_, position), count)| (*position, *count)).collect()
    }

    pub fn is_settled(&self, id: OperationId) -> bool {
        self.ledger.lock().unwrap().settled.contains(&id)
    }

    pub fn begun(&self) -> Vec<(ClusterId, OperationId)> {
        self.ledger.lock().unwrap().begun.clone()
    }

    pub fn body(&self, id: OperationId) -> Vec<u8> {
        self.ledger.lock().unwrap().bodies.get(&id).cloned().unwrap_or_default()
    }

    pub fn run(&self, id: OperationId) -> Option<RunOperation> {
        self.ledger.lock().unwrap().runs.get(&id).cloned()
    }

    fn session(self: &Arc<Self>, cluster: ClusterId) -> Session {
        let mut sessions = self.sessions.lock().unwrap();
        if let Some(session) = sessions.get(&cluster) {
            return session.clone();
        }
        let (hub, agent) = pipe();
        let (session, _) = start(hub, Role::Hub, Options::default(), &self.tasks);
        let (own, mut incoming) = start(agent, Role::Agent, Options::default(), &self.tasks);
        let (served, tasks) = (Arc::clone(self), self.tasks.clone());
        self.tasks.spawn("agent", async move {
            let _own = own;
            while let Some(event) = incoming.next().await {
                if let Event::Stream { head, stream } = event {
                    let served = Arc::clone(&served);
                    tasks.spawn("agent-stream", async move { served.serve(cluster, &head, stream).await });
                }
            }
        });
        sessions.insert(cluster, session.clone());
        session
    }

    async fn serve(&self, cluster: ClusterId, head: &Bytes, mut stream: Stream) {
        let head: StreamHead = serde_json::from_slice(head).unwrap();
        let StreamTarget::Agent { verb } = head.target else { panic!("no verb") };
        let mut request = Vec::new();
        if stream.read_to_end(&mut request).await.is_err() {
            return;
        }
        match verb.as_str() {
            RUN_OPERATION => {
                assert!(head.assertion.is_some(), "a run without an identity");
                if self.run_operation(cluster, &request, &mut stream).await.is_some() {
                    stream.finish();
                }
            }
            CANCEL_OPERATION => {
                let run: CancelRun = serde_json::from_slice(&request).unwrap();
                answer(&mut stream, &self.cancel(&run)).await;
            }
            SETTLE_OPERATION => {
                let run: SettleRun = serde_json::from_slice(&request).unwrap();
                self.ledger.lock().unwrap().settled.insert(run.operation_id);
                answer(&mut stream, &run).await;
            }
            other => panic!("verb {other}"),
        }
    }

    fn cancel(&self, run: &CancelRun) -> CancelledRun {
        let mut ledger = self.ledger.lock().unwrap();
        match ledger.entries.get_mut(&run.operation_id).filter(|entry| entry.epoch == run.epoch) {
            Some(entry) if entry.ended.is_some() => CancelledRun::Ended,
            Some(entry) => {
                entry.cancel = true;
                // Whoever waits at the gate looks again.
                self.gate.send_modify(|_| {});
                CancelledRun::Stopping
            }
            None => {
                ledger.barred.insert((run.operation_id, run.epoch));
                CancelledRun::Unknown
            }
        }
    }

    /// `None` when the stream was cut.
    async fn run_operation(&self, cluster: ClusterId, request: &[u8], stream: &mut Stream) -> Option<()> {
        let end = request.iter().position(|byte| *byte == b'\n').unwrap();
        let run: RunOperation = serde_json::from_slice(&request[..end]).unwrap();
        let body = &request[end + 1..];
        assert_eq!(body.len() as u64, run.body_length);
        assert_eq!(roadstead_relay::digest(body), run.body_sha256);
        if self.busy.load(Ordering::SeqCst) > 0 {
            self.busy.fetch_sub(1, Ordering::SeqCst);
            return self.say(stream, &RunEvent::Refused(Error::of(Code::AgentBusy))).await;
        }
        let id = run.operation_id;
        let objects = u32::try_from(body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count()).unwrap();
        let begun = {
            let mut ledger = self.ledger.lock().unwrap();
            if ledger.barred.contains(&(id, run.epoch)) {
                None
            } else {
                let known = ledger.entries.get(&id).is_some_and(|entry| entry.epoch >= run.epoch);
                if !known {
                    let positions = run.only.clone().unwrap_or_else(|| (0..objects).collect());
                    ledger.entries.insert(id, Entry { epoch: run.epoch, positions, ..Entry::default() });
                    ledger.begun.push((cluster, id));
                    ledger.bodies.insert(id, body.to_vec());
                }
                ledger.runs.insert(id, run.clone());
                ledger.entries.get_mut(&id).map(|entry| {
                    entry.streams += 1;
                    entry.clone()
                })
            }
        };
        let Some(entry) = begun else {
            return self.say(stream, &done(Ending::Cancelled, &[])).await;
        };
        let finished = u32::try_from(entry.results.len()).unwrap();
        self.say(stream, &RunEvent::Accepted { objects, finished }).await?;
        for result in entry.results.iter().skip(run.stored as usize) {
            self.say(stream, &RunEvent::Object(Box::new(result.clone()))).await?;
        }
        if self.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        // Streams of before look up and see that they are over.
        self.gate.send_modify(|_| {});
        let mut gate = self.gate.subscribe();
        for index in entry.results.len()..entry.positions.len() {
            let position = entry.positions[index];
            loop {
                let now = self.entry(id);
                if now.streams != entry.streams {
                    return None;
                }
                let entry = now;
                if let Some(ended) = entry.ended {
                    return self.say(stream, &RunEvent::Done(Box::new(ended))).await;
                }
                if entry.cancel {
                    return self.finish(id, Ending::Cancelled, stream).await;
                }
                if u32::try_from(index).unwrap() < *gate.borrow_and_update() {
                    break;
                }
                gate.changed().await.unwrap();
            }
            let result = self.apply(cluster, id, &run, position, entry.streams)?;
            self.say(stream, &RunEvent::Object(Box::new(result))).await?;
        }
        let entry = self.entry(id);
        let failed = entry.results.iter().any(|result| result.outcome == ObjectOutcome::Failed)
            || self.waits_in_vain.load(Ordering::SeqCst);
        let ending = match (failed, entry.cancel) {
            (true, _) => Ending::Failed,
            (false, true) => Ending::FinishedFirst,
            (false, false) => Ending::Succeeded,
        };
        self.finish(id, ending, stream).await
    }

    fn entry(&self, id: OperationId) -> Entry {
        self.ledger.lock().unwrap().entries.get(&id).cloned().unwrap()
    }

    /// `None` when a later stream has taken over.
    fn apply(
        &self,
        cluster: ClusterId,
        id: OperationId,
        run: &RunOperation,
        position: u32,
        stream: u32,
    ) -> Option<ObjectResult> {
        let fails = i64::from(position) == self.fails_at.load(Ordering::SeqCst)
            || self.broken.lock().unwrap().contains(&cluster);
        let mut ledger = self.ledger.lock().unwrap();
        if ledger.entries[&id].streams != stream {
            return None;
        }
        if !fails {
            *ledger.effects.entry((id, position)).or_default() += 1;
        }
        let existed = position.is_multiple_of(2);
        let result = ObjectResult {
            position,
            source: format!("a.yaml#{position}"),
            key: ObjectKey {
                api_version: "v1".to_owned(),
                kind: "ConfigMap".to_owned(),
                namespace: Some("default".to_owned()),
                name: format!("o{position}"),
            },
            outcome: match (fails, &run.work) {
                (true, _) => ObjectOutcome::Failed,
                (false, Work::Delete { .. }) => ObjectOutcome::Deleted,
                (false, _) if existed => ObjectOutcome::Configured,
                _ => ObjectOutcome::Created,
            },
            error: fails.then(|| Error::new(Code::Conflict, "broken\0")),
            diff: None,
            before: (existed && !fails)
                .then(|| serde_json::json!({"data": {"secret": "canary-before", "at": position}})),
            undoable: !fails,
            left_version: Some(format!("{}", position + 100)),
        };
        ledger.entries.get_mut(&id).unwrap().results.push(result.clone());
        Some(result)
    }

    async fn finish(&self, id: OperationId, ending: Ending, stream: &mut Stream) -> Option<()> {
        let event = {
            let mut ledger = self.ledger.lock().unwrap();
            let entry = ledger.entries.get_mut(&id).unwrap();
            let results = entry.results.clone();
            let RunEvent::Done(ended) = done(ending, &results) else { unreachable!() };
            let ended = entry.ended.get_or_insert(*ended).clone();
            RunEvent::Done(Box::new(ended))
        };
        self.say(stream, &event).await
    }

    /// Sends an event; `None` when it cut the stream instead.
    async fn say(&self, stream: &mut Stream, event: &RunEvent) -> Option<()> {
        for _ in 0..self.copies.load(Ordering::SeqCst) {
            let left = self.cut_after.load(Ordering::SeqCst);
            if left == 0 {
                self.cut_after.store(-1, Ordering::SeqCst);
                return None;
            }
            if left > 0 {
                self.cut_after.store(left - 1, Ordering::SeqCst);
            }
            let mut line = serde_json::to_vec(event).unwrap();
            line.push(b'\n');
            stream.write_all(&line).await.ok()?;
        }
        Some(())
    }
}

fn done(ending: Ending, results: &[ObjectResult]) -> RunEvent {
    let mut counts = Counts::default();
    for result in results {
        match result.outcome {
            ObjectOutcome::Created => counts.created += 1,
            ObjectOutcome::Configured => counts.configured += 1,
            ObjectOutcome::Deleted => counts.deleted += 1,
            _ => counts.failed += 1,
        }
    }
    let error = (ending == Ending::Failed).then(|| Error::new(Code::AgentError, "not every object was applied"));
    RunEvent::Done(Box::new(RunEnding { ending, counts, error, exit_code: None }))
}

async fn answer(stream: &mut Stream, answer: &impl Serialize) {
    let text = serde_json::to_vec(&VerbAnswer::Ok(answer)).unwrap();
    let _ = stream.write_all(&text).await;
    stream.finish();
}

/// The hub's way to it.
pub struct Streams(pub Arc<Agent>);

#[async_trait]
impl AgentStreams for Streams {
    async fn open(&self, cluster: ClusterId, head: StreamHead, class: Class) -> Result<Stream> {
        tokio::time::sleep(Duration::ZERO).await;
        if self.0.offline.lock().unwrap().contains(&cluster) {
            let returns = self.0.returns.lock().unwrap().take();
            if let Some(returns) = returns {
                self.0.set_offline(cluster, false);
                returns.await;
            }
            return Err(Code::AgentOffline.into());
        }
        let head = serde_json::to_vec(&head).unwrap();
        self.0.session(cluster).open(head.into(), class).map_err(|_| Code::AgentOffline.into())
    }

    async fn open_session(&self, session: SessionFacts, head: StreamHead, class: Class) -> Result<Stream> {
        self.open(session.cluster_id, head, class).await
    }
}
