//! Rollouts: one change to many clusters, in waves.

use actix_web::http::header::LOCATION;
use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use roadstead_contracts::ids::RolloutId;
use roadstead_contracts::message::{
    ChangeRollout, GetRollout, ListRollouts, RolloutCommand, RolloutCreated, RolloutOverride, RolloutPlan,
    SECRET_OVERRIDE,
};
use roadstead_contracts::names::Labels;
use roadstead_contracts::{Error, Result};
use roadstead_http_kit::{ApiResult, Caller, Json, QueryPairs, RequestContext};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::work::{self, WorkBody};
use super::{NO_CLUSTER, apply_query, named, reference};
use crate::app::{Clusters, MadeRollout, NewRollout};
use crate::http::rollout_view::{RolloutView, WouldTouchView};
use crate::http::{State, page};

const NO_ROLLOUT: &str = "Rollout not found";
/// Longest name.
const NAME_MAX: usize = 128;

/// One change to many clusters.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct CreateRolloutBody {
    /// Name for people.
    #[serde(default)]
    name: String,
    /// All clusters with these labels: `env=prod,tier=1`.
    selector: Option<String>,
    /// Or these, in the order of the waves.
    clusters: Option<Vec<String>>,
    /// What to do in each.
    #[serde(flatten)]
    work: WorkBody,
    /// Waves, failure budget, bake time, overrides (of anything but Secrets), approval, window.
    #[schema(value_type = Object)]
    plan: Option<RolloutPlan>,
    /// Without it nothing is begun; the answer says what would be touched.
    #[serde(default)]
    confirmed: bool,
    /// What is none of these.
    #[serde(flatten)]
    #[schema(ignore)]
    rest: Map<String, Value>,
}

fn rollout_id(text: &str) -> Result<RolloutId> {
    text.parse().map_err(|_| Error::not_found(NO_ROLLOUT))
}

/// Starts a rollout, or says what it would touch.
#[utoipa::path(
    post, path = "/api/v1/rollouts", tag = "rollouts", operation_id = "createRollout",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key within a day is the same rollout")),
    request_body = CreateRolloutBody,
    responses(
        (status = 201, body = RolloutView, headers(("Location" = String, description = "The rollout"))),
        (status = 200, body = WouldTouchView, description = "Not confirmed: what it would touch"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn create(
    app: State,
    caller: Caller,
    request: HttpRequest,
    context: RequestContext,
    body: Json<CreateRolloutBody>,
) -> ApiResult {
    let body = body.0;
    work::check_rest(&body.rest)?;
    if body.name.len() > NAME_MAX || body.name.chars().any(char::is_control) {
        let message = format!("name must be at most {NAME_MAX} bytes on one line");
        return Err(Error::field(&["body", "name"], "value_error", message).into());
    }
    // Here already, before it lies in a message.
    if body.plan.iter().flat_map(|plan| &plan.overrides).any(RolloutOverride::may_hold_secret) {
        return Err(Error::field(&["body", "plan", "overrides"], "value_error", SECRET_OVERRIDE).into());
    }
    let clusters = match (body.clusters, body.selector) {
        (Some(names), None) => {
            for name in &names {
                reference(name, NO_CLUSTER)?;
            }
            Clusters::Named(names)
        }
        (None, Some(selector)) => Clusters::Selected(labels(&selector)?),
        _ => {
            let message = "give either selector or clusters";
            return Err(Error::field(&["body", "selector"], "value_error", message).into());
        }
    };
    let (work, files) = body.work.read()?;
    let new = NewRollout {
        name: body.name,
        clusters,
        work,
        files,
        plan: body.plan.unwrap_or_else(one_wave),
        confirmed: body.confirmed,
        idempotency_key: apply_query::idempotency_key(request.headers())?,
    };
    let MadeRollout { answer, clusters: names } =
        app.create_rollout(&caller, new, &context).await.map_err(named(NO_CLUSTER))?;
    Ok(match answer {
        RolloutCreated::Rollout(rollout) => {
            let place = format!("/api/v1/rollouts/{}", rollout.id);
            HttpResponse::Created().insert_header((LOCATION, place)).json(RolloutView::from(*rollout))
        }
        RolloutCreated::WouldTouch { clusters, objects, destructive } => {
            let removes = if destructive { " and may remove some" } else { "" };
            let message = format!(
                "Nothing was begun: it touches {objects} objects in each of {clusters} clusters{removes}. Send confirmed"
            );
            HttpResponse::Ok().json(WouldTouchView {
                confirmed: false,
                clusters,
                cluster_names: names,
                objects,
                destructive,
                message,
            })
        }
    })
}

fn one_wave() -> RolloutPlan {
    RolloutPlan {
        waves: Vec::new(),
        failure_budget: 0,
        bake_seconds: 0,
        at_once: 0,
        needs_approval: false,
        overrides: Vec::new(),
        window: None,
        cluster_deadline_seconds: None,
    }
}

fn labels(selector: &str) -> Result<Labels> {
    let fault =
        || Error::field(&["body", "selector"], "value_error", "selector must be key=value pairs, joined by commas");
    let mut labels = Labels::default();
    for pair in selector.split(',') {
        let (key, value) = pair.trim().split_once('=').ok_or_else(fault)?;
        labels.0.insert(key.to_owned(), value.to_owned());
    }
    labels.check().map_err(|_| fault())?;
    Ok(labels)
}

/// Lists rollouts, newest first.
#[utoipa::path(
    get, path = "/api/v1/rollouts", tag = "rollouts", operation_id = "listRollouts",
    params(
        ("limit" = Option<u32>, Query, description = "Rows, 1 to 1000 (100)", minimum = 1, maximum = 1000),
        ("offset" = Option<u64>, Query, description = "Rows to skip"),
        ("cursor" = Option<String>, Query, description = "Place from the Link header of an earlier page"),
    ),
    responses((status = 200, body = [RolloutView])),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn list(app: State, caller: Caller, query: QueryPairs, context: RequestContext) -> ApiResult {
    let page = page::read(&query)?;
    let request = ListRollouts { principal: caller.principal.as_ref().clone(), page: page.clone() };
    let answer = app.read_page(request, &context).await?;
    Ok(page::answer("/api/v1/rollouts", &query, answer, &page, RolloutView::from))
}

/// Gives one rollout.
#[utoipa::path(
    get, path = "/api/v1/rollouts/{rollout}", tag = "rollouts", operation_id = "getRollout",
    params(("rollout" = String, Path, description = "Id")),
    responses((status = 200, body = RolloutView), (status = 404, description = "Not there, or not the caller's")),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn get(app: State, caller: Caller, path: Path<String>, context: RequestContext) -> ApiResult {
    let request = GetRollout { principal: caller.principal.as_ref().clone(), id: rollout_id(&path)? };
    let rollout = app.look_up(&request, &context).await.map_err(named(NO_ROLLOUT))?;
    Ok(HttpResponse::Ok().json(RolloutView::from(rollout)))
}

/// Approves a rollout that waits for a second person.
#[utoipa::path(
    post, path = "/api/v1/rollouts/{rollout}/approve", tag = "rollouts", operation_id = "approveRollout",
    params(("rollout" = String, Path, description = "Id")),
    responses((status = 200, body = RolloutView), (status = 403, description = "Who asked cannot approve"), (status = 404), (status = 409)),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn approve(app: State, caller: Caller, path: Path<String>, context: RequestContext) -> ApiResult {
    change(&app, &caller, &path, &context, RolloutCommand::Approve).await
}

/// Stops a rollout before the next cluster.
#[utoipa::path(
    post, path = "/api/v1/rollouts/{rollout}/halt", tag = "rollouts", operation_id = "haltRollout",
    params(("rollout" = String, Path, description = "Id")),
    responses((status = 200, body = RolloutView), (status = 404), (status = 409)),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn halt(app: State, caller: Caller, path: Path<String>, context: RequestContext) -> ApiResult {
    change(&app, &caller, &path, &context, RolloutCommand::Halt).await
}

/// Goes on with a rollout; its failure budget starts anew.
#[utoipa::path(
    post, path = "/api/v1/rollouts/{rollout}/resume", tag = "rollouts", operation_id = "resumeRollout",
    params(("rollout" = String, Path, description = "Id")),
    responses((status = 200, body = RolloutView), (status = 404), (status = 409)),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn resume(app: State, caller: Caller, path: Path<String>, context: RequestContext) -> ApiResult {
    change(&app, &caller, &path, &context, RolloutCommand::Resume).await
}

/// Runs the clusters that failed once more.
#[utoipa::path(
    post, path = "/api/v1/rollouts/{rollout}/retry", tag = "rollouts", operation_id = "retryRollout",
    params(("rollout" = String, Path, description = "Id")),
    responses((status = 200, body = RolloutView), (status = 404), (status = 409)),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn retry(app: State, caller: Caller, path: Path<String>, context: RequestContext) -> ApiResult {
    change(&app, &caller, &path, &context, RolloutCommand::RetryFailed).await
}

/// Gives a rollout up: nothing more begins, what runs is asked to stop.
#[utoipa::path(
    post, path = "/api/v1/rollouts/{rollout}/cancel", tag = "rollouts", operation_id = "cancelRollout",
    params(("rollout" = String, Path, description = "Id")),
    responses((status = 200, body = RolloutView), (status = 404), (status = 409)),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn cancel(app: State, caller: Caller, path: Path<String>, context: RequestContext) -> ApiResult {
    change(&app, &caller, &path, &context, RolloutCommand::Cancel).await
}

async fn change(
    app: &State,
    caller: &Caller,
    path: &str,
    context: &RequestContext,
    command: RolloutCommand,
) -> ApiResult {
    let request = ChangeRollout { principal: caller.principal.as_ref().clone(), id: rollout_id(path)?, command };
    let rollout = app.change(&request, context).await.map_err(named(NO_ROLLOUT))?;
    Ok(HttpResponse::Ok().json(RolloutView::from(rollout)))
}
