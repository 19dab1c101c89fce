//! Files, as more than one part of the agent needs them.

use std::io;
use std::path::Path;

/// Removes a file. One that is not there is fine: whoever died or swept before was faster.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
