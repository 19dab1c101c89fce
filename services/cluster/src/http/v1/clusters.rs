//! Clusters: list, create, get, change, remove.

use actix_web::HttpResponse;
use actix_web::http::header::LOCATION;
use actix_web::web::Path;
use roadstead_contracts::Error;
use roadstead_contracts::message::{DeleteCluster, GetCluster, ListClusters, RightsProfile, UpdateCluster};
use roadstead_contracts::names::{ClusterName, Labels, Namespace};
use roadstead_http_kit::{ApiResult, Caller, Json, QueryPairs, RequestContext};
use serde::Deserialize;
use utoipa::ToSchema;

use super::connection::ConnectionBody;
use super::{NO_CLUSTER, named, reference};
use crate::app::{DirectCluster, JoinTokenRequest, NewCluster, check_description};
use crate::http::view::{ClusterView, CreatedClusterView, JoinView};
use crate::http::{State, page};

/// A cluster to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateClusterBody {
    /// Name: a DNS label that is no number and no UUID.
    #[schema(value_type = String, example = "production")]
    name: ClusterName,
    /// Free text.
    #[serde(default)]
    description: Option<String>,
    /// Labels.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    labels: Option<Labels>,
    /// `agent` (an agent dials in, the usual way) or `direct` (the hub dials, with `connection`).
    #[serde(default)]
    mode: Option<String>,
    /// Where the API of a `direct` cluster is, and the credential for it.
    #[serde(default)]
    connection: Option<ConnectionBody>,
    /// Life of the join token, at most a day.
    #[serde(default)]
    lifetime_seconds: Option<u32>,
    /// How often the join token may be used.
    #[serde(default)]
    uses: Option<u32>,
    /// What the hub's roles may do in the cluster: `read_only`, `namespaced`, `operator` or `admin`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    profile: RightsProfile,
    /// Namespaces of the profile `namespaced`.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    namespaces: Vec<Namespace>,
}

/// What to change. What is left out stays; `status` and whatever else a client sends back is not taken (row R11).
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct UpdateClusterBody {
    /// New name.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    name: Option<ClusterName>,
    /// New text.
    #[serde(default)]
    description: Option<String>,
    /// New labels, all of them.
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    labels: Option<Labels>,
}

/// Lists the clusters that the caller can see, newest first.
#[utoipa::path(
    get, path = "/api/v1/clusters", tag = "clusters", operation_id = "listClusters",
    params(
        ("limit" = Option<u32>, Query, description = "Rows, 1 to 1000 (100)", minimum = 1, maximum = 1000),
        ("offset" = Option<u64>, Query, description = "Rows to skip"),
        ("cursor" = Option<String>, Query, description = "Place from the Link header of an earlier page"),
        ("labels" = Option<String>, Query, description = "key=value pairs that must all match, joined by commas"),
    ),
    responses((status = 200, body = [ClusterView], headers(
        ("X-Total-Count" = u64, description = "Clusters in all"), ("Link" = String, description = "rel=next"),
    ))),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn list(app: State, caller: Caller, query: QueryPairs, context: RequestContext) -> ApiResult {
    let page = page::read(&query)?;
    let request = ListClusters {
        principal: caller.principal.as_ref().clone(),
        page: page.clone(),
        labels: page::labels(&query)?,
    };
    let answer = app.look_up(&request, &context).await?;
    Ok(page::answer("/api/v1/clusters", &query, answer, &page, ClusterView::from))
}

/// Creates a cluster that an agent will join, and the token to join it.
#[utoipa::path(
    post, path = "/api/v1/clusters", tag = "clusters", operation_id = "createCluster", request_body = CreateClusterBody,
    responses((status = 201, body = CreatedClusterView), (status = 409, description = "The name is taken")),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn create(
    app: State,
    caller: Caller,
    context: RequestContext,
    body: Json<CreateClusterBody>,
) -> ApiResult {
    let body = body.0;
    match (body.mode.as_deref().unwrap_or("agent"), body.connection.is_some()) {
        ("agent", false) => {}
        ("agent" | "direct", _) => return connect(&app, &caller, body, &context).await,
        _ => return Err(Error::field(&["body", "mode"], "value_error", "mode must be agent or direct").into()),
    }
    let new = NewCluster {
        name: body.name,
        description: body.description.unwrap_or_default(),
        labels: body.labels.unwrap_or_default(),
        token: JoinTokenRequest {
            lifetime_seconds: body.lifetime_seconds,
            uses: body.uses,
            profile: body.profile,
            namespaces: body.namespaces,
            ..JoinTokenRequest::default()
        },
    };
    let (cluster, joined) = app.create_cluster(&caller, new, &context).await?;
    let join = JoinView::of(&joined, &app.urls);
    Ok(HttpResponse::Created()
        .insert_header((LOCATION, format!("/api/v1/clusters/{}", cluster.id)))
        .json(CreatedClusterView { cluster: cluster.into(), join }))
}

/// A cluster that the hub dials.
async fn connect(app: &State, caller: &Caller, body: CreateClusterBody, context: &RequestContext) -> ApiResult {
    let fault = |field: &str, why: &str| Error::field(&["body", field], "value_error", why);
    if body.mode.as_deref() != Some("direct") {
        return Err(fault("mode", "mode must be direct for a cluster with a connection").into());
    }
    if body.lifetime_seconds.is_some() || body.uses.is_some() {
        return Err(fault("mode", "a direct cluster has no join token").into());
    }
    let missing = || Error::field(&["body", "connection"], "missing", "connection is required for a direct cluster");
    let new = DirectCluster {
        name: body.name,
        description: body.description.unwrap_or_default(),
        labels: body.labels.unwrap_or_default(),
        details: None,
        connection: body.connection.ok_or_else(missing)?.connection()?,
        profile: body.profile,
        namespaces: body.namespaces,
    };
    let cluster = app.connect_cluster(caller, new, context).await?;
    Ok(HttpResponse::Created()
        .insert_header((LOCATION, format!("/api/v1/clusters/{}", cluster.id)))
        .json(ClusterView::from(cluster)))
}

/// Gives one cluster.
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}", tag = "clusters", operation_id = "getCluster",
    params(("cluster" = String, Path, description = "Id, integer or name")),
    responses((status = 200, body = ClusterView), (status = 404, description = "Not there, or not the caller's")),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn get(app: State, caller: Caller, path: Path<String>, context: RequestContext) -> ApiResult {
    let cluster = reference(&path, NO_CLUSTER)?.to_owned();
    let request = GetCluster { principal: caller.principal.as_ref().clone(), cluster };
    let cluster = app.look_up(&request, &context).await.map_err(named(NO_CLUSTER))?;
    Ok(HttpResponse::Ok().json(ClusterView::from(cluster)))
}

/// Changes a cluster.
#[utoipa::path(
    put, path = "/api/v1/clusters/{cluster}", tag = "clusters", operation_id = "updateCluster",
    params(("cluster" = String, Path, description = "Id, integer or name")), request_body = UpdateClusterBody,
    responses((status = 200, body = ClusterView), (status = 404, description = "Not there, or not the caller's")),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn update(
    app: State,
    caller: Caller,
    path: Path<String>,
    context: RequestContext,
    body: Json<UpdateClusterBody>,
) -> ApiResult {
    let body = body.0;
    if let Some(text) = &body.description {
        check_description(text)?;
    }
    if let Some(labels) = &body.labels {
        labels.check()?;
    }
    let request = UpdateCluster {
        principal: caller.principal.as_ref().clone(),
        cluster: reference(&path, NO_CLUSTER)?.to_owned(),
        name: body.name,
        description: body.description,
        labels: body.labels,
    };
    let cluster = app.change(&request, &context).await.map_err(named(NO_CLUSTER))?;
    app.forget_agents();
    Ok(HttpResponse::Ok().json(ClusterView::from(cluster)))
}

/// Removes a cluster, its agents and its join tokens; a connected agent is cut off.
#[utoipa::path(
    delete, path = "/api/v1/clusters/{cluster}", tag = "clusters", operation_id = "deleteCluster",
    params(("cluster" = String, Path, description = "Id, integer or name")),
    responses((status = 204), (status = 404, description = "Not there, or not the caller's")),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn delete(app: State, caller: Caller, path: Path<String>, context: RequestContext) -> ApiResult {
    let cluster = reference(&path, NO_CLUSTER)?.to_owned();
    let request = DeleteCluster { principal: caller.principal.as_ref().clone(), cluster };
    app.change(&request, &context).await.map_err(named(NO_CLUSTER))?;
    app.forget_agents();
    Ok(HttpResponse::NoContent().finish())
}
