//! What the cluster says of itself, asked without the hub.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Namespace;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};

/// A way to it that knows no hub, with full rights.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    let file = Kubeconfig::read_from(kubeconfig).context("failed to read the kubeconfig")?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// The names of its namespaces.
pub async fn own_namespaces(kubeconfig: &Path) -> Result<BTreeSet<String>> {
    let namespaces: Api<Namespace> = Api::all(client(kubeconfig).await?);
    let list = namespaces.list(&kube::api::ListParams::default()).await.context("the cluster did not answer")?;
    Ok(list.items.iter().map(ResourceExt::name_any).collect())
}
