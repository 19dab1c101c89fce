//! Namespaces of a cluster, in our own plain form.

use actix_web::HttpResponse;
use actix_web::web::Path;
use roadstead_contracts::message::AgentTarget;
use roadstead_http_kit::{ApiResult, Caller, RequestContext};

use super::{NO_CLUSTER, named, reference};
use crate::http::State;
use crate::http::view::{NamespaceView, NamespacesView};

/// Lists the namespaces of a cluster as the caller: the cluster's own rights decide.
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}/namespaces", tag = "clusters", operation_id = "listNamespaces",
    params(("cluster" = String, Path, description = "Id, integer or name")),
    responses(
        (status = 200, body = NamespacesView),
        (status = 404, description = "No such cluster, or not the caller's"),
        (status = 502, description = "The agent answered with an error"),
        (status = 503, description = "The agent is not connected"),
        (status = 504, description = "No answer in time"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn list(app: State, caller: Caller, path: Path<String>, context: RequestContext) -> ApiResult {
    let target = AgentTarget::Cluster(reference(&path, NO_CLUSTER)?.to_owned());
    let answer = app.namespaces(&caller, target, &context).await.map_err(named(NO_CLUSTER))?;
    let namespaces: Vec<NamespaceView> = answer.namespaces.list.namespaces.into_iter().map(Into::into).collect();
    Ok(HttpResponse::Ok().json(NamespacesView {
        cluster_id: answer.namespaces.cluster_id.to_string(),
        cluster_name: answer.agent.cluster_name.clone().map(String::from).unwrap_or_default(),
        agent_id: answer.agent.agent_id.clone(),
        total_count: namespaces.len(),
        namespaces,
    }))
}
