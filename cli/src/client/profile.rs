//! The hub that `login` remembered: one file, readable by its owner alone.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// What `login` remembers. The file holds secrets: mode 0600, and no `Debug`.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Profile {
    /// Address of the hub, without a slash at the end.
    pub url: String,
    /// CA to trust for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// API key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
    /// Access token of a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token: Option<String>,
    /// Refresh token of a session: changes with each use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
}

impl Profile {
    /// Where the file is: `$ROADSTEAD_CONFIG`, else `roadstead/config.json` under `$XDG_CONFIG_HOME` or `~/.config`.
    pub fn path() -> Result<PathBuf> {
        if let Some(file) = std::env::var_os("ROADSTEAD_CONFIG") {
            return Ok(file.into());
        }
        let base = match std::env::var_os("XDG_CONFIG_HOME").filter(|value| !value.is_empty()) {
            Some(folder) => PathBuf::from(folder),
            None => PathBuf::from(std::env::var_os("HOME").context("neither XDG_CONFIG_HOME nor HOME is set")?)
                .join(".config"),
        };
        Ok(base.join("roadstead").join("config.json"))
    }

    /// Reads the file; `None` when there is none.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(fault) => return Err(fault).with_context(|| format!("failed to read {}", path.display())),
        };
        serde_json::from_str(&text).map(Some).with_context(|| format!("{} is not a profile", path.display()))
    }

    /// Writes the file in one step, so that two commands at once never leave half a token.
    pub fn write(&self, path: &Path) -> Result<()> {
        let folder = path.parent().context("the profile needs a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
        let mut file = tempfile::NamedTempFile::new_in(folder).context("failed to write the profile")?;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(serde_json::to_string_pretty(self)?.as_bytes())?;
        file.persist(path).with_context(|| format!("failed to write {}", path.display()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub").join("config.json");
        assert!(Profile::read(&path).unwrap().is_none());
        let profile = Profile { url: "http://hub".to_owned(), api_key: Some("k".to_owned()), ..Profile::default() };
        profile.write(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Profile::read(&path).unwrap().unwrap().api_key.as_deref(), Some("k"));
    }
}
