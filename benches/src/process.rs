//! Programs of ours as processes: started from where this one lies, measured from outside, ended with this value.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// A program that runs until this value is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
}

/// The file of a program that is built beside this one.
pub fn sibling(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("failed to find this program")?;
    let path = own.with_file_name(name);
    if !path.exists() {
        bail!("{} is not built; build it with the same profile: cargo build --release", path.display());
    }
    Ok(path)
}

impl Running {
    /// Starts a program. Its error output is shown, its output is not.
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().display().to_string();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("failed to start {name}"))?;
        Ok(Self { child })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("failed to kill")?;
        self.child.wait().context("failed to wait")?;
        Ok(())
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Memory of a process, bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Resident, all of it.
    pub resident: u64,
    /// Resident and its own: heap and stacks, without the program's file.
    pub anonymous: u64,
}

/// Reads a process's memory.
pub fn memory(pid: u32) -> Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let kilobytes = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().nth(1)).and_then(|word| word.parse().ok()).unwrap_or(0)
    };
    Ok(Memory { resident: kilobytes("VmRSS") * 1024, anonymous: kilobytes("RssAnon") * 1024 })
}

/// Kernel memory in slabs, bytes, of the whole machine: sockets are in it.
pub fn slab() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Slab:"));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Processor time of a process, user and system.
pub fn processor_time(pid: u32) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).context("the process is gone")?;
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().filter_map(|index| fields.get(*index)?.parse::<u64>().ok()).sum();
    // USER_HZ is 100 on every Linux.
    Ok(Duration::from_millis(ticks * 10))
}
