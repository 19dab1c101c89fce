//! How a cluster is reached. The seed gave out its token and its key; they are sealed and stay so, and what needs the cluster
//! asks the hub's own doors, which take the caller's credential.

use actix_web::HttpResponse;
use actix_web::web::Path;
use roadstead_contracts::seed::kubeconfig::{ClusterCredentials, ClusterDeed, CredentialsAnswer, HIDDEN, TlsConfig};
use roadstead_http_kit::{ApiResult, Caller, RequestContext};

use super::{cluster, place, time};
use crate::http::State;

/// How a cluster is reached, without what is secret of it.
#[utoipa::path(
    get, path = "/kubeconfig/cluster/{cluster}/credentials", tag = "seed 004", operation_id = "kubeconfigCredentials",
    params(("cluster" = String, Path, description = "Name, integer or id")),
    responses(
        (status = 200, body = serde_json::Value, description = "Secrets are `***`", example = json!({
            "success": true, "message": "Cluster credentials retrieved successfully", "cluster": {
                "cluster_id": 1, "cluster_name": "production-cluster",
                "server_url": "https://k8s-api.example.com:6443", "token": "***",
                "context_name": "production-context", "provider_name": "AWS EKS", "use_secure_tls": true,
                "tls_config": {"ca_data": "***", "tls_cert": "***", "tls_key": "***"},
                "is_operator_installed": false, "tags": ["production", "aws"],
                "created_at": "2024-01-15T10:30:00Z", "updated_at": "2024-01-15T10:30:00Z"
            }
        })),
        (status = 404, description = "Not there, or not the caller's"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn credentials(app: State, caller: Caller, path: Path<String>, context: RequestContext) -> ApiResult {
    let missing = |shown: &str| format!("Cluster '{shown}' not found or you don't have access to it");
    let seed = cluster(&app, &caller, &path, &context, missing).await?;
    let hidden = || Some(HIDDEN.to_owned());
    let cluster = place(&seed);
    let deed = ClusterDeed::ClusterCredentialsAccessed { server_url: cluster.server_url.clone() };
    app.tell_peers(&caller, &seed.cluster, deed).await;
    Ok(HttpResponse::Ok().json(CredentialsAnswer {
        success: true,
        message: "Cluster credentials retrieved successfully".to_owned(),
        cluster: ClusterCredentials {
            cluster,
            token: HIDDEN.to_owned(),
            context_name: seed.details.context_name,
            use_secure_tls: seed.details.use_secure_tls,
            tls_config: seed.details.use_secure_tls.then(|| TlsConfig {
                ca_data: hidden(),
                tls_cert: hidden(),
                tls_key: hidden(),
            }),
            is_operator_installed: false,
            tags: seed.details.tags,
            created_at: time(seed.cluster.created_at),
            updated_at: time(seed.cluster.updated_at),
        },
    }))
}
