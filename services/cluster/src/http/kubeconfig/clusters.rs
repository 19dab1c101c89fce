//! The caller's clusters: the list, and taking one out.

use actix_web::HttpResponse;
use actix_web::web::Path;
use roadstead_contracts::Error;
use roadstead_contracts::message::{DeleteCluster, ListSeedClusters};
use roadstead_contracts::seed::kubeconfig::{ClusterDeed, ClusterList};
use roadstead_http_kit::{ApiResult, Caller, RequestContext};
use serde_json::json;

use super::{cluster, entry, no_number};
use crate::http::State;

/// Lists the caller's clusters, newest first.
#[utoipa::path(
    get, path = "/kubeconfig/clusters", tag = "seed 004", operation_id = "kubeconfigClusters",
    responses((status = 200, body = serde_json::Value, example = json!({"clusters": [{
        "id": 1, "cluster_name": "production-cluster", "server_url": "https://k8s-api.example.com:6443",
        "context_name": "production-context", "provider_name": "AWS EKS", "tags": ["production", "aws"],
        "use_secure_tls": true, "is_operator_installed": false, "created_at": "2024-01-15T10:30:00Z",
        "updated_at": "2024-01-15T10:30:00Z"
    }]}))),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn list(app: State, caller: Caller, context: RequestContext) -> ApiResult {
    let request = ListSeedClusters { principal: caller.principal.as_ref().clone() };
    let clusters = app.look_up(&request, &context).await?;
    Ok(HttpResponse::Ok().json(ClusterList { clusters: clusters.into_iter().map(entry).collect() }))
}

/// Removes a cluster from the hub.
#[utoipa::path(
    delete, path = "/kubeconfig/remove-cluster/{cluster}", tag = "seed 004", operation_id = "kubeconfigRemoveCluster",
    params(("cluster" = String, Path, description = "Integer, id or name")),
    responses(
        (status = 200, body = serde_json::Value, example = json!({
            "message": "Cluster 'production-cluster' successfully removed"
        })),
        (status = 404, description = "Not there, or not the caller's"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn remove(app: State, caller: Caller, path: Path<String>, context: RequestContext) -> ApiResult {
    let seed = cluster(&app, &caller, &path, &context, no_number).await?;
    let (id, name) = (seed.cluster.id.to_string(), seed.cluster.name.clone());
    let request = DeleteCluster { principal: caller.principal.as_ref().clone(), cluster: id };
    // Gone meanwhile: the same as never there.
    app.change(&request, &context).await.map_err(|error| {
        if error.code == roadstead_contracts::Code::NotFound { Error::not_found(no_number(&path)) } else { error }
    })?;
    app.forget_agents();
    app.tell_peers(&caller, &seed.cluster, ClusterDeed::ClusterDeleted {}).await;
    Ok(HttpResponse::Ok().json(json!({ "message": format!("Cluster '{name}' successfully removed") })))
}
