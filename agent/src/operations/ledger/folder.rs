//! The folder: which files there are, when one is begun, taken up, settled and removed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use roadstead_auth::identity::ORDER_LIFETIME_MAX_SECONDS;
use roadstead_contracts::ids::OperationId;

use super::read::{carry, read};
use super::{Damaged, Head, Ledger, Record, Story, line};
use crate::files;

/// Operations whose endings the hub has not fetched: a day of one every two minutes.
pub(super) const FILES_MAX: usize = 1_000;
/// What else is kept: operations that are settled, and stops. Eight of them a second for as long as they are kept.
pub(super) const SETTLED_MAX: usize = 10_000;
/// Bytes of what is not settled. Above it nothing new is begun. (What is settled is small, and stops are empty.)
const FOLDER_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// What nobody fetched is kept this long.
pub(super) const KEPT: Duration = Duration::from_secs(8 * 24 * 3600);
/// What is settled is kept this long, so that a repeated order finds its ending and not an empty place: for as long as an order
/// is good, and five minutes for clocks that differ. So is a stop of what never arrived: an order that was under way when the
/// hub told the stop is dead by then, and the hub sends none anew of what it ended.
pub(super) const SETTLED_KEPT: Duration = Duration::from_secs(ORDER_LIFETIME_MAX_SECONDS as u64 + 5 * 60);
/// Between two looks for what is older than it is kept.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
const SUFFIX: &str = "run";
const SETTLED: &str = "settled";
const CANCELLED: &str = "cancel";
const DAMAGED: &str = "damaged";
/// Folder of what is watched for drift.
const DRIFT: &str = "drift";
/// Which sessions were served with the folder.
const SESSIONS: &str = "sessions";
/// Begins the names of folders.
const SCRATCH: &str = "files-";

/// Where the files are.
#[derive(Debug, Clone)]
pub(in crate::operations) struct Folder {
    path: Arc<PathBuf>,
    /// Who settles: two at once would write one file.
    settling: Arc<Mutex<()>>,
    swept: Arc<Mutex<Option<Instant>>>,
}

/// A file of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::operations) struct Found {
    pub(in crate::operations) epoch: i64,
    pub(in crate::operations) path: PathBuf,
}

impl Folder {
    /// Makes the folder when it is not there.
    pub(in crate::operations) fn open(path: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let folder = Self { path: Arc::new(path.to_owned()), settling: Arc::default(), swept: Arc::default() };
        let probe = path.join(".probe");
        std::fs::write(&probe, b"")?;
        std::fs::remove_file(probe)?;
        folder.sweep(SystemTime::now());
        folder.clear_scratch();
        Ok(folder)
    }

    /// A folder for the files of one attempt. It is not made.
    pub(in crate::operations) fn scratch(&self, operation: OperationId, epoch: i64) -> PathBuf {
        self.path.join(format!("{SCRATCH}{operation}.{epoch}"))
    }

    /// The folder of what is watched for drift. It may not be there.
    pub(in crate::operations) fn drift(&self) -> PathBuf {
        self.path.join(DRIFT)
    }

    /// The file that says which sessions were served with the folder. It may not be there.
    pub(in crate::operations) fn sessions(&self) -> PathBuf {
        self.path.join(SESSIONS)
    }

    /// Removes what an agent that died left in such folders.
    fn clear_scratch(&self) {
        let Ok(entries) = std::fs::read_dir(&*self.path) else { return };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(SCRATCH) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }

    fn file(&self, operation: OperationId, epoch: i64, suffix: &str) -> PathBuf {
        self.path.join(format!("{operation}.{epoch}.{suffix}"))
    }

    /// The latest attempt that is known. Settled ones count.
    pub(in crate::operations) fn latest(&self, operation: OperationId) -> io::Result<Option<Found>> {
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
    pub(in crate::operations) fn is_damaged(&self, operation: OperationId, epoch: i64) -> bool {
        self.file(operation, epoch, DAMAGED).exists()
    }

    /// Whether a stop was asked for before this attempt arrived.
    pub(in crate::operations) fn is_cancelled(&self, operation: OperationId, epoch: i64) -> bool {
        self.file(operation, epoch, CANCELLED).exists()
    }

    /// Remembers a stop, also of what has not arrived.
    pub(in crate::operations) fn cancel(&self, operation: OperationId, epoch: i64) -> io::Result<()> {
        // A hub that ends much by itself tells stops and nothing else.
        self.sweep_now_and_then();
        self.room()?;
        let file = File::create(self.file(operation, epoch, CANCELLED))?;
        file.sync_all()?;
        self.sync()
    }

    /// The hub has the ending. A few bytes stay for a while.
    pub(in crate::operations) fn settle(&self, found: &Found, operation: OperationId) -> io::Result<()> {
        if found.path.extension().is_some_and(|suffix| suffix == SETTLED) {
            return Ok(());
        }
        let _mine = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        let story = match read(&found.path) {
            // Told twice at once: the other was first.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            read => read?,
        };
        let Ok(story) = story else { return Ok(()) };
        let (Some(head), Some(ending)) = (story.head, story.ending) else { return Ok(()) };
        let mut text = line(&Record::Head(head))?;
        text.extend(line(&Record::Ended { ending })?);
        let fresh = self.file(operation, found.epoch, "new");
        let mut file = private(OpenOptions::new().write(true).create(true).truncate(true)).open(&fresh)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&fresh, self.file(operation, found.epoch, SETTLED))?;
        files::remove(&found.path)?;
        // A repeated order finds the ending, whether or not a stop had been asked for.
        let _ = std::fs::remove_file(self.file(operation, found.epoch, CANCELLED));
        self.sweep_now_and_then();
        Ok(())
    }

    /// Begins the file of a new attempt. `carried`: an earlier attempt of the same content, whose earlier states are the ones
    /// that count.
    pub(in crate::operations) fn begin(&self, head: &Head, carried: Option<&Found>) -> io::Result<Ledger> {
        self.sweep_now_and_then();
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
    pub(in crate::operations) fn resume(found: &Found) -> io::Result<Result<Ledger, Damaged>> {
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

    fn sweep_now_and_then(&self) {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if swept.is_none_or(|swept| swept.elapsed() >= SWEEP_EVERY) {
            *swept = Some(Instant::now());
            self.sweep(SystemTime::now());
        }
    }

    /// Removes what is older than it is kept.
    pub(super) fn sweep(&self, now: SystemTime) {
        let Ok(entries) = std::fs::read_dir(&*self.path) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            let Some((_, _, suffix)) = parts(&path) else { continue };
            let age =
                entry.metadata().and_then(|about| about.modified()).ok().and_then(|at| now.duration_since(at).ok());
            // A stop counts for as long as there is a run that could be taken up.
            let begun = || [SUFFIX, DAMAGED].iter().any(|suffix| path.with_extension(suffix).exists());
            let is_over = age.is_some_and(|age| {
                age > KEPT || (age > SETTLED_KEPT && (suffix == SETTLED || (suffix == CANCELLED && !begun())))
            });
            if is_over {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// Whether something new may be begun. What is settled takes no room from what is not, up to a bound of its own.
    fn room(&self) -> io::Result<()> {
        let (mut open, mut kept, mut bytes) = (0, 0, 0);
        for entry in std::fs::read_dir(&*self.path)? {
            let entry = entry?;
            match parts(&entry.path()) {
                Some((_, _, suffix)) if suffix == SETTLED || suffix == CANCELLED => kept += 1,
                _ => {
                    open += 1;
                    bytes += entry.metadata().map_or(0, |about| about.len());
                }
            }
        }
        let full = if open >= FILES_MAX || bytes >= FOLDER_BYTES_MAX {
            "the ledger is full of what the hub has not settled"
        } else if kept >= SETTLED_MAX {
            "the ledger is full of what was done in the last minutes"
        } else {
            return Ok(());
        };
        Err(io::Error::new(io::ErrorKind::StorageFull, full))
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
