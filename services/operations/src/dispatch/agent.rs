//! The agent's side of a run: its three verbs, as `contracts::operation` says.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use roadstead_contracts::agent::{StreamHead, StreamTarget, VerbAnswer};
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::operation::{
    CANCEL_OPERATION, CancelRun, CancelledRun, RUN_EVENT_MAX, RUN_HEAD_MAX, RUN_OPERATION, RunEvent, RunOperation,
    SETTLE_OPERATION, SettleRun,
};
use roadstead_contracts::{Code, Error, Result};
use roadstead_tunnel::{Class, Stream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::app::App;
use crate::limits::{SEND_LIMIT, VERB_ANSWER, VERB_LIMIT};

/// Opens a stream to a verb.
pub(super) async fn open(
    app: &App,
    cluster: ClusterId,
    verb: &str,
    limit: Duration,
    request_id: &str,
    assertion: Option<String>,
) -> Result<Stream> {
    let head = StreamHead {
        target: StreamTarget::Agent { verb: verb.to_owned() },
        request_id: request_id.to_owned(),
        deadline_milliseconds: u32::try_from(limit.as_millis()).unwrap_or(u32::MAX),
        traceparent: None,
        assertion,
    };
    app.streams.open(cluster, head, Class::Bulk).await
}

/// Opens the stream of a run.
pub(super) async fn open_run(
    app: &App,
    cluster: ClusterId,
    limit: Duration,
    request_id: &str,
    assertion: String,
) -> Result<Stream> {
    open(app, cluster, RUN_OPERATION, limit, request_id, Some(assertion)).await
}

/// Sends the order and the body.
pub(super) async fn send(stream: &mut Stream, run: &RunOperation, body: &Bytes) -> Result<()> {
    let mut line = serde_json::to_vec(run).map_err(|_| Error::of(Code::Internal))?;
    if line.len() >= RUN_HEAD_MAX {
        return Err(Error::of(Code::PayloadTooLarge));
    }
    line.push(b'\n');
    let sending = async {
        stream.write_all(&line).await?;
        stream.write_all(body).await?;
        stream.finish();
        std::io::Result::Ok(())
    };
    let lost = || Error::new(Code::AgentOffline, "the stream to the agent was lost");
    timeout(SEND_LIMIT, sending).await.map_err(|_| lost())?.map_err(|_| lost())
}

/// What an agent says on the stream of a run.
#[derive(Debug)]
pub(super) enum Said {
    /// An event, with its length.
    Event(RunEvent, usize),
    /// It does not take the run.
    Refused(Error),
    /// The stream ended, or what came is no sense.
    Broken(&'static str),
}

/// Lines of a run. What was read stays when the future is dropped.
pub(super) struct Lines {
    stream: Stream,
    buffer: BytesMut,
    /// Bytes of the buffer in which no line ends.
    seen: usize,
}

impl Lines {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, buffer: BytesMut::new(), seen: 0 }
    }

    /// The next thing the agent says.
    pub(super) async fn next(&mut self) -> Said {
        loop {
            if let Some(end) = self.buffer[self.seen..].iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.seen + end);
                self.buffer.advance(1);
                self.seen = 0;
                if line.is_empty() {
                    continue;
                }
                return read(&line);
            }
            self.seen = self.buffer.len();
            if self.seen > RUN_EVENT_MAX {
                return Said::Broken("an event is too long");
            }
            match self.stream.chunk().await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                // An agent without this verb answers without a line feed.
                Ok(None) if !self.buffer.is_empty() => return read(&self.buffer.split()),
                Ok(None) => return Said::Broken("the stream ended before the operation did"),
                Err(_) => return Said::Broken("the stream was lost"),
            }
        }
    }
}

fn read(line: &[u8]) -> Said {
    match serde_json::from_slice::<RunEvent>(line) {
        Ok(RunEvent::Refused(error)) => return Said::Refused(error),
        Ok(event) => return Said::Event(event, line.len()),
        Err(_) => {}
    }
    match serde_json::from_slice::<VerbAnswer<serde_json::Value>>(line) {
        Ok(VerbAnswer::Error(error)) => Said::Refused(error),
        _ => Said::Broken("an event cannot be read"),
    }
}

/// Asks a running operation to stop.
pub(super) async fn cancel(app: &App, cluster: ClusterId, run: &CancelRun, request_id: &str) -> Result<CancelledRun> {
    verb(app, cluster, CANCEL_OPERATION, run, request_id).await
}

/// Says that the ending is stored.
pub(super) async fn settle(app: &App, cluster: ClusterId, run: &SettleRun, request_id: &str) -> Result<()> {
    verb::<_, SettleRun>(app, cluster, SETTLE_OPERATION, run, request_id).await.map(drop)
}

async fn verb<Q: Serialize, A: DeserializeOwned>(
    app: &App,
    cluster: ClusterId,
    verb: &str,
    request: &Q,
    request_id: &str,
) -> Result<A> {
    let exchange = async {
        let mut stream = open(app, cluster, verb, VERB_LIMIT, request_id, None).await?;
        let body = serde_json::to_vec(request).map_err(|_| Error::of(Code::Internal))?;
        let lost = |_| Error::new(Code::AgentOffline, "the stream to the agent was lost");
        stream.write_all(&body).await.map_err(lost)?;
        stream.finish();
        let mut answer = Vec::new();
        (&mut stream).take(VERB_ANSWER).read_to_end(&mut answer).await.map_err(lost)?;
        match serde_json::from_slice(&answer) {
            Ok(VerbAnswer::Ok(answer)) => Ok(answer),
            Ok(VerbAnswer::Error(error)) => Err(error),
            Err(_) => Err(Error::new(Code::AgentError, "the agent's answer cannot be read")),
        }
    };
    timeout(VERB_LIMIT, exchange).await.unwrap_or_else(|_| Err(Error::of(Code::Timeout)))
}
