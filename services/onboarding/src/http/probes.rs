//! `/readyz`, `/version`, `/metrics`.

use http::StatusCode;
use roadstead_http_kit::probes::Version;
use roadstead_runtime::Readiness;
use roadstead_telemetry::Metrics;
use roadstead_telemetry::metrics::CONTENT_TYPE;

use super::answer::{Answer, json, with_type};

pub(super) fn ready(readiness: &Readiness) -> Answer {
    let parts = readiness.snapshot();
    let ready = parts.iter().all(|part| part.ready);
    let parts: Vec<_> = parts
        .iter()
        .map(|part| serde_json::json!({"name": part.name, "ready": part.ready, "detail": part.detail}))
        .collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &serde_json::json!({"status": if ready { "ready" } else { "not ready" }, "parts": parts}))
}

pub(super) fn version() -> Answer {
    json(StatusCode::OK, &Version::of(crate::NAME))
}

/// Agents' door, so nothing that names a cluster.
pub(super) fn metrics(metrics: &Metrics) -> Answer {
    with_type(StatusCode::OK, CONTENT_TYPE, metrics.render_public())
}
