//! Authenticator apps, and links to set a forgotten password.

use actix_web::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use roadstead_contracts::audit::Resource;
use roadstead_http_kit::audit::note;
use roadstead_http_kit::{ApiResult, Body, Caller, Json, QueryPairs, RequestContext};
use roadstead_runtime::Secret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::shapes::Problem;
use super::{Shared, read};
use crate::domain::SecondFactors;

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
    /// A recovery code: where there is a second proof already, and the sign-in is not of just now.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    code: Option<Secret>,
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
    /// Whether its authenticator app, passkeys and recovery codes go with the old password.
    #[serde(default)]
    remove_second_factors: bool,
}

/// What an account is signed in to with, beside its password or in its place.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SecondFactorsShape {
    /// How many passkeys; each signs in without the password as well.
    passkeys: usize,
    /// Whether an authenticator app is asked for codes.
    authenticator_app: bool,
}

impl From<SecondFactors> for SecondFactorsShape {
    fn from(left: SecondFactors) -> Self {
        Self { passkeys: left.passkeys, authenticator_app: left.authenticator_app }
    }
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
    /// What stays beside the new password, as it stands now.
    second_factors_left: SecondFactorsShape,
}

/// What became of a reset.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ResetAnswer {
    /// For people.
    message: String,
    /// What stays beside the new password.
    second_factors_left: SecondFactorsShape,
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
    responses(
        (status = 200, description = "What the app is told", body = EnrolmentShape),
        (status = 400, description = "The password is wrong", body = Problem),
        (status = 401, description = "A second proof is asked for", body = Problem),
        (status = 409, description = "There is one", body = Problem)
    )
)]
pub(super) async fn begin(
    app: Shared,
    caller: Caller,
    context: RequestContext,
    Json(body): Json<BeginAuthenticator>,
) -> ApiResult {
    caller.whole()?;
    let code = body.code.as_ref().map(Secret::expose);
    let enrolment = app.begin_authenticator(&caller.principal, body.password, code, context.client).await?;
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
pub(super) async fn begin_reset(
    app: Shared,
    request: HttpRequest,
    caller: Caller,
    Json(body): Json<BeginReset>,
) -> ApiResult {
    caller.whole()?;
    let begun = app.begin_password_reset(&caller.principal, &body.user, body.remove_second_factors).await?;
    note(&request)
        .resource(Resource::named("user", &begun.user.username))
        .detail("remove_second_factors", body.remove_second_factors.to_string());
    note_left(&request, begun.left);
    Ok(HttpResponse::Created().json(ResetLink {
        username: begun.user.username,
        url: app.reset_link(&begun.token),
        token: begun.token.expose().to_owned(),
        expires_at: begun.expires_at,
        second_factors_left: begun.left.into(),
    }))
}

/// Keeps in the trail what stays beside a new password: numbers, no names.
fn note_left(request: &HttpRequest, left: SecondFactors) {
    note(request)
        .detail("passkeys_left", left.passkeys.to_string())
        .detail("authenticator_app_left", left.authenticator_app.to_string());
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
        (status = 200, description = "Set; every session of the account has ended", body = ResetAnswer),
        (status = 400, description = "The password is too weak; the link still works", body = Problem),
        (status = 401, description = "The link is over, or was used", body = Problem)
    )
)]
pub(super) async fn finish_reset(app: Shared, request: HttpRequest, body: Body) -> ApiResult {
    let body: FinishReset = read::form_or_json(&request, &body)?;
    let done = app.finish_password_reset(body.token.expose(), body.new_password).await?;
    note(&request)
        .resource(Resource::id("user", done.user_id))
        .detail("removed_second_factors", done.removed_second_factors.to_string());
    note_left(&request, done.left);
    let message = format!("Password changed successfully{}", words(done.left));
    Ok(HttpResponse::Ok().json(ResetAnswer { message, second_factors_left: done.left.into() }))
}

/// What stays, for people: the page of a link shows this answer as it is.
fn words(left: SecondFactors) -> String {
    let passkeys = match left.passkeys {
        0 => None,
        1 => Some("1 passkey".to_owned()),
        many => Some(format!("{many} passkeys")),
    };
    let app = left.authenticator_app.then(|| "an authenticator app".to_owned());
    let all: Vec<String> = passkeys.into_iter().chain(app).collect();
    if all.is_empty() {
        return String::new();
    }
    format!(". Still there: {}. Remove what you do not know", all.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_is_said() {
        let said = |passkeys, authenticator_app| words(SecondFactors { passkeys, authenticator_app });
        assert_eq!(said(0, false), "");
        assert_eq!(said(1, false), ". Still there: 1 passkey. Remove what you do not know");
        assert_eq!(said(2, true), ". Still there: 2 passkeys and an authenticator app. Remove what you do not know");
        assert_eq!(said(0, true), ". Still there: an authenticator app. Remove what you do not know");
    }
}
