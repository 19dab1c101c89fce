//! Where things are in the repository.

use std::path::{Path, PathBuf};

/// The repository's root folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The folder of a named set of servers.
pub(crate) fn dev_folder(name: &str) -> PathBuf {
    root().join(".dev").join(name)
}
