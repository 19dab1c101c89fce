//! The `helm` of the agent's host: found, given a folder of its own for one run, and started without anything of the
//! agent's environment.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use roadstead_contracts::operation::{CHART_FILE, HelmAction};
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::Wish;

const NAME: &str = "helm";
const KUBECONFIG: &str = "kubeconfig";
/// A chart's schema may name addresses, and Helm would ask them from where the agent is. Loopback, where the door is, needs no
/// proxy; everything else ends here.
const NOWHERE: &str = "http://127.0.0.1:9";
/// Revisions that a release keeps: Helm's own default, said so that no environment changes it.
const HISTORY: &str = "10";

/// Where the program is: the one that was configured, else the first on `PATH`.
pub(super) fn find(configured: Option<&Path>) -> Option<PathBuf> {
    let runs = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
    };
    if let Some(path) = configured {
        return Some(path.to_owned()).filter(runs);
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(NAME)).find(runs)
}

/// A program with its folder. The folder goes with it.
pub(super) struct Program {
    path: PathBuf,
    folder: PathBuf,
    /// Files of values, later ones win.
    values: Vec<PathBuf>,
}

impl Program {
    /// Puts the files of the order into a folder that only the agent's user can read: values hold passwords.
    pub(super) async fn prepare(path: PathBuf, folder: PathBuf, files: Vec<(String, Vec<u8>)>) -> io::Result<Self> {
        let prepared = tokio::task::spawn_blocking(move || {
            match std::fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            // From here on it is removed with the value, whatever happens.
            let mut program = Self { path, folder, values: Vec::new() };
            for (number, (name, bytes)) in files.into_iter().enumerate() {
                // Names are for people: they name no file here.
                let own = if name == CHART_FILE { CHART_FILE.to_owned() } else { format!("values-{number}.yaml") };
                let place = program.folder.join(own);
                write(&place, &bytes)?;
                if name != CHART_FILE {
                    program.values.push(place);
                }
            }
            Ok(program)
        });
        prepared.await.map_err(io::Error::other)?
    }

    /// The words of the command line. What a person chose is checked and stands behind a flag or can be none.
    pub(super) fn arguments(&self, wish: &Wish, deadline: Instant) -> Vec<String> {
        let word = |text: &str| text.to_owned();
        let mut words = match wish.action {
            HelmAction::Install => {
                let chart = self.folder.join(CHART_FILE).display().to_string();
                vec![word("upgrade"), word("--install"), wish.release.clone(), chart]
            }
            HelmAction::Rollback => {
                let revision = wish.revision.map(|revision| revision.to_string());
                [word("rollback"), wish.release.clone()].into_iter().chain(revision).collect()
            }
            HelmAction::Uninstall => vec![word("uninstall"), wish.release.clone()],
        };
        let left = deadline.saturating_duration_since(Instant::now()).as_secs().max(1);
        words.extend([word("--namespace"), wish.namespace.clone(), word("--timeout"), format!("{left}s")]);
        if wish.action != HelmAction::Uninstall {
            words.extend([word("--history-max"), word(HISTORY)]);
        }
        for file in &self.values {
            words.extend([word("--values"), file.display().to_string()]);
        }
        if wish.create_namespace && wish.action == HelmAction::Install {
            words.push(word("--create-namespace"));
        }
        if wish.wait && !wish.dry_run {
            words.push(word("--wait"));
        }
        if wish.dry_run {
            words.extend([word("--dry-run=server"), word("--output"), word("json")]);
        }
        words
    }

    /// Starts it, with the API server behind this address. It ends with the value that is returned.
    pub(super) async fn start(&self, arguments: &[String], server: &str) -> io::Result<Child> {
        let kubeconfig = self.folder.join(KUBECONFIG);
        let text = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "run",
            "clusters": [{ "name": "run", "cluster": { "server": server } }],
            "contexts": [{ "name": "run", "context": { "cluster": "run", "user": "run" } }],
            "users": [{ "name": "run", "user": {} }],
        });
        let place = kubeconfig.clone();
        let written = tokio::task::spawn_blocking(move || write(&place, text.to_string().as_bytes()));
        written.await.map_err(io::Error::other)??;
        let mut command = Command::new(&self.path);
        command.env_clear();
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY"] {
            command.env(proxy, NOWHERE);
        }
        command
            .args(arguments)
            .env("HOME", &self.folder)
            .env("TMPDIR", &self.folder)
            .env("KUBECONFIG", kubeconfig)
            .env("HELM_CACHE_HOME", self.folder.join("cache"))
            .env("HELM_CONFIG_HOME", self.folder.join("config"))
            .env("HELM_DATA_HOME", self.folder.join("data"))
            .env("HELM_DRIVER", "secret")
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command.spawn()
    }

    /// Removes the folder.
    pub(super) async fn remove(self) {
        // A thread of its own: a chart may have thousands of files.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            tracing::warn!("a folder of helm was not removed: {error}");
        }
    }
}

fn write(place: &Path, bytes: &[u8]) -> io::Result<()> {
    use io::Write as _;
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(place)?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(action: HelmAction) -> Wish {
        Wish {
            action,
            release: "buoy".to_owned(),
            namespace: "n".to_owned(),
            revision: Some(2),
            create_namespace: true,
            dry_run: false,
            wait: true,
        }
    }

    #[tokio::test]
    async fn files_are_private_and_go() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("helm-x");
        let files = vec![("chart.tgz".to_owned(), vec![1]), ("../../passwords".to_owned(), b"a: 1".to_vec())];
        let program = Program::prepare("/bin/helm".into(), folder.clone(), files).await.unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("values-1.yaml"))), (0o700, 0o600));
        let words = program.arguments(&wish(HelmAction::Install), Instant::now());
        assert_eq!(words[..3], ["upgrade", "--install", "buoy"]);
        for flag in ["--create-namespace", "--wait", "--values", "--timeout", "1s"] {
            assert!(words.iter().any(|word| word == flag), "{flag}: {words:?}");
        }
        let words = program.arguments(&wish(HelmAction::Rollback), Instant::now());
        assert_eq!(words[..3], ["rollback", "buoy", "2"]);
        drop(program);
        assert!(!folder.exists());
    }

    #[test]
    fn a_program_that_does_not_run_is_none() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("helm");
        assert_eq!(find(Some(&path)), None);
        std::fs::write(&path, b"").unwrap();
        assert_eq!(find(Some(&path)), None);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(find(Some(&path)), Some(path));
    }
}
