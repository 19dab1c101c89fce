//! Chromium without a window, for tests of what only a browser does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::programs::Programs;
use crate::servers::Process;
use crate::servers::packages::{install, on_path};
use crate::wait::until;

/// Programs that are Chromium, the smallest first.
const PROGRAMS: [&str; 3] = ["chromium-headless-shell", "chromium", "google-chrome"];
/// The Debian package: Chromium's own build without a window, a quarter of the whole browser.
const PACKAGE: &str = "chromium-headless-shell";
/// It writes its address within a second, on two busy cores within ten.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Where it says how it is spoken to.
const PORT_FILE: &str = "DevToolsActivePort";

/// A running browser.
#[derive(Debug)]
pub struct Browser {
    /// Where the DevTools protocol is spoken.
    pub address: String,
    process: Process,
}

impl Browser {
    /// Starts a browser with a profile of its own in `folder`; installs it where it is missing and that is allowed.
    pub fn start(folder: &Path) -> Result<Self> {
        let program = if let Some(program) = find() {
            program
        } else {
            install(&[PACKAGE])?;
            find().context("chromium is installed, but its program is not where it should be")?
        };
        let profile = folder.join("browser");
        fs::create_dir_all(&profile).with_context(|| format!("failed to make {}", profile.display()))?;
        let mut command = Command::new(program);
        command
            .args([
                "--headless",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--remote-debugging-port=0",
            ])
            // Nothing is asked of the network but what the tests name.
            .args(["--disable-background-networking", "--disable-component-update", "--no-proxy-server"])
            // Its sandbox cannot be set up by root, as which containers run tests; it visits pages of the tests only.
            .arg("--no-sandbox")
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank");
        let programs = Programs::new(folder)?;
        let process = programs.start("browser", &mut command)?;
        let file = profile.join(PORT_FILE);
        let address = until("the browser says where it listens", START_LIMIT, || {
            if !process.is_alive() {
                bail!("it ended:\n{}", programs.tail("browser"));
            }
            let text = fs::read_to_string(&file).context("not yet")?;
            let mut lines = text.lines();
            let (port, path) = (lines.next().context("no port")?, lines.next().context("no path")?);
            Ok(format!("ws://127.0.0.1:{port}{path}"))
        })?;
        Ok(Self { address, process })
    }

    /// Ends it.
    pub fn stop(&self) -> Result<()> {
        self.process.stop("TERM", Duration::from_secs(5))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

fn find() -> Option<PathBuf> {
    PROGRAMS.into_iter().find_map(on_path)
}
