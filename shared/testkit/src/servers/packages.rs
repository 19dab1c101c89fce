//! The servers as Debian packages: where their programs are, and how missing ones get here.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What Debian asks before it starts a freshly installed service; 101 means "may not".
const POLICY: &str = "/usr/sbin/policy-rc.d";
const RABBITMQ: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// The programs that `dev up` runs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// RabbitMQ's server script; the one in `/usr/sbin` switches user and drops the environment.
    pub rabbitmq: PathBuf,
    /// Erlang's port mapper.
    pub epmd: PathBuf,
    /// Folder of PostgreSQL's programs.
    pub postgres: PathBuf,
    /// Redis.
    pub redis: PathBuf,
}

impl Programs {
    /// Finds the programs, and installs the packages that are missing where it may.
    pub fn find_or_install() -> Result<Self> {
        let missing = Self::missing();
        if !missing.is_empty() {
            install(&missing)?;
            let still = Self::missing();
            if !still.is_empty() {
                bail!(
                    "the packages {} are installed, but their programs are not where they should be",
                    still.join(" ")
                );
            }
        }
        Ok(Self {
            rabbitmq: RABBITMQ.into(),
            epmd: on_path("epmd").context("no epmd")?,
            postgres: postgres().context("no PostgreSQL")?,
            redis: on_path("redis-server").context("no redis-server")?,
        })
    }

    fn missing() -> Vec<&'static str> {
        let mut packages = Vec::new();
        if !Path::new(RABBITMQ).exists() || on_path("epmd").is_none() {
            packages.push("rabbitmq-server");
        }
        if postgres().is_none() {
            packages.push("postgresql");
        }
        if on_path("redis-server").is_none() {
            packages.push("redis-server");
        }
        packages
    }
}

pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/bin"), PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// The newest installed PostgreSQL's program folder.
fn postgres() -> Option<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(Result::ok)
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| folder.join("initdb").is_file())
        .collect();
    versions.sort();
    versions.pop().map(|(_, folder)| folder)
}

/// Installs Debian packages, where that is possible and allowed.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    let advice = format!("install them: apt-get install -y --no-install-recommends {list}");
    if on_path("apt-get").is_none() {
        bail!(
            "{list}: not installed and there is no apt-get here; install them by hand, or start the servers yourself and set ROADSTEAD_TEST_*_URL"
        );
    }
    if !is_root() {
        bail!("{list}: not installed, and only root may install packages; {advice}");
    }
    eprintln!("installing {list}");
    let _policy = Policy::refuse_starts()?;
    if apt(&["install", "-y", "-qq", "--no-install-recommends"], packages).is_err() {
        // A fresh image has no package lists.
        apt(&["update", "-qq"], &[])?;
        apt(&["install", "-y", "-qq", "--no-install-recommends"], packages).with_context(|| advice)?;
    }
    Ok(())
}

fn apt(arguments: &[&str], packages: &[&str]) -> Result<()> {
    // Another installation may be running: wait for its lock, but not for ever.
    let output = Command::new("apt-get")
        .args(["-o", "DPkg::Lock::Timeout=180"])
        .args(arguments)
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .context("failed to run apt-get")?;
    if !output.status.success() {
        bail!("apt-get {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// While this lives, no package may start its service: we run the servers ourselves, on ports of our own.
struct Policy {
    ours: bool,
}

impl Policy {
    fn refuse_starts() -> Result<Self> {
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY) {
            Ok(mut file) => {
                file.write_all(b"#!/bin/sh\nexit 101\n").with_context(|| format!("failed to write {POLICY}"))?;
                Ok(Self { ours: true })
            }
            // Somebody's policy stands already (images of containers have one): it stays as it is.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(Self { ours: false }),
            Err(error) => Err(error).with_context(|| format!("failed to write {POLICY}")),
        }
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}

/// Whether this process is root.
pub(super) fn is_root() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:"))
            .is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
    })
}
