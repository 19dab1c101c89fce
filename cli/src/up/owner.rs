//! Who owns the clusters that `up` hosts: the account of the first start, remembered in the hub's folder.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use roadstead_contracts::identity::Principal;

fn file(folder: &Path) -> PathBuf {
    folder.join("owner.json")
}

/// Remembers the owner.
pub(super) fn remember(folder: &Path, owner: &Principal) -> Result<()> {
    let file = file(folder);
    fs::write(&file, serde_json::to_vec_pretty(owner)?)
        .with_context(|| format!("failed to write {}", file.display()))?;
    fs::set_permissions(&file, Permissions::from_mode(0o600))?;
    Ok(())
}

/// The owner, when there was a first start here.
pub(super) fn recall(folder: &Path) -> Result<Option<Principal>> {
    let file = file(folder);
    match fs::read(&file) {
        Ok(text) => serde_json::from_slice(&text).map(Some).with_context(|| format!("{} is damaged", file.display())),
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(fault) => Err(fault).with_context(|| format!("failed to read {}", file.display())),
    }
}
