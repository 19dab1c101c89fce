//! `drift`: files that are made from the code say what the code says.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::Deserialize;

use crate::repository::root;
use crate::run;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Change nothing; fail where a file is not as it would be made
    #[arg(long)]
    pub(crate) check: bool,
    /// Write what differs (the default)
    #[arg(long, conflicts_with = "check")]
    pub(crate) write: bool,
}

/// What `roadstead-generate` prints.
#[derive(Deserialize)]
struct Generated {
    /// Path in the repository and text.
    files: Vec<(PathBuf, String)>,
    /// What does not hold and cannot be written by a program.
    faults: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    run::visible(&mut run::cargo(&["build", "--quiet", "--workspace", "--bins"]))?;
    let program = binary("roadstead-generate")?;
    let text = run::captured(Command::new(&program).arg(root()))?;
    let mut generated: Generated =
        serde_json::from_str(&text).context("failed to read what roadstead-generate made")?;
    generated.files.push(("docs/cli.md".into(), command_line_page()?));

    let mut faults = generated.faults;
    for (path, text) in &generated.files {
        let file = root().join(path);
        let there = fs::read_to_string(&file).unwrap_or_default();
        if there == *text {
            continue;
        }
        if arguments.check {
            faults.push(format!("{} is not what the code says; run: cargo xtask drift", path.display()));
        } else {
            if let Some(folder) = file.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(&file, text).with_context(|| format!("failed to write {}", file.display()))?;
            println!("wrote {}", path.display());
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n  "));
    Ok(())
}

/// A program that `cargo build` made.
pub(crate) fn binary(name: &str) -> Result<PathBuf> {
    // xtask itself stands in the same folder, wherever the caller keeps it.
    let own = std::env::current_exe().context("failed to find the target folder")?;
    let file = own.parent().unwrap_or(Path::new(".")).join(name);
    ensure!(file.exists(), "{} was not built", file.display());
    Ok(file)
}

/// `--help` of every command of both programs.
fn command_line_page() -> Result<String> {
    let mut page = String::from(
        "# Commands\n\nMade from the programs' own help by `cargo xtask drift`; change the help, not this page.\n",
    );
    for program in ["roadstead", "roadstead-agent"] {
        describe(&binary(program)?, program, &[], &mut page)?;
    }
    Ok(page)
}

/// Depth of sub-commands: a guard against help that lists itself.
const DEPTH_MAX: usize = 4;

fn describe(program: &Path, name: &str, path: &[String], page: &mut String) -> Result<()> {
    if path.len() > DEPTH_MAX {
        bail!("{name} {} has commands without end", path.join(" "));
    }
    // No variable of the caller's may show as a default; nor may the width of the terminal.
    let help = run::captured(
        Command::new(program).args(path).arg("--help").env_clear().env("COLUMNS", "100").env("NO_COLOR", "1"),
    )?;
    let title = std::iter::once(name).chain(path.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
    write!(page, "\n## {title}\n\n```text\n")?;
    for line in help.trim_end().lines() {
        page.push_str(line.trim_end());
        page.push('\n');
    }
    page.push_str("```\n");
    for command in commands(&help) {
        let mut path = path.to_vec();
        path.push(command);
        describe(program, name, &path, page)?;
    }
    Ok(())
}

/// The names under `Commands:` of a help text.
fn commands(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_commands_are_found() {
        let help = "About\n\nUsage: x <COMMAND>\n\nCommands:\n  up      Start\n  api-key  Keys\n          and more\n  help    Print\n\nOptions:\n  -h, --help\n";
        assert_eq!(commands(help), ["up", "api-key"]);
        assert!(commands("Usage: x\n\nOptions:\n  -h").is_empty());
    }
}
