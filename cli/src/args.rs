//! The command line of `roadstead`.

pub mod access;
pub mod audit;
pub mod hub;
pub mod kube;
pub mod operations;
pub mod policy;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// One hub for every Kubernetes cluster.
#[derive(Debug, Parser)]
#[command(name = "roadstead", version, about, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to print answers.
    #[arg(short = 'o', long = "output", value_enum, global = true, default_value = "table")]
    pub output: OutputFormat,
}

/// How to print answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For files.
    Yaml,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a hub in one process, with nothing else to install
    Up(hub::UpArgs),
    /// Run one service of a mesh
    Serve(hub::ServeArgs),
    /// Log in to a hub and remember it
    Login(LoginArgs),
    /// Forget the hub, and end the session there
    Logout,
    /// Show who the hub takes you for
    Whoami,
    /// Clusters
    Clusters {
        /// What to do with them.
        #[command(subcommand)]
        command: ClustersCommand,
    },
    /// Agents
    Agents {
        /// What to do with them.
        #[command(subcommand)]
        command: AgentsCommand,
    },
    /// Tokens with which agents join
    JoinToken {
        /// What to do with them.
        #[command(subcommand)]
        command: JoinTokenCommand,
    },
    /// API keys of your account
    ApiKey {
        /// What to do with them.
        #[command(subcommand)]
        command: ApiKeyCommand,
    },
    /// Recorded sessions
    Sessions {
        /// What to do with them.
        #[command(subcommand)]
        command: kube::SessionsCommand,
    },
    /// More rights for a while: ask for them, give them, end them
    Access {
        /// What to do.
        #[command(subcommand)]
        command: access::AccessCommand,
    },
    /// Rules: who may do what where
    Policy {
        /// What to do with them.
        #[command(subcommand)]
        command: policy::PolicyCommand,
    },
    /// The audit trail: who did what
    Audit {
        /// What to do with it.
        #[command(subcommand)]
        command: audit::AuditCommand,
    },
    /// Namespaces of a cluster, asked of the cluster itself
    Namespaces {
        /// Id, number or name.
        cluster: String,
    },
    /// Print or write a kubeconfig for kubectl, Helm and other Kubernetes clients
    Kubeconfig(kube::KubeconfigArgs),
    /// Point one terminal's kubectl at a cluster: `eval "$(roadstead env CLUSTER)"`
    Env(kube::EnvArgs),
    /// List objects of a kind over many clusters
    Get(kube::GetArgs),
    /// `kubectl logs` in a cluster
    Logs(kube::KubectlArgs),
    /// `kubectl exec` in a cluster
    Exec(kube::KubectlArgs),
    /// `kubectl port-forward` to a cluster
    PortForward(kube::KubectlArgs),
    /// `kubectl top` in a cluster
    Top(kube::KubectlArgs),
    /// Give kubectl a token; kubeconfigs call this
    #[command(hide = true)]
    KubeCredential(kube::CredentialArgs),
    /// Apply manifests to a cluster, or to all with labels
    Apply(operations::ApplyArgs),
    /// Show what applying manifests would change
    Diff(operations::DiffArgs),
    /// Remove the objects of manifests
    Delete(operations::DeleteArgs),
    /// Set the replicas of a workload
    Scale(operations::ScaleArgs),
    /// Replace the pods of a workload one after another
    Restart(operations::WorkloadArgs),
    /// Take a workload back to an earlier revision
    Rollback(operations::RollbackArgs),
    /// Releases of Helm charts, done by the Helm of the cluster's agent
    Helm {
        /// What to do with them.
        #[command(subcommand)]
        command: operations::HelmCommand,
    },
    /// Operations: what was changed, is being changed, and how it went
    Ops {
        /// What to do with them.
        #[command(subcommand)]
        command: operations::OpsCommand,
    },
    /// What is not as operations left it
    Drift {
        /// What to do.
        #[command(subcommand)]
        command: operations::DriftCommand,
    },
    /// One change to many clusters, in waves
    Rollout {
        /// What to do with them.
        #[command(subcommand)]
        command: operations::RolloutCommand,
    },
    /// The databases' schemas
    Migrate(hub::MigrateArgs),
    /// Name the broken step between here and the hub, or under a service
    Doctor(hub::DoctorArgs),
    /// Look after a hub whose admins are locked out
    Admin(hub::AdminArgs),
    /// Ask a URL and say by the exit code whether it answers well, for container health checks
    #[command(hide = true)]
    Probe {
        /// What to ask.
        url: String,
        /// PEM file of whoever issued the certificate of what is asked, trusted instead of the system's authorities
        #[arg(long, value_name = "FILE")]
        ca_file: Option<PathBuf>,
        /// PEM file of the certificate to show
        #[arg(long, value_name = "FILE", requires = "key_file")]
        cert_file: Option<PathBuf>,
        /// PEM file of its private key
        #[arg(long, value_name = "FILE", requires = "cert_file")]
        key_file: Option<PathBuf>,
    },
    /// Print a completion script for your shell
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Arguments of `login`.
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// Address of the hub.
    #[arg(long, env = "ROADSTEAD_URL")]
    pub url: String,
    /// Use this API key; `-` reads it from standard input.
    #[arg(long, conflicts_with = "username")]
    pub api_key: Option<String>,
    /// Log in with a password: asked for on a terminal, else read from standard input.
    #[arg(long)]
    pub username: Option<String>,
    /// Log in through the hub's identity provider, where it has one.
    #[arg(long, conflicts_with_all = ["username", "api_key"])]
    pub sso: bool,
    /// Which identity provider, where the hub has several.
    #[arg(long, requires = "sso")]
    pub provider: Option<String>,
    /// Approve the login on another device: for machines without a browser.
    #[arg(long, requires = "sso")]
    pub device: bool,
    /// Print the address instead of opening a browser.
    #[arg(long, requires = "sso", conflicts_with = "device")]
    pub no_browser: bool,
    /// Trust this CA (PEM) for the hub's certificate.
    #[arg(long)]
    pub ca_file: Option<PathBuf>,
}

/// Commands on clusters.
#[derive(Debug, Subcommand)]
pub enum ClustersCommand {
    /// List the clusters you can see
    Ls {
        /// Only those with these labels: `env=prod,tier=1`.
        #[arg(short = 'l', long)]
        selector: Option<String>,
    },
    /// Add a cluster that the hub reaches by itself, with a kubeconfig or a server and a credential
    Add(Box<kube::AddArgs>),
    /// Give a cluster that the hub reaches by itself another address or other credentials
    Connection(Box<kube::ConnectionArgs>),
    /// Show one cluster
    Get {
        /// Id, number or name.
        cluster: String,
    },
    /// Set labels (`env=prod`) or take them away (`env-`)
    Label {
        /// Id, number or name.
        cluster: String,
        /// What to set and take away.
        #[arg(required = true)]
        labels: Vec<String>,
    },
    /// Remove a cluster from the hub and cut its agent off
    Rm {
        /// Id, number or name.
        cluster: String,
        /// Do not ask.
        #[arg(short = 'y', long)]
        yes: bool,
    },
}

/// Commands on agents.
#[derive(Debug, Subcommand)]
pub enum AgentsCommand {
    /// List agents
    Ls {
        /// Only those connected now.
        #[arg(long)]
        connected: bool,
    },
    /// Cut an agent off, for good
    Revoke {
        /// Id of the agent.
        agent: String,
    },
}

/// Commands on join tokens.
#[derive(Debug, Subcommand)]
pub enum JoinTokenCommand {
    /// Create a join token; it is shown once
    Create {
        /// Bind it to this cluster (id, number or name).
        #[arg(long)]
        cluster: Option<String>,
        /// How long it works: `30m`, `12h`, at most `24h`.
        #[arg(long, default_value = "1h", value_parser = parse_lifetime)]
        lifetime: u32,
        /// How often it may be used.
        #[arg(long, default_value_t = 1)]
        uses: u32,
        /// Label that clusters get which join with it; may be repeated.
        #[arg(long = "label", value_parser = parse_pair)]
        labels: Vec<(String, String)>,
        /// What the agent may do in its cluster.
        #[arg(long, value_enum, default_value = "admin")]
        profile: Profile,
        /// Namespace of the profile `namespaced`; may be repeated.
        #[arg(long = "namespace")]
        namespaces: Vec<String>,
    },
    /// List join tokens
    Ls,
    /// Revoke a join token
    Revoke {
        /// Id of the token.
        id: String,
    },
}

/// What an agent may do in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Everybody only reads.
    ReadOnly,
    /// In the namespaces of `--namespace` only: viewers read, operators edit, admins administer.
    Namespaced,
    /// Viewers read, operators and admins edit.
    Operator,
    /// Viewers read, operators edit, admins administer.
    Admin,
}

impl Profile {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Profile::ReadOnly => "read_only",
            Profile::Namespaced => "namespaced",
            Profile::Operator => "operator",
            Profile::Admin => "admin",
        }
    }
}

/// Commands on API keys.
#[derive(Debug, Subcommand)]
pub enum ApiKeyCommand {
    /// Create an API key; it is shown once
    Create {
        /// A name to know it by.
        name: String,
        /// How long it works: `30d`, `12h`; for ever when left out.
        #[arg(long, value_parser = parse_lifetime)]
        lifetime: Option<u32>,
    },
    /// List your API keys
    Ls,
    /// Revoke an API key
    Revoke {
        /// Number of the key, as `ls` shows it.
        id: String,
    },
}

/// `30s`, `15m`, `12h`, `30d` as seconds.
pub fn parse_lifetime(text: &str) -> Result<u32, String> {
    let fault = || format!("'{text}' is not a time such as 30s, 15m, 12h or 30d");
    let unit = text.chars().last().ok_or_else(fault)?;
    let seconds: u32 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(fault()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| fault())?;
    number.checked_mul(seconds).filter(|seconds| *seconds > 0).ok_or_else(fault)
}

/// `key=value`.
pub fn parse_pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("'{text}' is not key=value"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lifetimes_are_read() {
        assert_eq!(parse_lifetime("90s"), Ok(90));
        assert_eq!(parse_lifetime("24h"), Ok(86_400));
        for bad in ["", "h", "1", "1w", "-1h", "0h", "99999999d", "1é"] {
            assert!(parse_lifetime(bad).is_err(), "{bad}");
        }
    }
}
