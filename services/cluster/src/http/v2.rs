//! KubeSage's onboarding routes (`/api/v2.0`), for its agents and its frontend.

pub(super) mod agent;

use actix_web::http::header::HeaderMap;
use actix_web::{HttpRequest, HttpResponse};
use chrono::SecondsFormat;
use roadstead_contracts::message::{
    Agent, GenerateAgentId, ListSeedClusters, OnboardSeedCluster, SeedCluster, SeedClusterDetails,
};
use roadstead_contracts::names::ClusterName;
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::{ApiResult, Caller, Json, QueryPairs, RequestContext};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::http::State;
use crate::http::kubeconfig::server_url;

/// Headers that carry the agent's id: seed 001 writes it with an underscore, which some proxies drop.
const AGENT_HEADERS: [&str; 3] = ["agent_id", "agent-id", "x-agent-id"];
/// Longest agent id: ours and the seeds' are UUIDs.
const AGENT_ID_MAX: usize = 64;
/// Most tags, and the longest of them.
const TAGS_MAX: usize = 32;
const TAG_MAX: usize = 63;
/// Longest text of the other fields.
const TEXT_MAX: usize = 253;
/// Most bytes of the metadata.
const METADATA_MAX: usize = 16 * 1024;
/// What the seed calls a provider that is not named.
const PROVIDER: &str = "kubernetes";

/// Tags: the seeds send a list, or one text with commas.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Tags {
    /// As a list.
    List(Vec<String>),
    /// As one text.
    Text(String),
}

impl Tags {
    pub(super) fn list(self) -> Vec<String> {
        match self {
            Self::List(tags) => tags,
            Self::Text(text) => {
                text.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
            }
        }
    }
}

/// A cluster that an agent registers.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct OnboardBody {
    /// Name.
    cluster_name: String,
    /// kubeconfig context.
    #[serde(default)]
    context_name: Option<String>,
    /// Provider.
    #[serde(default)]
    provider_name: Option<String>,
    /// Tags.
    #[serde(default)]
    tags: Option<Tags>,
    /// As sent.
    #[serde(default = "yes")]
    use_secure_tls: bool,
    /// As sent.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
}

fn yes() -> bool {
    true
}

/// A cluster in the seed's form.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SeedClusterView {
    id: i64,
    cluster_name: String,
    /// In lists only, for clients of seed 004.
    #[serde(skip_serializing_if = "Option::is_none")]
    server_url: Option<String>,
    context_name: Option<String>,
    provider_name: String,
    tags: Option<Vec<String>>,
    use_secure_tls: bool,
    user_id: i64,
    is_operator_installed: bool,
    created_at: String,
    updated_at: String,
    message: Option<&'static str>,
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
}

impl SeedClusterView {
    fn of(seed: SeedCluster, message: Option<&'static str>) -> Self {
        let time = |time: chrono::DateTime<chrono::Utc>| time.to_rfc3339_opts(SecondsFormat::Micros, true);
        Self {
            id: seed.cluster.seq,
            server_url: message.is_none().then(|| server_url(&seed.cluster)),
            cluster_name: seed.cluster.name.into(),
            context_name: seed.details.context_name,
            provider_name: seed.details.provider_name.unwrap_or_else(|| PROVIDER.to_owned()),
            tags: (!seed.details.tags.is_empty()).then_some(seed.details.tags),
            use_secure_tls: seed.details.use_secure_tls,
            user_id: seed.owner_seq,
            is_operator_installed: false,
            created_at: time(seed.cluster.created_at),
            updated_at: time(seed.cluster.updated_at),
            message,
            metadata: seed.details.metadata,
        }
    }
}

/// Makes an agent id.
#[utoipa::path(
    post, path = "/api/v2.0/generate-agent-id", tag = "seed 001 onboarding", operation_id = "generateAgentId",
    params(("cluster_id" = Option<i64>, Query, description = "Integer of a cluster that exists")),
    responses((status = 200, body = serde_json::Value, example = json!({
        "agent_id": "0198c5b0-0000-7000-8000-000000000001", "cluster_id": null, "status": "pending",
        "message": "Agent ID generated successfully. API key validation in progress."
    })), (status = 404, description = "No such cluster, or not the caller's")),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn generate_agent_id(
    app: State,
    caller: Caller,
    query: QueryPairs,
    context: RequestContext,
) -> ApiResult {
    let cluster_seq = query.integer("cluster_id")?;
    let request = GenerateAgentId { principal: caller.principal.as_ref().clone(), cluster_seq };
    let agent = app.change(&request, &context).await.map_err(|error| match (error.code, cluster_seq) {
        (Code::NotFound, Some(id)) => {
            Error::not_found(format!("Cluster with ID '{id}' not found or does not belong to you"))
        }
        _ => error,
    })?;
    Ok(HttpResponse::Ok().json(json!({
        "agent_id": agent.agent_id,
        "cluster_id": agent.cluster_seq,
        "status": "pending",
        "message": "Agent ID generated successfully. API key validation in progress.",
    })))
}

/// An agent registers its cluster.
#[utoipa::path(
    post, path = "/api/v2.0/onboard", tag = "seed 001 onboarding", operation_id = "onboard",
    params(("agent_id" = String, Header, description = "Id from generate-agent-id (also Agent-Id, X-Agent-ID)")),
    request_body = OnboardBody,
    responses(
        (status = 201, body = SeedClusterView),
        (status = 400, description = "The cluster exists already"),
        (status = 404, description = "No such agent, or not the caller's"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn onboard(
    app: State,
    caller: Caller,
    request: HttpRequest,
    context: RequestContext,
    body: Json<OnboardBody>,
) -> ApiResult {
    let agent_id = agent_id(request.headers())?;
    let name = ClusterName::parse(&body.0.cluster_name)
        .map_err(|error| Error::field(&["body", "cluster_name"], "value_error", error.detail.into_owned()))?;
    let OnboardBody { context_name, provider_name, tags, use_secure_tls, metadata, .. } = body.0;
    let details = details(context_name, provider_name, tags, use_secure_tls, metadata)?;
    let onboard = OnboardSeedCluster {
        principal: caller.principal.as_ref().clone(),
        agent_id: agent_id.clone(),
        name: name.clone(),
        details,
    };
    let seed = app.change(&onboard, &context).await.map_err(|error| match error.code {
        Code::NotFound => Error::not_found(format!("Agent with ID '{agent_id}' not found or does not belong to you")),
        // The seed answers 400 here, and its agents read the number.
        Code::Conflict => Error::new(Code::BadRequest, format!("Cluster '{name}' already exists for this user")),
        _ => error,
    })?;
    let view = SeedClusterView::of(seed, Some("Cluster onboarded successfully by agent"));
    Ok(HttpResponse::Created().json(view))
}

fn agent_id(headers: &HeaderMap) -> Result<String> {
    let values: Vec<_> = AGENT_HEADERS.iter().flat_map(|name| headers.get_all(*name)).collect();
    let missing = || Error::field(&["header", "agent_id"], "missing", "Field required");
    let first = values.first().ok_or_else(missing)?;
    if values.iter().any(|value| value != first) {
        return Err(Error::field(&["header", "agent_id"], "value_error", "two different agent ids"));
    }
    let good = |text: &&str| {
        (1..=AGENT_ID_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    first.to_str().ok().filter(good).map(str::to_owned).ok_or_else(|| {
        Error::field(&["header", "agent_id"], "value_error", "agent_id must be letters, digits, '-', '_' and '.'")
    })
}

/// Checks the fields that only the seeds' clients send.
pub(super) fn details(
    context_name: Option<String>,
    provider_name: Option<String>,
    tags: Option<Tags>,
    use_secure_tls: bool,
    metadata: Option<Map<String, Value>>,
) -> Result<SeedClusterDetails> {
    let fault = |field: &str, message: String| Err(Error::field(&["body", field], "value_error", message));
    let short = |text: &Option<String>| text.as_ref().is_none_or(|text| is_line(text, TEXT_MAX));
    if !short(&context_name) {
        return fault("context_name", format!("context_name must be one line of at most {TEXT_MAX} bytes"));
    }
    if !short(&provider_name) {
        return fault("provider_name", format!("provider_name must be one line of at most {TEXT_MAX} bytes"));
    }
    let tags = tags.map(Tags::list).unwrap_or_default();
    if tags.len() > TAGS_MAX || !tags.iter().all(|tag| is_line(tag, TAG_MAX)) {
        return fault("tags", format!("tags must be at most {TAGS_MAX} of at most {TAG_MAX} bytes"));
    }
    let metadata = metadata.unwrap_or_default();
    if serde_json::to_vec(&metadata).map_or(usize::MAX, |text| text.len()) > METADATA_MAX {
        return fault("metadata", format!("metadata must be at most {METADATA_MAX} bytes"));
    }
    Ok(SeedClusterDetails { context_name, provider_name, tags, use_secure_tls, metadata })
}

fn is_line(text: &str, most: usize) -> bool {
    text.len() <= most && !text.chars().any(char::is_control)
}

/// Lists the caller's clusters in the seed's form.
#[utoipa::path(
    get, path = "/api/v2.0/clusters", tag = "seed 001 onboarding", operation_id = "listSeedClusters",
    responses((status = 200, body = serde_json::Value, description = "`{\"clusters\": [...]}`")),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn clusters(app: State, caller: Caller, context: RequestContext) -> ApiResult {
    let request = ListSeedClusters { principal: caller.principal.as_ref().clone() };
    let clusters = app.look_up(&request, &context).await?;
    let clusters: Vec<_> = clusters.into_iter().map(|seed| SeedClusterView::of(seed, None)).collect();
    Ok(HttpResponse::Ok().json(json!({ "clusters": clusters })))
}

/// Lists the caller's agents in the seed's form.
#[utoipa::path(
    get, path = "/api/v2.0/agents", tag = "seed 001 onboarding", operation_id = "listSeedAgents",
    responses((status = 200, body = serde_json::Value, description = "`{\"agents\": [...]}`")),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn agents(app: State, caller: Caller, context: RequestContext) -> ApiResult {
    let agents = app.all_agents(&caller, false, &context).await?;
    let agents: Vec<_> = agents.iter().filter(|agent| !agent.revoked).map(agent_view).collect();
    Ok(HttpResponse::Ok().json(json!({ "agents": agents })))
}

fn agent_view(agent: &Agent) -> Value {
    let status = match (agent.connected, agent.last_seen_at) {
        (true, _) => "connected",
        (false, Some(_)) => "disconnected",
        (false, None) => "pending",
    };
    let created = agent.created_at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let updated =
        agent.last_seen_at.map_or_else(|| created.clone(), |time| time.to_rfc3339_opts(SecondsFormat::Micros, true));
    json!({
        "agent_id": agent.agent_id,
        "cluster_id": agent.cluster_seq,
        "cluster_name": agent.cluster_name,
        "status": status,
        "created_at": created,
        "updated_at": updated,
    })
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn the_agents_id_is_read_under_three_names() {
        for name in AGENT_HEADERS {
            assert_eq!(agent_id(&headers(&[(name, "a-1")])).unwrap(), "a-1");
        }
        assert_eq!(agent_id(&headers(&[("agent_id", "a"), ("x-agent-id", "a")])).unwrap(), "a");
        for bad in [&[][..], &[("agent_id", "")], &[("agent_id", "a b")], &[("agent_id", "a"), ("agent-id", "b")]] {
            assert_eq!(agent_id(&headers(bad)).unwrap_err().code, Code::Validation);
        }
    }

    #[test]
    fn tags_come_as_list_or_text() {
        let read = |text: &str| serde_json::from_str::<Tags>(text).map(Tags::list);
        assert_eq!(read("[\"a\",\"b\"]").unwrap(), ["a", "b"]);
        assert_eq!(read("\"a, b,\"").unwrap(), ["a", "b"]);
        assert!(read("[\"a\",7]").is_err());
    }
}
