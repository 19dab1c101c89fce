//! Records on disk: appended to segments, with one fsync for all that wait at the moment, and kept until they are delivered.
//!
//! What is in the segments is in memory, too, within the same bound: the disk is for the next start. A record that was
//! delivered may be delivered again after a crash; its id is the same.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use roadstead_contracts::audit::{AuditRecord, BATCH_MAX};
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::{Tasks, kill};
use tokio::sync::{Notify, mpsc, oneshot};

use super::slot::Slot;

/// Records that may wait for the disk: more than the requests that run at once.
const QUEUE: usize = 4_096;
/// Records of one fsync.
const GROUP: usize = 512;
/// Bytes after which a new segment is begun.
const SEGMENT: u64 = 1024 * 1024;
/// Longest line that is read back.
const LINE_MAX: usize = 256 * 1024;
/// Part of the limit that is kept for outcomes: what was announced has room to end.
const RESERVE: usize = 8;
/// Seconds after which a repeat may find room.
const RETRY_AFTER: u32 = 2;

/// The records of this process. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Spool {
    sender: mpsc::Sender<Job>,
    state: Arc<State>,
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spool({} waiting)", self.waiting())
    }
}

/// One record for the disk.
struct Job {
    record: AuditRecord,
    line: Vec<u8>,
    /// Told when it is on disk.
    stored: Option<oneshot::Sender<bool>>,
}

struct State {
    limit: usize,
    /// Bytes that are on disk or on the way there.
    bytes: AtomicUsize,
    filled: Notify,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Oldest first, with the size of its line and the segment that holds it.
    waiting: VecDeque<(AuditRecord, usize, PathBuf)>,
    /// Undelivered records of each segment.
    counts: BTreeMap<PathBuf, usize>,
    current: Option<PathBuf>,
    fault: Option<String>,
}

impl State {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spool {
    /// Reads what is left in the folder and begins to write. A folder that cannot be written shows at the first record.
    pub(crate) fn open(folder: PathBuf, limit: usize, tasks: &Tasks) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let state = Arc::new(State {
            limit,
            bytes: AtomicUsize::new(0),
            filled: Notify::new(),
            inner: Mutex::new(Inner::default()),
        });
        let writer = Writer { folder, state: Arc::clone(&state), slot: None, segment: None, next: 0 };
        // Outcomes come until the last connection is gone.
        tasks.support("audit-spool", write(writer, receiver));
        Self { sender, state }
    }

    /// Stores a record before something is done.
    pub(crate) async fn append(&self, record: &AuditRecord) -> Result<()> {
        let (stored, told) = oneshot::channel();
        self.hand_in(record, Some(stored), self.state.limit - self.state.limit / RESERVE).await?;
        if told.await != Ok(true) {
            return Err(unavailable());
        }
        kill::point("cluster.intent_kept");
        Ok(())
    }

    /// Stores a record about something that is done; nobody waits.
    pub(crate) async fn push(&self, record: &AuditRecord) {
        if self.hand_in(record, None, self.state.limit).await.is_err() {
            not_recorded(record);
        }
    }

    /// The same from where nothing can be waited for: a queue that is full takes nothing.
    pub(crate) fn push_now(&self, record: &AuditRecord) {
        let stored = self.sender.try_reserve().map_err(|_| unavailable());
        if stored.and_then(|place| self.put(place, record, None, self.state.limit)).is_err() {
            not_recorded(record);
        }
    }

    async fn hand_in(&self, record: &AuditRecord, stored: Option<oneshot::Sender<bool>>, limit: usize) -> Result<()> {
        // Counted once there is a place: whoever leaves while waiting for one takes nothing along.
        let place = self.sender.reserve().await.map_err(|_| unavailable())?;
        self.put(place, record, stored, limit)
    }

    fn put(
        &self,
        place: mpsc::Permit<'_, Job>,
        record: &AuditRecord,
        stored: Option<oneshot::Sender<bool>>,
        limit: usize,
    ) -> Result<()> {
        let mut line = serde_json::to_vec(record).map_err(|_| Error::of(Code::Internal))?;
        line.push(b'\n');
        let size = line.len();
        if self.state.bytes.fetch_add(size, Ordering::Relaxed) + size > limit {
            self.state.bytes.fetch_sub(size, Ordering::Relaxed);
            self.state.inner().fault =
                Some("the audit spool is full: the user service does not take records".to_owned());
            return Err(unavailable());
        }
        place.send(Job { record: record.clone(), line, stored });
        Ok(())
    }

    /// The oldest records, as many as a message takes.
    pub(crate) fn oldest(&self) -> Vec<AuditRecord> {
        let most = usize::try_from(BATCH_MAX).unwrap_or(usize::MAX);
        self.state.inner().waiting.iter().take(most).map(|(record, ..)| record.clone()).collect()
    }

    /// So many of the oldest are in the chain.
    pub(crate) async fn delivered(&self, count: usize) {
        let mut done = Vec::new();
        {
            let mut inner = self.state.inner();
            for _ in 0..count {
                let Some((_, size, segment)) = inner.waiting.pop_front() else { break };
                self.state.bytes.fetch_sub(size, Ordering::Relaxed);
                let left = inner.counts.get_mut(&segment).map_or(0, |count| {
                    *count = count.saturating_sub(1);
                    *count
                });
                if left == 0 && inner.current.as_deref() != Some(segment.as_path()) {
                    inner.counts.remove(&segment);
                    done.push(segment);
                }
            }
            inner.fault = None;
        }
        if !done.is_empty() {
            // A segment that stays is delivered again after the next start, which does no harm.
            let _ = tokio::task::spawn_blocking(move || done.iter().for_each(|path| drop(fs::remove_file(path)))).await;
        }
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.state.inner().waiting.len()
    }

    /// Fires when there is something to deliver.
    pub(crate) async fn filled(&self) {
        self.state.filled.notified().await;
    }

    /// Why records are not taken, when they are not.
    pub(crate) fn fault(&self) -> Option<String> {
        self.state.inner().fault.clone()
    }
}

fn not_recorded(record: &AuditRecord) {
    tracing::error!("the outcome of {} is not recorded; its intent stands", record.action);
}

fn unavailable() -> Error {
    Error::new(Code::AuditUnavailable, "the record of this change cannot be stored; nothing was done")
        .retry_after(RETRY_AFTER)
}

/// The only one that writes.
struct Writer {
    folder: PathBuf,
    state: Arc<State>,
    slot: Option<Slot>,
    segment: Option<(PathBuf, File, u64)>,
    next: u64,
}

async fn write(mut writer: Writer, mut jobs: mpsc::Receiver<Job>) {
    writer = turn(writer, Vec::new()).await;
    let mut group = Vec::new();
    // Everybody who came while the disk was busy goes with the next group.
    while jobs.recv_many(&mut group, GROUP).await > 0 {
        writer = turn(writer, std::mem::take(&mut group)).await;
    }
}

/// One group, on a thread that may block.
async fn turn(writer: Writer, jobs: Vec<Job>) -> Writer {
    let (folder, state) = (writer.folder.clone(), Arc::clone(&writer.state));
    let done = tokio::task::spawn_blocking(move || {
        let mut writer = writer;
        writer.store(jobs);
        writer
    });
    // The thread can only be gone with the runtime.
    done.await.unwrap_or(Writer { folder, state, slot: None, segment: None, next: 0 })
}

impl Writer {
    fn store(&mut self, jobs: Vec<Job>) {
        let stored = self.prepare().and_then(|()| self.append(&jobs));
        let state = Arc::clone(&self.state);
        match stored {
            Ok(segment) => {
                let mut inner = state.inner();
                inner.fault = None;
                let mut tell = Vec::with_capacity(jobs.len());
                if let Some(segment) = segment {
                    *inner.counts.entry(segment.clone()).or_default() += jobs.len();
                    for job in jobs {
                        inner.waiting.push_back((job.record, job.line.len(), segment.clone()));
                        tell.extend(job.stored);
                    }
                }
                drop(inner);
                for stored in tell {
                    // Whoever went away meanwhile does not do what was announced.
                    let _ = stored.send(true);
                }
                state.filled.notify_one();
            }
            Err(fault) => {
                tracing::error!("records cannot be stored in {}: {fault}", self.folder.display());
                // Begun anew with the next group: it heals by itself.
                self.segment = None;
                state.inner().fault = Some(format!("the audit spool cannot be written: {}", fault.kind()));
                for job in jobs {
                    state.bytes.fetch_sub(job.line.len(), Ordering::Relaxed);
                    let _ = job.stored.map(|stored| stored.send(false));
                }
            }
        }
    }

    /// Takes a place in the folder and reads what is there.
    fn prepare(&mut self) -> io::Result<()> {
        if self.slot.is_some() {
            return Ok(());
        }
        let slot = Slot::take(&self.folder)?;
        for folder in std::iter::once(&slot.folder).chain(&slot.left) {
            for path in segments(folder)? {
                if *folder == slot.folder {
                    self.next = self.next.max(number(&path).map_or(0, |number| number + 1));
                }
                self.take_over(&path)?;
            }
        }
        self.slot = Some(slot);
        Ok(())
    }

    fn take_over(&mut self, path: &Path) -> io::Result<()> {
        let mut reader = BufReader::new(File::open(path)?);
        let (mut line, mut found) = (Vec::new(), Vec::new());
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            match serde_json::from_slice::<AuditRecord>(&line) {
                Ok(record) if line.len() <= LINE_MAX => found.push((record, line.len())),
                // The tail of a write that was cut off: nobody was told that it was stored.
                _ => tracing::warn!("a line of {} is not a whole record, it is left out", path.display()),
            }
        }
        if found.is_empty() {
            return fs::remove_file(path);
        }
        let mut inner = self.state.inner();
        inner.counts.insert(path.to_owned(), found.len());
        for (record, size) in found {
            self.state.bytes.fetch_add(size, Ordering::Relaxed);
            inner.waiting.push_back((record, size, path.to_owned()));
        }
        Ok(())
    }

    /// Writes the lines and waits for the disk. All of them are stored or none.
    fn append(&mut self, jobs: &[Job]) -> io::Result<Option<PathBuf>> {
        if jobs.is_empty() {
            return Ok(None);
        }
        if self.segment.as_ref().is_none_or(|(.., size)| *size > SEGMENT) {
            self.begin()?;
        }
        let Some((path, file, size)) = &mut self.segment else { return Err(io::Error::other("no segment")) };
        let lines: Vec<u8> = jobs.iter().flat_map(|job| job.line.iter().copied()).collect();
        if let Err(fault) = file.write_all(&lines).and_then(|()| file.sync_data()) {
            // What was refused must not turn up after the next start.
            let _ = file.set_len(*size);
            return Err(fault);
        }
        *size += lines.len() as u64;
        Ok(Some(path.clone()))
    }

    fn begin(&mut self) -> io::Result<()> {
        let slot = self.slot.as_ref().ok_or_else(|| io::Error::other("no place"))?;
        let path = slot.folder.join(format!("{:012}.jsonl", self.next));
        let file = File::options().create_new(true).append(true).mode(0o600).open(&path)?;
        // The name must survive a crash as the content does.
        File::open(&slot.folder)?.sync_all()?;
        self.next += 1;
        let mut inner = self.state.inner();
        let before = inner.current.replace(path.clone());
        if let Some(before) = before
            && inner.counts.get(&before).copied().unwrap_or(0) == 0
        {
            inner.counts.remove(&before);
            let _ = fs::remove_file(before);
        }
        drop(inner);
        self.segment = Some((path, file, 0));
        Ok(())
    }
}

fn segments(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|kind| kind == "jsonl"));
    paths.sort();
    Ok(paths)
}

fn number(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests;
