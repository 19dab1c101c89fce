//! Metrics on the front door: for anybody without a name of any cluster, for who may read the system with them. Where figures
//! have a listener with certificates, nobody without a credential gets any here.

use actix_web::HttpResponse;
use roadstead_contracts::Code;
use roadstead_contracts::identity::{Action, Reach};
use roadstead_http_kit::probes::METRICS_TYPE;
use roadstead_http_kit::{ApiFailure, Caller, RequestContext};

use crate::http::State;

/// Prometheus metrics.
#[utoipa::path(
    get, path = "/api/v1/metrics", tag = "health", operation_id = "metrics",
    responses(
        (status = 200, body = String, content_type = "application/openmetrics-text"),
        (status = 401, description = "Figures have a listener of their own here; only who is known gets them at this one"),
    ),
    security((), ("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn metrics(
    app: State,
    caller: Option<Caller>,
    context: RequestContext,
) -> Result<HttpResponse, ApiFailure> {
    if caller.is_none() && !app.options.metrics_at_doors {
        return Err(Code::Unauthenticated.into());
    }
    let sees_all =
        |caller: &Caller| caller.principal.allows(Action::SystemRead) && caller.principal.reach == Reach::All;
    let text = if let Some(caller) = caller.filter(sees_all) {
        app.refresh_clusters(&caller, &context).await;
        app.metrics.render()
    } else {
        app.refresh_counts(&context).await;
        app.metrics.render_public()
    };
    Ok(HttpResponse::Ok().content_type(METRICS_TYPE).body(text))
}
