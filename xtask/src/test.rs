//! `test`: every test, with real servers and a real cluster.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use clap::Args;
use roadstead_testkit::servers::Process;

use crate::rig::Rig;
use crate::run;

/// The variables with which tests find servers; whoever sets all of them brings servers of their own.
const SERVERS: [&str; 3] = ["ROADSTEAD_TEST_POSTGRES_URL", "ROADSTEAD_TEST_RABBITMQ_URL", "ROADSTEAD_TEST_REDIS_URL"];
const KUBECONFIG: &str = "ROADSTEAD_TEST_KUBECONFIG";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Test this package only
    #[arg(long, short)]
    package: Option<String>,
    /// Use this cluster instead of starting one
    #[arg(long, env = KUBECONFIG)]
    kubeconfig: Option<PathBuf>,
    /// Passed on to the test programs
    #[arg(last = true)]
    rest: Vec<String>,
    /// More variables for the tests
    #[arg(skip)]
    environment: Vec<(&'static str, String)>,
}

impl Arguments {
    /// Some tests of the whole product, with variables of their own.
    pub(crate) fn mesh(filter: &str, environment: Vec<(&'static str, String)>) -> Self {
        Self {
            package: Some("roadstead-mesh-tests".to_owned()),
            kubeconfig: std::env::var_os(KUBECONFIG).map(PathBuf::from),
            rest: vec![filter.to_owned(), "--nocapture".to_owned()],
            environment,
        }
    }
}

/// Lines of a failed test's message that the summary repeats; the whole is above it.
const MESSAGE_LINES: usize = 12;

/// What a run of tests came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: usize,
    /// Each failed test with what it said, so that the end of a long output tells what to look at.
    failures: Vec<Failure>,
    /// Whether the lines that come now belong to the last failure's message.
    in_message: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Failure {
    test: String,
    message: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    // Built first: a fault of the compiler needs no servers, and the mesh's tests start the programs.
    run::visible(&mut run::cargo(&["build", "--workspace", "--bins"]))?;
    if arguments.package.is_none() {
        run::visible(&mut run::cargo(&["test", "--workspace", "--no-run"]))?;
    }

    let mut rig = Rig::new("test")?;
    let mut environment = Vec::new();
    if SERVERS.iter().any(|name| std::env::var_os(name).is_none()) {
        environment.extend(rig.servers()?.into_iter().filter(|(name, _)| name.starts_with("ROADSTEAD_TEST_")));
    }
    let kubeconfig = match &arguments.kubeconfig {
        Some(file) => file.canonicalize().with_context(|| format!("no kubeconfig {}", file.display()))?,
        None if rig.can_start_clusters()? => rig.cluster("one")?,
        None => bail!("without a Go toolchain the tests need a cluster: cargo xtask test --kubeconfig FILE"),
    };

    let mut command = run::cargo(&["test", "--no-fail-fast"]);
    match &arguments.package {
        Some(package) => command.args(["--package", package]),
        None => command.arg("--workspace"),
    };
    command.args(["--", "--include-ignored"]).args(&arguments.rest);
    command
        .envs(environment)
        .envs(arguments.environment.iter().map(|(name, value)| (name, value)))
        .env(KUBECONFIG, kubeconfig)
        .env("ROADSTEAD_TEST_FOLDER", rig.folder())
        // In a group of its own and written down: the watchdog ends the tests before what they use.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command.spawn().context("failed to run cargo test")?;
    if let Some(process) = Process::of(child.id()) {
        rig.programs()?.adopt("tests", process)?;
    }
    let mut tally = Tally::default();
    if let Some(output) = child.stdout.take() {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        // Bytes, for a test may print what is no text.
        while output.read_until(b'\n', &mut line).context("failed to read the tests' output")? > 0 {
            let text = String::from_utf8_lossy(&line);
            print!("{text}");
            tally.add(text.trim_end());
            line.clear();
        }
    }
    let status = child.wait()?;
    drop(rig);
    for failure in &tally.failures {
        println!("\nfailed: {}\n    {}", failure.test, failure.message.join("\n    "));
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if !status.success() || tally.failed > 0 {
        bail!("not all tests passed");
    }
    Ok(())
}

impl Tally {
    /// Takes in one line of a test program.
    fn add(&mut self, line: &str) {
        if let Some(test) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            self.failures.push(Failure { test: test.to_owned(), message: Vec::new() });
            self.in_message = false;
        } else if let Some(failure) = self.failures.last_mut() {
            let panic = line.starts_with("thread '") && line.contains("panicked at");
            // With RUST_BACKTRACE an error prints its own before the panic's.
            let over = line.trim().eq_ignore_ascii_case("stack backtrace:") || line.starts_with("test result: ");
            self.in_message = (self.in_message || panic) && !over;
            if self.in_message && failure.message.len() < MESSAGE_LINES {
                failure.message.push(line.to_owned());
            }
        }
        self.count(line);
    }

    /// Counts a program's last line: `test result: ok. 12 passed; 0 failed; …`.
    fn count(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) else {
            return;
        };
        for count in counts.split("; ") {
            match count.split_once(' ').map(|(number, word)| (number.parse::<usize>(), word)) {
                Some((Ok(number), "passed")) => self.passed += number,
                Some((Ok(number), "failed")) => self.failed += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_added_up() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
            "test tests::results_are_added_up ... ok",
        ] {
            tally.add(line);
        }
        assert_eq!((tally.passed, tally.failed, tally.failures.len()), (15, 2, 0));
    }

    #[test]
    fn the_end_repeats_what_failed_without_its_backtrace() {
        let mut tally = Tally::default();
        for line in [
            "---- replicas::a_test stdout ----",
            "3 right",
            "",
            "thread 'replicas::a_test' (12) panicked at tests/it/replicas.rs:24:27:",
            "called `Result::unwrap()` on an `Err` value: 2 failed",
            "",
            "Stack backtrace:",
            "   0: anyhow::error",
            "stack backtrace:",
            "   0: core::panicking",
            "--- cluster-1",
            "failures:",
            "    replicas::a_test",
            "test result: FAILED. 3 passed; 1 failed; 0 ignored",
        ] {
            tally.add(line);
        }
        assert_eq!(tally.failed, 1);
        assert_eq!(tally.failures.len(), 1);
        assert_eq!(tally.failures[0].test, "replicas::a_test");
        assert_eq!(tally.failures[0].message.len(), 3, "{:?}", tally.failures);
        assert!(tally.failures[0].message[1].ends_with("2 failed"));
    }
}
