//! The file with which `up` tells a program that it is ready, and on the first start the owner's secrets.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// What the file holds. Only what is served is in it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Ready {
    /// Address of the front door.
    pub url: String,
    /// Address of the agents' door.
    pub agent_url: String,
    /// Address of the Kubernetes door.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_url: Option<String>,
    /// Whoever issued that door's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The owner; on the first start only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<Admin>,
    /// An API key of the owner; on the first start only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
    /// A join token; on the first start only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join_token: Option<String>,
}

/// The owner of the hub.
#[derive(Clone, Serialize, Deserialize)]
pub struct Admin {
    /// User name.
    pub username: String,
    /// One-time password.
    pub password: String,
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ready").field("url", &self.url).field("agent_url", &self.agent_url).finish_non_exhaustive()
    }
}

impl Ready {
    /// Writes the file in one step, readable by its owner alone: whoever waits for it never reads half of it.
    pub fn write(&self, path: &Path) -> Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)
            .with_context(|| format!("failed to write into {}", folder.display()))?;
        file.as_file().set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(serde_json::to_string_pretty(self)?.as_bytes())?;
        file.write_all(b"\n")?;
        file.persist(path).with_context(|| format!("failed to write {}", path.display()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_starts_write_addresses_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ready.json");
        let admin = Admin { username: "owner".to_owned(), password: "canary".to_owned() };
        let mut ready = Ready {
            url: "http://127.0.0.1:1".to_owned(),
            agent_url: "http://127.0.0.1:2".to_owned(),
            kubernetes_url: Some("https://127.0.0.1:3".to_owned()),
            ca_file: None,
            admin: Some(admin),
            api_key: Some("rsk_1".to_owned()),
            join_token: Some("rsj_1".to_owned()),
        };
        assert!(!format!("{ready:?}").contains("canary"));
        ready.write(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let read: Ready = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(read.admin.unwrap().password, "canary");
        (ready.admin, ready.api_key, ready.join_token) = (None, None, None);
        ready.write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("canary") && !text.contains("admin") && !text.contains("null"), "{text}");
    }
}
