//! Join tokens: create, list, revoke.

use actix_web::HttpResponse;
use actix_web::web::Path;
use roadstead_contracts::Error;
use roadstead_contracts::message::{ListJoinTokens, RevokeJoinToken, RightsProfile};
use roadstead_contracts::names::{Labels, Namespace};
use roadstead_http_kit::{ApiResult, Caller, Json, QueryPairs, RequestContext};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{NO_CLUSTER, named, reference};
use crate::app::JoinTokenRequest;
use crate::http::view::{CreatedJoinTokenView, JoinTokenView, JoinView};
use crate::http::{State, page};

const NO_TOKEN: &str = "Join token not found";

/// A join token to make.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateJoinTokenBody {
    /// Bind it to this cluster: id, integer or name.
    #[serde(default)]
    cluster: Option<String>,
    /// Life, at most a day (an hour).
    #[serde(default)]
    lifetime_seconds: Option<u32>,
    /// How often it may be used (once).
    #[serde(default)]
    uses: Option<u32>,
    /// Labels for clusters that join with it.
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    labels: Option<Labels>,
    /// What the agents may do in their clusters: `read_only`, `namespaced`, `operator` or `admin`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    profile: RightsProfile,
    /// Namespaces of the profile `namespaced`; they must be there when the agent joins.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    namespaces: Vec<Namespace>,
}

/// Creates a join token. It is shown once.
#[utoipa::path(
    post, path = "/api/v1/join-tokens", tag = "join tokens", operation_id = "createJoinToken",
    request_body = CreateJoinTokenBody,
    responses((status = 201, body = CreatedJoinTokenView), (status = 404, description = "No such cluster")),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn create(
    app: State,
    caller: Caller,
    context: RequestContext,
    body: Json<CreateJoinTokenBody>,
) -> ApiResult {
    let body = body.0;
    if let Some(cluster) = &body.cluster {
        reference(cluster, NO_CLUSTER)?;
    }
    let request = JoinTokenRequest {
        cluster: body.cluster,
        lifetime_seconds: body.lifetime_seconds,
        uses: body.uses,
        labels: body.labels.unwrap_or_default(),
        profile: body.profile,
        namespaces: body.namespaces,
    };
    let joined = app.create_join_token(&caller, &request, &context).await.map_err(named(NO_CLUSTER))?;
    let join = JoinView::of(&joined, &app.urls);
    Ok(HttpResponse::Created().json(CreatedJoinTokenView { about: joined.token.into(), token: joined.secret, join }))
}

/// Lists join tokens, without their secrets.
#[utoipa::path(
    get, path = "/api/v1/join-tokens", tag = "join tokens", operation_id = "listJoinTokens",
    params(
        ("limit" = Option<u32>, Query, description = "Rows, 1 to 1000 (100)", minimum = 1, maximum = 1000),
        ("offset" = Option<u64>, Query, description = "Rows to skip"),
        ("cursor" = Option<String>, Query, description = "Place from the Link header of an earlier page"),
    ),
    responses((status = 200, body = [JoinTokenView])),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn list(app: State, caller: Caller, query: QueryPairs, context: RequestContext) -> ApiResult {
    let page = page::read(&query)?;
    let request = ListJoinTokens { principal: caller.principal.as_ref().clone(), page: page.clone() };
    let answer = app.look_up(&request, &context).await?;
    Ok(page::answer("/api/v1/join-tokens", &query, answer, &page, JoinTokenView::from))
}

/// Revokes a join token.
#[utoipa::path(
    delete, path = "/api/v1/join-tokens/{token}", tag = "join tokens", operation_id = "revokeJoinToken",
    params(("token" = String, Path, description = "Id of the token")),
    responses((status = 204), (status = 404, description = "Not there, or not the caller's")),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn revoke(app: State, caller: Caller, path: Path<String>, context: RequestContext) -> ApiResult {
    let id = path.parse().map_err(|_| Error::not_found(NO_TOKEN))?;
    let request = RevokeJoinToken { principal: caller.principal.as_ref().clone(), id };
    app.change(&request, &context).await.map_err(named(NO_TOKEN))?;
    Ok(HttpResponse::NoContent().finish())
}
