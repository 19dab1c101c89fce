//! Clients beyond kubectl through the Kubernetes door, as people have them: Helm, a program with client-go, the `kubernetes`
//! package of Python, kube-rs (`tests/clients/README.md` says what each goes through).

mod helm;
mod kube_rs;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use roadstead_mesh_tests::{JOIN_LIMIT, Layout, TestMesh, Tuning, python_with};
use tokio::process::Command;
use tokio::time::timeout;

/// No program of these takes longer.
const LIMIT: Duration = Duration::from_secs(240);
/// The same for what sends many bytes: just below what `cargo xtask test` takes for hung.
const LONG_LIMIT: Duration = Duration::from_secs(570);
/// With this code `tests/clients/build.sh` says that there is no Go toolchain.
const NO_TOOLCHAIN: i32 = 3;
/// Bytes through exec, each way; without it the program's own number, 8 MiB.
const EXEC_BYTES: &str = "ROADSTEAD_TEST_EXEC_BYTES";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubernetes, go, python3"]
async fn other_clients_through_one_process() {
    Box::pin(every_client(Layout::OneProcess)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubernetes, go, python3, rabbitmq, postgres, redis"]
async fn other_clients_through_a_mesh() {
    Box::pin(every_client(Layout::Mesh)).await.unwrap();
}

/// The long form of the steps with exec: `cargo xtask campaign exec`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "sends as many bytes as ROADSTEAD_TEST_EXEC_BYTES says; nothing without it; needs kubernetes, go"]
async fn long_exec_through_one_process() {
    if let Ok(bytes) = std::env::var(EXEC_BYTES) {
        Box::pin(long_exec(&bytes)).await.unwrap();
    }
}

/// Byte for byte through a command and back, over each protocol that client libraries have for it.
async fn long_exec(bytes: &str) -> Result<()> {
    let _alone = crate::alone().await;
    let built = tokio::task::spawn_blocking(build).await??;
    let mut mesh = TestMesh::start(Layout::OneProcess, Tuning::default().without_quotas()).await?;
    mesh.start_agent("quay", None).await?;
    mesh.status("quay", "connected", JOIN_LIMIT).await?;
    let surroundings = Surroundings::of(&mesh).await?;
    let arguments = ["-kubeconfig", &surroundings.file(), "-namespace", "long-exec", "-only", "exec", "-bytes", bytes];
    let said = surroundings.run_within(&built.join("client"), &arguments, LONG_LIMIT).await?;
    crate::tell(format_args!("{bytes} bytes each way:\n{said}"))?;
    mesh.end();
    Ok(())
}

async fn every_client(layout: Layout) -> Result<()> {
    let _alone = crate::alone().await;
    let built = tokio::task::spawn_blocking(build).await??;
    let python = tokio::task::spawn_blocking(|| python_with("kubernetes==37.0.2")).await??;
    let mut mesh = TestMesh::start(layout, Tuning::default().without_quotas()).await?;
    // At the last replica's door: in a mesh, the streams cross from replica to replica.
    let door = mesh.agent_doors.len() - 1;
    mesh.start_agent("quay", Some(door)).await?;
    mesh.status("quay", "connected", JOIN_LIMIT).await?;
    let surroundings = Surroundings::of(&mesh).await?;
    timed("helm", helm::releases(&surroundings, &built.join("helm"))).await?;
    timed("client-go", surroundings.run(&built.join("client"), &["-kubeconfig", &surroundings.file()])).await?;
    let script = folder().join("client.py").display().to_string();
    timed("python", surroundings.run(&python, &[&script, &surroundings.file(), "client-python"])).await?;
    timed("kube-rs", Box::pin(kube_rs::go_through(&surroundings))).await?;
    mesh.end();
    Ok(())
}

async fn timed<T>(what: &str, work: impl Future<Output = Result<T>>) -> Result<()> {
    let began = Instant::now();
    work.await.with_context(|| what.to_owned())?;
    println!("{what}: {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients")
}

/// The folder with the Go programs.
fn build() -> Result<PathBuf> {
    let mut command = std::process::Command::new("sh");
    let output = command.arg(folder().join("build.sh")).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    match output.status.code() {
        Some(0) => Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim())),
        Some(NO_TOOLCHAIN) => bail!("tests/clients/build.sh needs Go 1.26 or later on PATH: https://go.dev/dl/"),
        _ => bail!("tests/clients/build.sh failed: {}", output.status),
    }
}

/// The owner at the first front door, with the cluster `quay`: a kubeconfig, and what its credential plugin needs.
struct Surroundings {
    kubeconfig: PathBuf,
    folder: PathBuf,
    environment: Vec<(String, String)>,
}

impl Surroundings {
    async fn of(mesh: &TestMesh) -> Result<Self> {
        let kubeconfig = mesh.folder().join("kubeconfig-clients");
        let mut command = mesh.client(0, &mesh.api_key)?;
        command.args(["kubeconfig", "quay", "--out"]).arg(&kubeconfig);
        let made = tokio::task::spawn_blocking(move || command.output()).await??;
        ensure!(made.status.success(), "roadstead kubeconfig: {}", String::from_utf8_lossy(&made.stderr));
        let profile = mesh.folder().join("no-profile.json").display().to_string();
        let hub = mesh.doors.first().context("no front door")?;
        let environment =
            [("ROADSTEAD_URL", hub.as_str()), ("ROADSTEAD_API_KEY", &mesh.api_key), ("ROADSTEAD_CONFIG", &profile)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec();
        Ok(Self { kubeconfig, folder: mesh.folder().to_owned(), environment })
    }

    fn file(&self) -> String {
        self.kubeconfig.display().to_string()
    }

    /// Runs a program to its end, which must be a good one; answers its output.
    async fn run(&self, program: &Path, arguments: &[&str]) -> Result<String> {
        self.run_within(program, arguments, LIMIT).await
    }

    async fn run_within(&self, program: &Path, arguments: &[&str], limit: Duration) -> Result<String> {
        let mut command = Command::new(program);
        command.args(arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        // Programs that keep files do so in the test's folder.
        for (name, folder) in [("HOME", "home"), ("HELM_CACHE_HOME", "helm-cache"), ("HELM_CONFIG_HOME", "helm-config")]
        {
            command.env(name, self.folder.join(folder));
        }
        command.env("KUBECONFIG", &self.kubeconfig).stdin(Stdio::null()).kill_on_drop(true);
        let what = format!("{} {}", program.display(), arguments.join(" "));
        let output = timeout(limit, command.output()).await.with_context(|| format!("{what} did not end"))??;
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{what}: {}\n{out}", String::from_utf8_lossy(&output.stderr));
        Ok(out)
    }
}
