//! The four routes that every service answers: `/healthz`, `/readyz`, `/version`, `/metrics`.

use std::fmt;
use std::sync::Arc;

use actix_web::http::Method;
use actix_web::{HttpResponse, web};
use roadstead_runtime::Readiness;
use serde::Serialize;

use crate::{Access, RateClass, Routes};

/// What a service is: body of `/version`, in seed 002's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Version {
    /// Name of the service.
    pub service: &'static str,
    /// Version.
    pub version: &'static str,
    /// Commit it was built from.
    #[serde(rename = "gitCommit")]
    pub git_commit: &'static str,
    /// When it was built.
    #[serde(rename = "buildDate")]
    pub build_date: &'static str,
}

impl Version {
    /// The version of this build; commit and date come from the build's environment.
    pub fn of(service: &'static str) -> Self {
        Self {
            service,
            version: roadstead_telemetry::VERSION,
            git_commit: roadstead_telemetry::GIT_COMMIT,
            build_date: roadstead_telemetry::BUILD_DATE,
        }
    }
}

/// Writes the metrics page.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What the probes tell.
#[derive(Clone)]
pub struct Probes {
    /// Body of `/version`.
    pub version: Version,
    /// Parts of `/readyz`.
    pub readiness: Readiness,
    /// Body of `/metrics`; nothing when metrics are off.
    pub metrics: Option<RenderMetrics>,
}

impl fmt::Debug for Probes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probes").field("version", &self.version).finish_non_exhaustive()
    }
}

/// Content type of a metrics page.
pub const METRICS_TYPE: &str = roadstead_telemetry::metrics::CONTENT_TYPE;

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    parts: Vec<Part>,
}

#[derive(Serialize)]
struct Part {
    name: &'static str,
    ready: bool,
    detail: String,
}

impl Probes {
    /// The answer of `/healthz`: the process runs.
    pub fn health() -> HttpResponse {
        HttpResponse::Ok().json(serde_json::json!({"status": "ok"}))
    }

    /// The answer of `/readyz`: 200 when every part works, else 503 with the parts that do not.
    pub fn ready(&self) -> HttpResponse {
        let parts: Vec<Part> = self
            .readiness
            .snapshot()
            .into_iter()
            .map(|part| Part { name: part.name, ready: part.ready, detail: part.detail })
            .collect();
        if parts.iter().all(|part| part.ready) {
            HttpResponse::Ok().json(Ready { status: "ready", parts })
        } else {
            HttpResponse::ServiceUnavailable().json(Ready { status: "not ready", parts })
        }
    }

    /// The answer of `/metrics`.
    pub fn metrics_page(&self) -> Option<HttpResponse> {
        let render = self.metrics.as_ref()?;
        Some(HttpResponse::Ok().content_type(METRICS_TYPE).body(render()))
    }

    /// Adds the four routes.
    #[must_use]
    pub fn add_to(&self, routes: Routes) -> Routes {
        let (ready, version, metrics) = (self.clone(), self.version.clone(), self.clone());
        let routes = routes
            .add(Method::GET, "/healthz", Access::Public, RateClass::Free, || async { Self::health() })
            .add(Method::GET, "/readyz", Access::Public, RateClass::Free, move || {
                let answer = ready.ready();
                async move { answer }
            })
            .add(Method::GET, "/version", Access::Public, RateClass::Free, move || {
                let version = version.clone();
                async move { web::Json(version) }
            });
        if self.metrics.is_none() {
            return routes;
        }
        routes.add(Method::GET, "/metrics", Access::Public, RateClass::Free, move || {
            let answer = metrics.metrics_page().unwrap_or_else(|| HttpResponse::NotFound().finish());
            async move { answer }
        })
    }
}
