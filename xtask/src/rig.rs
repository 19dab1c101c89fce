//! What one run of `test` or `demo` starts: servers, clusters, programs. Stopped whatever happens: at the end, on a
//! failure, and, by a watchdog, when the run itself is ended by force.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use roadstead_testkit::kube::Kube;
use roadstead_testkit::programs::Programs;
use roadstead_testkit::servers::{Process, Servers};

use crate::repository::{dev_folder, root};

/// How often the watchdog looks: nobody waits for it.
const WATCH: Duration = Duration::from_millis(500);

/// What a run started. Dropping it stops all of that.
pub(crate) struct Rig {
    name: String,
    servers: Option<Servers>,
    kube: Option<Kube>,
}

/// The hidden command that a rig starts to clean up behind a run that cannot do so itself.
#[derive(Args)]
pub(crate) struct Watch {
    name: String,
    pid: u32,
    start_time: u64,
}

impl Rig {
    /// An empty rig.
    pub(crate) fn new(purpose: &str) -> Result<Self> {
        let own = Process::of(std::process::id()).context("failed to find this process")?;
        let rig = Self { name: format!("{purpose}-{}", own.pid), servers: None, kube: None };
        fs::create_dir_all(rig.folder())?;
        // By the kernel's own link: building the workspace may have replaced the file this process was started from.
        // In a group of its own, so that a Ctrl-C in the terminal does not end it too.
        Command::new("/proc/self/exe")
            .args(["watch", &rig.name, &own.pid.to_string(), &own.start_time.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("failed to start the watchdog")?;
        Ok(rig)
    }

    /// A folder for this run alone.
    pub(crate) fn folder(&self) -> PathBuf {
        dev_folder(&self.name)
    }

    /// Starts the servers. Answers the variables with which tests find them.
    pub(crate) fn servers(&mut self) -> Result<Vec<(String, String)>> {
        let servers = Servers::up(&self.folder().join("servers"))?;
        let environment = servers.state().environment();
        self.servers = Some(servers);
        Ok(environment)
    }

    /// Builds `tests/kube`. Answers false where there is no Go toolchain.
    pub(crate) fn can_start_clusters(&mut self) -> Result<bool> {
        self.kube = Kube::build(root(), &self.folder().join("kube"))?;
        Ok(self.kube.is_some())
    }

    /// Starts a cluster. Answers its kubeconfig.
    pub(crate) fn cluster(&self, name: &str) -> Result<PathBuf> {
        self.kube.as_ref().context("tests/kube is not built")?.up(name)
    }

    /// `kubectl` against one of the clusters.
    pub(crate) fn kubectl(&self, kubeconfig: &Path, arguments: &[&str]) -> Result<String> {
        self.kube.as_ref().context("tests/kube is not built")?.kubectl(kubeconfig, arguments)
    }

    /// The kubectl of the clusters.
    pub(crate) fn kubectl_program(&self) -> Result<PathBuf> {
        Ok(self.kube.as_ref().context("tests/kube is not built")?.kubectl_program())
    }

    /// Programs in the folder.
    pub(crate) fn programs(&self) -> Result<Programs> {
        Programs::new(&self.folder())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // Releases the folder's lock.
        self.servers = None;
        if let Err(error) = clean_up(&self.folder()) {
            eprintln!("warning: failed to stop everything: {error:#}");
        }
    }
}

/// Waits until a run is gone, then stops what it left.
pub(crate) fn watch(watch: &Watch) -> Result<()> {
    let run = Process { pid: watch.pid, start_time: watch.start_time };
    while run.is_alive() {
        std::thread::sleep(WATCH);
    }
    clean_up(&dev_folder(&watch.name))
}

/// Stops everything of a run: its programs (the tests themselves are one), what its tests started in folders of their
/// own, then the clusters and servers they used.
fn clean_up(folder: &Path) -> Result<()> {
    Programs::stop_all(folder)?;
    for inner in files(folder)? {
        if inner.join("programs").exists() {
            clean_up(&inner)?;
        }
    }
    let kube = folder.join("kube");
    let clusters: Vec<PathBuf> = files(&kube)?.into_iter().filter(|file| file.join("cluster.json").exists()).collect();
    if !clusters.is_empty()
        && let Some(program) = Kube::build(root(), &kube)?
    {
        for cluster in clusters {
            program.down(&cluster.file_name().unwrap_or_default().to_string_lossy())?;
        }
    }
    if let Some(servers) = Servers::open(&folder.join("servers"))? {
        servers.down()?;
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("failed to remove the folder"),
        _ => Ok(()),
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("failed to list {}", folder.display())),
    }
}
