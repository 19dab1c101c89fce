//! The part of the command line that runs a hub.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use roadstead_runtime::config::ServiceRole;

/// Arguments of `up`.
#[derive(Debug, Clone, Default, Args)]
pub struct UpArgs {
    /// Address of the front door; port 0 takes any free one [default: 127.0.0.1:8008].
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Address of the Kubernetes door [default: 127.0.0.1:8443, or a free port when it is taken].
    #[arg(long, value_name = "ADDR")]
    pub kubernetes_listen: Option<SocketAddr>,
    /// Address of the agents' door; port 0 takes any free one [default: 127.0.0.1:8007, or a free port when it is taken].
    #[arg(long, value_name = "ADDR")]
    pub agent_listen: Option<SocketAddr>,
    /// Folder for the hub's databases and keys [default: roadstead under the user's data folder].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// A cluster to serve without an agent of its own: its current context; may be repeated.
    #[arg(long = "kubeconfig", value_name = "FILE")]
    pub kubeconfigs: Vec<PathBuf>,
    /// Write addresses, and on the first start the owner's password, an API key and a join token, to this file (mode 0600).
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// File of settings.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// For development only: sample secrets, open registration, every account sees every cluster.
    #[arg(long)]
    pub dev: bool,
}

/// Arguments of `serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Which service.
    #[arg(value_enum)]
    pub service: ServiceName,
    /// File of settings.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// A service of the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ServiceName {
    /// Accounts, sessions, API keys.
    User,
    /// The front door.
    Cluster,
    /// Clusters, agents, join tokens.
    Onboarding,
    /// Changes as operations.
    Operations,
}

impl ServiceName {
    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Cluster => "cluster",
            Self::Onboarding => "onboarding",
            Self::Operations => "operations",
        }
    }

    /// What its process is.
    pub fn role(self) -> ServiceRole {
        match self {
            Self::User => ServiceRole::User,
            Self::Cluster => ServiceRole::Cluster,
            Self::Onboarding => ServiceRole::Onboarding,
            Self::Operations => ServiceRole::Operations,
        }
    }

    /// The database that it keeps.
    pub fn database(self) -> Option<&'static str> {
        (self != Self::Cluster).then(|| self.as_str())
    }
}

/// A service that keeps a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DatabaseName {
    /// Accounts, sessions, API keys.
    User,
    /// Clusters, agents, join tokens.
    Onboarding,
    /// Changes as operations.
    Operations,
}

impl DatabaseName {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::User, Self::Onboarding, Self::Operations];

    /// Name of its schema and its file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Onboarding => "onboarding",
            Self::Operations => "operations",
        }
    }
}

/// Where a tool finds the databases.
#[derive(Debug, Clone, Default, Args)]
pub struct DatabaseArgs {
    /// File of settings.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Folder of a hub that `roadstead up` made [default: the one of `up`].
    #[arg(long, value_name = "DIR", global = true)]
    pub data: Option<PathBuf>,
}

/// Arguments of `migrate`.
#[derive(Debug, Clone, Args)]
pub struct MigrateArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: MigrateCommand,
    /// Where the databases are.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// Commands on the databases' schemas.
#[derive(Debug, Clone, Subcommand)]
pub enum MigrateCommand {
    /// Bring the databases up to date
    Up {
        /// Only this one.
        #[arg(value_enum)]
        service: Option<DatabaseName>,
    },
    /// Take the newest step back
    Down {
        /// Only of this one.
        #[arg(value_enum)]
        service: Option<DatabaseName>,
        /// How many steps.
        #[arg(long, default_value_t = 1)]
        steps: usize,
    },
    /// Show which steps are in
    Status {
        /// Only this one.
        #[arg(value_enum)]
        service: Option<DatabaseName>,
    },
    /// Make the empty files of a new step
    New {
        /// For which database.
        #[arg(value_enum)]
        service: DatabaseName,
        /// What it does, in words joined by `_`.
        name: String,
        /// Folder of the steps.
        #[arg(long, value_name = "DIR", default_value = "migrations")]
        folder: PathBuf,
    },
}

/// Arguments of `doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Look at what this service needs on this machine, instead of at the hub you are logged in to.
    #[arg(long, value_enum, value_name = "SERVICE")]
    pub service: Option<ServiceName>,
    /// File of settings.
    #[arg(long, value_name = "FILE", requires = "service")]
    pub config: Option<PathBuf>,
}

/// Arguments of `admin`.
#[derive(Debug, Clone, Args)]
pub struct AdminArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: AdminCommand,
    /// Where the databases are.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// Commands that work on the database, without a running hub.
#[derive(Debug, Clone, Subcommand)]
pub enum AdminCommand {
    /// Give an account a new password (shown once; change it) and the role admin, remove its second factors and end its sessions; makes
    /// the account when there is none
    Recover {
        /// The account.
        #[arg(default_value = "owner")]
        username: String,
    },
    /// Put every sealed secret in the databases under the newest master key, while the hub runs
    Rewrap {
        /// First add a new key to the file of master keys, and wait until running services have it.
        #[arg(long)]
        rotate: bool,
        /// Only this database.
        #[arg(value_enum)]
        service: Option<DatabaseName>,
    },
}
