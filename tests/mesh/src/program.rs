//! The programs that were built beside the tests.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A program, with nothing of this process's environment but what every program needs.
pub(crate) fn program(name: &str) -> Result<Command> {
    program_within(name, None)
}

/// The same with so many bytes for its data, of which the kernel gives it no more.
pub(crate) fn program_within(name: &str, memory: Option<u64>) -> Result<Command> {
    let file = built(name)?;
    let mut command = match memory {
        Some(bytes) => {
            let mut limited = Command::new("prlimit");
            // The soft limit alone, so that a test may raise it again.
            limited.arg(format!("--data={bytes}:")).arg(file);
            limited
        }
        None => Command::new(file),
    };
    command.env_clear();
    for name in ["PATH", "HOME", "RUST_BACKTRACE", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.current_dir("/");
    Ok(command)
}

fn built(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    // target/debug/deps/it-… → target/debug; a measuring program lies beside them.
    let beside = own.parent().context("no target folder")?;
    let folder = if beside.ends_with("deps") { beside.parent().context("no target folder")? } else { beside };
    let file = folder.join(name);
    if !file.exists() {
        bail!("{} is not built: cargo build --workspace --bins", file.display());
    }
    Ok(file)
}
