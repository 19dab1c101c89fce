//! The part of the command line that leads to kubectl.

use std::path::PathBuf;

use clap::{Args, Subcommand};

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
    /// Put a token that ends soon into the file, for machines without this program.
    #[arg(long = "static", conflicts_with = "merge")]
    pub fixed: bool,
    /// How long that token works: `30m`, `12h`.
    #[arg(long, default_value = "1h", value_parser = super::parse_lifetime, requires = "fixed")]
    pub lifetime: u32,
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

/// Arguments of `clusters add`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("where").required(true).args(["kubeconfig", "server", "in_cluster"])))]
pub struct AddArgs {
    /// Name for it in the hub.
    pub name: String,
    /// Take server and credential from this kubeconfig; files that it names are read here and sent along.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Which of its contexts; the current one when left out.
    #[arg(long, requires = "kubeconfig")]
    pub context: Option<String>,
    /// Address of the API server: `https://host:6443`.
    #[arg(long, requires = "token_file")]
    pub server: Option<String>,
    /// File with the token; `-` reads standard input.
    #[arg(long, requires = "server")]
    pub token_file: Option<PathBuf>,
    /// PEM file of whoever issued the server's certificate; public authorities when left out.
    #[arg(long, requires = "server")]
    pub ca_file: Option<PathBuf>,
    /// Name in the server's certificate, where it is not the host's.
    #[arg(long, requires = "server")]
    pub tls_server_name: Option<String>,
    /// The cluster that the hub itself runs in, as its own account.
    #[arg(long)]
    pub in_cluster: bool,
    /// Free text.
    #[arg(long, default_value = "")]
    pub description: String,
    /// Label; may be repeated.
    #[arg(long = "label", value_parser = super::parse_pair)]
    pub labels: Vec<(String, String)>,
    /// Requests a second that the hub sends it.
    #[arg(long)]
    pub qps: Option<f64>,
    /// Requests at once.
    #[arg(long)]
    pub burst: Option<u32>,
    /// How long it may take to begin its answer, such as `30s`.
    #[arg(long)]
    pub timeout: Option<String>,
    /// What the hub's roles may do in it: `read_only`, `namespaced`, `operator` or `admin`.
    #[arg(long, default_value = "admin", value_parser = ["read_only", "namespaced", "operator", "admin"])]
    pub profile: String,
    /// Namespace of the profile `namespaced`; may be repeated.
    #[arg(long = "namespace")]
    pub namespaces: Vec<String>,
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
