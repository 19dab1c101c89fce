//! The commands that talk to a hub.

mod access;
mod add_cluster;
mod agents;
mod api_key;
mod audit;
mod clusters;
mod ended;
mod hub;
mod join_token;
mod kube;
mod login;
mod namespaces;
mod operations;
mod output;
mod policy;
mod probe;
mod profile;
mod sessions;
mod sso;

pub use ended::Ended;
pub use hub::{Hub, Refused};
pub use output::{Output, plain};
pub(crate) use output::{state, table};
pub use profile::Profile;

use std::path::Path;

use crate::args::access::AccessCommand;
use crate::args::audit::AuditCommand;
use crate::args::kube::{CredentialArgs, EnvArgs, GetArgs, KubeconfigArgs, KubectlArgs, SessionsCommand};
use crate::args::operations::{
    ApplyArgs, DeleteArgs, DiffArgs, DriftCommand, HelmCommand, OpsCommand, RollbackArgs, RolloutCommand, ScaleArgs,
    WorkloadArgs,
};
use crate::args::policy::PolicyCommand;
use crate::args::{AgentsCommand, ApiKeyCommand, ClustersCommand, JoinTokenCommand, LoginArgs, OutputFormat};

/// Runs `login`.
pub async fn login(args: &LoginArgs, format: OutputFormat) -> anyhow::Result<()> {
    login::login(args, Output::new(format)).await
}

/// Runs `logout`.
pub async fn logout(format: OutputFormat) -> anyhow::Result<()> {
    login::logout(Output::new(format)).await
}

/// Runs `whoami`.
pub async fn whoami(format: OutputFormat) -> anyhow::Result<()> {
    login::whoami(&mut Hub::remembered()?, Output::new(format)).await
}

/// Runs `kubeconfig`.
pub async fn kubeconfig(args: &KubeconfigArgs, format: OutputFormat) -> anyhow::Result<()> {
    kube::kubeconfig(&mut Hub::remembered()?, args, Output::new(format)).await
}

/// Runs `env`.
pub async fn env(args: &EnvArgs) -> anyhow::Result<()> {
    kube::env(&mut Hub::remembered()?, args).await
}

/// Runs `get`.
pub async fn get(args: &GetArgs, format: OutputFormat) -> anyhow::Result<()> {
    kube::get(&mut Hub::remembered()?, args, Output::new(format)).await
}

/// Runs `logs`, `exec`, `port-forward` and `top`.
pub async fn kubectl(verb: &str, args: &KubectlArgs) -> anyhow::Result<()> {
    kube::kubectl(&mut Hub::remembered()?, verb, args).await
}

/// Runs `kube-credential`.
pub async fn kube_credential(args: &CredentialArgs) -> anyhow::Result<()> {
    kube::credential(args).await
}

/// Runs `clusters …`.
pub async fn clusters(command: &ClustersCommand, format: OutputFormat) -> anyhow::Result<()> {
    clusters::run(&mut Hub::remembered()?, command, Output::new(format)).await
}

/// Runs `sessions …`.
pub async fn sessions(command: &SessionsCommand, format: OutputFormat) -> anyhow::Result<()> {
    sessions::run(&mut Hub::remembered()?, command, Output::new(format)).await
}

/// Runs `agents …`.
pub async fn agents(command: &AgentsCommand, format: OutputFormat) -> anyhow::Result<()> {
    agents::run(&mut Hub::remembered()?, command, Output::new(format)).await
}

/// Runs `join-token …`.
pub async fn join_token(command: &JoinTokenCommand, format: OutputFormat) -> anyhow::Result<()> {
    join_token::run(&mut Hub::remembered()?, command, Output::new(format)).await
}

/// Runs `api-key …`.
pub async fn api_key(command: &ApiKeyCommand, format: OutputFormat) -> anyhow::Result<()> {
    api_key::run(&mut Hub::remembered()?, command, Output::new(format)).await
}

/// Runs `access …`.
pub async fn access(command: &AccessCommand, format: OutputFormat) -> anyhow::Result<()> {
    access::run(&mut Hub::remembered()?, command, Output::new(format)).await
}

/// Runs `policy …`.
pub async fn policy(command: &PolicyCommand, format: OutputFormat) -> anyhow::Result<()> {
    policy::run(&mut Hub::remembered()?, command, Output::new(format)).await
}

/// Runs `audit …`.
pub async fn audit(command: &AuditCommand, format: OutputFormat) -> anyhow::Result<()> {
    audit::run(command, Output::new(format)).await
}

/// Runs `namespaces CLUSTER`.
pub async fn namespaces(cluster: &str, format: OutputFormat) -> anyhow::Result<()> {
    namespaces::run(&mut Hub::remembered()?, cluster, Output::new(format)).await
}

/// Runs `apply`.
pub async fn apply(args: &ApplyArgs, format: OutputFormat) -> anyhow::Result<()> {
    operations::apply(&mut Hub::remembered()?, args, format).await
}

/// Runs `diff`.
pub async fn diff(args: &DiffArgs, format: OutputFormat) -> anyhow::Result<()> {
    operations::diff(&mut Hub::remembered()?, args, format).await
}

/// Runs `delete`.
pub async fn delete(args: &DeleteArgs, format: OutputFormat) -> anyhow::Result<()> {
    operations::delete(&mut Hub::remembered()?, args, format).await
}

/// Runs `scale`.
pub async fn scale(args: &ScaleArgs, format: OutputFormat) -> anyhow::Result<()> {
    operations::scale(&mut Hub::remembered()?, args, format).await
}

/// Runs `restart`.
pub async fn restart(args: &WorkloadArgs, format: OutputFormat) -> anyhow::Result<()> {
    operations::restart(&mut Hub::remembered()?, args, format).await
}

/// Runs `helm …`.
pub async fn helm(command: &HelmCommand, format: OutputFormat) -> anyhow::Result<()> {
    operations::helm(&mut Hub::remembered()?, command, format).await
}

/// Runs `rollback`.
pub async fn rollback(args: &RollbackArgs, format: OutputFormat) -> anyhow::Result<()> {
    operations::rollback(&mut Hub::remembered()?, args, format).await
}

/// Runs `ops …`.
pub async fn ops(command: &OpsCommand, format: OutputFormat) -> anyhow::Result<()> {
    operations::ops(&mut Hub::remembered()?, command, format).await
}

/// Runs `drift …`.
pub async fn drift(command: &DriftCommand, format: OutputFormat) -> anyhow::Result<()> {
    operations::drift(&mut Hub::remembered()?, command, format).await
}

/// Runs `rollout …`.
pub async fn rollout(command: &RolloutCommand, format: OutputFormat) -> anyhow::Result<()> {
    operations::rollout(&mut Hub::remembered()?, command, format).await
}

/// Runs `probe URL`.
pub async fn probe(url: &str, ca: Option<&Path>, certificate: Option<&Path>, key: Option<&Path>) -> anyhow::Result<()> {
    probe::run(url, ca, certificate, key).await
}
