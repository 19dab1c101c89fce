//! Kubeconfigs: made, merged into the one that kubectl uses, written so that only their owner reads them.
//!
//! Contexts and clusters are called `roadstead-<cluster>`, users after the person and the hub, so that those of two hubs never
//! become one. What is not ours in a file stays as it was, the current context above all.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Largest kubeconfig that is read: one of 5,000 clusters, each with the hub's certificate, is half of it.
const FILE_MAX: u64 = 32 * 1024 * 1024;

/// What the contexts of one hub and one person have in common.
#[derive(Debug)]
pub(super) struct Source {
    /// Address of the Kubernetes door.
    pub(super) kubernetes_url: String,
    /// Who issued its certificate, PEM; public authorities otherwise.
    pub(super) authority: Option<String>,
    /// Address of the hub.
    pub(super) hub_url: String,
    /// Who.
    pub(super) username: String,
    /// How kubectl gets a token.
    pub(super) credential: Credential,
}

/// How kubectl gets a token.
#[derive(Debug)]
pub(super) enum Credential {
    /// By calling this program.
    Plugin {
        /// Path of this program.
        program: PathBuf,
        /// Where it keeps the hub, when that is not the usual place.
        profile: Option<PathBuf>,
    },
    /// It is in the file.
    Token(String),
}

/// The host and port of an address.
pub(super) fn authority_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// Name of a cluster's context.
pub(super) fn context_name(cluster: &str) -> String {
    format!("roadstead-{cluster}")
}

impl Source {
    fn user_name(&self) -> String {
        format!("roadstead-{}@{}", self.username, authority_of(&self.hub_url))
    }

    fn server(&self, cluster: &str) -> String {
        format!("{}/k/{cluster}", self.kubernetes_url.trim_end_matches('/'))
    }

    /// A kubeconfig for these clusters.
    pub(super) fn config(&self, clusters: &[String], current: Option<&str>) -> Value {
        let user = self.user_name();
        let entry = |cluster: &String| {
            let mut body = json!({ "server": self.server(cluster) });
            if let Some(authority) = &self.authority {
                body["certificate-authority-data"] = json!(STANDARD.encode(authority));
            }
            json!({ "name": context_name(cluster), "cluster": body })
        };
        let context = |cluster: &String| {
            let name = context_name(cluster);
            json!({ "name": name, "context": { "cluster": name, "user": user } })
        };
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": clusters.iter().map(entry).collect::<Vec<_>>(),
            "contexts": clusters.iter().map(context).collect::<Vec<_>>(),
            "users": [{ "name": user, "user": self.user() }],
            "current-context": current.map(context_name).unwrap_or_default(),
        })
    }

    fn user(&self) -> Value {
        match &self.credential {
            Credential::Token(token) => json!({ "token": token }),
            Credential::Plugin { program, profile } => {
                let mut exec = json!({
                    "apiVersion": "client.authentication.k8s.io/v1",
                    "command": program.to_string_lossy(),
                    "args": ["kube-credential", "--url", self.hub_url],
                    "interactiveMode": "Never",
                    "provideClusterInfo": false,
                    "installHint": "roadstead is not where it was when this kubeconfig was made",
                });
                if let Some(profile) = profile {
                    exec["env"] = json!([{ "name": "ROADSTEAD_CONFIG", "value": profile.to_string_lossy() }]);
                }
                json!({ "exec": exec })
            }
        }
    }
}

/// Puts our entries into a kubeconfig that is there.
pub(super) fn merge(mut theirs: Value, ours: &Value, use_context: bool) -> Result<Value> {
    ensure!(theirs.is_object(), "the kubeconfig is not a mapping");
    for cluster in list(ours, "clusters") {
        let name = cluster["name"].as_str().unwrap_or_default();
        let known = list(&theirs, "clusters").iter().find(|known| known["name"] == name);
        let server = |entry: &Value| entry["cluster"]["server"].as_str().map(host).map(str::to_owned);
        if let Some(known) = known
            && server(known) != server(cluster)
        {
            bail!("{name} is a cluster of another hub in that kubeconfig; write to a file of its own with --out FILE");
        }
    }
    for section in ["clusters", "contexts", "users"] {
        let mut kept: Vec<Value> = list(&theirs, section).to_vec();
        for entry in list(ours, section) {
            match kept.iter_mut().find(|known| known["name"] == entry["name"]) {
                // A namespace that was set for the context stays.
                Some(known) if section == "contexts" => {
                    known["context"]["cluster"] = entry["context"]["cluster"].clone();
                    known["context"]["user"] = entry["context"]["user"].clone();
                }
                Some(known) => *known = entry.clone(),
                None => kept.push(entry.clone()),
            }
        }
        theirs[section] = Value::Array(kept);
    }
    if use_context {
        theirs["current-context"] = ours["current-context"].clone();
    }
    for (name, value) in [("apiVersion", "v1"), ("kind", "Config")] {
        if theirs.get(name).is_none() {
            theirs[name] = json!(value);
        }
    }
    Ok(theirs)
}

fn list<'a>(config: &'a Value, section: &str) -> &'a [Value] {
    config.get(section).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Host without port: a hub on somebody's desk may have another port after a restart.
fn host(server: &str) -> &str {
    let authority = authority_of(server);
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// The kubeconfig that kubectl changes: the first of `KUBECONFIG`, else `~/.kube/config`.
pub(super) fn default_file() -> Result<PathBuf> {
    let listed = std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty());
    if let Some(file) =
        listed.as_deref().and_then(|paths| std::env::split_paths(paths).find(|path| !path.as_os_str().is_empty()))
    {
        return Ok(file);
    }
    Ok(PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".kube").join("config"))
}

/// Changes a kubeconfig in one step, while no kubectl does.
pub(super) fn update(file: &Path, ours: &Value, use_context: bool) -> Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
    // A kubeconfig that is a link stays one.
    let target = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let _lock = Lock::take(&target)?;
    let theirs = match fs::metadata(&target) {
        Ok(data) => {
            ensure!(data.len() <= FILE_MAX, "{} is larger than {FILE_MAX} bytes", target.display());
            let text = fs::read_to_string(&target).with_context(|| format!("failed to read {}", target.display()))?;
            if text.trim().is_empty() {
                json!({})
            } else {
                // The parser's message may quote the file, tokens and all.
                serde_saphyr::from_str(&text).map_err(|_| anyhow::anyhow!("{} is not YAML", target.display()))?
            }
        }
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => json!({}),
        Err(fault) => return Err(fault).with_context(|| format!("failed to read {}", target.display())),
    };
    write(&target, &merge(theirs, ours, use_context)?)
}

/// Writes a kubeconfig that only its owner reads.
pub(super) fn write(file: &Path, config: &Value) -> Result<()> {
    let shown = file.display();
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut out = tempfile::NamedTempFile::new_in(folder).with_context(|| format!("failed to write {shown}"))?;
    out.as_file().set_permissions(Permissions::from_mode(0o600))?;
    out.write_all(text(config)?.as_bytes()).with_context(|| format!("failed to write {shown}"))?;
    out.persist(file).with_context(|| format!("failed to write {shown}"))?;
    Ok(())
}

/// As YAML.
pub(super) fn text(config: &Value) -> Result<String> {
    serde_saphyr::to_string(config).context("failed to write YAML")
}

/// kubectl's own lock: a file beside the kubeconfig that is there while somebody changes it.
struct Lock(PathBuf);

impl Lock {
    fn take(file: &Path) -> Result<Self> {
        let mut name = file.file_name().unwrap_or(OsStr::new("config")).to_owned();
        name.push(".lock");
        let path = file.with_file_name(name);
        OpenOptions::new().write(true).create_new(true).open(&path).with_context(|| {
            format!(
                "{} is being changed by another program (remove {} if that is not so)",
                file.display(),
                path.display()
            )
        })?;
        Ok(Self(path))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(hub: &str, kubernetes: &str) -> Source {
        Source {
            kubernetes_url: kubernetes.to_owned(),
            authority: Some("PEM".to_owned()),
            hub_url: hub.to_owned(),
            username: "ada".to_owned(),
            credential: Credential::Plugin { program: "/usr/bin/roadstead".into(), profile: None },
        }
    }

    #[test]
    fn a_merge_keeps_what_is_not_ours() {
        let ours = source("http://127.0.0.1:8008", "https://127.0.0.1:8443").config(&["one".to_owned()], Some("one"));
        let theirs = json!({
            "current-context": "mine",
            "clusters": [{ "name": "mine", "cluster": { "server": "https://x" } }],
            "contexts": [{ "name": "roadstead-one", "context": { "cluster": "old", "user": "old", "namespace": "n" } }],
            "users": [{ "name": "mine", "user": { "token": "t" } }],
            "preferences": { "colors": true },
        });
        let merged = merge(theirs, &ours, false).unwrap();
        assert_eq!(merged["current-context"], "mine");
        assert_eq!(merged["preferences"]["colors"], true);
        assert_eq!(merged["clusters"].as_array().unwrap().len(), 2);
        assert_eq!(merged["contexts"][0]["context"]["namespace"], "n");
        assert_eq!(merged["contexts"][0]["context"]["user"], "roadstead-ada@127.0.0.1:8008");
        assert_eq!(merged["users"][1]["user"]["exec"]["apiVersion"], "client.authentication.k8s.io/v1");
        assert_eq!(merge(merged, &ours, true).unwrap()["current-context"], "roadstead-one");
        assert!(!text(&ours).unwrap().contains("insecure"));
    }

    #[test]
    fn two_hubs_never_become_one() {
        let one = source("https://a.example", "https://a.example").config(&["prod".to_owned()], None);
        let two = source("https://b.example", "https://b.example").config(&["prod".to_owned()], None);
        let merged = merge(json!({}), &one, false).unwrap();
        assert!(merge(merged.clone(), &two, false).unwrap_err().to_string().contains("another hub"));
        let moved = source("https://a.example:1", "https://a.example:1").config(&["prod".to_owned()], None);
        assert_eq!(merge(merged, &moved, false).unwrap()["clusters"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn files_are_private_and_links_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&real, "").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let ours = source("http://h", "https://h").config(&["one".to_owned()], None);
        update(&link, &ours, false).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!folder.path().join("real.lock").exists());
        fs::write(folder.path().join("real.lock"), "").unwrap();
        assert!(update(&link, &ours, false).is_err());
    }
}
