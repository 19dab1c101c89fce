//! `test`: every test, with real servers and a real cluster.

mod tally;

use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use roadstead_testkit::servers::Process;

use crate::rig::Rig;
use crate::run;

use self::tally::Tally;

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

/// A program of which no line comes for so long hangs: the longest single test takes less than half of it.
const SILENCE: Duration = Duration::from_secs(600);

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    // All of it has the programs built too, as the tests of those that have one need them. Of one package's tests the mesh's start
    // others'.
    let packages = match &arguments.package {
        Some(package) => {
            run::visible(&mut run::cargo(&["build", "--workspace", "--bins"]))?;
            vec!["--package", package]
        }
        None => vec!["--workspace"],
    };
    // Built first: a fault of the compiler needs no servers.
    // Documentation has no tests of its own here: to look for some in each crate takes minutes.
    run::visible(run::cargo(&["test", "--tests", "--no-run"]).args(&packages))?;

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

    let mut command = run::cargo(&["test", "--tests", "--no-fail-fast"]);
    command.args(&packages).args(["--", "--include-ignored"]).args(&arguments.rest);
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
    let tally = match child.stdout.take() {
        Some(output) => follow(output, child.id())?,
        None => Tally::default(),
    };
    let status = child.wait()?;
    drop(rig);
    for failure in &tally.failures {
        println!("\nfailed: {}\n    {}", failure.test, failure.message.join("\n    "));
    }
    println!("\nlongest:");
    for (time, test) in &tally.longest {
        println!("{:>7.1} s  {test}", time.as_secs_f64());
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if !status.success() || tally.failed > 0 {
        bail!("not all tests passed");
    }
    Ok(())
}

/// Lines that are read ahead.
const LINES: usize = 1_024;

/// Counts what is printed; a program that falls silent is ended, and the next ones run.
fn follow(output: impl Read + Send + 'static, cargo: u32) -> Result<Tally> {
    let (lines, printed) = mpsc::sync_channel(LINES);
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        // Bytes, for a test may print what is no text.
        loop {
            let mut line = Vec::new();
            let read = output.read_until(b'\n', &mut line);
            let over = !matches!(read, Ok(1..));
            if lines.send(read.map(|_| line)).is_err() || over {
                return;
            }
        }
    });
    let mut tally = Tally::default();
    let mut ended = Instant::now();
    loop {
        match printed.recv_timeout(SILENCE) {
            Ok(line) => {
                let line = line.context("failed to read the tests' output")?;
                if line.is_empty() {
                    return Ok(tally);
                }
                let text = String::from_utf8_lossy(&line);
                print!("{text}");
                tally.add(text.trim_end());
                if tally.took(text.trim_end(), ended.elapsed()) {
                    ended = Instant::now();
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                tally.hung(SILENCE);
                for program in children(cargo) {
                    program.kill_alone()?;
                }
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(tally),
        }
    }
}

/// The programs that a process has started and that still run (`proc_pid_task_children(5)`).
fn children(pid: u32) -> Vec<Process> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|pids| pids.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        .filter_map(Process::of)
        .collect()
}
