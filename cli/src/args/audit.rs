//! The part of the command line about the audit trail.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Commands on the audit trail.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Show the newest rows
    Ls(AuditFilters),
    /// Write rows and signed checkpoints to a file, which `verify` checks
    Export {
        /// Where to; standard output when left out.
        file: Option<PathBuf>,
        /// Only rows after this number.
        #[arg(long, value_name = "ROW")]
        after: Option<i64>,
        /// A table for spreadsheets instead; it cannot be verified.
        #[arg(long)]
        csv: bool,
    },
    /// Check an exported file without the hub, or the hub's trail when no file is given
    Verify {
        /// What `export` wrote.
        file: Option<PathBuf>,
        /// Public key that signs the checkpoints, from a place you trust; else the file's own is believed.
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// Checkpoints that were shipped out (JSON lines): they show a tail that was cut.
        #[arg(long, value_name = "FILE")]
        checkpoints: Option<PathBuf>,
    },
}

/// Which rows.
#[derive(Debug, Default, Args)]
pub struct AuditFilters {
    /// Action; `cluster.*` takes every one that begins so.
    #[arg(long)]
    pub action: Option<String>,
    /// Name or id of who did it.
    #[arg(long)]
    pub actor: Option<String>,
    /// Kind of what it was done to.
    #[arg(long)]
    pub kind: Option<String>,
    /// Name or id of what it was done to.
    #[arg(long)]
    pub resource: Option<String>,
    /// Id of the cluster.
    #[arg(long)]
    pub cluster: Option<String>,
    /// Namespace.
    #[arg(long)]
    pub namespace: Option<String>,
    /// succeeded, refused or failed.
    #[arg(long)]
    pub outcome: Option<String>,
    /// Id of a request.
    #[arg(long)]
    pub request: Option<String>,
    /// At this time or later (RFC 3339).
    #[arg(long)]
    pub since: Option<String>,
    /// Before this time (RFC 3339).
    #[arg(long)]
    pub until: Option<String>,
    /// Most rows.
    #[arg(long, default_value_t = 50)]
    pub limit: u32,
}
