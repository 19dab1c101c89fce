//! A place of one's own in the spool's folder: several replicas may share a volume, and one that died leaves its records to
//! the next that starts.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Replicas on one volume.
const SLOTS: usize = 64;

/// Makes a folder for its owner alone: who did what is nobody else's business on this machine.
fn make(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A held place, and those that nobody holds any more.
#[derive(Debug)]
pub(super) struct Slot {
    /// Where this process writes.
    pub(super) folder: PathBuf,
    /// Folders with what dead processes left.
    pub(super) left: Vec<PathBuf>,
    // The locks go with the files.
    _locks: Vec<File>,
}

impl Slot {
    /// Takes a place.
    pub(super) fn take(spool: &Path) -> io::Result<Self> {
        make(spool)?;
        let (mut folder, mut left, mut locks) = (None, Vec::new(), Vec::new());
        for number in 0..SLOTS {
            let path = spool.join(number.to_string());
            if !path.is_dir() {
                if folder.is_some() {
                    continue;
                }
                make(&path)?;
            }
            let lock = File::options().create(true).truncate(false).write(true).open(path.join("lock"))?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => continue,
                Err(fs::TryLockError::Error(fault)) => return Err(fault),
            }
            locks.push(lock);
            if folder.is_none() {
                folder = Some(path);
            } else {
                left.push(path);
            }
        }
        let folder = folder.ok_or_else(|| io::Error::other("every place of the audit spool is taken"))?;
        Ok(Self { folder, left, _locks: locks })
    }
}
