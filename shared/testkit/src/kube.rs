//! Real Kubernetes clusters for tests, by the program in `tests/kube`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// With this code `tests/kube/build.sh` says that there is no Go toolchain.
const NO_TOOLCHAIN: i32 = 3;

/// The built program, and where it keeps its clusters.
#[derive(Debug, Clone)]
pub struct Kube {
    binary: PathBuf,
    state: PathBuf,
}

impl Kube {
    /// Builds the program (once; some minutes the first time). `None` where there is no Go toolchain: the reason has
    /// been printed then.
    pub fn build(repository: &Path, state: &Path) -> Result<Option<Self>> {
        let output = Command::new("sh")
            .arg(repository.join("tests/kube/build.sh"))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context("failed to run tests/kube/build.sh")?;
        match output.status.code() {
            Some(0) => {}
            Some(NO_TOOLCHAIN) => return Ok(None),
            _ => bail!("tests/kube/build.sh failed: {}", output.status),
        }
        let binary = String::from_utf8(output.stdout)?.trim().into();
        Ok(Some(Self { binary, state: state.to_owned() }))
    }

    /// Starts a cluster, or finds it running. Answers its kubeconfig, with full rights.
    pub fn up(&self, name: &str) -> Result<PathBuf> {
        Ok(self.run(&["up", name])?.trim().into())
    }

    /// Stops a cluster. Nothing to stop is fine.
    pub fn down(&self, name: &str) -> Result<()> {
        self.run(&["down", name]).map(drop)
    }

    /// The kubectl that was built with the program.
    pub fn kubectl_program(&self) -> PathBuf {
        self.binary.with_file_name("kubectl")
    }

    /// `kubectl` against one of the clusters.
    pub fn kubectl(&self, kubeconfig: &Path, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.binary);
        command.arg("kubectl").arg("--kubeconfig").arg(kubeconfig).args(arguments);
        output(&mut command)
    }

    fn run(&self, arguments: &[&str]) -> Result<String> {
        output(Command::new(&self.binary).args(arguments).arg("--state").arg(&self.state))
    }
}

fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("failed to run {}", command.get_program().display()))?;
    if !output.status.success() {
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        bail!("{} {} failed: {}", command.get_program().display(), arguments.join(" "), output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}
