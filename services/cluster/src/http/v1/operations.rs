//! Operations: start, list, get, read their steps, cancel, retry, undo, forget.

use actix_web::http::header::LINK;
use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use roadstead_contracts::ids::OperationId;
use roadstead_contracts::message::{
    CancelOperation, Cancellation, DeleteOperation, GetOperation, ListOperationSteps, ListOperations, Operation,
    PageRequest, Request, RetryOperation, UndoOperation,
};
use roadstead_contracts::operation::{OperationKind, OperationState};
use roadstead_contracts::{Error, Result};
use roadstead_http_kit::{ApiResult, Caller, Json, OptionalJson, QueryPairs, RequestContext};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::work::{self, WorkBody};
use super::{NO_CLUSTER, apply_query, manifests, named, reference};
use crate::app::{NewOperation, Terms};
use crate::http::operation_view::{self, CancelledView, ClusterOperationsView, OperationView, QueuedView};
use crate::http::{State, page};

/// No such operation, or not the caller's.
pub(super) const NO_OPERATION: &str = "Operation not found";
/// Longest reason of a cancellation (seed 000).
const REASON_MAX: usize = 500;
/// Steps in one answer when the caller names no number; and at most: a step may carry a diff, a message takes 1 MiB.
const STEPS: u32 = 100;
const STEPS_MAX: u32 = 1_000;

/// A change to one cluster.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct CreateOperationBody {
    /// What to do.
    #[serde(flatten)]
    work: WorkBody,
    /// Free text.
    #[serde(default)]
    description: String,
    /// It times out after so long, waiting for the cluster included.
    deadline_seconds: Option<u32>,
    /// 0 (last) to 9; 5.
    priority: Option<u8>,
    /// Told when it has ended.
    webhook_url: Option<String>,
    /// What is none of these.
    #[serde(flatten)]
    #[schema(ignore)]
    rest: Map<String, Value>,
}

/// Why an operation is cancelled.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CancelBody {
    /// At most 500 characters.
    reason: String,
}

/// How to retry.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RetryBody {
    /// Everything, not only what failed.
    all: bool,
    /// Compare what it applied with the cluster, and correct what differs, whoever changed it.
    sync: bool,
}

/// How to undo.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UndoBody {
    /// Also objects that somebody changed since.
    force: bool,
}

/// The operation of a path; what is no id cannot exist.
pub(super) fn operation_id(text: &str) -> Result<OperationId> {
    text.parse().map_err(|_| Error::not_found(NO_OPERATION))
}

/// Starts a change: scale, restart, rollback, exec, delete, sync, apply, helm (rollback and uninstall).
#[utoipa::path(
    post, path = "/api/v1/clusters/{cluster}/operations", tag = "operations", operation_id = "createOperation",
    params(
        ("cluster" = String, Path, description = "Id, integer or name"),
        ("dry_run" = Option<String>, Query, description = "`server`: as `dry_run` in the body"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key within a day is the same operation"),
    ),
    request_body = CreateOperationBody,
    responses(
        (status = 202, body = QueuedView, headers(("Location" = String, description = "The operation"))),
        (status = 404, description = "No such cluster, or not the caller's"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn create(
    app: State,
    caller: Caller,
    path: Path<String>,
    query: QueryPairs,
    request: HttpRequest,
    context: RequestContext,
    body: Json<CreateOperationBody>,
) -> ApiResult {
    let cluster = reference(&path, NO_CLUSTER)?.to_owned();
    let mut body = body.0;
    work::check_rest(&body.rest)?;
    body.work.dry_run |= apply_query::dry_run(&query)?.unwrap_or(false);
    let terms = Terms {
        source: apply_query::source(request.headers()),
        description: body.description,
        idempotency_key: apply_query::idempotency_key(request.headers())?,
        deadline_seconds: body.deadline_seconds,
        priority: body.priority,
        webhook_url: body.webhook_url,
    };
    apply_query::check_terms("body", &terms)?;
    let (work, files) = body.work.read()?;
    let new = NewOperation { cluster, work, files, terms };
    let created = app.create_operation(&caller, new, &context).await.map_err(named(NO_CLUSTER))?;
    manifests::answer(app, caller, created, &request, context).await
}

/// Lists operations, newest first.
#[utoipa::path(
    get, path = "/api/v1/operations", tag = "operations", operation_id = "listOperations",
    params(
        ("limit" = Option<u32>, Query, description = "Rows, 1 to 1000 (100)", minimum = 1, maximum = 1000),
        ("offset" = Option<u64>, Query, description = "Rows to skip"),
        ("cursor" = Option<String>, Query, description = "Place from the Link header of an earlier page"),
        ("status" = Option<String>, Query, description = "Words of the seed: queued, running, success, failed, cancelled"),
        ("state" = Option<String>, Query, description = "Our words, joined by commas"),
        ("kind" = Option<String>, Query, description = "apply, delete, scale, restart, rollback, exec, sync, undo or helm"),
        ("cluster" = Option<String>, Query, description = "Id, integer or name of a cluster"),
        ("rollout" = Option<String>, Query, description = "Id of a rollout"),
    ),
    responses((status = 200, body = [OperationView], headers(
        ("X-Total-Count" = u64, description = "Operations in all"), ("Link" = String, description = "rel=next"),
    ))),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn list(app: State, caller: Caller, query: QueryPairs, context: RequestContext) -> ApiResult {
    let page = page::read(&query)?;
    let mut request = filtered(&caller, &query, page.clone())?;
    if let Some(cluster) = query.get("cluster") {
        let cluster = reference(cluster, NO_CLUSTER)?;
        request.cluster_id = Some(app.cluster(&caller, cluster, &context).await.map_err(named(NO_CLUSTER))?.id);
    }
    let answer = app.read_page(request, &context).await?;
    Ok(page::answer("/api/v1/operations", &query, answer, &page, OperationView::from))
}

/// Lists the operations of a cluster, in seed 000's shape.
#[utoipa::path(
    get, path = "/api/v1/operations/cluster/{cluster}", tag = "operations", operation_id = "listClusterOperations",
    params(
        ("cluster" = String, Path, description = "Id, integer or name"),
        ("limit" = Option<u32>, Query, description = "Rows, 1 to 1000 (100)", minimum = 1, maximum = 1000),
        ("offset" = Option<u64>, Query, description = "Rows to skip"),
        ("status" = Option<String>, Query, description = "queued, running, success, failed or cancelled"),
    ),
    responses((status = 200, body = ClusterOperationsView), (status = 404, description = "No such cluster")),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn list_of_cluster(
    app: State,
    caller: Caller,
    path: Path<String>,
    query: QueryPairs,
    context: RequestContext,
) -> ApiResult {
    let page = page::read(&query)?;
    let mut request = filtered(&caller, &query, page.clone())?;
    let cluster = reference(&path, NO_CLUSTER)?;
    let cluster = app.cluster(&caller, cluster, &context).await.map_err(named(NO_CLUSTER))?;
    request.cluster_id = Some(cluster.id);
    let answer = app.read_page(request, &context).await?;
    Ok(HttpResponse::Ok().json(ClusterOperationsView {
        operations: answer.items.into_iter().map(OperationView::from).collect(),
        total_count: answer.total,
        cluster_id: cluster.id.to_string(),
        limit: page.limit,
        offset: page.offset,
    }))
}

fn filtered(caller: &Caller, query: &QueryPairs, page: PageRequest) -> Result<ListOperations> {
    let fault = |name: &str, message: &str| Error::field(&["query", name], "value_error", message);
    let words = |name: &'static str| query.all(name).flat_map(|text| text.split(',')).filter(|word| !word.is_empty());
    let mut states: Vec<OperationState> = Vec::new();
    for word in words("state") {
        states.push(OperationState::parse(word).ok_or_else(|| fault("state", "no operation is in such a state"))?);
    }
    for word in words("status") {
        let meant = operation_view::states_of(word);
        if meant.is_empty() {
            return Err(fault("status", "status must be queued, running, success, failed or cancelled"));
        }
        states.extend(meant);
    }
    let kind = query.get("kind").or_else(|| query.get("type")).map(|word| {
        let known = OperationKind::ALL.into_iter().find(|kind| kind.as_str() == word);
        known.ok_or_else(|| fault("kind", "there is no such kind of operation"))
    });
    let rollout = query.get("rollout").map(|id| id.parse().map_err(|_| fault("rollout", "rollout must be an id")));
    Ok(ListOperations {
        principal: caller.principal.as_ref().clone(),
        cluster_id: None,
        states,
        kind: kind.transpose()?,
        rollout_id: rollout.transpose()?,
        page,
    })
}

/// Gives one operation.
#[utoipa::path(
    get, path = "/api/v1/operations/{operation}", tag = "operations", operation_id = "getOperation",
    params(("operation" = String, Path, description = "Id")),
    responses((status = 200, body = OperationView), (status = 404, description = "Not there, or not the caller's")),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn get(app: State, caller: Caller, path: Path<String>, context: RequestContext) -> ApiResult {
    let request = GetOperation { principal: caller.principal.as_ref().clone(), id: operation_id(&path)? };
    let operation = app.look_up(&request, &context).await.map_err(named(NO_OPERATION))?;
    Ok(HttpResponse::Ok().json(OperationView::from(operation)))
}

/// Lists what happened in an operation, in order.
#[utoipa::path(
    get, path = "/api/v1/operations/{operation}/steps", tag = "operations", operation_id = "listOperationSteps",
    params(
        ("operation" = String, Path, description = "Id"),
        ("after" = Option<i64>, Query, description = "Only steps with a greater number"),
        ("limit" = Option<u32>, Query, description = "Steps, 1 to 1000 (100)", minimum = 1, maximum = 1000),
    ),
    responses((status = 200, body = [serde_json::Value], headers(
        ("X-Total-Count" = u64, description = "Number of the last step"), ("Link" = String, description = "rel=next"),
    ))),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn steps(
    app: State,
    caller: Caller,
    path: Path<String>,
    query: QueryPairs,
    context: RequestContext,
) -> ApiResult {
    let id = operation_id(&path)?;
    let fault = |name: &str, message: String| Error::field(&["query", name], "value_error", message);
    let after = query.integer("after")?.unwrap_or(0);
    if after < 0 {
        return Err(fault("after", "after must be non-negative".to_owned()).into());
    }
    let limit = query.integer("limit")?.map_or(Ok(STEPS), u32::try_from).unwrap_or(0);
    if !(1..=STEPS_MAX).contains(&limit) {
        return Err(fault("limit", format!("limit must be from 1 to {STEPS_MAX}")).into());
    }
    let request = ListOperationSteps { principal: caller.principal.as_ref().clone(), id, after, limit };
    let read = app.look_up(&request, &context).await.map_err(named(NO_OPERATION))?;
    let mut response = HttpResponse::Ok();
    response.insert_header(("x-total-count", read.operation.last_step.to_string()));
    if let Some(last) = read.steps.last().map(|step| step.number).filter(|last| *last < read.operation.last_step) {
        let next = format!("</api/v1/operations/{id}/steps?after={last}&limit={limit}>; rel=\"next\"");
        response.insert_header((LINK, next));
    }
    Ok(response.json(read.steps.iter().map(operation_view::step).collect::<Vec<Value>>()))
}

/// Cancels an operation: at once when it waits, between two objects when it runs.
#[utoipa::path(
    post, path = "/api/v1/operations/{operation}/cancel", tag = "operations", operation_id = "cancelOperation",
    params(("operation" = String, Path, description = "Id")),
    request_body(content = Option<CancelBody>, description = "May be left out"),
    responses(
        (status = 200, body = CancelledView, description = "It had not begun: nothing was changed"),
        (status = 202, body = CancelledView, description = "It runs; the agent stops between two objects"),
        (status = 404, description = "Not there, or not the caller's"),
        (status = 409, description = "It has ended"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn cancel(
    app: State,
    caller: Caller,
    path: Path<String>,
    context: RequestContext,
    body: OptionalJson<CancelBody>,
) -> ApiResult {
    let (id, reason) = (operation_id(&path)?, body.0.reason);
    if reason.chars().count() > REASON_MAX || reason.chars().any(char::is_control) {
        let message = format!("reason must be at most {REASON_MAX} characters on one line");
        return Err(Error::field(&["body", "reason"], "value_error", message).into());
    }
    let request = CancelOperation { principal: caller.principal.as_ref().clone(), id, reason };
    let (done, operation) = app.change(&request, &context).await.map_err(named(NO_OPERATION))?;
    let state = operation.state.as_str();
    let (mut response, status, message) = match done {
        Cancellation::Cancelled => (HttpResponse::Ok(), "cancelled", "Operation cancelled successfully"),
        Cancellation::Cancelling => {
            (HttpResponse::Accepted(), "cancelling", "Operation is asked to stop after the object at hand")
        }
    };
    Ok(response.json(CancelledView { id: id.to_string(), status, message, state }))
}

/// Runs what failed once more, as a new operation.
#[utoipa::path(
    post, path = "/api/v1/operations/{operation}/retry", tag = "operations", operation_id = "retryOperation",
    params(
        ("operation" = String, Path, description = "Id"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key within a day is the same operation"),
    ),
    request_body(content = Option<RetryBody>, description = "May be left out"),
    responses((status = 202, body = QueuedView), (status = 404), (status = 409, description = "There is nothing to retry")),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn retry(
    app: State,
    caller: Caller,
    path: Path<String>,
    request: HttpRequest,
    context: RequestContext,
    body: OptionalJson<RetryBody>,
) -> ApiResult {
    let id = operation_id(&path)?;
    let RetryBody { all, sync } = body.0;
    let idempotency_key = apply_query::idempotency_key(request.headers())?;
    let principal = caller.principal.as_ref().clone();
    let request = RetryOperation { principal, id, all, sync, idempotency_key };
    follow_up(&app, request, &context).await
}

/// Puts back what an operation changed, as a new operation.
#[utoipa::path(
    post, path = "/api/v1/operations/{operation}/undo", tag = "operations", operation_id = "undoOperation",
    params(
        ("operation" = String, Path, description = "Id"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key within a day is the same operation"),
    ),
    request_body(content = Option<UndoBody>, description = "May be left out"),
    responses((status = 202, body = QueuedView), (status = 404), (status = 409, description = "There is nothing to put back")),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn undo(
    app: State,
    caller: Caller,
    path: Path<String>,
    request: HttpRequest,
    context: RequestContext,
    body: OptionalJson<UndoBody>,
) -> ApiResult {
    let id = operation_id(&path)?;
    let idempotency_key = apply_query::idempotency_key(request.headers())?;
    let principal = caller.principal.as_ref().clone();
    follow_up(&app, UndoOperation { principal, id, force: body.0.force, idempotency_key }, &context).await
}

/// An operation that is made of another one.
async fn follow_up<R: Request<Reply = Operation>>(app: &State, request: R, context: &RequestContext) -> ApiResult {
    let made = app.change(&request, context).await.map_err(named(NO_OPERATION))?;
    Ok(manifests::queued(&made, usize::try_from(made.objects).unwrap_or(0)))
}

/// Forgets an operation that has ended and whose retention is over.
#[utoipa::path(
    delete, path = "/api/v1/operations/{operation}", tag = "operations", operation_id = "deleteOperation",
    params(("operation" = String, Path, description = "Id")),
    responses((status = 204), (status = 404), (status = 409, description = "It has not ended, or is still kept")),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn delete(app: State, caller: Caller, path: Path<String>, context: RequestContext) -> ApiResult {
    let request = DeleteOperation { principal: caller.principal.as_ref().clone(), id: operation_id(&path)? };
    app.change(&request, &context).await.map_err(named(NO_OPERATION))?;
    Ok(HttpResponse::NoContent().finish())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn regression_what_is_misspelt_is_not_left_out() {
        let read = |body: Value| serde_json::from_value::<CreateOperationBody>(body).unwrap();
        let good =
            json!({ "kind": "apply", "manifests": "kind: A", "dry_run": true, "description": "d", "priority": 1 });
        work::check_rest(&read(good).rest).unwrap();
        let misspelt = read(json!({ "kind": "apply", "manifests": "kind: A", "dryRun": true }));
        let fault = work::check_rest(&misspelt.rest).unwrap_err();
        assert_eq!((fault.errors[0].loc[1].as_str(), &*fault.errors[0].kind), ("dryRun", "extra_forbidden"));
    }
}
