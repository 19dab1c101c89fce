//! `/api/v1/auth/can`: whether the caller may do something, and what is missing.

use actix_web::HttpResponse;
use roadstead_contracts::identity::{Action, Decision};
use roadstead_contracts::message::GetCluster;
use roadstead_contracts::{Code, Error};
use roadstead_http_kit::{ApiResult, Caller, QueryPairs, RequestContext};
use serde::Serialize;
use utoipa::ToSchema;

use super::{NO_CLUSTER, reference};
use crate::http::State;

/// Whether it is allowed, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Verdict {
    /// Whether it is allowed.
    allowed: bool,
    /// The permission that it takes.
    permission: String,
    /// Why, for people.
    reason: String,
    /// Whom to ask when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    ask: Option<String>,
    /// The cluster that was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
}

/// Whether the caller may do something, to a cluster or at all. Nothing is done.
#[utoipa::path(
    get, path = "/api/v1/auth/can", tag = "auth", operation_id = "can",
    params(
        ("permission" = String, Query, description = "`clusters:delete`, `operations:write`, …"),
        ("cluster" = Option<String>, Query, description = "Id, number or name of a cluster")
    ),
    security(("api_key" = []), ("bearer" = [])),
    responses(
        (status = 200, description = "What was decided, and why", body = Verdict),
        (status = 400, description = "There is no such permission")
    )
)]
pub(crate) async fn can(app: State, caller: Caller, context: RequestContext, query: QueryPairs) -> ApiResult {
    let word = query.required("permission")?;
    let Some(action) = Action::parse(word) else {
        return Err(Error::field(&["query", "permission"], "value_error", "there is no such permission").into());
    };
    let principal = caller.principal.as_ref().clone();
    let Decision { mut allowed, permission, mut reason, mut ask } = principal.decide(action);
    let cluster = query.get("cluster").map(str::to_owned);
    if let Some(cluster) = cluster.clone().filter(|_| allowed) {
        let found = match reference(&cluster, NO_CLUSTER) {
            Ok(_) => app.look_up(&GetCluster { principal, cluster }, &context).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(_) => {}
            // Not there and not theirs look the same, here as everywhere.
            Err(error) if error.code == Code::NotFound => {
                allowed = false;
                "the cluster is not there, or was not granted to you".clone_into(&mut reason);
                ask = Some("whoever owns the cluster, or an admin of this hub, to grant it".to_owned());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(HttpResponse::Ok().json(Verdict { allowed, permission, reason, ask, cluster }))
}
