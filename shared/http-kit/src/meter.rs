//! How requests are counted: by route, never by path.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use roadstead_telemetry::Metrics;
use roadstead_telemetry::metrics::labels::{HttpAnswer, HttpRoute, Outcome, QuotaClass};

/// Counts requests. Templates come from the route table, so the number of series is fixed (row L02).
pub trait HttpMetrics: Send + Sync {
    /// The counters of a route: looked up once, for finding one by its labels costs as much as the rest of a frame.
    fn route(&self, method: &'static str, template: &str) -> Arc<dyn RouteMetrics>;
    /// A request was refused because its quota is used up.
    fn limited(&self, _class: &'static str) {}
    /// A request was refused because there was no room for its body.
    fn crowded(&self) {}
}

/// Counts the requests of one route and method.
pub trait RouteMetrics: Send + Sync {
    /// A request reached its route.
    fn entered(&self) {}
    /// It left it, however it ended.
    fn left(&self) {}
    /// A request was answered, or its client went away (status 499).
    fn done(&self, _status: u16, _elapsed: Duration) {}
}

/// Counts nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMetrics;

impl HttpMetrics for NoMetrics {
    fn route(&self, _: &'static str, _: &str) -> Arc<dyn RouteMetrics> {
        Arc::new(Self)
    }
}

impl RouteMetrics for NoMetrics {}

impl HttpMetrics for Metrics {
    fn route(&self, method: &'static str, template: &str) -> Arc<dyn RouteMetrics> {
        let labels = HttpRoute { method, endpoint: template.to_owned() };
        Arc::new(OfRoute {
            in_flight: self.http_requests_in_flight.get_or_create_owned(&labels),
            duration: self.http_request_duration.get_or_create_owned(&labels),
            good: OnceLock::new(),
            labels,
            all: self.clone(),
        })
    }

    fn limited(&self, class: &'static str) {
        self.rate_limited.get_or_create(&QuotaClass { class }).inc();
    }

    fn crowded(&self) {
        self.dropped.get_or_create(&Outcome { outcome: "http_bodies" }).inc();
    }
}

struct OfRoute {
    labels: HttpRoute,
    in_flight: Gauge,
    duration: Histogram,
    /// Answers with status 200: what most are.
    good: OnceLock<Counter>,
    all: Metrics,
}

impl OfRoute {
    fn answers(&self, status: u16) -> Counter {
        let HttpRoute { method, endpoint } = self.labels.clone();
        self.all.http_requests.get_or_create_owned(&HttpAnswer { method, endpoint, status_code: status })
    }
}

impl RouteMetrics for OfRoute {
    fn entered(&self) {
        self.in_flight.inc();
    }

    fn left(&self) {
        self.in_flight.dec();
    }

    fn done(&self, status: u16, elapsed: Duration) {
        if status == 200 {
            self.good.get_or_init(|| self.answers(status)).inc();
        } else {
            self.answers(status).inc();
        }
        self.duration.observe(elapsed.as_secs_f64());
    }
}
