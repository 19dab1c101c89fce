//! Recorded sessions: what `exec` and `attach` show, read out of the bytes as they go by, sealed part by part.
//!
//! Fail closed: a session that is to be recorded and cannot be is refused before it begins, and ends when a part of it cannot
//! be kept, when it cannot be read, or when it is longer than a recording may be.

mod cast;
mod spdy;
mod tap;
#[cfg(test)]
mod tests;
mod websocket;

use std::sync::Arc;

use bytes::Bytes;
use chrono::TimeDelta;
use roadstead_contracts::ids::RecordingId;
use roadstead_contracts::message::SessionFacts;
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::{SharedClock, Tasks};
use roadstead_seal::{Sealed, Sealer};
use roadstead_tunnel::transport::pipe;
use roadstead_tunnel::{Class, Event, Options, Role, Stream, start};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::app::App;
use crate::domain::ClusterRef;
use crate::limits::{RECORDING_CHUNK, RECORDING_FLUSH, RECORDING_PART, RECORDINGS_PRUNE};
use crate::store::{NewRecording, Store};
use cast::{Happened, Lines};
use tap::{Protocol, Side, Tap};

/// The places that sealed texts are bound to.
const TABLE: &str = "recordings";
const FACTS: &str = "sealed_facts";
const PARTS: &str = "recording_parts";
const LINES: &str = "sealed_lines";

/// Records one session.
pub(crate) struct Recorder {
    id: RecordingId,
    store: Arc<dyn Store>,
    sealer: Sealer,
    clock: SharedClock,
    protocol: Protocol,
    /// Whether what is typed is kept.
    input: bool,
    limit: u64,
    began: Instant,
    kept: Mutex<Kept>,
}

/// What waits to be stored.
struct Kept {
    lines: Lines,
    text: String,
    bytes: u64,
    total: u64,
    part: u32,
}

/// Why a session ends with its recording.
enum Cut {
    /// An end is gone.
    Lost,
    /// It cannot be kept or read any longer.
    Recording(&'static str),
}

impl Recorder {
    /// A recorder for a session that is to be recorded; the first part of the recording is stored when this answers.
    pub(crate) async fn for_session(
        app: &App,
        session: Option<&SessionFacts>,
        request_id: &str,
    ) -> Result<Option<Self>> {
        let Some(session) = session.filter(|_| app.settings.recording.enabled) else { return Ok(None) };
        let refused = || Error::new(Code::AuditUnavailable, "the session cannot be recorded, so it was not opened");
        if !app.is_recorded(session).await.map_err(|_| refused())? {
            return Ok(None);
        }
        let protocol = match session.protocol.as_str() {
            "websocket" => Protocol::WebSocket,
            "spdy" => Protocol::Spdy,
            SessionFacts::NODE_PROXY => {
                let around = "sessions in this cluster are recorded, and what runs by the proxy of a node cannot be; use \
                              exec or attach of the pod";
                return Err(Error::new(Code::Forbidden, around));
            }
            _ => return Err(refused()),
        };
        let at = app.clock.now();
        let id: RecordingId = app.ids.next();
        let facts = serde_json::to_vec(session).map_err(|_| refused())?;
        let new = NewRecording {
            id,
            user: session.user_id,
            cluster: session.cluster_id,
            request_id: request_id.to_owned(),
            facts: app.sealer.seal(TABLE, FACTS, id, &facts)?.as_str().to_owned(),
            lines: seal_lines(&app.sealer, id, 0, &cast::head(session, at.timestamp()))?,
            at,
        };
        app.store.begin_recording(&new).await.map_err(|fault| {
            tracing::error!(request_id, "a session was refused because it cannot be recorded: {fault}");
            refused()
        })?;
        tracing::info!(request_id, recording_id = %id, "a session of {} is recorded", session.username);
        Ok(Some(Self {
            id,
            store: Arc::clone(&app.store),
            sealer: app.sealer.clone(),
            clock: Arc::clone(&app.clock),
            protocol,
            input: app.settings.recording.input,
            limit: app.settings.recording.session_limit.0 as u64,
            began: Instant::now(),
            kept: Mutex::new(Kept { lines: Lines::default(), text: String::new(), bytes: 0, total: 0, part: 0 }),
        }))
    }

    /// The session did not begin after all.
    pub(crate) async fn abandon(self) {
        self.end().await;
    }

    /// Joins a caller and an agent until one of them ends, and records what goes by.
    pub(crate) async fn record(self, caller: Stream, agent: Stream) {
        self.join(caller, agent).await;
        self.end().await;
    }

    /// The same in one process: the agent's stream becomes one that is recorded.
    pub(crate) async fn between(self, agent: Stream, class: Class, tasks: &Tasks) -> Result<Stream> {
        let (front, back) = pipe();
        let (near, near_incoming) = start(front, Role::Hub, Options::default(), tasks);
        let (far, mut incoming) = start(back, Role::Agent, Options::default(), tasks);
        let lost = || Error::of(Code::AgentOffline);
        let opened = near.open(Bytes::from_static(b"{}"), class).map_err(|_| lost())?;
        let Some(Event::Stream { stream, .. }) = incoming.next().await else { return Err(lost()) };
        tasks.spawn("recorded-session", async move {
            self.record(stream, agent).await;
            // They carry the one stream and end with it.
            drop((near, near_incoming, far, incoming));
        });
        Ok(opened)
    }

    async fn join(&self, caller: Stream, agent: Stream) {
        let ((caller_read, caller_write), (agent_read, agent_write)) = (split(caller), split(agent));
        let there = self.pump(caller_read, agent_write, Tap::new(Side::Client, self.protocol));
        let back = self.pump(agent_read, caller_write, Tap::new(Side::Cluster, self.protocol));
        let tick = async {
            loop {
                sleep(RECORDING_FLUSH).await;
                if let Err(cut) = self.flush().await {
                    return cut;
                }
            }
        };
        // A half that is dropped unfinished cuts its stream: neither end takes a cut session for one that ended.
        let cut = tokio::select! {
            both = async { tokio::try_join!(there, back) } => both.err(),
            cut = tick => Some(cut),
        };
        if let Some(Cut::Recording(why)) = cut {
            tracing::error!(recording_id = %self.id, "a session was ended: {why}");
        }
    }

    async fn pump(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        mut tap: Tap,
    ) -> std::result::Result<(), Cut> {
        let mut buffer = vec![0; RECORDING_CHUNK];
        let mut happened = Vec::new();
        loop {
            let count = from.read(&mut buffer).await.map_err(|_| Cut::Lost)?;
            if count == 0 {
                return to.shutdown().await.map_err(|_| Cut::Lost);
            }
            let bytes = buffer.get(..count).unwrap_or_default();
            tap.feed(bytes, &mut happened).map_err(|_| Cut::Recording("what it says cannot be read"))?;
            // Kept before it is shown.
            self.keep(&mut happened).await?;
            to.write_all(bytes).await.map_err(|_| Cut::Lost)?;
        }
    }

    async fn keep(&self, happened: &mut Vec<Happened>) -> std::result::Result<(), Cut> {
        if happened.is_empty() {
            return Ok(());
        }
        let seconds = self.began.elapsed().as_secs_f64();
        let full = {
            let mut kept = self.kept.lock().await;
            for one in happened.drain(..) {
                let length = match &one {
                    Happened::Input(_) if !self.input => continue,
                    Happened::Input(bytes) | Happened::Output(bytes) => bytes.len() as u64,
                    _ => 0,
                };
                (kept.bytes, kept.total) = (kept.bytes + length, kept.total + length);
                if let Some(line) = kept.lines.line(seconds, &one) {
                    kept.text.push_str(&line);
                }
            }
            if kept.total > self.limit {
                return Err(Cut::Recording("it is longer than recording.session_limit"));
            }
            kept.text.len() >= RECORDING_PART
        };
        if full { self.flush().await } else { Ok(()) }
    }

    async fn flush(&self) -> std::result::Result<(), Cut> {
        let mut kept = self.kept.lock().await;
        if kept.text.is_empty() {
            return Ok(());
        }
        let (text, bytes) = (std::mem::take(&mut kept.text), std::mem::take(&mut kept.bytes));
        kept.part += 1;
        let lost = |_| Cut::Recording("a part of its recording cannot be kept");
        let sealed = seal_lines(&self.sealer, self.id, kept.part, &text).map_err(lost)?;
        match self.store.add_recording_part(self.id, kept.part, &sealed, bytes).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Cut::Recording("its recording was removed")),
            Err(fault) => Err(lost(fault.into())),
        }
    }

    async fn end(&self) {
        let flushed = self.flush().await;
        let ended = self.store.end_recording(self.id, self.clock.now()).await;
        if flushed.is_err() || ended.is_err() {
            tracing::error!(recording_id = %self.id, "the end of a recording was not kept");
        }
    }
}

impl App {
    /// Whether the policy wants a session recorded.
    async fn is_recorded(&self, session: &SessionFacts) -> Result<bool> {
        let labels = &self.settings.recording.labels;
        if labels.is_empty() {
            return Ok(true);
        }
        let found = self.store.find_cluster(&ClusterRef::Id(session.cluster_id), self.presence.cutoff()).await?;
        let found = found.ok_or(Code::NotFound)?;
        Ok(labels.iter().all(|(key, value)| found.cluster.labels.0.get(key) == Some(value)))
    }
}

/// Forgets recordings that are over their time or their number, until the process stops.
pub(crate) async fn prune_recordings(app: Arc<App>) {
    let stopping = app.tasks.stopping();
    loop {
        let settings = &app.settings.recording;
        let before = app.clock.now() - TimeDelta::from_std(settings.retention).unwrap_or(TimeDelta::MAX);
        match app.store.prune_recordings(before, i64::from(settings.max_sessions)).await {
            Ok(0) => {}
            Ok(gone) => tracing::info!("{gone} recordings were over and are gone"),
            Err(fault) => tracing::debug!("recordings were not looked through: {fault}"),
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = sleep(RECORDINGS_PRUNE) => {}
        }
    }
}

fn seal_lines(sealer: &Sealer, id: RecordingId, part: u32, lines: &str) -> Result<String> {
    Ok(sealer.seal(PARTS, LINES, format_args!("{id}/{part}"), lines.as_bytes())?.as_str().to_owned())
}

/// Opens a part.
pub(crate) fn unseal_lines(sealer: &Sealer, id: RecordingId, part: u32, sealed: &str) -> Result<String> {
    let plain = sealer.unseal(PARTS, LINES, format_args!("{id}/{part}"), &Sealed::parse(sealed)?)?;
    String::from_utf8(plain.to_vec()).map_err(|_| Error::of(Code::IntegrityError))
}

/// Opens what a recording is of.
pub(crate) fn unseal_facts(sealer: &Sealer, id: RecordingId, sealed: &str) -> Result<SessionFacts> {
    let plain = sealer.unseal(TABLE, FACTS, id, &Sealed::parse(sealed)?)?;
    serde_json::from_slice(&plain).map_err(|_| Error::of(Code::IntegrityError))
}
