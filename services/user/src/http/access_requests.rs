//! More rights for a while: ask, decide, take back, end (docs/just-in-time-access.md).

use std::collections::BTreeSet;

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use roadstead_contracts::audit::Resource;
use roadstead_contracts::identity::Role;
use roadstead_contracts::message::PageRequest;
use roadstead_contracts::{Error, Result};
use roadstead_http_kit::audit::note;
use roadstead_http_kit::{ApiResult, Caller, Json, OptionalJson, QueryPairs, RequestContext};
use roadstead_store::paging::{LIMIT_DEFAULT, LIMIT_MAX};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::shapes::Problem;
use crate::app::App;
use crate::domain::{AccessRequest, AccessState, Wanted};

/// Longest cursor: ours have a dozen bytes.
const CURSOR_MAX: usize = 64;

/// What somebody asks for. A role or permissions, on clusters, labels or namespaces: every part that is given narrows.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AskAccess {
    /// `viewer`, `operator` or `admin`.
    #[serde(default)]
    role: Option<String>,
    /// Permission words about clusters: `operations:write`, `clusters:*`, `*:read`.
    #[serde(default)]
    permissions: BTreeSet<String>,
    /// Names or ids of clusters.
    #[serde(default)]
    clusters: BTreeSet<String>,
    /// Labels that clusters must carry: `env=prod,tier!=1`.
    #[serde(default)]
    labels: Option<String>,
    /// Namespaces, `*` for any part of a name.
    #[serde(default)]
    namespaces: BTreeSet<String>,
    /// For how long.
    duration_seconds: u32,
    /// Why: shown to whoever decides.
    reason: String,
}

impl AskAccess {
    fn wanted(self) -> Result<Wanted> {
        let unknown = || Error::field(&["body", "role"], "value_error", "role must be viewer, operator or admin");
        let role = self.role.map(|name| Role::parse(&name).ok_or_else(unknown)).transpose()?;
        Ok(Wanted {
            role,
            permissions: self.permissions,
            clusters: self.clusters,
            labels: self.labels,
            namespaces: self.namespaces,
            seconds: self.duration_seconds,
            reason: self.reason,
        })
    }
}

/// Body of approve.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ApproveAccess {
    /// A shorter time than was asked for.
    #[serde(default)]
    duration_seconds: Option<u32>,
    /// What is said to it.
    #[serde(default)]
    note: Option<String>,
}

/// Body of deny.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DenyAccess {
    /// What is said to it.
    #[serde(default)]
    note: Option<String>,
}

/// A request.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AccessShape {
    id: String,
    /// `pending`, `approved`, `denied`, `withdrawn`, `ended` or `lapsed`.
    state: &'static str,
    user_id: String,
    username: String,
    role: Option<&'static str>,
    permissions: BTreeSet<String>,
    clusters: BTreeSet<String>,
    labels: Option<String>,
    namespaces: BTreeSet<String>,
    duration_seconds: u32,
    reason: String,
    created_at: DateTime<Utc>,
    /// Until when somebody can decide on it.
    lapses_at: DateTime<Utc>,
    decided_at: Option<DateTime<Utc>>,
    decided_by: Option<String>,
    note: Option<String>,
    /// When what was given is over.
    until: Option<DateTime<Utc>>,
    /// When it was ended.
    ended_at: Option<DateTime<Utc>>,
    ended_by: Option<String>,
}

fn shape(app: &App, request: AccessRequest) -> AccessShape {
    let state = request.state_at(app.clock.now());
    let wanted = request.wanted;
    AccessShape {
        id: request.id.to_string(),
        state: state.as_str(),
        user_id: request.user_id.to_string(),
        username: request.username,
        role: wanted.role.map(Role::as_str),
        permissions: wanted.permissions,
        clusters: wanted.clusters,
        labels: wanted.labels,
        namespaces: wanted.namespaces,
        duration_seconds: wanted.seconds,
        reason: wanted.reason,
        created_at: request.created_at,
        lapses_at: request.lapses_at,
        decided_at: request.decided_at,
        decided_by: request.decided_by_name,
        note: request.note,
        until: request.until,
        // A time that has come has ended it, whether it was noted already or not.
        ended_at: request.ended_at.or_else(|| request.until.filter(|_| state == AccessState::Ended)),
        ended_by: request.ended_by_name,
    }
}

/// The changed request as an answer, and in the record of the change.
fn changed(app: &App, http: &HttpRequest, request: AccessRequest) -> HttpResponse {
    noted(http, &request);
    HttpResponse::Ok().json(shape(app, request))
}

fn noted(http: &HttpRequest, request: &AccessRequest) {
    let list = |words: &BTreeSet<String>| words.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    let wanted = &request.wanted;
    let what = wanted.role.map_or_else(|| list(&wanted.permissions), |role| format!("role {}", role.as_str()));
    let note = note(http);
    note.resource(Resource::id("access_request", request.id)).detail("user", request.username.as_str());
    note.detail("what", what).detail("clusters", list(&wanted.clusters)).detail("namespaces", list(&wanted.namespaces));
    if let Some(labels) = &wanted.labels {
        note.detail("labels", labels.as_str());
    }
    if let Some(until) = request.until {
        note.detail("until", until.to_rfc3339());
    }
}

/// Asks for a role or permissions for a while.
#[utoipa::path(
    post, path = "/api/v1/access-requests", tag = "access requests", operation_id = "askAccess",
    request_body = AskAccess,
    responses(
        (status = 201, description = "Asked", body = AccessShape),
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 409, description = "Too many of the caller's requests wait already", body = Problem)
    )
)]
pub(super) async fn ask(app: Shared, caller: Caller, http: HttpRequest, Json(body): Json<AskAccess>) -> ApiResult {
    caller.whole()?;
    let request = app.ask_access(&caller.principal, body.wanted()?).await?;
    noted(&http, &request);
    Ok(HttpResponse::Created().json(shape(&app, request)))
}

/// Requests, newest first: the caller's own, or everybody's for whoever decides on them.
#[utoipa::path(
    get, path = "/api/v1/access-requests", tag = "access requests", operation_id = "listAccessRequests",
    params(
        ("state" = Option<String>, Query, description = "`pending`, `approved`, `denied`, `withdrawn`, `ended` or `lapsed`"),
        ("mine" = Option<bool>, Query, description = "Only the caller's own"),
        ("limit" = Option<u32>, Query, description = "Requests, 1 to 1,000"),
        ("offset" = Option<u64>, Query, description = "Requests to skip"),
        ("cursor" = Option<String>, Query, description = "Where the page begins, from `Link`")
    ),
    responses((status = 200, description = "Requests", body = [AccessShape]), (status = 400, description = "A filter is wrong", body = Problem))
)]
pub(super) async fn list(app: Shared, caller: Caller, http: HttpRequest, query: QueryPairs) -> ApiResult {
    let asked = Asked::read(&query)?;
    let page = app.list_access(&caller.principal, asked.state, asked.mine, &asked.page).await?;
    let mut response = HttpResponse::Ok();
    response.insert_header(("X-Total-Count", page.total));
    if let Some(cursor) = &page.next_cursor {
        let mut next = format!("{}?limit={}&cursor={cursor}", http.path(), asked.page.limit);
        if let Some(state) = asked.state {
            next = format!("{next}&state={}", state.as_str());
        }
        if asked.mine {
            next.push_str("&mine=true");
        }
        response.insert_header(("Link", format!("<{next}>; rel=\"next\"")));
    }
    let shown: Vec<_> = page.items.into_iter().map(|request| shape(&app, request)).collect();
    Ok(response.json(shown))
}

/// A request: one's own, or any for whoever decides on them.
#[utoipa::path(
    get, path = "/api/v1/access-requests/{id}", tag = "access requests", operation_id = "showAccessRequest",
    params(("id" = String, Path, description = "Id of the request")),
    responses((status = 200, description = "The request", body = AccessShape), (status = 404, description = "Not found, or not yours", body = Problem))
)]
pub(super) async fn show(app: Shared, caller: Caller, which: web::Path<String>) -> ApiResult {
    let request = app.visible_access(&caller.principal, &which).await?;
    Ok(HttpResponse::Ok().json(shape(&app, request)))
}

/// Gives what is asked for, for the time that was asked for or a shorter one.
#[utoipa::path(
    post, path = "/api/v1/access-requests/{id}/approve", tag = "access requests", operation_id = "approveAccessRequest",
    params(("id" = String, Path, description = "Id of the request")),
    request_body(content = Option<ApproveAccess>),
    responses(
        (status = 200, description = "Given", body = AccessShape),
        (status = 403, description = "The caller does not decide on requests, asks itself, or does not hold what is asked for", body = Problem),
        (status = 404, description = "Not found, or not yours", body = Problem),
        (status = 409, description = "It is not pending any more, or a cluster is not there", body = Problem)
    )
)]
pub(super) async fn approve(
    app: Shared,
    caller: Caller,
    http: HttpRequest,
    context: RequestContext,
    which: web::Path<String>,
    OptionalJson(body): OptionalJson<ApproveAccess>,
) -> ApiResult {
    caller.whole()?;
    let ApproveAccess { duration_seconds, note } = body;
    let by = &caller.principal;
    let request = app.approve_access(by, &which, duration_seconds, note.as_deref(), &context.request_id).await?;
    Ok(changed(&app, &http, request))
}

/// Does not give it.
#[utoipa::path(
    post, path = "/api/v1/access-requests/{id}/deny", tag = "access requests", operation_id = "denyAccessRequest",
    params(("id" = String, Path, description = "Id of the request")),
    request_body(content = Option<DenyAccess>),
    responses(
        (status = 200, description = "Denied", body = AccessShape),
        (status = 403, description = "The caller does not decide on requests, or asks itself", body = Problem),
        (status = 404, description = "Not found, or not yours", body = Problem),
        (status = 409, description = "It is not pending any more", body = Problem)
    )
)]
pub(super) async fn deny(
    app: Shared,
    caller: Caller,
    http: HttpRequest,
    which: web::Path<String>,
    OptionalJson(body): OptionalJson<DenyAccess>,
) -> ApiResult {
    caller.whole()?;
    let request = app.deny_access(&caller.principal, &which, body.note.as_deref()).await?;
    Ok(changed(&app, &http, request))
}

/// Takes one's own question back.
#[utoipa::path(
    post, path = "/api/v1/access-requests/{id}/withdraw", tag = "access requests", operation_id = "withdrawAccessRequest",
    params(("id" = String, Path, description = "Id of the request")),
    responses(
        (status = 200, description = "Withdrawn", body = AccessShape),
        (status = 404, description = "Not found, or not yours", body = Problem),
        (status = 409, description = "It is not pending any more", body = Problem)
    )
)]
pub(super) async fn withdraw(app: Shared, caller: Caller, http: HttpRequest, which: web::Path<String>) -> ApiResult {
    caller.whole()?;
    let request = app.withdraw_access(&caller.principal, &which).await?;
    Ok(changed(&app, &http, request))
}

/// Ends what was given before its time; what was opened under it is cut.
#[utoipa::path(
    post, path = "/api/v1/access-requests/{id}/end", tag = "access requests", operation_id = "endAccessRequest",
    params(("id" = String, Path, description = "Id of the request")),
    responses(
        (status = 200, description = "Ended", body = AccessShape),
        (status = 404, description = "Not found, or not yours", body = Problem),
        (status = 409, description = "Nothing was given, or it is over", body = Problem)
    )
)]
pub(super) async fn end(app: Shared, caller: Caller, http: HttpRequest, which: web::Path<String>) -> ApiResult {
    caller.whole()?;
    let request = app.end_access(&caller.principal, &which).await?;
    Ok(changed(&app, &http, request))
}

/// What a list is asked for.
struct Asked {
    state: Option<AccessState>,
    mine: bool,
    page: PageRequest,
}

impl Asked {
    fn read(query: &QueryPairs) -> Result<Self> {
        let fault = |name: &str, message: String| Error::field(&["query", name], "value_error", message);
        let state = query.one("state")?.map(|word| {
            AccessState::parse(word).ok_or_else(|| fault("state", "state is none that a request has".to_owned()))
        });
        let mine = match query.one("mine")? {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(fault("mine", "mine must be true or false".to_owned())),
        };
        let limit = query.integer("limit")?.unwrap_or(i64::from(LIMIT_DEFAULT));
        let limit = u32::try_from(limit).ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
        let limit = limit.ok_or_else(|| fault("limit", format!("limit must be 1 to {LIMIT_MAX}")))?;
        let offset = u64::try_from(query.integer("offset")?.unwrap_or(0))
            .map_err(|_| fault("offset", "offset must not be negative".to_owned()))?;
        let cursor = query.one("cursor")?.filter(|cursor| !cursor.is_empty());
        if cursor.is_some_and(|cursor| cursor.len() > CURSOR_MAX) {
            return Err(fault("cursor", "cursor is not one of ours".to_owned()));
        }
        let page = PageRequest { limit, offset, cursor: cursor.map(str::to_owned) };
        Ok(Self { state: state.transpose()?, mine, page })
    }
}
