//! The part of the command line that changes clusters.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Which clusters.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct TargetArgs {
    /// Id, number or name of a cluster; may be repeated.
    #[arg(long, value_name = "CLUSTER")]
    pub cluster: Vec<String>,
    /// Every cluster with these labels: `env=prod,tier=1`.
    #[arg(long, value_name = "SELECTOR")]
    pub clusters: Option<String>,
}

/// Whether it is only asked what would change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// It is done.
    None,
    /// The API server is asked; nothing is changed.
    Server,
}

/// How long to stay, and what to wait for.
#[derive(Debug, Clone, Copy, Args)]
pub struct WaitArgs {
    /// Stay until it has ended and everything is ready, with progress; the exit code tells.
    #[arg(long)]
    pub wait: bool,
    /// The operation times out after this: `30s`, `10m`, `2h`. Waiting for an offline cluster counts.
    #[arg(long, value_name = "TIME", value_parser = super::parse_lifetime)]
    pub timeout: Option<u32>,
}

/// Manifests.
#[derive(Debug, Clone, Args)]
pub struct FilesArgs {
    /// A file, a folder (its .yaml, .yml and .json) or `-` for standard input; may be repeated.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-", required = true)]
    pub files: Vec<PathBuf>,
    /// Namespace of objects that name none.
    #[arg(short, long)]
    pub namespace: Option<String>,
}

/// Arguments of `apply`.
#[derive(Debug, Clone, Args)]
pub struct ApplyArgs {
    /// What to apply.
    #[command(flatten)]
    pub manifests: FilesArgs,
    /// Where.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Only ask what would change, and show it.
    #[arg(long, value_enum, default_value = "none")]
    pub dry_run: DryRun,
    /// Remember what is applied under this name.
    #[arg(long, value_name = "NAME")]
    pub inventory: Option<String>,
    /// Remove what is in the inventory and not in the manifests any more.
    #[arg(long, requires = "inventory")]
    pub prune: bool,
    /// Take fields over from other managers instead of failing with their names.
    #[arg(long)]
    pub force_conflicts: bool,
    /// Do not ask, with --prune and for more than one cluster.
    #[arg(short = 'y', long)]
    pub yes: bool,
    /// How long to stay.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Arguments of `diff`.
#[derive(Debug, Clone, Args)]
pub struct DiffArgs {
    /// What would be applied.
    #[command(flatten)]
    pub manifests: FilesArgs,
    /// Id, number or name of a cluster.
    #[arg(long)]
    pub cluster: String,
    /// End with code 1 when something differs.
    #[arg(long)]
    pub exit_code: bool,
}

/// Arguments of `delete`.
#[derive(Debug, Clone, Args)]
pub struct DeleteArgs {
    /// What to remove; only the objects' names count.
    #[command(flatten)]
    pub manifests: FilesArgs,
    /// Where.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Do not ask, for more than one cluster.
    #[arg(short = 'y', long)]
    pub yes: bool,
    /// Only ask what would be removed.
    #[arg(long, value_enum, default_value = "none")]
    pub dry_run: DryRun,
    /// How long to stay.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// A workload.
#[derive(Debug, Clone, Args)]
pub struct WorkloadArgs {
    /// KIND/NAME: `deploy/web`, `sts/db`, `Rollout.v1alpha1.argoproj.io/web`.
    #[arg(value_name = "KIND/NAME")]
    pub object: String,
    /// Its namespace.
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// Where.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Do not ask, where it stops something in more than one cluster.
    #[arg(short = 'y', long)]
    pub yes: bool,
    /// How long to stay.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Arguments of `scale`.
#[derive(Debug, Clone, Args)]
pub struct ScaleArgs {
    /// Of what.
    #[command(flatten)]
    pub workload: WorkloadArgs,
    /// How many.
    #[arg(long)]
    pub replicas: u32,
}

/// Arguments of `rollback`.
#[derive(Debug, Clone, Args)]
pub struct RollbackArgs {
    /// Of what.
    #[command(flatten)]
    pub workload: WorkloadArgs,
    /// To this revision; the one before when left out.
    #[arg(long)]
    pub revision: Option<u64>,
}

/// A release.
#[derive(Debug, Clone, Args)]
pub struct ReleaseArgs {
    /// Name of the release.
    pub release: String,
    /// Its namespace.
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// Where.
    #[command(flatten)]
    pub target: TargetArgs,
    /// How long to stay.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Arguments of `helm install`.
#[derive(Debug, Clone, Args)]
pub struct HelmInstallArgs {
    /// What is installed, where.
    #[command(flatten)]
    pub release: ReleaseArgs,
    /// The chart: a file that `helm package` wrote, or the http(s) address of one, which the hub fetches.
    pub chart: String,
    /// A file of values; may be repeated, later ones win.
    #[arg(short = 'f', long = "values", value_name = "FILE")]
    pub values: Vec<PathBuf>,
    /// Make the namespace when it is not there.
    #[arg(long)]
    pub create_namespace: bool,
    /// Only ask what would change, and show it.
    #[arg(long, value_enum, default_value = "none")]
    pub dry_run: DryRun,
}

/// Commands on releases.
#[derive(Debug, Subcommand)]
pub enum HelmCommand {
    /// Install a chart, or upgrade its release
    #[command(alias = "upgrade")]
    Install(Box<HelmInstallArgs>),
    /// Take a release back to an earlier revision
    Rollback {
        /// Which.
        #[command(flatten)]
        release: ReleaseArgs,
        /// To this revision; the one before when left out.
        #[arg(long)]
        revision: Option<u32>,
        /// Do not ask, for more than one cluster.
        #[arg(short = 'y', long)]
        yes: bool,
    },
    /// Remove a release with everything of it
    Uninstall {
        /// Which.
        #[command(flatten)]
        release: ReleaseArgs,
        /// Do not ask, for more than one cluster.
        #[arg(short = 'y', long)]
        yes: bool,
    },
}

/// Commands on operations.
#[derive(Debug, Subcommand)]
pub enum OpsCommand {
    /// List operations, newest first
    Ls {
        /// Of this cluster: id, number or name.
        #[arg(long)]
        cluster: Option<String>,
        /// In these states: `running,failed`.
        #[arg(long)]
        state: Option<String>,
        /// Of this kind: apply, delete, scale, restart, rollback, exec, sync, undo, helm.
        #[arg(long)]
        kind: Option<String>,
        /// So many.
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Show one operation and what happened in it
    Get {
        /// Id of the operation.
        id: String,
        /// Without its steps.
        #[arg(long)]
        short: bool,
    },
    /// Follow an operation to its end
    Watch {
        /// Id of the operation.
        id: String,
    },
    /// Ask for an honest stop
    Cancel {
        /// Id of the operation.
        id: String,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Run what failed once more, as a new operation
    Retry {
        /// Id of the operation.
        id: String,
        /// Everything, not only what failed.
        #[arg(long)]
        all: bool,
        /// Stay until it has ended.
        #[arg(long)]
        wait: bool,
    },
    /// Compare what an operation applied with the cluster and correct what differs, as a new operation
    Sync {
        /// Id of the operation.
        id: String,
        /// Stay until it has ended.
        #[arg(long)]
        wait: bool,
    },
    /// Put back what an operation changed, as a new operation
    Undo {
        /// Id of the operation.
        id: String,
        /// Also objects that somebody changed since.
        #[arg(long)]
        force: bool,
        /// Stay until it has ended.
        #[arg(long)]
        wait: bool,
    },
    /// Forget an operation that has ended and whose retention is over
    Rm {
        /// Id of the operation.
        id: String,
    },
}

/// Commands on drift.
#[derive(Debug, Subcommand)]
pub enum DriftCommand {
    /// List objects that were changed or removed since an operation applied them
    Ls {
        /// Id, number or name of a cluster; all of them when left out.
        cluster: Option<String>,
    },
}

/// Arguments of `rollout create`.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of a command line")]
pub struct RolloutArgs {
    /// What to apply everywhere.
    #[command(flatten)]
    pub manifests: FilesArgs,
    /// Where: named clusters keep their order, selected ones go by name.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Name for people; the first file's when left out.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub name: String,
    /// Percent of all clusters in each wave: `10,40,50`; one wave when left out.
    #[arg(long, value_delimiter = ',')]
    pub waves: Vec<u8>,
    /// Clusters that may fail before it halts.
    #[arg(long, default_value_t = 0)]
    pub failure_budget: u32,
    /// How long a finished wave bakes before it is looked at once more and the next begins: `30s`, `10m`.
    #[arg(long, value_name = "TIME", value_parser = super::parse_lifetime)]
    pub bake: Option<u32>,
    /// Clusters at once within a wave; all when left out.
    #[arg(long, default_value_t = 0)]
    pub at_once: u32,
    /// Another account must approve it.
    #[arg(long)]
    pub needs_approval: bool,
    /// The whole plan as YAML, with overrides and a maintenance window; what is said beside it wins.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Remember what is applied under this name.
    #[arg(long, value_name = "NAME")]
    pub inventory: Option<String>,
    /// Remove what is in the inventory and not in the manifests any more.
    #[arg(long, requires = "inventory")]
    pub prune: bool,
    /// Take fields over from other managers.
    #[arg(long)]
    pub force_conflicts: bool,
    /// A cluster is done once everything there is ready.
    #[arg(long)]
    pub until_ready: bool,
    /// Do not ask.
    #[arg(short = 'y', long)]
    pub yes: bool,
    /// Stay until it has ended or halted; the time is for each cluster.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Commands on rollouts.
#[derive(Debug, Subcommand)]
pub enum RolloutCommand {
    /// One change to many clusters, in waves
    Create(Box<RolloutArgs>),
    /// List rollouts, newest first
    Ls,
    /// Show one rollout
    Get {
        /// Id of the rollout.
        id: String,
    },
    /// Follow a rollout until it has ended or halted
    Watch {
        /// Id of the rollout.
        id: String,
    },
    /// Say yes to a rollout that somebody else made
    Approve {
        /// Id of the rollout.
        id: String,
    },
    /// Stop before the next cluster
    Halt {
        /// Id of the rollout.
        id: String,
    },
    /// Go on; the failure budget starts anew
    Resume {
        /// Id of the rollout.
        id: String,
    },
    /// Run the clusters that failed once more
    Retry {
        /// Id of the rollout.
        id: String,
    },
    /// Give up: nothing more begins, what runs is asked to stop
    Cancel {
        /// Id of the rollout.
        id: String,
    },
}
