//! One attempt of one operation: the work goes on by itself; streams come and go and are told what the ledger says.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use roadstead_contracts::Error;
use roadstead_contracts::operation::{RunEnding, RunEvent};
use roadstead_runtime::kill;
use roadstead_tunnel::Stream;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::watch;

use super::ledger::Record;

/// A stream that has nothing to say says so this often: a dead one is noticed by both ends.
const ALIVE_EVERY: Duration = Duration::from_secs(5);

/// How far a run is.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Progress {
    /// Bytes of the ledger that may be told.
    pub(super) written: u64,
    /// Objects finished.
    pub(super) finished: u32,
    /// What it waits for, beside the ledger: it means nothing after a crash.
    pub(super) waiting: Option<(u32, String)>,
    /// The end.
    pub(super) ending: Option<RunEnding>,
    /// Why it cannot go on here, without an end.
    pub(super) fault: Option<Error>,
    /// Nobody works on it any more: without an ending it is to be asked for again.
    pub(super) left: bool,
}

/// An attempt that is worked on, or has ended.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) epoch: i64,
    pub(super) digest: String,
    pub(super) repeatable: bool,
    pub(super) objects: u32,
    path: PathBuf,
    pub(super) progress: watch::Sender<Progress>,
    /// A stop was asked for.
    pub(super) cancel: watch::Sender<bool>,
    /// Number of the stream that is told; the one before leaves.
    reader: watch::Sender<u64>,
}

/// What a run is about.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) epoch: i64,
    pub(super) digest: String,
    pub(super) repeatable: bool,
    pub(super) objects: u32,
    pub(super) path: PathBuf,
}

impl Run {
    pub(super) fn new(about: About, progress: Progress) -> Self {
        let About { epoch, digest, repeatable, objects, path } = about;
        Self {
            epoch,
            digest,
            repeatable,
            objects,
            path,
            progress: watch::Sender::new(progress),
            cancel: watch::Sender::new(false),
            reader: watch::Sender::new(0),
        }
    }

    /// Waits until nobody works on it.
    pub(super) async fn left(&self) {
        let mut progress = self.progress.subscribe();
        // The sender lives as long as `self`.
        let _ = progress.wait_for(|progress| progress.left).await;
    }

    /// Tells a stream everything to the end, but for the first results that the hub has stored. A later stream takes over.
    pub(super) async fn tell(&self, stream: &mut Stream, stored: u32) -> io::Result<()> {
        let mut mine = 0;
        self.reader.send_modify(|reader| {
            *reader += 1;
            mine = *reader;
        });
        let mut reader = self.reader.subscribe();
        let mut progress = self.progress.subscribe();
        let finished = progress.borrow().finished;
        say(stream, &RunEvent::Accepted { objects: self.objects, finished }).await?;
        let mut ledger = BufReader::new(File::open(&self.path).await?);
        // A hub that has more than this ledger has it of a ledger that was lost: it is told everything.
        let mut skipped = if stored <= finished { stored } else { 0 };
        let (mut told, mut text, mut waiting) = (0, Vec::new(), None);
        loop {
            let now = progress.borrow_and_update().clone();
            while told < now.written {
                text.clear();
                told += ledger.read_until(b'\n', &mut text).await? as u64;
                if text.is_empty() {
                    return Err(io::Error::other("the ledger is shorter than it was"));
                }
                match serde_json::from_slice(&text) {
                    Ok(Record::Event { told: RunEvent::Object(_) }) if skipped > 0 => skipped -= 1,
                    Ok(Record::Event { told }) => {
                        say(stream, &told).await?;
                        kill::point("agent.event_told");
                    }
                    _ => {}
                }
                if *reader.borrow() != mine {
                    return Ok(());
                }
            }
            if now.waiting != waiting {
                waiting.clone_from(&now.waiting);
                if let Some((left, on)) = now.waiting {
                    say(stream, &RunEvent::Waiting { left, on }).await?;
                }
            }
            if let Some(ending) = now.ending {
                say(stream, &RunEvent::Done(Box::new(ending))).await?;
                kill::point("agent.ending_told");
                return stream.shutdown().await;
            }
            if let Some(fault) = now.fault {
                say(stream, &RunEvent::Refused(fault)).await?;
                return stream.shutdown().await;
            }
            if now.left {
                return Ok(());
            }
            tokio::select! {
                changed = progress.changed() => if changed.is_err() { return Ok(()) },
                () = async { drop(reader.wait_for(|reader| *reader != mine).await) } => return Ok(()),
                () = tokio::time::sleep(ALIVE_EVERY) => say(stream, &RunEvent::Alive {}).await?,
            }
        }
    }
}

/// One line.
pub(super) async fn say(stream: &mut Stream, event: &RunEvent) -> io::Result<()> {
    let mut text = serde_json::to_vec(event)?;
    text.push(b'\n');
    stream.write_all(&text).await?;
    stream.flush().await
}
