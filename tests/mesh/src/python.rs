//! Virtual environments of Python in the user's cache folder, made once.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A Python that has a package at a version (`pika==1.3.2`).
pub fn python_with(package: &str) -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .context("no cache folder")?;
    let folder = cache.join("roadstead").join(package.replace("==", "-"));
    let python = folder.join("bin/python");
    let ready = folder.join(".ready");
    if !ready.exists() {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", package]))?;
        std::fs::write(&ready, package)?;
    }
    Ok(python)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("failed to run {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!("{} failed: {}", command.get_program().display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
