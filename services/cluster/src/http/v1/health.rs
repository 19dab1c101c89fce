//! Seed 000's health, and where the hub's doors are.

use actix_web::HttpResponse;
use chrono::SecondsFormat;
use roadstead_contracts::seed::mckmt::Health;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::State;

/// Version of the seeds' interface: both say 1.0.0. Ours is at `/version`.
pub(in crate::http) const SEED_VERSION: &str = "1.0.0";

/// The seeds' word for how the hub is. The status stays 200: seed 000 gives this route to liveness probes, and a restart
/// does not bring a broker back. `/readyz` is the route for load balancers.
pub(in crate::http) fn word(app: &State) -> String {
    if app.readiness.is_ready() { "healthy" } else { "unhealthy" }.to_owned()
}

/// Says how the hub is.
#[utoipa::path(
    get, path = "/api/v1/health", tag = "health", operation_id = "health",
    responses((status = 200, body = serde_json::Value,
        example = json!({"status": "healthy", "timestamp": "2024-01-01T12:00:00.000000Z", "version": "1.0.0"}))),
    security(()),
)]
pub(crate) async fn health(app: State) -> HttpResponse {
    HttpResponse::Ok().json(Health {
        status: word(&app),
        timestamp: app.clock.now().to_rfc3339_opts(SecondsFormat::Micros, true),
        version: SEED_VERSION.to_owned(),
    })
}

/// Where the hub's doors are.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HubView {
    /// The front door.
    url: String,
    /// Where agents dial.
    agent_url: String,
    /// Where every cluster's Kubernetes API is, under `/k/<cluster>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes_url: Option<String>,
    /// Who issued that door's certificate, PEM; left out when a public authority did.
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes_ca: Option<String>,
    /// Version of the hub.
    version: &'static str,
}

/// Tells an agent that was given the front door's address where to dial.
#[utoipa::path(
    get, path = "/.well-known/roadstead", tag = "health", operation_id = "hub",
    responses((status = 200, body = HubView)),
    security(()),
)]
pub(crate) async fn hub(app: State) -> HttpResponse {
    HttpResponse::Ok().json(HubView {
        url: app.urls.hub.clone(),
        agent_url: app.urls.agents.clone(),
        kubernetes_url: app.urls.kubernetes.clone(),
        kubernetes_ca: app.kubernetes_authority.clone(),
        version: roadstead_telemetry::VERSION,
    })
}
