//! `POST /api/v1/clusters/{cluster}/manifests`: manifests in, an operation out. A dry run is waited for.

use std::time::Duration;

use actix_web::http::header::LOCATION;
use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use roadstead_contracts::Error;
use roadstead_contracts::message::{Operation, OperationStep, StepKind};
use roadstead_contracts::operation::Work;
use roadstead_http_kit::{ApiResult, Body, Caller, QueryPairs, RequestContext};
use serde_json::Value;

use super::apply_query::{self, OrderParams};
use super::upload::{self, ManifestsBody};
use super::{NO_CLUSTER, named, reference};
use crate::app::{Created, NewOperation};
use crate::http::State;
use crate::http::operation_view::{self, PreviewView, QueuedView};

/// How long a dry run is waited for; what takes longer is followed like any other operation.
const PREVIEW_WAIT: Duration = Duration::from_secs(30);
/// The seed's sentence.
const QUEUED: &str = "Manifests queued for application";

/// Applies manifests to a cluster, or asks what they would change.
#[utoipa::path(
    post, path = "/api/v1/clusters/{cluster}/manifests", tag = "operations", operation_id = "applyManifests",
    params(
        ("cluster" = String, Path, description = "Id, integer or name"),
        ("namespace" = Option<String>, Query, description = "For objects that name none; one that names another is an error"),
        ("inventory" = Option<String>, Query, description = "Remember what was applied under this name"),
        ("prune" = Option<String>, Query, description = "`true` or the inventory's name: remove what is in it and not in the manifests"),
        ("force" = Option<bool>, Query, description = "Take fields over from other managers"),
        OrderParams,
        ("Idempotency-Key" = Option<String>, Header, description = "The same key within a day is the same operation"),
        ("Prefer" = Option<String>, Header, description = "`respond-async`: do not wait for a dry run"),
    ),
    request_body(content(
        (ManifestsBody = "application/json"), (String = "application/yaml"), (String = "multipart/form-data"),
    ), description = "A form with one or more files `manifests`, YAML, an object or List as JSON, or texts in JSON"),
    responses(
        (status = 202, body = QueuedView, headers(("Location" = String, description = "The operation"))),
        (status = 200, body = PreviewView, description = "A dry run that has ended"),
        (status = 404, description = "No such cluster, or not the caller's"),
        (status = 413, description = "More than 8 MiB"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn apply(
    app: State,
    caller: Caller,
    path: Path<String>,
    query: QueryPairs,
    request: HttpRequest,
    context: RequestContext,
    body: Body,
) -> ApiResult {
    let cluster = reference(&path, NO_CLUSTER)?.to_owned();
    let asked = apply_query::read(&query)?;
    let terms = apply_query::terms(&query, request.headers())?;
    let upload = upload::read(request.headers(), &body.0)?;
    apply_query::check_namespace("body", upload.namespace.as_deref())?;
    let namespace = match (asked.namespace, upload.namespace) {
        (Some(one), Some(two)) if one != two => {
            let message = "the query and the body name two namespaces";
            return Err(Error::field(&["query", "namespace"], "value_error", message).into());
        }
        (one, two) => one.or(two),
    };
    let work = Work::Apply {
        namespace,
        dry_run: asked.dry_run.or(upload.dry_run).unwrap_or(false),
        prune: asked.prune,
        inventory: asked.inventory,
        force_conflicts: asked.force,
        wait: asked.wait,
    };
    let new = NewOperation { cluster, work, files: Some(upload.files), terms };
    let created = app.create_operation(&caller, new, &context).await.map_err(named(NO_CLUSTER))?;
    body.let_go(&request);
    answer(app, caller, created, &request, context).await
}

/// 202 with where the operation is; for a dry run 200 with what came of it, unless that takes too long.
pub(super) async fn answer(
    app: State,
    caller: Caller,
    created: Created,
    request: &HttpRequest,
    context: RequestContext,
) -> ApiResult {
    let Created { operation, documents } = created;
    if operation.work.is_dry_run() {
        let patience = apply_query::patience(request.headers(), PREVIEW_WAIT);
        if !patience.is_zero() {
            let app = app.into_inner();
            let ended = app.wait_for_operation(caller, operation.id, patience, context).await;
            // Somebody who cannot follow it now still has it: the operation was made.
            if let Ok(Some((operation, steps))) = ended {
                return Ok(HttpResponse::Ok().json(preview(*operation, &steps)));
            }
        }
    }
    Ok(queued(&operation, documents))
}

/// The seed's answer, and where the operation is.
pub(super) fn queued(operation: &Operation, documents: usize) -> HttpResponse {
    let url = format!("/api/v1/operations/{}", operation.id);
    HttpResponse::Accepted().insert_header((LOCATION, url.clone())).json(QueuedView {
        operation_id: operation.id.to_string(),
        status: operation.state.seed_word(),
        message: match operation.work {
            Work::Apply { .. } => QUEUED,
            _ => "Operation queued",
        },
        state: operation.state.as_str(),
        cluster_id: operation.cluster_id.to_string(),
        cluster_name: operation.cluster_name.to_string(),
        documents,
        url,
    })
}

fn preview(operation: Operation, steps: &[OperationStep]) -> PreviewView {
    let objects = steps.iter().filter(|step| matches!(step.what, StepKind::Object { .. }));
    let object = |step: &OperationStep| {
        let mut value = operation_view::step(step);
        if let Value::Object(fields) = &mut value {
            fields.shift_remove("number");
            fields.shift_remove("at");
            fields.shift_remove("type");
        }
        value
    };
    PreviewView {
        operation_id: operation.id.to_string(),
        status: operation.state.seed_word(),
        state: operation.state.as_str(),
        dry_run: true,
        counts: operation.counts.into(),
        objects: objects.map(object).collect(),
        error: operation.error.map(Into::into),
    }
}
