//! The part of the command line about the rules of the policy.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Commands on rules.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// List the rules
    Ls {
        /// Only those for this subject: `user:ada`, `role:viewer`, `group:ops`, `*`.
        #[arg(long)]
        subject: Option<String>,
    },
    /// Show one rule
    Get {
        /// Name or id.
        rule: String,
    },
    /// Make and change rules by their names, from a file: all of them or none
    Apply {
        /// YAML or JSON with `rules:`; `-` is standard input.
        #[arg(short = 'f', long = "file")]
        file: PathBuf,
        /// Remove the rules that are not in the file.
        #[arg(long)]
        replace: bool,
    },
    /// Remove a rule
    Delete {
        /// Name or id.
        rule: String,
    },
    /// Write the rules as a file that `apply` takes
    Export {
        /// Where to; standard output when left out.
        file: Option<PathBuf>,
    },
    /// Ask what would be decided, by the rules that stand or by those of a file; nothing is saved
    Test(Box<TestArgs>),
}

/// Arguments of `policy test`.
#[derive(Debug, Default, Args)]
pub struct TestArgs {
    /// Rules that are not saved, put beside those that stand; `-` is standard input.
    #[arg(short = 'f', long = "file")]
    pub file: Option<PathBuf>,
    /// Only the rules of the file.
    #[arg(long, requires = "file")]
    pub replace: bool,
    /// YAML or JSON with `questions:`; each may say what is expected (`expect: allow`), and what is not as expected ends the
    /// command with an error.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "roles", "groups", "permission"])]
    pub questions: Option<PathBuf>,
    /// The account that is asked about.
    #[arg(long, conflicts_with_all = ["roles", "groups"])]
    pub user: Option<String>,
    /// A role, without an account; may be repeated.
    #[arg(long = "role")]
    pub roles: Vec<String>,
    /// A group, without an account; may be repeated.
    #[arg(long = "group")]
    pub groups: Vec<String>,
    /// `clusters:read`, `operations:write`, …
    #[arg(long, required_unless_present = "questions")]
    pub permission: Option<String>,
    /// Name or id of a cluster.
    #[arg(long)]
    pub cluster: Option<String>,
    /// Label of a cluster that is not there yet; may be repeated.
    #[arg(long = "label", value_parser = super::parse_pair)]
    pub labels: Vec<(String, String)>,
    /// Namespace; `*` for all of them.
    #[arg(short = 'n', long)]
    pub namespace: Option<String>,
    /// Kind as `plural.group`: `deployments.apps`, `secrets`.
    #[arg(long, requires = "verb")]
    pub kind: Option<String>,
    /// Verb of Kubernetes: `get`, `create`, `delete`.
    #[arg(long, requires = "kind")]
    pub verb: Option<String>,
}
