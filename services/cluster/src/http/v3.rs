//! Seed 001: `/api/v3.0/cluster/*`, and the same without `cluster/`.

use actix_web::HttpResponse;
use chrono::{DateTime, SecondsFormat, Utc};
use roadstead_contracts::agent::NamespaceInfo;
use roadstead_contracts::message::AgentTarget;
use roadstead_contracts::seed::kubesage::{ConnectedAgents, Health, Namespace, NamespacesAnswer};
use roadstead_contracts::{Code, Error};
use roadstead_http_kit::{ApiResult, Caller, QueryPairs, RequestContext};

use crate::http::State;
use crate::http::v1::health::{SEED_VERSION, word};
use crate::http::v1::reference;

const NO_AGENT: &str = "Agent not found";

/// The seed's times: milliseconds and `Z`.
fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Says how the service is. Needs no key.
#[utoipa::path(
    get, path = "/api/v3.0/cluster/health", tag = "seed 001", operation_id = "clusterServiceHealth",
    responses((status = 200, body = serde_json::Value, example = json!({
        "status": "healthy", "service": "cluster_service", "timestamp": "2024-01-01T12:00:00.000Z", "version": "1.0.0"
    }))),
    security(()),
)]
pub(crate) async fn health(app: State) -> HttpResponse {
    HttpResponse::Ok().json(Health {
        status: word(&app),
        service: "cluster_service".to_owned(),
        timestamp: time(app.clock.now()),
        version: SEED_VERSION.to_owned(),
    })
}

/// Namespaces of the cluster behind an agent.
#[utoipa::path(
    get, path = "/api/v3.0/cluster/namespaces", tag = "seed 001", operation_id = "getNamespaces",
    params(
        ("agent_id" = String, Query, description = "Id of the agent"),
        ("cluster_id" = Option<i64>, Query, description = "Integer of its cluster"),
    ),
    responses((status = 200, body = serde_json::Value, example = json!({
        "success": true, "agent_id": "agent-uuid", "cluster_id": 123,
        "namespaces": [{"name": "default", "status": "Active", "created_at": "2024-01-01T12:00:00Z",
            "labels": {"kubernetes.io/managed-by": "system"}, "annotations": {}}],
        "total_count": 1, "message": "Successfully retrieved namespaces from cluster",
        "timestamp": "2024-01-01T12:00:00.000Z"
    })),
        (status = 404, description = "No such agent, or not the caller's"),
        (status = 502, description = "The agent answered with an error"),
        (status = 503, description = "The agent is not connected"),
        (status = 504, description = "No answer in time"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn namespaces(app: State, caller: Caller, query: QueryPairs, context: RequestContext) -> ApiResult {
    let agent_id = reference(query.required("agent_id")?, NO_AGENT)?.to_owned();
    let cluster = query.integer("cluster_id")?;
    let target = AgentTarget::Agent(agent_id.clone());
    if let Some(id) = cluster
        && app.agent(&caller, target.clone(), &context).await.map_err(failed)?.cluster_seq != Some(id)
    {
        return Err(Error::not_found(format!("Cluster with ID '{id}' not found or does not belong to you")).into());
    }
    let answer = app.namespaces(&caller, target, &context).await.map_err(failed)?;
    let namespaces: Vec<Namespace> = answer.namespaces.list.namespaces.into_iter().map(namespace).collect();
    Ok(HttpResponse::Ok().json(NamespacesAnswer {
        success: true,
        agent_id,
        cluster_id: Some(answer.namespaces.cluster_seq),
        total_count: namespaces.len(),
        namespaces,
        message: "Successfully retrieved namespaces from cluster".to_owned(),
        timestamp: time(app.clock.now()),
    }))
}

fn namespace(info: NamespaceInfo) -> Namespace {
    Namespace {
        name: info.name,
        status: info.status,
        created_at: info.created_at,
        labels: info.labels,
        annotations: info.annotations,
    }
}

/// The seed's sentence before what went wrong with the agent.
fn failed(mut error: Error) -> Error {
    match error.code {
        Code::NotFound => Error::not_found(NO_AGENT),
        Code::AgentError | Code::AgentOffline | Code::AgentBusy | Code::Timeout | Code::Expired => {
            error.detail = format!("Failed to communicate with agent: {}", error.detail).into();
            error
        }
        _ => error,
    }
}

/// The caller's agents that are connected now.
#[utoipa::path(
    get, path = "/api/v3.0/cluster/agents/connected", tag = "seed 001", operation_id = "listConnectedAgents",
    responses((status = 200, body = serde_json::Value, example = json!({
        "success": true, "connected_agents": ["agent-uuid-1", "agent-uuid-2"], "total_count": 2,
        "timestamp": "2024-01-01T12:00:00.000Z"
    }))),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn connected_agents(app: State, caller: Caller, context: RequestContext) -> ApiResult {
    let agents = app.all_agents(&caller, true, &context).await?;
    let connected_agents: Vec<String> = agents.into_iter().map(|agent| agent.agent_id).collect();
    Ok(HttpResponse::Ok().json(ConnectedAgents {
        success: true,
        total_count: connected_agents.len(),
        connected_agents,
        timestamp: time(app.clock.now()),
    }))
}
