//! What an agent keeps: its private key and what it learnt when it joined. In a cluster a Secret, elsewhere a file that
//! only its owner can read.

use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use http::Method;
use roadstead_auth::agent_key::AgentKey;
use roadstead_contracts::message::RightsProfile;
use roadstead_contracts::names::{ClusterName, Namespace};
use roadstead_runtime::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::kubernetes::{Cluster, Failure};
use crate::{Error, Result};

/// File name below the state folder.
const FILE: &str = "agent.json";
/// Key inside the Secret.
const SECRET_KEY: &str = "agent.json";

/// What enrolment gave.
#[derive(Debug, Clone, Deserialize)]
pub struct Kept {
    /// The agent's id.
    pub agent_id: String,
    /// The cluster's id.
    pub cluster_id: String,
    /// The cluster's name.
    pub cluster_name: ClusterName,
    /// The pinned root.
    pub identity_root: String,
    /// Rights profile.
    pub profile: RightsProfile,
    /// Namespaces of that profile.
    #[serde(default)]
    pub namespaces: Vec<Namespace>,
    /// PEM.
    pub private_key: Secret,
}

impl Kept {
    /// The agent's key pair.
    pub fn key(&self) -> Result<AgentKey> {
        Ok(AgentKey::load(self.private_key.expose())?)
    }

    /// The one place where the key is written out.
    fn to_json(&self) -> String {
        let value = json!({
            "agent_id": self.agent_id,
            "cluster_id": self.cluster_id,
            "cluster_name": self.cluster_name,
            "identity_root": self.identity_root,
            "profile": self.profile,
            "namespaces": self.namespaces,
            "private_key": self.private_key.expose(),
        });
        value.to_string()
    }
}

/// Where it is kept.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a process has one of them")]
pub enum Keeper {
    /// A folder.
    Folder(PathBuf),
    /// A Secret of the agent's own namespace.
    Secret {
        /// The cluster.
        cluster: Cluster,
        /// The Secret's name.
        name: String,
    },
}

impl fmt::Display for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.join(FILE).display()),
            Self::Secret { cluster, name } => write!(f, "Secret {}/{name}", cluster.namespace),
        }
    }
}

impl Keeper {
    /// What is kept, if anything.
    pub async fn load(&self) -> Result<Option<Kept>> {
        let text = match self {
            Self::Folder(folder) => read_file(&folder.join(FILE))?,
            Self::Secret { cluster, name } => read_secret(cluster, name).await?,
        };
        let Some(text) = text else { return Ok(None) };
        let kept: Kept = serde_json::from_str(text.expose())
            .map_err(|error| Error::State(format!("{self} is not readable ({error}); remove it and join again")))?;
        kept.key().map_err(|_| Error::State(format!("the key in {self} is damaged; remove it and join again")))?;
        Ok(Some(kept))
    }

    /// Keeps it. Nothing is lost half-way: a file is replaced whole.
    pub async fn save(&self, kept: &Kept) -> Result<()> {
        match self {
            Self::Folder(folder) => {
                write_file(folder, &kept.to_json()).map_err(|error| Error::State(format!("{self}: {error}")))
            }
            Self::Secret { cluster, name } => write_secret(cluster, name, kept).await,
        }
    }

    /// Whether something could be kept here, asked before a join token is spent.
    pub async fn check(&self) -> Result<()> {
        match self {
            Self::Folder(folder) => {
                make_folder(folder).map_err(|error| Error::State(format!("{}: {error}", folder.display())))?;
                let probe = folder.join(".probe");
                std::fs::write(&probe, b"").map_err(|error| Error::State(format!("{}: {error}", folder.display())))?;
                let _ = std::fs::remove_file(probe);
                Ok(())
            }
            Self::Secret { cluster, name } => read_secret(cluster, name).await.map(|_| ()),
        }
    }
}

fn read_file(path: &Path) -> Result<Option<Secret>> {
    let broken = |detail: String| Error::State(format!("{}: {detail}", path.display()));
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(broken(error.to_string())),
        Ok(about) if about.permissions().mode() & 0o077 != 0 => {
            return Err(broken("others can read the agent's key; chmod 600 it".to_owned()));
        }
        Ok(_) => {}
    }
    std::fs::read_to_string(path).map(|text| Some(Secret::new(text))).map_err(|error| broken(error.to_string()))
}

fn make_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn write_file(folder: &Path, text: &str) -> std::io::Result<()> {
    make_folder(folder)?;
    let fresh = folder.join(".agent.json.new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, folder.join(FILE))
}

#[derive(Debug, Deserialize)]
struct SecretObject {
    #[serde(default)]
    data: std::collections::BTreeMap<String, Secret>,
}

fn secret_path(cluster: &Cluster, name: &str) -> String {
    format!("/api/v1/namespaces/{}/secrets/{name}", cluster.namespace)
}

fn secret_fault(cluster: &Cluster, name: &str, failure: &Failure) -> Error {
    Error::State(format!("Secret {}/{name}: {failure}", cluster.namespace))
}

async fn read_secret(cluster: &Cluster, name: &str) -> Result<Option<Secret>> {
    match cluster.get::<SecretObject>(&secret_path(cluster, name), None).await {
        Ok(secret) => {
            let Some(encoded) = secret.data.get(SECRET_KEY) else { return Ok(None) };
            let bytes = base64::engine::general_purpose::STANDARD.decode(encoded.expose()).ok();
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            text.map(|text| Some(Secret::new(text))).ok_or_else(|| {
                Error::State(format!("Secret {}/{name} is damaged; remove it and join again", cluster.namespace))
            })
        }
        Err(Failure::NotFound) => Ok(None),
        Err(failure) => Err(secret_fault(cluster, name, &failure)),
    }
}

async fn write_secret(cluster: &Cluster, name: &str, kept: &Kept) -> Result<()> {
    let data = json!({ SECRET_KEY: base64::engine::general_purpose::STANDARD.encode(kept.to_json()) });
    let path = secret_path(cluster, name);
    let patched: Result<Value, Failure> =
        cluster.write(Method::PATCH, &path, "application/merge-patch+json", &json!({ "data": data })).await;
    let failure = match patched {
        Ok(_) => return Ok(()),
        Err(Failure::NotFound) => {
            let object = json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": { "name": name, "labels": { "app.kubernetes.io/name": "roadstead-agent" } },
                "type": "Opaque",
                "data": data,
            });
            let all = format!("/api/v1/namespaces/{}/secrets", cluster.namespace);
            match cluster.write::<_, Value>(Method::POST, &all, "application/json", &object).await {
                Ok(_) => return Ok(()),
                Err(failure) => failure,
            }
        }
        Err(failure) => failure,
    };
    Err(secret_fault(cluster, name, &failure))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        Kept {
            agent_id: "0198c5b0-0000-7000-8000-000000000001".to_owned(),
            cluster_id: "0198c5b0-0000-7000-8000-000000000002".to_owned(),
            cluster_name: ClusterName::parse("east").unwrap(),
            identity_root: "root".to_owned(),
            profile: RightsProfile::Operator,
            namespaces: Vec::new(),
            private_key: AgentKey::generate().unwrap().pem(),
        }
    }

    #[tokio::test]
    async fn a_file_is_kept_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = Keeper::Folder(folder.path().join("state"));
        keeper.check().await.unwrap();
        assert!(keeper.load().await.unwrap().is_none());
        let kept = kept();
        keeper.save(&kept).await.unwrap();
        keeper.save(&kept).await.unwrap();
        let back = keeper.load().await.unwrap().unwrap();
        assert_eq!((back.agent_id, back.private_key), (kept.agent_id, kept.private_key));
        let path = folder.path().join("state").join(FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(keeper.load().await, Err(Error::State(_))));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "{}").unwrap();
        assert!(matches!(keeper.load().await, Err(Error::State(_))));
    }

    #[test]
    fn the_key_is_not_shown() {
        assert!(!format!("{:?}", kept()).contains("PRIVATE"));
    }
}
