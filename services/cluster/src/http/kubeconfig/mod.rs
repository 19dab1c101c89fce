//! KubeSage's configuration service (seed 004): `/kubeconfig/*`, and the same below `/api/v2.0`. Its shapes
//! are in `contracts::seed::kubeconfig`; its holes are closed: addresses are vetted and certificates checked (K3), secrets
//! stay where they are (K2, K4), commands are no shell's (K1, see [`crate::kubectl`]).

pub(super) mod apps;
pub(super) mod clusters;
pub(super) mod credentials;
pub(super) mod execute;
pub(super) mod namespaces;
pub(super) mod nodes;
pub(super) mod onboard;
pub(super) mod workloads;
pub(super) mod yaml;

use actix_web::HttpRequest;
use actix_web::http::Method;
use chrono::{DateTime, SecondsFormat, Utc};
use roadstead_contracts::identity::Action::{ClustersDelete, ClustersManage, ClustersRead, ClustersWrite};
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::message::{Cluster, GetSeedCluster, SeedCluster};
use roadstead_contracts::seed::kubeconfig::{ClusterEntry, ClusterPlace, IN_CLUSTER};
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::Access::Action;
use roadstead_http_kit::{Caller, RateClass, RequestContext, Routes};

use super::State;
use super::v1::{NO_CLUSTER, reference};
use crate::app::App;
use crate::kubernetes::ask::Asker;

/// What the seed calls a provider that is not named.
const PROVIDER: &str = "Standard";
/// How namespaces are listed, for events.
const METHOD: &str = "kubernetes-api";

/// The routes, each with its alias.
pub(super) fn add(routes: Routes) -> Routes {
    let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
    let (read, manage, seed) = (Action(ClustersRead), Action(ClustersManage), RateClass::Seed);
    let at = |tail: &str| [format!("/kubeconfig/{tail}"), format!("/api/v2.0/{tail}")];
    let mut routes = routes
        // Below `/api/v2.0` this is the onboarding service's, which says more.
        .add(get.clone(), "/kubeconfig/clusters", read, seed, clusters::list);
    for path in at("onboard-cluster") {
        routes = routes.add(post.clone(), &path, Action(ClustersWrite), seed, onboard::onboard);
    }
    for path in at("remove-cluster/{cluster}") {
        routes = routes.add(Method::DELETE, &path, Action(ClustersDelete), seed, clusters::remove);
    }
    for path in at("select-cluster-and-get-namespaces/{cluster}") {
        routes = routes.add(post.clone(), &path, read, seed, namespaces::select);
    }
    for path in at("get-namespaces/{cluster}") {
        routes = routes.add(get.clone(), &path, read, seed, namespaces::list);
    }
    for path in at("cluster/{cluster}/credentials") {
        routes = routes.add(get.clone(), &path, manage, seed, credentials::credentials);
    }
    for path in at("execute-kubectl-direct/{cluster}") {
        routes = routes.add(post.clone(), &path, read, seed, execute::execute);
    }
    for path in at("nodes/status/all-clusters") {
        routes = routes.add(get.clone(), &path, read, seed, nodes::all);
    }
    for path in at("nodes/status/cluster") {
        routes = routes.add(get.clone(), &path, read, seed, nodes::one);
    }
    for path in at("clusters/{cluster}/workloads/{namespace}") {
        routes = routes.add(get.clone(), &path, read, seed, workloads::workloads);
    }
    for path in at("clusters/{cluster}/apps") {
        routes = routes.add(get.clone(), &path, read, seed, apps::all);
    }
    for path in at("clusters/{cluster}/apps/{name}/details") {
        routes = routes.add(get.clone(), &path, read, seed, apps::details);
    }
    for path in at("clusters/{cluster}/yaml/{namespace}/{kind}/{name}") {
        routes = routes.add(get.clone(), &path, read, seed, yaml::get).add(put.clone(), &path, manage, seed, yaml::put);
    }
    routes
}

/// The seed's times: whole seconds and `Z`.
fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

pub(super) fn server_url(cluster: &Cluster) -> String {
    cluster.endpoint.clone().unwrap_or_else(|| IN_CLUSTER.to_owned())
}

fn provider(seed: &SeedCluster) -> String {
    seed.details.provider_name.clone().unwrap_or_else(|| PROVIDER.to_owned())
}

fn place(seed: &SeedCluster) -> ClusterPlace {
    ClusterPlace {
        cluster_id: seed.cluster.seq,
        cluster_name: seed.cluster.name.to_string(),
        server_url: server_url(&seed.cluster),
        provider_name: provider(seed),
    }
}

fn entry(seed: SeedCluster) -> ClusterEntry {
    ClusterEntry {
        id: seed.cluster.seq,
        server_url: server_url(&seed.cluster),
        provider_name: provider(&seed),
        cluster_name: seed.cluster.name.into(),
        context_name: seed.details.context_name,
        tags: seed.details.tags,
        use_secure_tls: seed.details.use_secure_tls,
        is_operator_installed: false,
        created_at: time(seed.cluster.created_at),
        updated_at: time(seed.cluster.updated_at),
    }
}

/// The seed's sentence for a cluster by its number.
fn no_number(shown: &str) -> String {
    format!("Cluster with ID '{shown}' not found or does not belong to you")
}

/// A cluster of the caller's: by integer as the seed has it, and by id or name.
async fn cluster(
    app: &App,
    caller: &Caller,
    text: &str,
    context: &RequestContext,
    missing: impl Fn(&str) -> String,
) -> Result<SeedCluster> {
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    // What no cluster can be called is not repeated.
    let reference = reference(text, NO_CLUSTER)?;
    if !plain(reference) {
        return Err(Error::not_found(NO_CLUSTER));
    }
    let request = GetSeedCluster { principal: caller.principal.as_ref().clone(), cluster: reference.to_owned() };
    let found = app.look_up(&request, context).await;
    found.map_err(|error| if error.code == Code::NotFound { Error::not_found(missing(reference)) } else { error })
}

/// The API of a cluster, as the caller has it.
pub(super) fn asker(app: &State, request: &HttpRequest, cluster: ClusterId, context: &RequestContext) -> Result<Asker> {
    let none = || Error::new(Code::Unavailable, "this hub has no Kubernetes door: it has no certificate for one");
    let door = app.kubernetes.get().ok_or_else(none)?;
    let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    Ok(Asker::new(door, cluster.to_string(), headers, context.client, &context.request_id))
}
