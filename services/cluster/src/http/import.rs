//! The import manifest of an agent: `kubectl apply -f https://hub/import/<token>.yaml`.

use actix_web::HttpResponse;
use actix_web::web::Path;
use roadstead_contracts::Error;
use roadstead_contracts::names::ClusterName;
use roadstead_http_kit::{ApiResult, QueryPairs, RequestContext};

use super::State;

/// The manifest for a good join token; 404 for every other.
#[utoipa::path(
    get, path = "/import/{token}.yaml", tag = "join tokens", operation_id = "importManifest",
    params(
        ("token" = String, Path, description = "Join token"),
        ("name" = Option<String>, Query, description = "Name for the cluster, when the token is not bound to one"),
    ),
    responses((status = 200, body = String, content_type = "application/yaml"), (status = 404, description = "No such token")),
    security(()),
)]
pub(crate) async fn manifest(app: State, path: Path<String>, query: QueryPairs, context: RequestContext) -> ApiResult {
    let name = query
        .get("name")
        .map(ClusterName::parse)
        .transpose()
        .map_err(|error| Error::field(&["query", "name"], "value_error", error.detail.into_owned()))?;
    let text = app.import_manifest(&path, name, &context).await?;
    Ok(HttpResponse::Ok().content_type("application/yaml").body(text))
}
