//! kubectl as people have it: the one that `tests/kube` builds, and an older one where the machine has it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Child;
use tokio::time::timeout;

/// No command of these tests takes longer: `exec` and `port-forward` of a broken hub would hang for ever.
const LIMIT: Duration = Duration::from_secs(40);

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
    /// Every kubectl on this machine: first the one of `tests/kube`, then the one in `PATH` if it is older.
    pub fn all(kubeconfig: &Path, environment: &[(&str, &str)]) -> Result<Vec<Self>> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kube/build.sh");
        let built = Command::new("sh").arg(script).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
        ensure!(built.status.success(), "tests/kube/build.sh failed: {}", built.status);
        let ours = PathBuf::from(String::from_utf8(built.stdout)?.trim()).with_file_name("kubectl");
        let mut found = vec![];
        for program in [ours, PathBuf::from("kubectl")] {
            let version =
                Command::new(&program).args(["version", "--client", "-o", "yaml"]).stderr(Stdio::null()).output();
            let Ok(version) = version else { continue };
            let text = String::from_utf8_lossy(&version.stdout).into_owned();
            let Some(line) = text.lines().find_map(|line| line.trim().strip_prefix("gitVersion: ")) else { continue };
            if found.iter().all(|known: &Self| known.version != line) {
                found.push(Self {
                    version: line.to_owned(),
                    program,
                    kubeconfig: kubeconfig.to_owned(),
                    environment: environment.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
                });
            }
        }
        ensure!(!found.is_empty(), "no kubectl was found");
        Ok(found)
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
