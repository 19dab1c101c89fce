//! The folder: which files there are, when one is begun, taken up, settled and removed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use roadstead_contracts::ids::OperationId;

use super::read::{carry, read};
use super::{Damaged, Head, Ledger, Record, Story, line};

/// Files in the folder: a day of an operation every two minutes whose endings the hub never fetched.
pub(super) const FILES_MAX: usize = 1_000;
/// Bytes in the folder. Above it nothing new is begun.
const FOLDER_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// What nobody fetched is kept this long.
pub(super) const KEPT: Duration = Duration::from_secs(8 * 24 * 3600);
/// What is settled is kept this long, so that a repeated order finds its ending and not an empty place.
pub(super) const SETTLED_KEPT: Duration = Duration::from_secs(3600);
const SUFFIX: &str = "run";
const SETTLED: &str = "settled";
const CANCELLED: &str = "cancel";
const DAMAGED: &str = "damaged";
/// Begins the names of folders.
const SCRATCH: &str = "files-";

/// Where the files are.
#[derive(Debug, Clone)]
pub(in crate::operations) struct Folder {
    path: Arc<PathBuf>,
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
        let folder = Self { path: Arc::new(path.to_owned()) };
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

    /// Remembers a stop of what has not arrived.
    pub(in crate::operations) fn cancel(&self, operation: OperationId, epoch: i64) -> io::Result<()> {
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
    pub(in crate::operations) fn begin(&self, head: &Head, carried: Option<&Found>) -> io::Result<Ledger> {
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

    /// Removes what is older than it is kept.
    pub(super) fn sweep(&self, now: SystemTime) {
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
