//! The names of a cluster's namespaces, in the seed's two ways: selecting answers 200 whatever the cluster does, asking does
//! not.

use actix_web::HttpResponse;
use actix_web::web::Path;
use roadstead_contracts::message::{AgentTarget, SeedCluster};
use roadstead_contracts::seed::kubeconfig::{
    ClusterDeed, ClusterNamespaces, SelectedCluster, ShortCluster, UnreachedCluster,
};
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::{ApiResult, Caller, RequestContext};

use super::{METHOD, cluster, entry, no_number, place, provider, server_url, time};
use crate::app::App;
use crate::http::State;

/// Selects a cluster: answers its namespaces, or why there are none.
#[utoipa::path(
    post, path = "/kubeconfig/select-cluster-and-get-namespaces/{cluster}", tag = "seed 004",
    operation_id = "kubeconfigSelectCluster",
    params(("cluster" = String, Path, description = "Integer, id or name")),
    responses(
        (status = 200, body = serde_json::Value, description = "`success` says whether the cluster answered", example = json!({
            "success": true, "namespaces_retrieved": true, "cluster_info": {"id": 1, "cluster_name": "production-cluster"},
            "namespaces": ["default", "kube-system"], "namespace_count": 2,
            "message": "Successfully retrieved 2 namespaces from cluster 'production-cluster'"
        })),
        (status = 404, description = "Not there, or not the caller's"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn select(app: State, caller: Caller, path: Path<String>, context: RequestContext) -> ApiResult {
    let seed = cluster(&app, &caller, &path, &context, no_number).await?;
    let name = seed.cluster.name.to_string();
    match names(&app, &caller, &seed, &context).await {
        Ok(namespaces) => {
            let namespace_count = namespaces.len();
            let deed = ClusterDeed::ClusterSelectedAndNamespacesRetrieved { namespace_count };
            app.tell_peers(&caller, &seed.cluster, deed).await;
            Ok(HttpResponse::Ok().json(SelectedCluster {
                success: true,
                namespaces_retrieved: true,
                cluster_info: entry(seed),
                namespaces,
                namespace_count,
                message: format!("Successfully retrieved {namespace_count} namespaces from cluster '{name}'"),
            }))
        }
        Err(error) if is_the_clusters(&error) => Ok(HttpResponse::Ok().json(UnreachedCluster {
            success: false,
            namespaces_retrieved: false,
            cluster_info: ShortCluster {
                id: seed.cluster.seq,
                server_url: server_url(&seed.cluster),
                provider_name: provider(&seed),
                cluster_name: name.clone(),
            },
            namespaces: Vec::new(),
            error: format!("Failed to retrieve namespaces: {}", error.detail),
            message: format!("Cluster '{name}' accessible, but namespace retrieval failed"),
        })),
        Err(error) => Err(error.into()),
    }
}

/// Lists the namespaces of a cluster.
#[utoipa::path(
    get, path = "/kubeconfig/get-namespaces/{cluster}", tag = "seed 004", operation_id = "kubeconfigGetNamespaces",
    params(("cluster" = String, Path, description = "Integer, id or name")),
    responses(
        (status = 200, body = serde_json::Value, example = json!({
            "success": true, "cluster_id": 1, "cluster_name": "production-cluster",
            "server_url": "https://k8s-api.example.com:6443", "provider_name": "AWS EKS",
            "context_name": "production-context", "use_secure_tls": true, "namespace_count": 2,
            "namespaces": ["default", "kube-system"], "retrieved_at": "2024-01-15T10:35:00Z"
        })),
        (status = 404, description = "Not there, or not the caller's"),
        (status = 502, description = "The cluster answered with an error"),
        (status = 503, description = "The cluster is not connected"),
        (status = 504, description = "No answer in time"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn list(app: State, caller: Caller, path: Path<String>, context: RequestContext) -> ApiResult {
    let missing = |shown: &str| format!("Cluster with ID '{shown}' not found or you don't have access to it");
    let seed = cluster(&app, &caller, &path, &context, missing).await?;
    let name = seed.cluster.name.to_string();
    let method = METHOD.to_owned();
    let namespaces = match names(&app, &caller, &seed, &context).await {
        Ok(namespaces) => namespaces,
        Err(mut error) => {
            if is_the_clusters(&error) {
                error.detail = format!("Error fetching namespaces from cluster '{name}': {}", error.detail).into();
                let told = error.detail.to_string();
                let deed = ClusterDeed::NamespacesRetrievalFailedByClusterId { error: told, method };
                app.tell_peers(&caller, &seed.cluster, deed).await;
            }
            return Err(error.into());
        }
    };
    let namespace_count = namespaces.len();
    let deed = ClusterDeed::NamespacesRetrievedByClusterId { namespace_count, method };
    app.tell_peers(&caller, &seed.cluster, deed).await;
    Ok(HttpResponse::Ok().json(ClusterNamespaces {
        success: true,
        cluster: place(&seed),
        context_name: seed.details.context_name,
        use_secure_tls: seed.details.use_secure_tls,
        namespace_count,
        namespaces,
        retrieved_at: time(app.clock.now()),
    }))
}

async fn names(app: &App, caller: &Caller, seed: &SeedCluster, context: &RequestContext) -> Result<Vec<String>> {
    let target = AgentTarget::Cluster(seed.cluster.id.to_string());
    let answer = app.namespaces(caller, target, context).await.map_err(|error| match error.code {
        // The cluster is there; it never had an agent.
        Code::NotFound => Error::new(Code::AgentOffline, "the cluster has no agent yet").retry_after(5),
        _ => error,
    })?;
    Ok(answer.namespaces.list.namespaces.into_iter().map(|namespace| namespace.name).collect())
}

/// Whether the fault is the cluster's, or on the way to it.
fn is_the_clusters(error: &Error) -> bool {
    matches!(
        error.code,
        Code::AgentError | Code::AgentOffline | Code::AgentBusy | Code::Timeout | Code::Expired | Code::Forbidden
    )
}
