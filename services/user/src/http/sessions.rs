//! The caller's sessions.

use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use roadstead_contracts::Error;
use roadstead_contracts::identity::CredentialKind;
use roadstead_contracts::ids::SessionId;
use roadstead_http_kit::{ApiResult, Caller};
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use super::shapes::Problem;

/// A session, in the words of KubeSage's schema.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionInfo {
    session_id: String,
    device_info: Option<String>,
    ip_address: Option<String>,
    user_agent: Option<String>,
    created_at: DateTime<Utc>,
    last_used_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    /// Whether the request came with this session.
    is_current: bool,
}

/// How many sessions were ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ended {
    ended: u64,
}

fn current(caller: &Caller) -> Option<SessionId> {
    match caller.principal.credential {
        CredentialKind::Session(id) => Some(id),
        CredentialKind::ApiKey(_) | CredentialKind::QueuePeer(_) => None,
    }
}

/// The caller's sessions, newest first.
#[utoipa::path(
    get, path = "/api/v1/auth/sessions", tag = "auth", operation_id = "listSessions",
    responses((status = 200, description = "Sessions", body = [SessionInfo]))
)]
pub(super) async fn list(app: Shared, caller: Caller) -> ApiResult {
    let sessions = app.sessions(caller.principal.user_id).await?;
    let current = current(&caller);
    let shown: Vec<_> = sessions
        .into_iter()
        .map(|session| SessionInfo {
            session_id: session.id.to_string(),
            device_info: session.origin.device,
            ip_address: session.origin.source,
            user_agent: session.origin.user_agent,
            created_at: session.created_at,
            last_used_at: session.last_used_at,
            expires_at: session.expires_at,
            is_current: current == Some(session.id),
        })
        .collect();
    Ok(HttpResponse::Ok().insert_header(("X-Total-Count", shown.len())).json(shown))
}

/// Ends one of the caller's sessions.
#[utoipa::path(
    delete, path = "/api/v1/auth/sessions/{id}", tag = "auth", operation_id = "endSession",
    params(("id" = String, Path, description = "Id of the session")),
    responses((status = 204, description = "Ended"), (status = 404, description = "No such session of the caller", body = Problem))
)]
pub(super) async fn end(app: Shared, caller: Caller, id: web::Path<String>) -> ApiResult {
    caller.whole()?;
    let id = id.parse::<SessionId>().map_err(|_| Error::not_found("Session not found"))?;
    app.end_session(caller.principal.user_id, id, "ended_by_user").await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Ends every session of the caller but the one it calls with.
#[utoipa::path(
    delete, path = "/api/v1/auth/sessions", tag = "auth", operation_id = "endOtherSessions",
    responses((status = 200, description = "Ended", body = Ended))
)]
pub(super) async fn end_others(app: Shared, caller: Caller) -> ApiResult {
    caller.whole()?;
    let ended = app.end_other_sessions(caller.principal.user_id, current(&caller)).await?;
    Ok(HttpResponse::Ok().json(Ended { ended }))
}
