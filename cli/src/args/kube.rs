//! The part of the command line that leads to kubectl.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use roadstead_contracts::identity::Role;

/// Arguments of `kubeconfig`.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of a command line")]
pub struct KubeconfigArgs {
    /// Id, number or name of a cluster.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub cluster: Option<String>,
    /// Every cluster you can see.
    #[arg(long)]
    pub all: bool,
    /// Add the contexts to the kubeconfig that kubectl uses; the current context stays what it is.
    #[arg(long, conflicts_with = "out")]
    pub merge: bool,
    /// Write to this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Make the cluster the current context of what is written.
    #[arg(long, conflicts_with = "all")]
    pub use_context: bool,
    /// Put a token into the file that ends soon and works for these clusters only, for machines without this program.
    #[arg(long = "static", conflicts_with = "merge")]
    pub fixed: bool,
    /// How long that token works: `30m`, `12h`, at most `30d`.
    #[arg(long, default_value = "1h", value_parser = parse_token_lifetime, requires = "fixed")]
    pub lifetime: u32,
    /// The most that it is in the clusters, whatever you are there.
    #[arg(long, value_enum, default_value = "operator", requires = "fixed")]
    pub role: TokenRole,
}

/// What a token in a file may be in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TokenRole {
    /// It reads.
    Viewer,
    /// It reads and changes what is in namespaces.
    Operator,
    /// All that you may do there; also what you may do in the hub besides clusters.
    Admin,
}

impl TokenRole {
    /// The hub's role.
    pub fn role(self) -> Role {
        match self {
            TokenRole::Viewer => Role::Viewer,
            TokenRole::Operator => Role::Operator,
            TokenRole::Admin => Role::Admin,
        }
    }
}

/// Longest life of a token in a file: nobody looks after such files, and whoever finds one has it.
const TOKEN_SECONDS_MAX: u32 = 30 * 86_400;

fn parse_token_lifetime(text: &str) -> Result<u32, String> {
    let seconds = super::parse_lifetime(text)?;
    if seconds > TOKEN_SECONDS_MAX {
        return Err("a token in a file works for 30d at most; make a new file before it ends".to_owned());
    }
    Ok(seconds)
}

/// Arguments of `env`.
#[derive(Debug, Clone, Args)]
pub struct EnvArgs {
    /// Id, number or name of a cluster.
    pub cluster: String,
}

/// Arguments of `kube-credential`, which kubectl calls.
#[derive(Debug, Clone, Args)]
pub struct CredentialArgs {
    /// The hub that the kubeconfig was made for.
    #[arg(long)]
    pub url: String,
}

/// Arguments of `get`.
#[derive(Debug, Clone, Args)]
pub struct GetArgs {
    /// What to list: `pods`, `deploy`, `nodes`, `certificates.cert-manager.io`.
    pub kind: String,
    /// Only this one.
    pub name: Option<String>,
    /// In which namespace; all of them when left out.
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// Only objects with these labels.
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    /// Only clusters with these labels: `env=prod,tier=1`; every one you can see when left out.
    #[arg(long, value_name = "SELECTOR")]
    pub clusters: Option<String>,
    /// Only this cluster.
    #[arg(long, conflicts_with = "clusters")]
    pub cluster: Option<String>,
}

/// Arguments of `logs`, `exec` and `port-forward`: the cluster, then kubectl's own.
#[derive(Debug, Clone, Args)]
pub struct KubectlArgs {
    /// Id, number or name of a cluster.
    pub cluster: String,
    /// What kubectl takes after the verb.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub rest: Vec<String>,
}

/// Where a cluster's API is, and with which credential.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group(clap::ArgGroup::new("where").required(true).args(["kubeconfig", "server", "in_cluster"])))]
#[command(group(clap::ArgGroup::new("credential").multiple(true).args(["token_file", "client_certificate"])))]
pub struct SourceArgs {
    /// Take server and credential from this kubeconfig; files that it names are read here and sent along.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Which of its contexts; the current one when left out.
    #[arg(long, requires = "kubeconfig")]
    pub context: Option<String>,
    /// Address of the API server: `https://host:6443`. Needs a token, a client certificate or both.
    #[arg(long, requires = "credential")]
    pub server: Option<String>,
    /// File with the token; `-` reads standard input.
    #[arg(long, value_name = "FILE", requires = "server")]
    pub token_file: Option<PathBuf>,
    /// PEM file of the client certificate.
    #[arg(long, value_name = "FILE", requires_all = ["server", "client_key"])]
    pub client_certificate: Option<PathBuf>,
    /// PEM file of its private key; `-` reads standard input.
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    pub client_key: Option<PathBuf>,
    /// PEM file of whoever issued the server's certificate; public authorities when left out.
    #[arg(long, value_name = "FILE", requires = "server")]
    pub ca_file: Option<PathBuf>,
    /// Name in the server's certificate, where it is not the host's.
    #[arg(long, requires = "server")]
    pub tls_server_name: Option<String>,
    /// The cluster that the hub itself runs in, as its own account.
    #[arg(long)]
    pub in_cluster: bool,
    /// Requests a second that the hub sends it; 50 when left out.
    #[arg(long)]
    pub qps: Option<f64>,
    /// Requests at once; 100 when left out.
    #[arg(long)]
    pub burst: Option<u32>,
    /// How long it may take to begin its answer, such as `30s`, which it is when left out.
    #[arg(long)]
    pub timeout: Option<String>,
}

/// Arguments of `clusters add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// Name for it in the hub.
    pub name: String,
    /// Where it is.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Free text.
    #[arg(long, default_value = "")]
    pub description: String,
    /// Label; may be repeated.
    #[arg(long = "label", value_parser = super::parse_pair)]
    pub labels: Vec<(String, String)>,
    /// What the hub's roles may do in it: `read_only`, `namespaced`, `operator` or `admin`.
    #[arg(long, default_value = "admin", value_parser = ["read_only", "namespaced", "operator", "admin"])]
    pub profile: String,
    /// Namespace of the profile `namespaced`; may be repeated.
    #[arg(long = "namespace")]
    pub namespaces: Vec<String>,
}

/// Arguments of `clusters connection`.
#[derive(Debug, Args)]
pub struct ConnectionArgs {
    /// Id, number or name.
    pub cluster: String,
    /// Where it is from now on, all of it: nothing stays of how it was reached before.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Commands on recorded sessions.
#[derive(Debug, Subcommand)]
pub enum SessionsCommand {
    /// List recorded sessions
    Ls,
    /// Play a recorded session in this terminal
    Play {
        /// Id of the recording.
        id: String,
        /// How much faster than it was.
        #[arg(long, default_value_t = 1.0)]
        speed: f64,
        /// Longest pause, in seconds of the session.
        #[arg(long, default_value_t = 5.0)]
        idle: f64,
        /// Write the asciicast to this file instead.
        #[arg(long)]
        out: Option<PathBuf>,
    },
}
