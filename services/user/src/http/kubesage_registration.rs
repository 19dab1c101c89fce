//! The rest of KubeSage's `/auth/*` and its licence's state, their holes closed: no link confirms by being followed, nobody sets
//! an admin's password without being it, and no passwords wait in the clear.

use actix_web::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use roadstead_contracts::audit::Resource;
use roadstead_contracts::{Error, Result};
use roadstead_http_kit::audit::note;
use roadstead_http_kit::{ApiResult, Caller, Json, RequestContext};
use roadstead_runtime::Secret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::shapes::{Message, Problem};
use crate::app::Who;

/// The page of a confirmation link: a button, no script, nothing from elsewhere.
const CONFIRM_FORM: &str = include_str!("confirm_form.html");
/// What that page may do: send its form to the hub.
const FORM_POLICY: &str = "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
/// Where the button's words go in the page.
const WHAT_MARK: &str = "{{what}}";

/// A registration that waits.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Pending {
    /// `pending`.
    status: &'static str,
    /// Under which an admin finds it.
    confirmation_id: String,
    /// For people.
    message: &'static str,
}

impl Pending {
    /// The answer to a registration that waits.
    pub(super) fn answer(id: roadstead_contracts::ids::UserId) -> HttpResponse {
        let message = "Registration received. An admin has to confirm it.";
        HttpResponse::Accepted().json(Self { status: "pending", confirmation_id: id.to_string(), message })
    }
}

/// What became of a registration.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConfirmationStatus {
    /// `pending`, `confirmed`, `rejected` or `expired`.
    status: &'static str,
    /// Until when it waits.
    expires_at: DateTime<Utc>,
}

/// Whether an admin's password may be set without the one before. It never may.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ResetStatus {
    can_reset: bool,
    message: &'static str,
}

/// Body of reset-admin-password.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ResetAdminPassword {
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    new_password: Option<Secret>,
    /// The seed forgot to ask for it.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    current_password: Option<Secret>,
    #[serde(default)]
    skip_reset: bool,
}

/// The state of a licence.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct License {
    is_valid: bool,
    message: &'static str,
    expires_at: Option<DateTime<Utc>>,
}

/// Body of resend-confirm: one of them.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ResendConfirm {
    #[serde(default)]
    confirmation_id: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    email: Option<String>,
}

fn answer_word(answer: &str) -> Result<bool> {
    match answer {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(Error::not_found("Not found")),
    }
}

/// Tells the admins once more of a registration that waits, by the audit trail. The answer is the same whether one waits, whether
/// there is such an account, and whether registrations are confirmed at all; and nothing waits longer for it.
#[utoipa::path(
    post, path = "/auth/resend-confirm", tag = "kubesage auth", operation_id = "seedResendConfirm", security(()),
    request_body = ResendConfirm,
    responses((status = 200, description = "Heard", body = Message), (status = 422, description = "Nothing is named", body = Problem))
)]
pub(super) async fn resend_confirm(app: Shared, request: HttpRequest, Json(body): Json<ResendConfirm>) -> ApiResult {
    let who = Who { id: body.confirmation_id, username: body.username, email: body.email };
    if who.is_empty() {
        return Err(Error::field(&["body", "email"], "missing", "Field required").into());
    }
    if let Some(id) = app.waiting_registration(&who).await? {
        note(&request).resource(Resource::id("registration", id));
    }
    let message = "If a registration waits under that name, the admins have been told again.";
    Ok(HttpResponse::Ok().json(Message { message }))
}

/// The page that a confirmation link leads to. Following it changes nothing: mail scanners follow links, too.
#[utoipa::path(
    get, path = "/auth/confirm/{id}/{answer}", tag = "kubesage auth", operation_id = "seedConfirmPage", security(()),
    params(("id" = String, Path, description = "Id of the registration"), ("answer" = String, Path, description = "`yes` or `no`")),
    responses((status = 200, description = "A button", content_type = "text/html"), (status = 404, description = "Another answer", body = Problem))
)]
pub(super) async fn confirm_page(path: web::Path<(String, String)>) -> ApiResult {
    let what = if answer_word(&path.1)? { "Confirm the registration" } else { "Reject the registration" };
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((CONTENT_SECURITY_POLICY, FORM_POLICY))
        .body(CONFIRM_FORM.replace(WHAT_MARK, what)))
}

/// Confirms or rejects a registration. For admins.
#[utoipa::path(
    post, path = "/auth/confirm/{id}/{answer}", tag = "kubesage auth", operation_id = "seedConfirm",
    params(("id" = String, Path, description = "Id of the registration"), ("answer" = String, Path, description = "`yes` or `no`")),
    responses(
        (status = 200, description = "Decided", body = Message),
        (status = 404, description = "No such registration, or another answer", body = Problem),
        (status = 409, description = "It is decided already, or the name was taken meanwhile", body = Problem)
    )
)]
pub(super) async fn confirm(app: Shared, caller: Caller, path: web::Path<(String, String)>) -> ApiResult {
    caller.whole()?;
    let (id, answer) = path.into_inner();
    if answer_word(&answer)? {
        app.confirm_registration(&caller.principal, &id).await?;
        return Ok(HttpResponse::Ok().json(Message { message: "Registration confirmed" }));
    }
    app.reject_registration(&id).await?;
    Ok(HttpResponse::Ok().json(Message { message: "Registration rejected" }))
}

/// What became of a registration. For admins.
#[utoipa::path(
    get, path = "/auth/confirmation-status/{id}", tag = "kubesage auth", operation_id = "seedConfirmationStatus",
    params(("id" = String, Path, description = "Id of the registration")),
    responses((status = 200, description = "Its state", body = ConfirmationStatus), (status = 404, description = "No such registration", body = Problem))
)]
pub(super) async fn confirmation_status(app: Shared, id: web::Path<String>) -> ApiResult {
    let (state, expires_at) = app.registration(&id).await?;
    Ok(HttpResponse::Ok().json(ConfirmationStatus { status: state.as_str(), expires_at }))
}

/// Sets the caller's own password, where the caller is an admin; or says that it was skipped.
#[utoipa::path(
    post, path = "/auth/reset-admin-password", tag = "kubesage auth", operation_id = "seedResetAdminPassword",
    request_body = ResetAdminPassword,
    responses(
        (status = 200, description = "Set, or skipped", body = Message),
        (status = 403, description = "Not an admin", body = Problem),
        (status = 422, description = "A password is missing or wrong", body = Problem)
    )
)]
pub(super) async fn reset_admin_password(
    app: Shared,
    caller: Caller,
    context: RequestContext,
    Json(body): Json<ResetAdminPassword>,
) -> ApiResult {
    caller.whole()?;
    if body.skip_reset {
        return Ok(HttpResponse::Ok().json(Message { message: "Password reset skipped" }));
    }
    let missing = |field: &'static str| Error::field(&["body", field], "missing", "Field required");
    let new = body.new_password.ok_or_else(|| missing("new_password"))?;
    let current = body.current_password.ok_or_else(|| missing("current_password"))?;
    app.change_password(&caller.principal, current, new, context.client).await?;
    Ok(HttpResponse::Ok().json(Message { message: "Admin password updated successfully" }))
}

/// Whether the first caller may set an admin's password, as the seed had it: never.
#[utoipa::path(
    get, path = "/auth/check-password-reset-status", tag = "kubesage auth", operation_id = "seedCheckPasswordResetStatus", security(()),
    responses((status = 200, description = "Never", body = ResetStatus))
)]
pub(super) async fn reset_status(app: Shared) -> ApiResult {
    let message = if app.admin_exists().await? { "Password has already been reset" } else { "Admin user not found" };
    Ok(HttpResponse::Ok().json(ResetStatus { can_reset: false, message }))
}

/// There is no licence to run out.
#[utoipa::path(
    get, path = "/license/status", tag = "kubesage auth", operation_id = "seedLicenseStatus", security(()),
    responses((status = 200, description = "Valid, without an end", body = License))
)]
pub(super) async fn license() -> HttpResponse {
    HttpResponse::Ok().json(License { is_valid: true, message: "License is valid", expires_at: None })
}
