//! `roadstead`: the hub and its client in one program. Parses, runs, prints the error; everything else is in the library.

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser as _};
use roadstead_cli::args::{Cli, Command};
use roadstead_cli::client::{self, Ended, Output, plain};
use roadstead_cli::{hub, up};
use roadstead_runtime::config::ConfigErrors;

/// Ten thousand idle agents are ten thousand small allocations: this one keeps them closer together than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match Box::pin(run(parse())).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            if let Some(ended) = fault.downcast_ref::<Ended>() {
                if !ended.said.is_empty() {
                    eprintln!("{}", plain(&ended.said));
                }
                return ExitCode::from(ended.code);
            }
            // What went wrong may be told in words of a hub or of a cluster.
            eprintln!("error: {}", plain(&format!("{fault:#}")));
            if fault.is::<ConfigErrors>() { ExitCode::from(ConfigErrors::EXIT_CODE) } else { ExitCode::FAILURE }
        }
    }
}

/// Parses; help speaks of `kubectl roadstead` when that is how the program was called (kubectl finds its plugins by name).
fn parse() -> Cli {
    let plugin = std::env::args_os()
        .next()
        .is_some_and(|name| std::path::Path::new(&name).file_stem().is_some_and(|stem| stem == "kubectl-roadstead"));
    if !plugin {
        return Cli::parse();
    }
    let matches = Cli::command().bin_name("kubectl roadstead").get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|fault| fault.exit())
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let format = cli.output;
    match cli.command {
        Command::Up(args) => Box::pin(up::up(&args)).await,
        Command::Serve(args) => hub::serve(&args).await,
        Command::Migrate(args) => hub::migrate(&args, Output::new(format)).await,
        Command::Doctor(args) => hub::doctor(&args, Output::new(format)).await,
        Command::Admin(args) => hub::admin(&args, Output::new(format)).await,
        Command::Login(args) => client::login(&args, format).await,
        Command::Logout => client::logout(format).await,
        Command::Whoami => client::whoami(format).await,
        Command::Clusters { command } => client::clusters(&command, format).await,
        Command::Agents { command } => client::agents(&command, format).await,
        Command::JoinToken { command } => client::join_token(&command, format).await,
        Command::ApiKey { command } => client::api_key(&command, format).await,
        Command::Sessions { command } => client::sessions(&command, format).await,
        Command::Access { command } => client::access(&command, format).await,
        Command::Policy { command } => client::policy(&command, format).await,
        Command::Audit { command } => client::audit(&command, format).await,
        Command::Namespaces { cluster } => client::namespaces(&cluster, format).await,
        Command::Kubeconfig(args) => client::kubeconfig(&args, format).await,
        Command::Env(args) => client::env(&args).await,
        Command::Get(args) => client::get(&args, format).await,
        Command::Logs(args) => client::kubectl("logs", &args).await,
        Command::Exec(args) => client::kubectl("exec", &args).await,
        Command::PortForward(args) => client::kubectl("port-forward", &args).await,
        Command::Top(args) => client::kubectl("top", &args).await,
        Command::Apply(args) => client::apply(&args, format).await,
        Command::Diff(args) => client::diff(&args, format).await,
        Command::Delete(args) => client::delete(&args, format).await,
        Command::Scale(args) => client::scale(&args, format).await,
        Command::Restart(args) => client::restart(&args, format).await,
        Command::Helm { command } => client::helm(&command, format).await,
        Command::Rollback(args) => client::rollback(&args, format).await,
        Command::Ops { command } => client::ops(&command, format).await,
        Command::Drift { command } => client::drift(&command, format).await,
        Command::Rollout { command } => client::rollout(&command, format).await,
        Command::KubeCredential(args) => client::kube_credential(&args).await,
        Command::Probe { url, ca_file, cert_file, key_file } => {
            client::probe(&url, ca_file.as_deref(), cert_file.as_deref(), key_file.as_deref()).await
        }
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "roadstead", &mut std::io::stdout());
            Ok(())
        }
    }
}
