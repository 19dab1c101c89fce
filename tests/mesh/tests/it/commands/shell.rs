//! Somebody's shell: `roadstead`, `kubectl` and kubectl's plugin on its path, and nothing of this process's environment.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::{Kubectl, Output, TestMesh};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// No line of these tests takes longer, on two cores that do other things too.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) struct Shell {
    folder: PathBuf,
    variables: Vec<(String, String)>,
}

impl Shell {
    /// One that knows a hub by variables.
    pub(super) fn with_key(mesh: &TestMesh, key: &str) -> Result<Self> {
        let shell = Self::without_credential(mesh, "key")?;
        let hub = mesh.doors.first().context("no front door")?;
        Ok(shell.with("ROADSTEAD_URL", hub).with("ROADSTEAD_API_KEY", key))
    }

    /// One that knows nobody yet, with a home of its own.
    pub(super) fn without_credential(mesh: &TestMesh, name: &str) -> Result<Self> {
        let folder = mesh.folder().join(format!("home-{name}"));
        let programs = folder.join("bin");
        std::fs::create_dir_all(&programs)?;
        let kubectl = Kubectl::all(Path::new("none"), &[])?.into_iter().next().context("no kubectl")?;
        let roadstead = mesh.client(0, "none")?;
        for (program, link) in [
            (kubectl.program(), "kubectl"),
            (Path::new(roadstead.get_program()), "roadstead"),
            (Path::new(roadstead.get_program()), "kubectl-roadstead"),
        ] {
            symlink(program, programs.join(link)).with_context(|| format!("failed to link {link}"))?;
        }
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", programs.display());
        let home = folder.display().to_string();
        Ok(Self { folder, variables: Vec::new() }.with("PATH", &path).with("HOME", &home))
    }

    /// The same with one more variable.
    pub(super) fn with(&self, name: &str, value: &str) -> Self {
        let mut variables = self.variables.clone();
        variables.push((name.to_owned(), value.to_owned()));
        Self { folder: self.folder.clone(), variables }
    }

    /// A file in its folder, which is where each line runs and where its home is.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Runs a line to its end.
    pub(super) async fn run(&self, line: &str) -> Result<Output> {
        let mut command = self.command("sh");
        command.args(["-c", line]).stdin(Stdio::null());
        let output = timeout(LIMIT, command.output()).await.with_context(|| format!("{line}: no end"))??;
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(Output { code: output.status.code().unwrap_or(-1), out: output.stdout, err })
    }

    /// Runs a line that must work; answers what it printed, without the last line's end.
    pub(super) async fn ok(&self, line: &str) -> Result<String> {
        let output = self.run(line).await?;
        ensure!(output.code == 0, "{line} ended with {}: {}{}", output.code, output.err, output.text());
        Ok(output.text().trim_end().to_owned())
    }

    /// Runs a line that must end with 1, as kubectl and `roadstead` do; answers what it complained of.
    pub(super) async fn fails(&self, line: &str) -> Result<String> {
        let output = self.run(line).await?;
        ensure!(output.code == 1, "{line} ended with {}: {}{}", output.code, output.err, output.text());
        Ok(output.err)
    }

    /// Starts a program that goes on by itself; it ends with the handle.
    pub(super) fn start(&self, program: &str, arguments: &[&str]) -> Result<Child> {
        let mut command = self.command(&self.file("bin").join(program).display().to_string());
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        command.spawn().with_context(|| format!("failed to start {program}"))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.current_dir(&self.folder).kill_on_drop(true);
        command
    }
}
