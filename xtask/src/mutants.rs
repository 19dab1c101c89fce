//! `mutants`: small faults put into the code that decides about credentials, rights and secrets, one at a time, and the tests
//! run against each (cargo-mutants). What no test notices is printed, and the share that was caught.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::repository::root;
use crate::run::{cargo, visible};

/// Packages and files whose every line decides something.
const SCOPE: [(&str, &str); 5] = [
    ("roadstead-auth", "shared/auth/src/**"),
    ("roadstead-policy", "shared/policy/src/**"),
    ("roadstead-seal", "shared/seal/src/**"),
    ("roadstead-contracts", "shared/contracts/src/audit/text.rs"),
    ("roadstead-runtime", "shared/runtime/src/secret.rs"),
];
/// Least share that must be caught, in percent.
const GOAL: f64 = 90.0;

#[derive(Args)]
pub(crate) struct Arguments {
    /// One package only
    #[arg(long, short)]
    package: Option<String>,
    /// One file only, as a path in the repository
    #[arg(long)]
    file: Option<String>,
    /// Every so-manieth fault of all: `1/8` is the first eighth
    #[arg(long)]
    shard: Option<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    caught: u64,
    missed: Vec<String>,
    /// Faults with which nothing compiles say nothing about tests.
    unviable: u64,
    timed_out: u64,
}

impl Tally {
    /// Reads the tool's `outcomes.json`.
    fn read(text: &str) -> Result<Self> {
        let outcomes: Value = serde_json::from_str(text).context("outcomes.json is no JSON")?;
        let mut tally = Self::default();
        for outcome in outcomes["outcomes"].as_array().into_iter().flatten() {
            let Some(mutant) = outcome["scenario"].get("Mutant") else { continue };
            match outcome["summary"].as_str() {
                Some("CaughtMutant") => tally.caught += 1,
                Some("MissedMutant") => tally.missed.push(mutant["name"].as_str().unwrap_or("?").to_owned()),
                Some("Timeout") => tally.timed_out += 1,
                _ => tally.unviable += 1,
            }
        }
        Ok(tally)
    }

    fn add(&mut self, other: Self) {
        self.caught += other.caught;
        self.missed.extend(other.missed);
        self.unviable += other.unviable;
        self.timed_out += other.timed_out;
    }

    /// A test that hangs has noticed, too.
    #[expect(clippy::cast_precision_loss, reason = "a few thousand faults")]
    fn share(&self) -> f64 {
        let noticed = self.caught + self.timed_out;
        let all = noticed + self.missed.len() as u64;
        if all == 0 { 100.0 } else { noticed as f64 / all as f64 * 100.0 }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    install()?;
    let (mut all, mut ran) = (Tally::default(), false);
    for (package, files) in SCOPE {
        let chosen = arguments.package.as_deref().is_none_or(|wanted| wanted == package);
        let folder = files.split("/src/").next().unwrap_or(files);
        let holds_file = arguments.file.as_deref().is_none_or(|file| file.starts_with(folder));
        if !chosen || !holds_file || !root().join(folder).exists() {
            continue;
        }
        ran = true;
        let tally = one(package, arguments.file.as_deref().unwrap_or(files), arguments.shard.as_deref())?;
        println!("{package}: {}", line(&tally));
        all.add(tally);
    }
    if !ran {
        bail!("nothing of that is looked at");
    }
    for missed in &all.missed {
        println!("missed: {missed}");
    }
    println!("all: {}", line(&all));
    if all.share() < GOAL {
        bail!("{:.1} % were caught, the goal is {GOAL} %", all.share());
    }
    Ok(())
}

fn line(tally: &Tally) -> String {
    let Tally { caught, missed, unviable, timed_out } = tally;
    let missed = missed.len();
    format!(
        "{:.1} % caught ({caught} caught, {timed_out} by a hang, {missed} missed, {unviable} do not compile)",
        tally.share()
    )
}

fn one(package: &str, files: &str, shard: Option<&str>) -> Result<Tally> {
    let output = root().join("target/mutants").join(package);
    fs::create_dir_all(&output).with_context(|| format!("failed to make {}", output.display()))?;
    let mut command = cargo(&["mutants", "--package", package, "--file", files, "--no-shuffle", "--colors", "never"]);
    command.arg("--output").arg(&output).args(["--test-package", package]);
    if let Some(shard) = shard {
        command.args(["--shard", shard]);
    }
    // It ends with an error when something was missed: what counts is what it wrote.
    let ended = visible(&mut command);
    let outcomes = output.join("mutants.out/outcomes.json");
    match read(&outcomes) {
        Ok(text) => Tally::read(&text),
        Err(error) => Err(ended.err().unwrap_or(error)),
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("no {}", path.display()))
}

fn install() -> Result<()> {
    let is_there = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    if is_there(&mut cargo(&["mutants", "--version"])) {
        return Ok(());
    }
    eprintln!("installing cargo-mutants, once");
    visible(cargo(&["install", "--locked", "--debug", "cargo-mutants"]).env("CARGO_PROFILE_DEV_DEBUG", "false"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted() {
        let text = r#"{"outcomes": [
            {"scenario": "Baseline", "summary": "Success"},
            {"scenario": {"Mutant": {"name": "a.rs:1: replace f with ()"}}, "summary": "CaughtMutant"},
            {"scenario": {"Mutant": {"name": "a.rs:2: replace g with ()"}}, "summary": "MissedMutant"},
            {"scenario": {"Mutant": {"name": "a.rs:3: replace h with ()"}}, "summary": "Unviable"},
            {"scenario": {"Mutant": {"name": "a.rs:4: replace i with ()"}}, "summary": "Timeout"},
            {"scenario": {"Mutant": {"name": "a.rs:5: replace j with ()"}}, "summary": "CaughtMutant"}
        ]}"#;
        let tally = Tally::read(text).unwrap();
        assert_eq!((tally.caught, tally.timed_out, tally.unviable), (2, 1, 1));
        assert_eq!(tally.missed, ["a.rs:2: replace g with ()"]);
        assert!((tally.share() - 75.0).abs() < 1e-9);
        assert!((Tally::default().share() - 100.0).abs() < 1e-9);
    }
}
