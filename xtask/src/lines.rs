//! `lines`: no file longer than the house allows.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::repository::root;
use crate::run;

/// Lines before a file's inline tests: above this nobody reads it in one go.
const LIMIT: usize = 450;
/// Lines of a file of tests: read one test at a time.
const TESTS_LIMIT: usize = 600;

pub(crate) fn run() -> Result<()> {
    let mut long = Vec::new();
    for file in sources()? {
        let text = fs::read_to_string(root().join(&file)).with_context(|| format!("failed to read {file}"))?;
        let length = length(&text);
        let limit = if file.contains("/tests/") || file.ends_with("tests.rs") { TESTS_LIMIT } else { LIMIT };
        if length > limit {
            long.push(format!("{file}: {length} lines, the limit is {limit}"));
        }
    }
    if !long.is_empty() {
        bail!("too long before their inline tests:\n  {}", long.join("\n  "));
    }
    Ok(())
}

/// Every Rust file that git knows or would take.
pub(crate) fn sources() -> Result<Vec<String>> {
    let list = run::captured(std::process::Command::new("git").current_dir(root()).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "*.rs",
    ]))?;
    Ok(list.lines().filter(|file| Path::new(root()).join(file).exists()).map(str::to_owned).collect())
}

fn length(text: &str) -> usize {
    text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count()
}
