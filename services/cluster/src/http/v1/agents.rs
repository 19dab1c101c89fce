//! Agents: list, cut off.

use actix_web::HttpResponse;
use actix_web::web::Path;
use roadstead_contracts::Error;
use roadstead_contracts::message::{ListAgents, RevokeAgent};
use roadstead_http_kit::{ApiResult, Caller, QueryPairs, RequestContext};

use super::{named, reference};
use crate::http::view::AgentView;
use crate::http::{State, page};

const NO_AGENT: &str = "Agent not found";

/// Lists the agents that the caller can see.
#[utoipa::path(
    get, path = "/api/v1/agents", tag = "agents", operation_id = "listAgents",
    params(
        ("limit" = Option<u32>, Query, description = "Rows, 1 to 1000 (100)", minimum = 1, maximum = 1000),
        ("offset" = Option<u64>, Query, description = "Rows to skip"),
        ("cursor" = Option<String>, Query, description = "Place from the Link header of an earlier page"),
        ("connected" = Option<bool>, Query, description = "Only those connected now"),
    ),
    responses((status = 200, body = [AgentView])),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn list(app: State, caller: Caller, query: QueryPairs, context: RequestContext) -> ApiResult {
    let connected_only = match query.get("connected") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => {
            let words = "connected must be true or false";
            return Err(Error::field(&["query", "connected"], "bool_parsing", words).into());
        }
    };
    let page = page::read(&query)?;
    let request = ListAgents { principal: caller.principal.as_ref().clone(), page: page.clone(), connected_only };
    let answer = app.look_up(&request, &context).await?;
    Ok(page::answer("/api/v1/agents", &query, answer, &page, AgentView::from))
}

/// Cuts an agent off, for good and at once.
#[utoipa::path(
    delete, path = "/api/v1/agents/{agent}", tag = "agents", operation_id = "revokeAgent",
    params(("agent" = String, Path, description = "Id of the agent")),
    responses((status = 204), (status = 404, description = "Not there, or not the caller's")),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn revoke(app: State, caller: Caller, path: Path<String>, context: RequestContext) -> ApiResult {
    let agent_id = reference(&path, NO_AGENT)?.to_owned();
    let request = RevokeAgent { principal: caller.principal.as_ref().clone(), agent_id };
    app.change(&request, &context).await.map_err(named(NO_AGENT))?;
    app.forget_agents();
    Ok(HttpResponse::NoContent().finish())
}
