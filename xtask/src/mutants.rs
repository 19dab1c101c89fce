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

/// Files of one package whose every line decides something, and the packages whose tests hold them to it.
struct Part {
    package: &'static str,
    files: &'static [&'static str],
    tests: &'static [&'static str],
}

const SCOPE: [Part; 6] = [
    Part { package: "roadstead-policy", files: &["shared/policy/src/**"], tests: &["roadstead-policy"] },
    // What rules, roles and scopes mean, and what must not be shown of an audit record.
    Part {
        package: "roadstead-contracts",
        files: &[
            "shared/contracts/src/policy.rs",
            "shared/contracts/src/policy/**",
            "shared/contracts/src/identity.rs",
            "shared/contracts/src/scope.rs",
            "shared/contracts/src/audit/text.rs",
        ],
        tests: &["roadstead-contracts", "roadstead-policy"],
    },
    Part { package: "roadstead-seal", files: &["shared/seal/src/**"], tests: &["roadstead-seal"] },
    Part { package: "roadstead-runtime", files: &["shared/runtime/src/secret.rs"], tests: &["roadstead-runtime"] },
    // Values of Secrets in what a change would do.
    Part { package: "roadstead-manifest", files: &["shared/manifest/src/diff.rs"], tests: &["roadstead-manifest"] },
    Part { package: "roadstead-auth", files: &["shared/auth/src/**"], tests: &["roadstead-auth"] },
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
    for part in &SCOPE {
        let Some(files) = chosen(part, arguments) else { continue };
        ran = true;
        let tally = one(part, &files, arguments.shard.as_deref())?;
        println!("{}: {}", part.package, line(&tally));
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

/// The files of a part that were asked for.
fn chosen<'a>(part: &Part, arguments: &'a Arguments) -> Option<Vec<&'a str>> {
    if arguments.package.as_deref().is_some_and(|wanted| wanted != part.package) {
        return None;
    }
    let Some(file) = arguments.file.as_deref() else { return Some(part.files.to_vec()) };
    let holds =
        |known: &&str| *known == file || known.strip_suffix("**").is_some_and(|folder| file.starts_with(folder));
    part.files.iter().any(holds).then(|| vec![file])
}

fn line(tally: &Tally) -> String {
    let Tally { caught, missed, unviable, timed_out } = tally;
    let missed = missed.len();
    format!(
        "{:.1} % caught ({caught} caught, {timed_out} by a hang, {missed} missed, {unviable} do not compile)",
        tally.share()
    )
}

fn one(part: &Part, files: &[&str], shard: Option<&str>) -> Result<Tally> {
    let output = root().join("target/mutants").join(part.package);
    fs::create_dir_all(&output).with_context(|| format!("failed to make {}", output.display()))?;
    let mut command = cargo(&["mutants", "--package", part.package, "--no-shuffle", "--colors", "never"]);
    for file in files {
        command.args(["--file", file]);
    }
    for package in part.tests {
        command.args(["--test-package", package]);
    }
    command.arg("--output").arg(&output);
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
    fn a_part_is_chosen_by_package_or_file() {
        let of = |package: Option<&str>, file: Option<&str>| {
            let arguments =
                Arguments { package: package.map(str::to_owned), file: file.map(str::to_owned), shard: None };
            let parts = SCOPE.iter().filter(|part| chosen(part, &arguments).is_some());
            parts.map(|part| part.package).collect::<Vec<_>>()
        };
        assert_eq!(of(None, None).len(), SCOPE.len());
        assert_eq!(of(Some("roadstead-seal"), None), ["roadstead-seal"]);
        assert_eq!(of(None, Some("shared/policy/src/decide.rs")), ["roadstead-policy"]);
        assert_eq!(of(None, Some("shared/contracts/src/scope.rs")), ["roadstead-contracts"]);
        assert!(of(None, Some("shared/contracts/src/error.rs")).is_empty());
        for part in &SCOPE {
            for file in part.files {
                assert!(root().join(file.trim_end_matches("**")).exists(), "{file}");
            }
        }
    }

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
