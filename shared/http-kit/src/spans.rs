//! Spans of requests, where traces are exported (names after OpenTelemetry's semantic conventions for HTTP). Nothing that a client
//! wrote is in them but its request id: what was asked is told by the route's template.

use actix_web::dev::ServiceRequest;
use actix_web::http::StatusCode;
use roadstead_telemetry::trace::{self, TraceParent};
use tracing::Span;
use tracing::field::Empty;

use crate::client::{self, RequestContext};
use crate::gate::Here;

/// Begins the span of a request; what it asks of others continues from it. Without an export it is no span and costs nothing.
pub(crate) fn begin(context: &mut RequestContext, request: &ServiceRequest) -> Span {
    if !roadstead_telemetry::exports_traces() {
        return Span::none();
    }
    let span = tracing::info_span!(
        "request",
        otel.name = Empty,
        otel.kind = "server",
        request_id = %context.request_id,
        http.request.method = Empty,
        http.route = Empty,
        http.response.status_code = Empty,
    );
    let parent = client::single(request.headers(), "traceparent").and_then(|text| text.parse::<TraceParent>().ok());
    if let Some(parent) = parent {
        trace::continue_from(&span, &parent);
    }
    if let Some(here) = trace::of_span(&span) {
        context.traceparent = Some(here);
    }
    span
}

/// Says how it ended.
pub(crate) fn end(span: &Span, method: &'static str, reached: Option<&Here>, status: StatusCode) {
    if span.is_none() {
        return;
    }
    span.record("http.request.method", method);
    span.record("http.response.status_code", status.as_u16());
    let Some(here) = reached else {
        span.record("otel.name", method);
        return;
    };
    let route = here.template.as_str();
    span.record("http.route", route);
    span.record("otel.name", format!("{method} {route}").as_str());
}
