//! What the agent remembers of operations, on disk: one file per operation and attempt, lines of JSON that are only added.
//!
//! An object's earlier state is written before the object is touched, its result before anybody hears of it. A process that is
//! killed loses nothing of it; of a machine that loses its power at most the earlier state of the one object at hand (results
//! are on the disk before they are told, earlier states only in the kernel's hands). A last line that was cut off is dropped;
//! a file that holds something else is set aside under another name.
//!
//! Earlier states may hold what is in Secrets: the folder and its files are for the agent's user only.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use roadstead_contracts::ids::OperationId;
use roadstead_contracts::operation::{ObjectOutcome, OperationKind, RUN_EVENT_MAX, RunEnding, RunEvent};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Files in the folder: a day of an operation every two minutes whose endings the hub never fetched.
const FILES_MAX: usize = 1_000;
/// Bytes in the folder. Above it nothing new is begun.
const FOLDER_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Bytes of one file; above it earlier states are left out, and the operation cannot be undone whole.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Longest line: an event and its frame.
const LINE_MAX: usize = RUN_EVENT_MAX + 64 * 1024;
/// What nobody fetched is kept this long.
const KEPT: Duration = Duration::from_secs(8 * 24 * 3600);
/// What is settled is kept this long, so that a repeated order finds its ending and not an empty place.
const SETTLED_KEPT: Duration = Duration::from_secs(3600);
const SUFFIX: &str = "run";
const SETTLED: &str = "settled";
const CANCELLED: &str = "cancel";
const DAMAGED: &str = "damaged";

/// First line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) operation_id: OperationId,
    pub(super) epoch: i64,
    pub(super) kind: OperationKind,
    /// Over the work and its body: the same attempt with another content is another person's mistake.
    pub(super) digest: String,
    /// Who it is done as.
    pub(super) user: String,
    /// Objects in all.
    pub(super) objects: u32,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "record")]
pub(super) enum Record {
    Head(Head),
    /// An object as it is before it is touched; none = it is not there.
    Before {
        position: u32,
        object: Option<Value>,
    },
    /// Told to the hub, in this order.
    Event {
        told: RunEvent,
    },
    Ended {
        ending: RunEnding,
    },
}

/// What a file says, without the objects themselves.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Story {
    pub(super) head: Option<Head>,
    /// Outcomes of the finished objects.
    pub(super) finished: BTreeMap<u32, ObjectOutcome>,
    /// Where the earlier states of objects stand.
    before: BTreeMap<u32, u64>,
    pub(super) ending: Option<RunEnding>,
    /// Bytes of whole lines.
    pub(super) length: u64,
}

/// Where the files are.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: Arc<PathBuf>,
}

/// A file of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) epoch: i64,
    pub(super) path: PathBuf,
}

impl Folder {
    /// Makes the folder when it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let folder = Self { path: Arc::new(path.to_owned()) };
        let probe = path.join(".probe");
        std::fs::write(&probe, b"")?;
        std::fs::remove_file(probe)?;
        folder.sweep(SystemTime::now());
        Ok(folder)
    }

    fn file(&self, operation: OperationId, epoch: i64, suffix: &str) -> PathBuf {
        self.path.join(format!("{operation}.{epoch}.{suffix}"))
    }

    /// The latest attempt that is known. Settled ones count.
    pub(super) fn latest(&self, operation: OperationId) -> io::Result<Option<Found>> {
        let mut latest: Option<Found> = None;
        let wanted = operation.to_string();
        for entry in std::fs::read_dir(&*self.path)? {
            let path = entry?.path();
            let Some((id, epoch, suffix)) = parts(&path) else { continue };
            let counts = suffix == SUFFIX || suffix == SETTLED;
            if counts && id == wanted && latest.as_ref().is_none_or(|latest| latest.epoch < epoch) {
                latest = Some(Found { epoch, path });
            }
        }
        Ok(latest)
    }

    /// Whether a file of this attempt was set aside: it had been begun.
    pub(super) fn is_damaged(&self, operation: OperationId, epoch: i64) -> bool {
        self.file(operation, epoch, DAMAGED).exists()
    }

    /// Whether a stop was asked for before this attempt arrived.
    pub(super) fn is_cancelled(&self, operation: OperationId, epoch: i64) -> bool {
        self.file(operation, epoch, CANCELLED).exists()
    }

    /// Remembers a stop of what has not arrived.
    pub(super) fn cancel(&self, operation: OperationId, epoch: i64) -> io::Result<()> {
        self.room()?;
        let file = File::create(self.file(operation, epoch, CANCELLED))?;
        file.sync_all()?;
        self.sync()
    }

    /// The hub has the ending. A few bytes stay for a while.
    pub(super) fn settle(&self, found: &Found, operation: OperationId) -> io::Result<()> {
        if found.path.extension().is_some_and(|suffix| suffix == SETTLED) {
            return Ok(());
        }
        let Ok(story) = read(&found.path)? else { return Ok(()) };
        let (Some(head), Some(ending)) = (story.head, story.ending) else { return Ok(()) };
        let mut text = line(&Record::Head(head))?;
        text.extend(line(&Record::Ended { ending })?);
        let fresh = self.file(operation, found.epoch, "new");
        let mut file = private(OpenOptions::new().write(true).create(true).truncate(true)).open(&fresh)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&fresh, self.file(operation, found.epoch, SETTLED))?;
        std::fs::remove_file(&found.path)?;
        self.sweep(SystemTime::now());
        Ok(())
    }

    /// Begins the file of a new attempt. `carried`: an earlier attempt of the same content, whose earlier states are the ones
    /// that count.
    pub(super) fn begin(&self, head: &Head, carried: Option<&Found>) -> io::Result<Ledger> {
        self.sweep(SystemTime::now());
        self.room()?;
        let path = self.file(head.operation_id, head.epoch, SUFFIX);
        let mut file = private(OpenOptions::new().read(true).append(true).create_new(true)).open(&path)?;
        let mut text = line(&Record::Head(head.clone()))?;
        let mut story = Story { head: Some(head.clone()), ..Story::default() };
        if let Some(found) = carried {
            carry(&found.path, &mut text, &mut story)?;
        }
        file.write_all(&text)?;
        file.sync_all()?;
        self.sync()?;
        if let Some(found) = carried {
            std::fs::remove_file(&found.path)?;
        }
        story.length = text.len() as u64;
        Ok(Ledger { path, file, story })
    }

    /// Goes on with a file. A cut last line is cut off for good.
    pub(super) fn resume(found: &Found) -> io::Result<Result<Ledger, Damaged>> {
        let story = match read(&found.path)? {
            Ok(story) => story,
            Err(damaged) => {
                let mut aside = found.path.clone();
                aside.set_extension(DAMAGED);
                std::fs::rename(&found.path, &aside)?;
                tracing::warn!(
                    "the ledger {} is damaged and was set aside as {}",
                    found.path.display(),
                    aside.display()
                );
                return Ok(Err(damaged));
            }
        };
        let file = private(OpenOptions::new().read(true).append(true)).open(&found.path)?;
        if file.metadata()?.len() > story.length {
            file.set_len(story.length)?;
            file.sync_all()?;
        }
        Ok(Ok(Ledger { path: found.path.clone(), file, story }))
    }

    /// Removes what is older than it is kept.
    fn sweep(&self, now: SystemTime) {
        let Ok(entries) = std::fs::read_dir(&*self.path) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            let Some((_, _, suffix)) = parts(&path) else { continue };
            let limit = if suffix == SETTLED { SETTLED_KEPT } else { KEPT };
            let age =
                entry.metadata().and_then(|about| about.modified()).ok().and_then(|at| now.duration_since(at).ok());
            if age.is_some_and(|age| age > limit) {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// Whether something new may be begun.
    fn room(&self) -> io::Result<()> {
        let (mut files, mut bytes) = (0, 0);
        for entry in std::fs::read_dir(&*self.path)? {
            files += 1;
            bytes += entry?.metadata().map_or(0, |about| about.len());
        }
        if files >= FILES_MAX || bytes >= FOLDER_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "the ledger is full of what the hub has not settled",
            ));
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&*self.path)?.sync_all()
    }
}

/// `<operation>.<epoch>.<suffix>`.
fn parts(path: &Path) -> Option<(String, i64, String)> {
    let name = path.file_name()?.to_str()?;
    let mut parts = name.split('.');
    let (id, epoch, suffix) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
    parts.next().is_none().then(|| (id.to_owned(), epoch, suffix.to_owned()))
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(0o600)
}

fn line(record: &Record) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(record).map_err(io::Error::other)?;
    text.push(b'\n');
    Ok(text)
}

/// The file is not a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damaged;

/// Reads a file. The last line may be cut.
pub(super) fn read(path: &Path) -> io::Result<Result<Story, Damaged>> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut story = Story::default();
    let mut text = Vec::new();
    loop {
        text.clear();
        let length = reader.by_ref().take(LINE_MAX as u64 + 1).read_until(b'\n', &mut text)?;
        if length == 0 {
            break;
        }
        let whole = text.last() == Some(&b'\n');
        let record = serde_json::from_slice::<Record>(&text);
        let (Ok(record), true) = (record, whole) else {
            // Only the end may be torn: behind it nothing was written any more.
            let torn = !whole && length <= LINE_MAX && story.head.is_some();
            if torn && reader.fill_buf()?.is_empty() {
                break;
            }
            return Ok(Err(Damaged));
        };
        let at = story.length;
        story.length += length as u64;
        let first = story.head.is_none();
        match record {
            Record::Head(head) if first => story.head = Some(head),
            Record::Head(_) => return Ok(Err(Damaged)),
            _ if first => return Ok(Err(Damaged)),
            Record::Before { position, .. } => drop(story.before.insert(position, at)),
            Record::Event { told: RunEvent::Object(result) } => {
                story.finished.insert(result.position, result.outcome);
            }
            Record::Event { .. } => {}
            Record::Ended { ending } => story.ending = Some(ending),
        }
    }
    if story.head.is_none() { Ok(Err(Damaged)) } else { Ok(Ok(story)) }
}

/// Takes the earlier states of another attempt over.
fn carry(path: &Path, text: &mut Vec<u8>, story: &mut Story) -> io::Result<()> {
    let Ok(old) = read(path)? else { return Ok(()) };
    let mut file = File::open(path)?;
    for (position, at) in &old.before {
        let record = line_at(&mut file, *at)?;
        if text.len() + record.len() > usize::try_from(FILE_BYTES_MAX).unwrap_or(usize::MAX) {
            break;
        }
        story.before.insert(*position, text.len() as u64);
        text.extend_from_slice(&record);
    }
    Ok(())
}

fn line_at(file: &mut File, at: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut text = Vec::new();
    BufReader::new(file.take(LINE_MAX as u64)).read_until(b'\n', &mut text)?;
    Ok(text)
}

/// The file of one attempt, written by its run only.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) path: PathBuf,
    file: File,
    pub(super) story: Story,
}

/// Whether a line must be on the disk before going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// The kernel has it: a killed process loses nothing.
    Written,
    /// The disk has it.
    Synced,
}

impl Ledger {
    /// Adds lines. An earlier state comes alone. What could not be written whole is taken back.
    pub(super) async fn add(&mut self, records: Vec<Record>, keep: Keep) -> io::Result<()> {
        let end = self.story.length;
        let mut text = Vec::new();
        for record in &records {
            text.extend(line(record)?);
        }
        let length = text.len() as u64;
        // Into the kernel's memory: no reason to change threads.
        if let Err(error) = self.file.write_all(&text) {
            self.file.set_len(end)?;
            return Err(error);
        }
        if keep == Keep::Synced {
            let file = self.file.try_clone()?;
            tokio::task::spawn_blocking(move || file.sync_data()).await.map_err(io::Error::other)??;
        }
        for record in records {
            match record {
                Record::Before { position, .. } => drop(self.story.before.insert(position, end)),
                Record::Event { told: RunEvent::Object(result) } => {
                    self.story.finished.insert(result.position, result.outcome);
                }
                Record::Ended { ending } => self.story.ending = Some(ending),
                Record::Head(_) | Record::Event { .. } => {}
            }
        }
        self.story.length = end + length;
        Ok(())
    }

    /// Adds a line from where blocking is fine.
    pub(super) fn add_now(&mut self, record: &Record) -> io::Result<()> {
        let text = line(record)?;
        self.file.write_all(&text)?;
        self.file.sync_data()?;
        self.story.length += text.len() as u64;
        if let Record::Ended { ending } = record {
            self.story.ending = Some(ending.clone());
        }
        Ok(())
    }

    /// The file, for whoever syncs it.
    pub(super) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Whether an earlier state may still be written down.
    pub(super) fn has_room(&self) -> bool {
        self.story.length < FILE_BYTES_MAX
    }

    /// The object as it was before this operation touched it, if it did: `Some(None)` when it was not there.
    pub(super) async fn before(&self, position: u32) -> io::Result<Option<Option<Value>>> {
        let Some(at) = self.story.before.get(&position).copied() else { return Ok(None) };
        let path = self.path.clone();
        let record = tokio::task::spawn_blocking(move || {
            let text = line_at(&mut File::open(path)?, at)?;
            serde_json::from_slice::<Record>(&text).map_err(io::Error::other)
        })
        .await
        .map_err(io::Error::other)??;
        match record {
            Record::Before { object, .. } => Ok(Some(object)),
            _ => Err(io::Error::other("the ledger's line is another one")),
        }
    }
}

#[cfg(test)]
mod tests {
    use roadstead_contracts::operation::{Counts, Ending, ObjectKey, ObjectResult};
    use serde_json::json;

    use super::*;

    fn operation(number: u128) -> OperationId {
        format!("0198c5b0-0000-7000-8000-{number:012x}").parse().unwrap()
    }

    fn head(epoch: i64) -> Head {
        Head {
            operation_id: operation(1),
            epoch,
            kind: OperationKind::Apply,
            digest: "d".to_owned(),
            user: "roadstead:ada".to_owned(),
            objects: 3,
        }
    }

    fn result(position: u32) -> Record {
        let key = ObjectKey {
            api_version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            namespace: Some("n".to_owned()),
            name: format!("c{position}"),
        };
        Record::Event {
            told: RunEvent::Object(Box::new(ObjectResult {
                position,
                source: String::new(),
                key,
                outcome: ObjectOutcome::Created,
                error: None,
                diff: None,
                before: None,
                undoable: true,
                left_version: None,
            })),
        }
    }

    fn ending() -> RunEnding {
        RunEnding { ending: Ending::Succeeded, counts: Counts::default(), error: None, exit_code: None }
    }

    async fn written(folder: &Folder) -> Ledger {
        let mut ledger = folder.begin(&head(1), None).unwrap();
        for position in 0..2 {
            let before = Record::Before { position, object: (position == 1).then(|| json!({"a": "x".repeat(100)})) };
            ledger.add(vec![before], Keep::Written).await.unwrap();
            ledger.add(vec![result(position)], Keep::Synced).await.unwrap();
        }
        ledger
    }

    #[tokio::test]
    async fn a_ledger_is_read_back_wherever_it_was_cut() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        let ledger = written(&folder).await;
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&ledger.path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        let whole = std::fs::read(&ledger.path).unwrap();
        let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for cut in 0..=whole.len() {
            std::fs::write(&ledger.path, &whole[..cut]).unwrap();
            let found = folder.latest(operation(1)).unwrap().unwrap();
            let resumed = Folder::resume(&found).unwrap();
            if cut < first {
                assert!(resumed.is_err(), "{cut}");
                assert!(folder.is_damaged(operation(1), 1) && folder.latest(operation(1)).unwrap().is_none());
                continue;
            }
            let mut resumed = resumed.unwrap();
            let lines = whole[..cut].split(|byte| *byte == b'\n').count() - 1;
            assert_eq!(resumed.story.finished.len(), (lines - 1) / 2, "{cut}");
            // It goes on behind the last whole line.
            resumed.add(vec![Record::Ended { ending: ending() }], Keep::Synced).await.unwrap();
            assert_eq!(read(&resumed.path).unwrap().unwrap(), resumed.story);
        }
        std::fs::write(&ledger.path, &whole).unwrap();
        let found = folder.latest(operation(1)).unwrap().unwrap();
        let resumed = Folder::resume(&found).unwrap().unwrap();
        assert_eq!(resumed.before(0).await.unwrap(), Some(None));
        assert_eq!(resumed.before(1).await.unwrap(), Some(Some(json!({"a": "x".repeat(100)}))));
        assert_eq!(resumed.before(2).await.unwrap(), None);
    }

    #[tokio::test]
    async fn garbage_is_set_aside() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        let ledger = written(&folder).await;
        let whole = std::fs::read(&ledger.path).unwrap();
        for garbage in [&b"nonsense\n"[..], b"{}\n", b"\0\0\0\n\0", b"\xff\xfe"] {
            std::fs::write(&ledger.path, [&whole[..], garbage, &whole[..]].concat()).unwrap();
            let found = folder.latest(operation(1)).unwrap().unwrap();
            assert_eq!(Folder::resume(&found).unwrap().unwrap_err(), Damaged, "{garbage:?}");
            std::fs::write(&ledger.path, garbage).unwrap();
            let found = folder.latest(operation(1)).unwrap().unwrap();
            assert!(Folder::resume(&found).unwrap().is_err(), "{garbage:?}");
        }
    }

    #[tokio::test]
    async fn a_later_attempt_keeps_the_earlier_states() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        written(&folder).await;
        let old = folder.latest(operation(1)).unwrap().unwrap();
        let later = folder.begin(&head(2), Some(&old)).unwrap();
        assert!(later.story.finished.is_empty());
        assert_eq!(later.before(0).await.unwrap(), Some(None));
        assert!(later.before(1).await.unwrap().unwrap().is_some());
        let found = folder.latest(operation(1)).unwrap().unwrap();
        assert_eq!((found.epoch, std::fs::read_dir(place.path()).unwrap().count()), (2, 1));
        assert_eq!(read(&found.path).unwrap().unwrap(), later.story);
    }

    #[tokio::test]
    async fn what_is_settled_shrinks_and_goes() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        let mut ledger = written(&folder).await;
        let found = folder.latest(operation(1)).unwrap().unwrap();
        // What has not ended is not settled.
        folder.settle(&found, operation(1)).unwrap();
        assert_eq!(folder.latest(operation(1)).unwrap().unwrap(), found);
        ledger.add(vec![Record::Ended { ending: ending() }], Keep::Synced).await.unwrap();
        folder.settle(&found, operation(1)).unwrap();
        let settled = folder.latest(operation(1)).unwrap().unwrap();
        let story = read(&settled.path).unwrap().unwrap();
        assert_eq!((story.ending, story.finished.len()), (Some(ending()), 0));
        folder.cancel(operation(2), 4).unwrap();
        assert!(folder.is_cancelled(operation(2), 4) && !folder.is_cancelled(operation(2), 5));
        folder.sweep(SystemTime::now() + SETTLED_KEPT + Duration::from_secs(60));
        assert!(folder.latest(operation(1)).unwrap().is_none() && folder.is_cancelled(operation(2), 4));
        folder.sweep(SystemTime::now() + KEPT + Duration::from_secs(60));
        assert!(!folder.is_cancelled(operation(2), 4));
    }

    #[test]
    fn a_full_folder_takes_nothing_new() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        for number in 0..FILES_MAX {
            std::fs::write(place.path().join(format!("{}.1.run", operation(number as u128))), b"").unwrap();
        }
        let refused = folder.begin(&Head { operation_id: operation(5_000), ..head(1) }, None).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    }
}
