//! The health listener: `/healthz`, `/readyz`, `/version`, `/metrics`, and nothing else.

use std::sync::Arc;

use async_trait::async_trait;
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::figures::{Figures, Served};
use roadstead_http_kit::probes::{Probes, Version};
use roadstead_http_kit::{
    Authenticator, Caller, Credential, Front, Limiter, Limits, Listener, RateSettings, RequestContext, RouteRow,
    Routes, ServeOptions,
};
use roadstead_runtime::Readiness;

use crate::{Deps, NAME, Options};

/// Threads of a listener that only probes ask.
const WORKERS: usize = 1;

/// No route here asks who is calling.
struct Nobody;

#[async_trait]
impl Authenticator for Nobody {
    async fn authenticate(&self, _: &Credential, _: &RequestContext) -> Result<Caller> {
        Err(Error::of(Code::InvalidCredential))
    }
}

fn front(deps: &Deps) -> Arc<Front> {
    Arc::new(Front {
        ids: deps.ids.clone(),
        clock: deps.clock.clone(),
        trusted_proxies: deps.settings.server.trusted_proxies.clone(),
        forwarded_by: None,
        limits: Limits::default(),
        metrics: Arc::new(deps.metrics.clone()),
        authenticator: Arc::new(Nobody),
        limiter: Limiter::new(RateSettings::default(), None),
    })
}

fn table(front: Arc<Front>, probes: &Probes) -> Routes {
    probes.add_to(Routes::new(front))
}

fn probes(readiness: Readiness, metrics: Option<roadstead_telemetry::Metrics>) -> Probes {
    // Nobody shows a credential here: no figure that names a cluster.
    let render =
        metrics.map(|metrics| -> Arc<dyn Fn() -> String + Send + Sync> { Arc::new(move || metrics.render_public()) });
    Probes { version: Version::of(NAME), readiness, metrics: render }
}

pub(crate) fn serve(deps: &Deps, options: &Options, listener: Listener) -> std::io::Result<()> {
    let front = front(deps);
    let probes = probes(deps.readiness.clone(), options.metrics.then(|| deps.metrics.clone()));
    let serve = ServeOptions {
        name: "operations-http",
        listeners: vec![listener],
        workers: WORKERS,
        head_time: options.read_timeout,
        grace: options.grace,
    };
    let routes = Arc::clone(&front);
    roadstead_http_kit::serve(&deps.tasks, serve, front, move |config| {
        table(Arc::clone(&routes), &probes).mount(config);
    })
}

/// Serves the listener for figures.
pub(crate) fn serve_figures(deps: &Deps, options: &Options, figures: Figures) -> std::io::Result<()> {
    let served = Served {
        name: "operations-metrics",
        ids: deps.ids.clone(),
        clock: deps.clock.clone(),
        probes: probes(deps.readiness.clone(), Some(deps.metrics.clone())),
        head_time: options.read_timeout,
        grace: options.grace,
    };
    figures.serve(served, &deps.tasks)
}

/// Every route of the service.
pub fn routes() -> Vec<RouteRow> {
    let clock = roadstead_runtime::SystemClock::shared();
    let front = Arc::new(Front {
        ids: roadstead_runtime::Ids::system(clock.clone()),
        clock,
        trusted_proxies: Vec::new(),
        forwarded_by: None,
        limits: Limits::default(),
        metrics: Arc::new(roadstead_http_kit::NoMetrics),
        authenticator: Arc::new(Nobody),
        limiter: Limiter::new(RateSettings::default(), None),
    });
    let probes = probes(Readiness::new(), Some(roadstead_telemetry::Metrics::new()));
    table(front, &probes).rows().to_vec()
}
