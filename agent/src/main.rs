//! The program `roadstead-agent`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use roadstead_agent::kubernetes::Cluster;
use roadstead_agent::net::Way;
use roadstead_agent::preflight::{self, Plan};
use roadstead_agent::run::{self, Finished, Process};
use roadstead_runtime::config::agent::AgentSettings;
use roadstead_runtime::config::{Env as _, ProcessEnv};
use roadstead_runtime::{
    Ids, LEAST_FOR_AN_AGENT, SystemClock, Tasks, install_crypto, raise_descriptor_limit, wait_for_signal,
};
use roadstead_telemetry::Options;

/// How long streams may finish after a stop signal.
const GRACE: Duration = Duration::from_secs(10);
/// Exit code of an agent that was revoked: the service manager should not start it again.
const REVOKED: u8 = 3;

/// Serves one Kubernetes cluster to a Roadstead hub, by dialling out.
#[derive(Debug, Parser)]
#[command(name = "roadstead-agent", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Joins the hub once, then serves the cluster until stopped.
    Run(Given),
    /// Says which step to the hub or the cluster is broken, and its fix.
    Preflight(Given),
}

/// Settings on the command line; they win over the file and the environment.
#[derive(Debug, Default, Args)]
struct Given {
    /// Address of the hub, or of its door for agents.
    #[arg(long, value_name = "URL")]
    hub: Option<String>,
    /// Join token. Better by ROADSTEAD_JOIN_TOKEN: arguments are for everybody on this machine to read.
    #[arg(long, value_name = "TOKEN")]
    join: Option<String>,
    /// Name for the cluster.
    #[arg(long)]
    name: Option<String>,
    /// kubeconfig file; left out, the pod's own account, then KUBECONFIG and ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context in that file.
    #[arg(long)]
    context: Option<String>,
    /// Folder for the agent's key.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// PEM file of the authority that signed the hub's certificate.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// File of settings.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Given {
    fn settings(&self) -> anyhow::Result<AgentSettings> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
        let given = [
            ("hub.url", self.hub.clone(), "--hub"),
            ("hub.token", self.join.clone(), "--join"),
            ("cluster.name", self.name.clone(), "--name"),
            ("kubeconfig.path", path(&self.kubeconfig), "--kubeconfig"),
            ("kubeconfig.context", self.context.clone(), "--context"),
            ("state.dir", path(&self.state), "--state"),
            ("hub.ca_file", path(&self.ca_file), "--ca-file"),
        ];
        let given: Vec<_> = given.into_iter().filter_map(|(key, text, option)| Some((key, text?, option))).collect();
        Ok(AgentSettings::load(self.config.clone(), &ProcessEnv, &given)?)
    }
}

// One thread: an agent at rest should cost next to nothing, and at work it waits for two sockets.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    install_crypto();
    let done = match Cli::parse().command.unwrap_or_else(|| Command::Run(Given::default())) {
        Command::Run(given) => run(&given).await,
        Command::Preflight(given) => look(&given).await,
    };
    done.unwrap_or_else(|error| {
        eprintln!("roadstead-agent: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run(given: &Given) -> anyhow::Result<ExitCode> {
    roadstead_runtime::crash::leave_nothing_behind();
    let settings = given.settings()?;
    let _guard = roadstead_telemetry::init(&Options {
        level: settings.logging.level,
        format: settings.logging.format,
        service: "agent",
        otlp_endpoint: ProcessEnv.var("OTEL_EXPORTER_OTLP_ENDPOINT"),
    });
    for note in &settings.notes {
        tracing::warn!("{note}");
    }
    raise_descriptor_limit(LEAST_FOR_AN_AGENT)?;
    let clock = SystemClock::shared();
    let tasks = Tasks::new();
    let process = Process { env: &ProcessEnv, ids: Ids::system(clock.clone()), clock, tasks: tasks.clone() };
    let signals = async {
        wait_for_signal(&tasks).await?;
        // The run ends by itself, after what is under way.
        std::future::pending::<anyhow::Result<Finished>>().await
    };
    let finished = tokio::select! {
        finished = run::run(&settings, &process) => finished.map_err(anyhow::Error::from),
        finished = signals => finished,
    };
    tasks.finish(GRACE).await;
    match finished? {
        Finished::Stopped => Ok(ExitCode::SUCCESS),
        Finished::Revoked => {
            tracing::error!("the hub revoked this agent; join again with a new token to come back");
            Ok(ExitCode::from(REVOKED))
        }
    }
}

async fn look(given: &Given) -> anyhow::Result<ExitCode> {
    let settings = given.settings()?;
    let way = Way::new(settings.hub.ca_file.as_deref(), &ProcessEnv)?;
    let cluster = Cluster::open(settings.kubeconfig.path.as_deref(), settings.kubeconfig.context.as_deref()).await;
    let keeper = run::keeper(&settings, cluster.as_ref().ok(), &ProcessEnv)?;
    let plan = Plan {
        hub: &settings.hub.url,
        token: settings.hub.token.as_ref(),
        keeper: Some(&keeper),
        cluster: cluster.as_ref(),
    };
    let report = preflight::run(&plan, &way, &SystemClock::shared()).await;
    print!("{report}");
    Ok(if report.broken().is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
