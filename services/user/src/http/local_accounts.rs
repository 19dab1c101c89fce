//! Authenticator apps, and links to set a forgotten password.

use actix_web::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use roadstead_http_kit::{ApiResult, Body, Caller, Json, QueryPairs, RequestContext};
use roadstead_runtime::Secret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::shapes::{Message, Problem};
use super::{Shared, read};

/// The page that a link leads to: a form, no script, nothing from elsewhere.
const RESET_FORM: &str = include_str!("reset_form.html");
/// What that page may do: send its form to the hub.
const FORM_POLICY: &str = "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
/// Where the token goes in the page.
const TOKEN_MARK: &str = "{{token}}";

/// Body of begin.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct BeginAuthenticator {
    /// The caller's password.
    #[schema(value_type = String, format = Password)]
    password: Secret,
}

/// What an app is told once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EnrolmentShape {
    /// For typing.
    secret: String,
    /// For a QR code.
    uri: String,
}

/// Body of confirm and remove.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct CodeBody {
    /// Six digits, or a recovery code.
    #[schema(value_type = String)]
    code: Secret,
}

/// Recovery codes, shown once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RecoveryCodes {
    /// Each works once, in place of a code of the app.
    recovery_codes: Vec<String>,
}

/// Whether codes are asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuthenticatorShape {
    enabled: bool,
    recovery_codes_left: u32,
}

/// Body of a new link.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct BeginReset {
    /// The account: id, number or name.
    user: String,
}

/// A link, shown once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ResetLink {
    /// Name of the account.
    username: String,
    /// What sets the password.
    token: String,
    /// The page for it, where the hub knows its public address.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// When it is over.
    expires_at: DateTime<Utc>,
}

/// Body of reset: JSON, or the form of the page.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct FinishReset {
    #[schema(value_type = String)]
    token: Secret,
    #[schema(value_type = String, format = Password)]
    new_password: Secret,
}

/// Begins to add an authenticator app to the caller's account.
#[utoipa::path(
    post, path = "/api/v1/auth/authenticator", tag = "auth", operation_id = "beginAuthenticator",
    request_body = BeginAuthenticator,
    responses((status = 200, description = "What the app is told", body = EnrolmentShape), (status = 409, description = "There is one", body = Problem))
)]
pub(super) async fn begin(
    app: Shared,
    caller: Caller,
    context: RequestContext,
    Json(body): Json<BeginAuthenticator>,
) -> ApiResult {
    caller.whole()?;
    let enrolment = app.begin_authenticator(&caller.principal, body.password, context.client).await?;
    let (secret, uri) = (enrolment.secret.expose().to_owned(), enrolment.uri.expose().to_owned());
    Ok(HttpResponse::Ok().json(EnrolmentShape { secret, uri }))
}

/// Shows that the app works; logins ask for its codes from then on.
#[utoipa::path(
    post, path = "/api/v1/auth/authenticator/confirm", tag = "auth", operation_id = "confirmAuthenticator",
    request_body = CodeBody,
    responses((status = 200, description = "Confirmed", body = RecoveryCodes), (status = 400, description = "The code is wrong", body = Problem))
)]
pub(super) async fn confirm(app: Shared, caller: Caller, Json(body): Json<CodeBody>) -> ApiResult {
    caller.whole()?;
    let codes = app.confirm_authenticator(&caller.principal, body.code.expose()).await?;
    let recovery_codes = codes.iter().map(|code| code.expose().to_owned()).collect();
    Ok(HttpResponse::Ok().json(RecoveryCodes { recovery_codes }))
}

/// Whether the caller's logins ask for codes.
#[utoipa::path(
    get, path = "/api/v1/auth/authenticator", tag = "auth", operation_id = "authenticator",
    responses((status = 200, description = "Whether", body = AuthenticatorShape))
)]
pub(super) async fn show(app: Shared, caller: Caller) -> ApiResult {
    let (enabled, recovery_codes_left) = app.authenticator_of(caller.principal.user_id).await?;
    Ok(HttpResponse::Ok().json(AuthenticatorShape { enabled, recovery_codes_left }))
}

/// Removes the caller's authenticator app, with a code of it.
#[utoipa::path(
    post, path = "/api/v1/auth/authenticator/remove", tag = "auth", operation_id = "removeAuthenticator",
    request_body = CodeBody,
    responses((status = 204, description = "Removed"), (status = 401, description = "The code is wrong", body = Problem))
)]
pub(super) async fn remove(app: Shared, caller: Caller, Json(body): Json<CodeBody>) -> ApiResult {
    caller.whole()?;
    app.remove_authenticator(&caller.principal, body.code.expose()).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Removes somebody's authenticator app, on an admin's word.
#[utoipa::path(
    delete, path = "/api/v1/auth/authenticator/{user}", tag = "auth", operation_id = "removeAuthenticatorOf",
    params(("user" = String, Path, description = "Id, number or name")),
    responses((status = 204, description = "Removed"), (status = 404, description = "No such account, or no app", body = Problem))
)]
pub(super) async fn remove_of(app: Shared, caller: Caller, which: web::Path<String>) -> ApiResult {
    caller.whole()?;
    app.remove_authenticator_of(&caller.principal, &which).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Makes a link with which somebody sets a new password, once.
#[utoipa::path(
    post, path = "/api/v1/auth/password-resets", tag = "auth", operation_id = "beginPasswordReset",
    request_body = BeginReset,
    responses(
        (status = 201, description = "Made", body = ResetLink),
        (status = 404, description = "No such account", body = Problem),
        (status = 409, description = "The account has no password of its own", body = Problem)
    )
)]
pub(super) async fn begin_reset(app: Shared, caller: Caller, Json(body): Json<BeginReset>) -> ApiResult {
    caller.whole()?;
    let (user, token, expires_at) = app.begin_password_reset(&caller.principal, &body.user).await?;
    let url = app.reset_link(&token);
    let token = token.expose().to_owned();
    Ok(HttpResponse::Created().json(ResetLink { username: user.username, token, url, expires_at }))
}

/// The page that a link leads to.
#[utoipa::path(
    get, path = "/api/v1/auth/password-reset", tag = "auth", operation_id = "passwordResetPage", security(()),
    params(("token" = String, Query, description = "The token of the link")),
    responses((status = 200, description = "A form", content_type = "text/html"))
)]
pub(super) async fn reset_page(query: QueryPairs) -> ApiResult {
    // Only what a token of ours can be made of goes into the page.
    let token: String = query
        .one("token")?
        .unwrap_or_default()
        .chars()
        .filter(|character| character.is_ascii_alphanumeric() || matches!(character, '-' | '_'))
        .take(roadstead_auth::token::TOKEN_LEN)
        .collect();
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((CONTENT_SECURITY_POLICY, FORM_POLICY))
        .body(RESET_FORM.replace(TOKEN_MARK, &token)))
}

/// Sets the password of whoever holds a link.
#[utoipa::path(
    post, path = "/api/v1/auth/password-reset", tag = "auth", operation_id = "finishPasswordReset", security(()),
    request_body(content((FinishReset = "application/json"), (FinishReset = "application/x-www-form-urlencoded"))),
    responses(
        (status = 200, description = "Set; every session of the account has ended", body = Message),
        (status = 400, description = "The password is too weak; the link still works", body = Problem),
        (status = 401, description = "The link is over, or was used", body = Problem)
    )
)]
pub(super) async fn finish_reset(app: Shared, request: HttpRequest, body: Body) -> ApiResult {
    let body: FinishReset = read::form_or_json(&request, &body)?;
    app.finish_password_reset(body.token.expose(), body.new_password).await?;
    Ok(HttpResponse::Ok().json(Message { message: "Password changed successfully" }))
}
