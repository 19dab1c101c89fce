//! kubectl as people have it: the one that `tests/kube` builds, of the control plane's own version, and an older one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Child;
use tokio::time::timeout;

/// No command of these tests takes longer: `exec` and `port-forward` of a broken hub would hang for ever.
const LIMIT: Duration = Duration::from_secs(40);
/// Who has not brought a kubectl up to date for so many minors of Kubernetes (more than a year) must get along with a hub too.
const MINORS_APART: u32 = 4;
/// Each prints the path of a program and builds it where it is not there: the newest kubectl first.
const BUILT_BY: [&str; 2] = ["tests/kube/build.sh", "tests/kube/kubectl-old/build.sh"];
/// With this code they say that there is no Go toolchain.
const NO_TOOLCHAIN: i32 = 3;

/// A kubectl, a kubeconfig and somebody's credential.
#[derive(Debug, Clone)]
pub struct Kubectl {
    /// Which one it is, for messages.
    pub version: String,
    program: PathBuf,
    kubeconfig: PathBuf,
    environment: Vec<(String, String)>,
}

/// What a command said.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit code; -1 when it was ended.
    pub code: i32,
    /// Standard output.
    pub out: Vec<u8>,
    /// Standard error.
    pub err: String,
}

impl Output {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }
}

impl Kubectl {
    /// Every kubectl that a hub is tried with, the newest first.
    pub fn all(kubeconfig: &Path, environment: &[(&str, &str)]) -> Result<Vec<Self>> {
        let environment: Vec<_> = environment.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let made = |(version, program)| Self {
            version,
            program,
            kubeconfig: kubeconfig.to_owned(),
            environment: environment.clone(),
        };
        Ok(built()?.into_iter().map(made).collect())
    }

    /// The program itself.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The same with one more variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with another kubeconfig.
    #[must_use]
    pub fn at(&self, kubeconfig: &Path) -> Self {
        Self { kubeconfig: kubeconfig.to_owned(), ..self.clone() }
    }

    /// Starts a command that goes on by itself; it ends with the handle.
    pub fn start(&self, arguments: &[&str]) -> Result<Child> {
        let mut command = tokio::process::Command::new(&self.program);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.spawn().with_context(|| format!("failed to start {}", self.program.display()))
    }

    /// Runs a command to its end.
    pub async fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.feed(arguments, b"").await
    }

    /// The same, with bytes for its standard input.
    pub async fn feed(&self, arguments: &[&str], input: &[u8]) -> Result<Output> {
        let mut child = self.start(arguments)?;
        let mut stdin = child.stdin.take().context("no stdin")?;
        stdin.write_all(input).await?;
        drop(stdin);
        match timeout(LIMIT, child.wait_with_output()).await {
            Ok(output) => {
                let output = output?;
                let code = output.status.code().unwrap_or(-1);
                let err = String::from_utf8_lossy(&output.stderr).into_owned();
                Ok(Output { code, out: output.stdout, err })
            }
            Err(_) => bail!("kubectl {} did not end in {LIMIT:?}", arguments.join(" ")),
        }
    }

    /// Runs a command that must work; answers its output.
    pub async fn ok(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments).await?;
        ensure!(output.code == 0, "kubectl {} ({}): {}", arguments.join(" "), self.version, output.err);
        Ok(output.text())
    }

    /// Runs a command that must fail; answers what it said.
    pub async fn fails(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments).await?;
        ensure!(output.code != 0, "kubectl {} worked: {}", arguments.join(" "), output.text());
        Ok(output.err)
    }
}

/// Versions and programs, the newest first; looked for once, as many callers ask.
fn built() -> Result<Vec<(String, PathBuf)>> {
    static BUILT: Mutex<Option<Vec<(String, PathBuf)>>> = Mutex::new(None);
    let mut known = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = &*known {
        return Ok(known.clone());
    }
    let found = BUILT_BY.into_iter().map(build).collect::<Result<Vec<_>>>()?;
    let minors = found.iter().map(|(version, _)| minor(version)).collect::<Result<Vec<_>>>()?;
    let (newest, oldest) = (minors.iter().max().copied().unwrap_or(0), minors.iter().min().copied().unwrap_or(0));
    ensure!(
        newest - oldest >= MINORS_APART,
        "a hub is tried with two kubectls, {MINORS_APART} minors apart, and these are {minors:?}: make the one of {} older",
        BUILT_BY[1]
    );
    *known = Some(found.clone());
    Ok(found)
}

fn build(script: &str) -> Result<(String, PathBuf)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(script);
    let built = Command::new("sh").arg(file).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    match built.status.code() {
        Some(0) => {}
        Some(NO_TOOLCHAIN) => bail!("{script} needs Go 1.26 or later on PATH: https://go.dev/dl/"),
        _ => bail!("{script} failed: {}", built.status),
    }
    // The first script prints the control plane's program, which lies beside its kubectl.
    let program = PathBuf::from(String::from_utf8(built.stdout)?.trim()).with_file_name("kubectl");
    let version = Command::new(&program).args(["version", "--client", "-o", "yaml"]).output()?;
    let text = String::from_utf8_lossy(&version.stdout).into_owned();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("gitVersion: "));
    Ok((line.with_context(|| format!("{} has no version: {text}", program.display()))?.to_owned(), program))
}

/// The 36 of `v1.36.3`.
fn minor(version: &str) -> Result<u32> {
    let minor = version.strip_prefix("v1.").and_then(|rest| rest.split('.').next());
    minor.and_then(|minor| minor.parse().ok()).with_context(|| format!("{version} is no version of Kubernetes 1"))
}
