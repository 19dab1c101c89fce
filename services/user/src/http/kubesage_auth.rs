//! KubeSage's `/auth/*`, its holes closed: nobody chooses their own roles, nobody sets the admin's password without being one,
//! a wrong password is 401, a refresh token is spent by its use.

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use roadstead_contracts::{Code, Error};
use roadstead_http_kit::{ApiResult, Body, Caller, Json, RequestContext};
use roadstead_runtime::Secret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::kubesage_registration::Pending;
use super::mckmt::end_own_session;
use super::shapes::{KubesageUser, Message, Problem};
use super::{Shared, audit, read};
use crate::app::{Issued, Registered as Outcome, Registration};
use crate::domain::seed_names;

/// Body of login: JSON or a form. A form's `grant_type`, `scope` and the like are not looked at.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct SeedLogin {
    username: String,
    #[schema(value_type = String, format = Password)]
    password: Secret,
    /// A code of the authenticator app, or a recovery code, where the account asks for one.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    code: Option<Secret>,
}

/// Answer of login and refresh: what both generations of clients read.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SeedTokens {
    /// Access token.
    pub(super) access_token: String,
    /// Refresh token.
    pub(super) refresh_token: String,
    /// `bearer`.
    pub(super) token_type: &'static str,
    /// Seconds until the access token ends.
    pub(super) expires_in: u64,
    /// When the access token ends.
    pub(super) expires_at: DateTime<Utc>,
    /// The session.
    pub(super) session_id: String,
    /// The account; after login only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<KubesageUser>,
}

/// Body of refresh.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct SeedRefresh {
    #[schema(value_type = String)]
    refresh_token: Secret,
}

/// Body of register. `roles`, `is_active` and the like are not looked at.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct SeedRegister {
    pub(super) username: String,
    pub(super) email: String,
    #[schema(value_type = String, format = Password)]
    pub(super) password: Secret,
    #[serde(default)]
    pub(super) first_name: Option<String>,
    #[serde(default)]
    pub(super) last_name: Option<String>,
}

impl From<SeedRegister> for Registration {
    fn from(body: SeedRegister) -> Self {
        Self {
            username: body.username,
            email: body.email,
            password: body.password,
            first_name: body.first_name,
            last_name: body.last_name,
        }
    }
}

/// Whether the caller is an admin.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AdminCheck {
    is_admin: bool,
    roles: Option<String>,
    username: String,
}

/// Whether there is an admin.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AdminExists {
    admin_exists: bool,
}

/// Body of change-password. One's own needs the current one, which the seed forgot to ask for.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct SeedChangePassword {
    #[schema(value_type = String, format = Password)]
    new_password: Secret,
    #[schema(value_type = String, format = Password)]
    confirm_password: Secret,
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    current_password: Option<Secret>,
}

/// Logs in with a password; the body is a form or JSON.
#[utoipa::path(
    post, path = "/auth/login", tag = "kubesage auth", operation_id = "seedLogin", security(()),
    request_body(content(
        (SeedLogin = "application/json"), (SeedLogin = "application/x-www-form-urlencoded")
    )),
    responses(
        (status = 200, description = "Logged in", body = SeedTokens),
        (status = 401, description = "Name or password is wrong", body = Problem),
        (status = 429, description = "Too many tries", body = Problem)
    )
)]
pub(super) async fn login(app: Shared, request: HttpRequest, context: RequestContext, body: Body) -> ApiResult {
    let body: SeedLogin = read::form_or_json(&request, &body)?;
    let from = read::login_from(&app, &request, &context, body.code);
    let issued = app.login(&body.username, body.password, from).await;
    audit::login_tried(&app, &request, &body.username, &issued).await;
    let issued = issued.map_err(|error| read::login_fault(&request, error))?;
    let mut response = HttpResponse::Ok();
    read::mark_device(&app, &issued, &mut response)?;
    Ok(response.json(tokens(issued, true)))
}

/// Gives a new pair of tokens for a refresh token, which is spent by it.
#[utoipa::path(
    post, path = "/auth/refresh", tag = "kubesage auth", operation_id = "seedRefresh", security(()),
    request_body = SeedRefresh,
    responses(
        (status = 200, description = "A new pair", body = SeedTokens),
        (status = 401, description = "Not a good refresh token, or one used twice", body = Problem)
    )
)]
pub(super) async fn refresh(app: Shared, Json(body): Json<SeedRefresh>) -> ApiResult {
    Ok(HttpResponse::Ok().json(tokens(app.refresh(body.refresh_token.expose()).await?, false)))
}

/// Ends the caller's session.
#[utoipa::path(
    post, path = "/auth/logout", tag = "kubesage auth", operation_id = "seedLogout",
    responses((status = 200, description = "Ended", body = Message))
)]
pub(super) async fn logout(app: Shared, caller: Caller) -> ApiResult {
    end_own_session(&app, &caller).await?;
    Ok(HttpResponse::Ok().json(Message { message: "Successfully logged out" }))
}

/// Makes an account with the default role, where registration is open.
#[utoipa::path(
    post, path = "/auth/register", tag = "kubesage auth", operation_id = "seedRegister", security(()),
    request_body = SeedRegister,
    responses(
        (status = 201, description = "Made", body = KubesageUser),
        (status = 202, description = "An admin has to confirm it", body = Pending),
        (status = 403, description = "Registration is closed", body = Problem),
        (status = 409, description = "Name or address is taken", body = Problem),
        (status = 422, description = "A field is wrong", body = Problem)
    )
)]
pub(super) async fn register(app: Shared, Json(body): Json<SeedRegister>) -> ApiResult {
    Ok(match app.register(body.into()).await? {
        Outcome::Made(user) => HttpResponse::Created().json(KubesageUser::from(user)),
        Outcome::Waits(id) => Pending::answer(id),
    })
}

/// Makes the first admin for whoever holds the bootstrap token.
#[utoipa::path(
    post, path = "/auth/register-admin", tag = "kubesage auth", operation_id = "seedRegisterAdmin", security(()),
    params(("X-Bootstrap-Token" = String, Header, description = "The bootstrap token of the hub")),
    request_body = SeedRegister,
    responses(
        (status = 201, description = "Made", body = KubesageUser),
        (status = 401, description = "No or a wrong bootstrap token", body = Problem),
        (status = 409, description = "There is an admin", body = Problem)
    )
)]
pub(super) async fn register_admin(app: Shared, request: HttpRequest, Json(body): Json<SeedRegister>) -> ApiResult {
    let missing = || Error::new(Code::Unauthenticated, "Bootstrap token required in X-Bootstrap-Token header");
    let token = read::bootstrap_token(&request)?.ok_or_else(missing)?;
    let user = app.register_admin(body.into(), &token).await?;
    Ok(HttpResponse::Created().json(KubesageUser::from(user)))
}

/// Whether the caller is an admin.
#[utoipa::path(
    get, path = "/auth/check-admin", tag = "kubesage auth", operation_id = "seedCheckAdmin",
    responses((status = 200, description = "Whether", body = AdminCheck))
)]
pub(super) async fn check_admin(caller: Caller) -> HttpResponse {
    let principal = &caller.principal;
    HttpResponse::Ok().json(AdminCheck {
        is_admin: principal.roles.contains(&roadstead_contracts::identity::Role::Admin),
        roles: seed_names(&principal.roles),
        username: principal.username.clone(),
    })
}

/// Whether there is an admin.
#[utoipa::path(
    get, path = "/auth/check-admin-exists", tag = "kubesage auth", operation_id = "seedCheckAdminExists", security(()),
    responses((status = 200, description = "Whether", body = AdminExists))
)]
pub(super) async fn check_admin_exists(app: Shared) -> ApiResult {
    Ok(HttpResponse::Ok().json(AdminExists { admin_exists: app.admin_exists().await? }))
}

/// Changes a password: one's own with the current one, anybody's for an admin.
#[utoipa::path(
    post, path = "/auth/change-password/{user_id}", tag = "kubesage auth", operation_id = "seedChangePassword",
    params(("user_id" = String, Path, description = "Integer, id or name of the account")),
    request_body = SeedChangePassword,
    responses(
        (status = 200, description = "Changed", body = Message),
        (status = 403, description = "Somebody else's", body = Problem),
        (status = 404, description = "No such account", body = Problem),
        (status = 422, description = "A field is wrong", body = Problem)
    )
)]
pub(super) async fn change_password(
    app: Shared,
    caller: Caller,
    context: RequestContext,
    which: web::Path<String>,
    Json(body): Json<SeedChangePassword>,
) -> ApiResult {
    caller.whole()?;
    if body.new_password != body.confirm_password {
        return Err(Error::field(&["body", "confirm_password"], "value_error", "Passwords do not match").into());
    }
    let user = app.visible_user(&caller.principal, &which).await?;
    if user.id == caller.principal.user_id {
        let missing = || Error::field(&["body", "current_password"], "missing", "Field required");
        let current = body.current_password.ok_or_else(missing)?;
        app.change_password(&caller.principal, current, body.new_password, context.client).await?;
    } else {
        app.set_password(&caller.principal, &which, body.new_password).await?;
    }
    Ok(HttpResponse::Ok().json(Message { message: "Password changed successfully" }))
}

fn tokens(issued: Issued, with_user: bool) -> SeedTokens {
    SeedTokens {
        access_token: issued.access.expose().to_owned(),
        refresh_token: issued.refresh.expose().to_owned(),
        token_type: "bearer",
        expires_in: issued.expires_in,
        expires_at: issued.expires_at,
        session_id: issued.session_id.to_string(),
        user: with_user.then(|| issued.user.into()),
    }
}
