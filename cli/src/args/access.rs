//! The part of the command line about rights for a while.

use clap::{Args, Subcommand, ValueEnum};

use super::parse_lifetime;

/// Commands on rights for a while.
#[derive(Debug, Subcommand)]
pub enum AccessCommand {
    /// Ask for a role or permissions for a while
    Request(Box<AskArgs>),
    /// List requests: yours, or everybody's when you decide on them
    Ls {
        /// Only those in this state.
        #[arg(long, value_enum)]
        state: Option<RequestState>,
        /// Only your own.
        #[arg(long)]
        mine: bool,
    },
    /// Show a request
    Show {
        /// Id of the request.
        id: String,
    },
    /// Give what is asked for
    Approve {
        /// Id of the request.
        id: String,
        /// For a shorter time than was asked for: `30m`, `2h`.
        #[arg(long = "for", value_name = "TIME", value_parser = parse_lifetime)]
        time: Option<u32>,
        /// What you say to it.
        #[arg(long)]
        note: Option<String>,
    },
    /// Do not give what is asked for
    Deny {
        /// Id of the request.
        id: String,
        /// What you say to it.
        #[arg(long)]
        note: Option<String>,
    },
    /// Take your own question back
    Withdraw {
        /// Id of the request.
        id: String,
    },
    /// End what was given before its time; what was opened under it is cut
    End {
        /// Id of the request.
        id: String,
    },
}

/// What is asked for.
#[derive(Debug, Args)]
pub struct AskArgs {
    /// A role.
    #[arg(long, value_enum, required_unless_present = "permissions", conflicts_with = "permissions")]
    pub role: Option<AskedRole>,
    /// A permission, such as `operations:write`; may be repeated.
    #[arg(long = "permission")]
    pub permissions: Vec<String>,
    /// On this cluster (name or id); may be repeated.
    #[arg(long = "cluster")]
    pub clusters: Vec<String>,
    /// On clusters with these labels: `env=prod,tier!=1`.
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    /// In this namespace, `*` for any part of a name; may be repeated.
    #[arg(short = 'n', long = "namespace")]
    pub namespaces: Vec<String>,
    /// For how long: `30m`, `2h`.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_lifetime, default_value = "1h")]
    pub time: u32,
    /// Why.
    #[arg(long)]
    pub reason: String,
}

/// A role that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AskedRole {
    /// Reads.
    Viewer,
    /// Changes.
    Operator,
    /// Administers clusters.
    Admin,
}

impl AskedRole {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// A state of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RequestState {
    /// Nobody has decided.
    Pending,
    /// Given, and not over.
    Approved,
    /// Not given.
    Denied,
    /// Taken back.
    Withdrawn,
    /// Given, and over.
    Ended,
    /// Nobody decided in time.
    Lapsed,
}

impl RequestState {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Withdrawn => "withdrawn",
            Self::Ended => "ended",
            Self::Lapsed => "lapsed",
        }
    }
}
