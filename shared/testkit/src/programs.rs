//! Programs of ours that run in a folder: each with a log, each written down, so that somebody else can stop them when
//! the one who started them is gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::servers::Process;

/// How long a program of ours may take to stop: its own grace period and a little more.
const STOP_GRACE: Duration = Duration::from_secs(25);
/// Lines of a log that a report shows.
const TAIL: usize = 20;

/// The programs in one folder.
#[derive(Debug, Clone)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Programs in this folder, made where it is not there.
    pub fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder.join("programs")).with_context(|| format!("failed to make {}", folder.display()))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Starts a program under a name of the caller's choice.
    pub fn start(&self, name: &str, command: &mut Command) -> Result<Process> {
        let process = Process::start(command, &self.log(name))?;
        self.adopt(name, process)?;
        Ok(process)
    }

    /// Writes down a process that the caller started itself, the first of a group of its own.
    pub fn adopt(&self, name: &str, process: Process) -> Result<()> {
        fs::write(self.record(name), serde_json::to_string(&process)?).context("failed to write a record")
    }

    /// Where a program's output goes.
    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// The last lines of a program's output, to be shown when it failed.
    pub fn tail(&self, name: &str) -> String {
        let text = fs::read_to_string(self.log(name)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }

    /// How many lines of a program's output, over all its starts, are this one.
    pub fn lines(&self, name: &str, wanted: &str) -> usize {
        let text = fs::read(self.log(name)).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().filter(|line| *line == wanted).count()
    }

    /// Stops everything that was started in a folder, by whomever.
    pub fn stop_all(folder: &Path) -> Result<()> {
        let entries = match fs::read_dir(folder.join("programs")) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("failed to list {}", folder.display())),
        };
        let mut processes = Vec::new();
        for entry in entries {
            let file = entry?.path();
            let process: Process = serde_json::from_slice(&fs::read(&file)?).context("failed to read a record")?;
            // All first, so that they stop side by side.
            process.signal("TERM")?;
            processes.push(process);
            fs::remove_file(file)?;
        }
        for process in processes {
            process.stop("TERM", STOP_GRACE)?;
        }
        Ok(())
    }

    fn record(&self, name: &str) -> PathBuf {
        self.folder.join("programs").join(name)
    }
}
