//! Processes that outlive the one that started them, known by pid *and* start time: a pid alone may have been given
//! to somebody else since, and only what we started may be stopped.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::wait::until;

/// A process that we started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its id, which is its process group's too.
    pub pid: u32,
    /// Clock ticks between boot and its start: field 22 of `/proc/<pid>/stat`.
    pub start_time: u64,
}

impl Process {
    /// A process that runs.
    pub fn of(pid: u32) -> Option<Self> {
        stat(pid).map(|(_, start_time)| Self { pid, start_time })
    }

    /// Starts a command in a process group of its own, with both outputs appended to `log`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let output = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("failed to open {}", log.display()))?;
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("failed to start {name}"))?;
        let pid = child.id();
        let started = stat(pid);
        // Reaped in the background, so that a stopped server does not stay behind as a zombie of a long test process.
        std::thread::spawn(move || child.wait());
        let Some((_, start_time)) = started else { bail!("{name} ended at once; see {}", log.display()) };
        Ok(Self { pid, start_time })
    }

    /// Whether this very process still runs.
    pub fn is_alive(self) -> bool {
        stat(self.pid).is_some_and(|(state, start_time)| {
            // The first thread may be over while others still are, and with them what the process has open and locked.
            start_time == self.start_time && (!matches!(state, 'Z' | 'X') || threads(self.pid) > 1)
        })
    }

    /// Sends a signal to the process and all of its group.
    pub fn signal(self, signal: &str) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        self.send(signal, &format!("-{}", self.pid))
    }

    /// `kill -9` for this process alone: it runs in a group that goes on.
    pub fn kill_alone(self) -> Result<()> {
        if self.is_alive() { self.send("KILL", &self.pid.to_string()) } else { Ok(()) }
    }

    fn send(self, signal: &str, target: &str) -> Result<()> {
        // The shell's own `kill`: procps is not everywhere, and this workspace forbids the unsafe call.
        let status = Command::new("sh")
            .args(["-c", "kill -s \"$1\" -- \"$2\"", "kill", signal, target])
            .stderr(Stdio::null())
            .status()
            .context("failed to run sh")?;
        if !status.success() && self.is_alive() {
            bail!("failed to send {signal} to {target}");
        }
        Ok(())
    }

    /// Asks it to stop, then insists after `grace`.
    pub fn stop(self, signal: &str, grace: Duration) -> Result<()> {
        self.signal(signal)?;
        if self.wait_gone(grace).is_err() {
            self.signal("KILL")?;
            self.wait_gone(grace)?;
        }
        Ok(())
    }

    /// `kill -9` for the whole group, as a crash would end it.
    pub fn kill(self) -> Result<()> {
        self.signal("KILL")?;
        self.wait_gone(Duration::from_secs(10))
    }

    fn wait_gone(self, limit: Duration) -> Result<()> {
        until(&format!("process {} is gone", self.pid), limit, || if self.is_alive() { Err("it runs") } else { Ok(()) })
    }
}

/// Threads that are not over.
fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

/// State letter and start time of a process.
fn stat(pid: u32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name stands in brackets and may hold anything: count from the last bracket.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let start_time = fields.nth(18)?.parse().ok()?;
    Some((state, start_time))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its first thread ends, another goes on: what it holds open is held until that one ends too.
    #[test]
    #[ignore = "needs python3"]
    fn regression_a_process_lives_as_long_as_its_last_thread() {
        let script = "import ctypes, threading, time\n\
                      threading.Thread(target=time.sleep, args=(60,)).start()\n\
                      ctypes.CDLL(None).pthread_exit(None)";
        let mut child = std::os::unix::process::CommandExt::process_group(
            Command::new("python3").args(["-c", script]).stdout(Stdio::null()),
            0,
        )
        .spawn()
        .unwrap();
        let process = Process::of(child.id()).unwrap();
        let over = || match stat(process.pid) {
            Some(('Z', _)) => Ok(()),
            state => Err(format!("{state:?}")),
        };
        until("its first thread is over", Duration::from_secs(30), over).unwrap();
        assert!(process.is_alive());
        process.kill().unwrap();
        assert!(!process.is_alive());
        child.wait().unwrap();
    }

    #[test]
    fn only_the_very_process_counts() {
        let log = std::env::temp_dir().join(format!("roadstead-process-{}.log", std::process::id()));
        let process = Process::start(Command::new("sleep").arg("60"), &log).unwrap();
        assert!(process.is_alive());
        assert!(!Process { start_time: process.start_time + 1, ..process }.is_alive());
        process.stop("TERM", Duration::from_secs(5)).unwrap();
        assert!(!process.is_alive());
        fs::remove_file(log).unwrap();
    }
}
