//! The folder of a hub in one process.

use std::fs::{self, File, Permissions, TryLockError};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// Name of the file whose lock says that a hub runs.
const LOCK: &str = "lock";

/// A hub's folder, held by this process alone.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    // The lock goes with the file.
    _lock: File,
}

impl DataFolder {
    /// Makes the folder when it is not there (for its owner alone) and takes it.
    pub fn take(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("failed to make {}", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("failed to find {}", path.display()))?;
        fs::set_permissions(&path, Permissions::from_mode(0o700))
            .with_context(|| format!("failed to close {} to others", path.display()))?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK))
            .with_context(|| format!("failed to write into {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!("another hub is running on {}", path.display()),
            Err(TryLockError::Error(fault)) => Err(fault).with_context(|| format!("failed to lock {}", path.display())),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The folder of `up` when none is named: `roadstead` under `$XDG_DATA_HOME` or `~/.local/share`.
pub fn default_data_folder() -> Result<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = named("XDG_DATA_HOME")
        .or_else(|| named("HOME").map(|home| home.join(".local").join("share")))
        .context("neither XDG_DATA_HOME nor HOME is set; name a folder with --data")?;
    Ok(base.join("roadstead"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_hub_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub");
        let held = DataFolder::take(&path).unwrap();
        assert_eq!(fs::metadata(held.path()).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(DataFolder::take(&path).unwrap_err().to_string().contains("another hub"));
        drop(held);
        DataFolder::take(&path).unwrap();
    }
}
