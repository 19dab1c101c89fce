//! Grants of a cluster to an account.

use actix_web::HttpResponse;
use actix_web::web::Path;
use roadstead_contracts::Result;
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::message::{GetCluster, GrantCluster, RevokeCluster};
use roadstead_http_kit::{ApiResult, Caller, RequestContext};
use serde::Serialize;
use utoipa::ToSchema;

use super::{NO_CLUSTER, named, reference};
use crate::http::State;

const NO_ACCOUNT: &str = "Account not found";

/// A grant that stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GrantView {
    /// The cluster.
    cluster_id: String,
    /// The account.
    user_id: String,
    /// Its name.
    username: String,
}

async fn cluster_id(app: &State, caller: &Caller, cluster: &str, context: &RequestContext) -> Result<ClusterId> {
    let cluster = reference(cluster, NO_CLUSTER)?.to_owned();
    let request = GetCluster { principal: caller.principal.as_ref().clone(), cluster };
    Ok(app.look_up(&request, context).await.map_err(named(NO_CLUSTER))?.id)
}

/// Lets an account see a cluster, with its own roles.
#[utoipa::path(
    put, path = "/api/v1/clusters/{cluster}/grants/{account}", tag = "clusters", operation_id = "grantCluster",
    params(
        ("cluster" = String, Path, description = "Id, integer or name"),
        ("account" = String, Path, description = "User name or id"),
    ),
    responses((status = 200, body = GrantView), (status = 404, description = "No such cluster or account")),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn grant(
    app: State,
    caller: Caller,
    path: Path<(String, String)>,
    context: RequestContext,
) -> ApiResult {
    let (cluster, account) = path.into_inner();
    let cluster_id = cluster_id(&app, &caller, &cluster, &context).await?;
    let account = reference(&account, NO_ACCOUNT)?.to_owned();
    let request = GrantCluster { principal: caller.principal.as_ref().clone(), cluster_id, account };
    let grant = app.change(&request, &context).await.map_err(named(NO_ACCOUNT))?;
    Ok(HttpResponse::Ok().json(GrantView {
        cluster_id: grant.cluster_id.to_string(),
        user_id: grant.user_id.to_string(),
        username: grant.username,
    }))
}

/// Takes the grant back.
#[utoipa::path(
    delete, path = "/api/v1/clusters/{cluster}/grants/{account}", tag = "clusters", operation_id = "revokeGrant",
    params(
        ("cluster" = String, Path, description = "Id, integer or name"),
        ("account" = String, Path, description = "User name or id"),
    ),
    responses((status = 204), (status = 404, description = "No such cluster or account")),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn revoke(
    app: State,
    caller: Caller,
    path: Path<(String, String)>,
    context: RequestContext,
) -> ApiResult {
    let (cluster, account) = path.into_inner();
    let cluster_id = cluster_id(&app, &caller, &cluster, &context).await?;
    let account = reference(&account, NO_ACCOUNT)?.to_owned();
    let request = RevokeCluster { principal: caller.principal.as_ref().clone(), cluster_id, account };
    app.change(&request, &context).await.map_err(named(NO_ACCOUNT))?;
    Ok(HttpResponse::NoContent().finish())
}
