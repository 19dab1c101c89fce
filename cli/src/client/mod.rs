//! The commands that talk to a hub.

mod agents;
mod api_key;
mod clusters;
mod hub;
mod join_token;
mod login;
mod namespaces;
mod output;
mod profile;

pub use hub::{Hub, Refused};
pub use output::Output;
pub(crate) use output::{state, table};
pub use profile::Profile;

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

/// Runs `clusters …`.
pub async fn clusters(command: &ClustersCommand, format: OutputFormat) -> anyhow::Result<()> {
    clusters::run(&mut Hub::remembered()?, command, Output::new(format)).await
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

/// Runs `namespaces CLUSTER`.
pub async fn namespaces(cluster: &str, format: OutputFormat) -> anyhow::Result<()> {
    namespaces::run(&mut Hub::remembered()?, cluster, Output::new(format)).await
}
