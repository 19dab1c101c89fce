//! MCKMT's `/api/v1/auth/*`, with what did not work there working.

use actix_web::http::header::SET_COOKIE;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use chrono::{DateTime, Utc};
use roadstead_contracts::identity::CredentialKind;
use roadstead_contracts::{Code, Error};
use roadstead_http_kit::{ApiResult, Caller, Json, RequestContext, cookie};
use roadstead_runtime::Secret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::kubesage_registration::Pending;
use super::shapes::{MckmtUser, Message, Problem};
use super::{Shared, audit, read};
use crate::app::{Issued, PASSKEYS_OFF, Registered as Outcome, Registration};

/// Ways to log in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Methods {
    /// The ways.
    pub(super) methods: Vec<LoginMethod>,
}

/// A way to log in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LoginMethod {
    /// `password`, `passkey` or `oidc`.
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    /// Name.
    pub(super) name: String,
    /// What it is.
    pub(super) description: String,
    /// Whether it may be used.
    pub(super) enabled: bool,
    /// Where.
    pub(super) url: String,
    /// Which identity provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) provider: Option<String>,
}

/// Body of register. Other fields (`roles`, `id`, `is_active`…) are not looked at.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Register {
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<Secret>,
}

/// Answer of register.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Registered {
    /// The account.
    pub(super) user: MckmtUser,
}

/// Body of login.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Login {
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<Secret>,
    /// A code of the authenticator app, or a recovery code, where the account asks for one.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    code: Option<Secret>,
    /// Whether the session goes into a cookie instead of into the answer: for pages of the hub.
    #[serde(default)]
    browser: bool,
}

/// Answer of a sign-in whose session is in a cookie.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BrowserSession {
    /// The account.
    user: MckmtUser,
    /// When the session ends.
    expires_at: DateTime<Utc>,
    /// The session.
    session_id: String,
}

/// Answer of login and refresh.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Tokens {
    /// Access token.
    pub(super) access_token: String,
    /// Refresh token.
    pub(super) refresh_token: String,
    /// When the access token ends.
    pub(super) expires_at: DateTime<Utc>,
    /// Seconds until then.
    pub(super) expires_in: u64,
    /// `Bearer`.
    pub(super) token_type: &'static str,
    /// The session.
    pub(super) session_id: String,
    /// The account; after login only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<MckmtUser>,
}

/// Body of refresh.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Refresh {
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    refresh_token: Option<Secret>,
}

/// Body of change-password.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ChangePassword {
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    current_password: Option<Secret>,
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    new_password: Option<Secret>,
}

/// The caller's account.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Profile {
    id: String,
    username: String,
    email: String,
    auth_source: String,
    roles: Vec<&'static str>,
    active: bool,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// How one can log in here.
#[utoipa::path(
    get, path = "/api/v1/auth/methods", tag = "auth", operation_id = "authMethods", security(()),
    responses((status = 200, description = "Ways to log in", body = Methods))
)]
pub(super) async fn methods(app: Shared) -> HttpResponse {
    let password = LoginMethod {
        kind: "password",
        name: "Password".to_owned(),
        description: "Log in with user name and password".to_owned(),
        enabled: app.options.password_login,
        url: "/api/v1/auth/login".to_owned(),
        provider: None,
    };
    let providers = app.providers().iter().map(|provider| LoginMethod {
        kind: "oidc",
        name: provider.settings.title.clone(),
        description: format!("Log in with {}", provider.settings.title),
        enabled: true,
        url: format!("/api/v1/auth/oidc/login?provider={}", provider.settings.name),
        provider: Some(provider.settings.name.clone()),
    });
    let enabled = app.options.party.is_some();
    let passkey = LoginMethod {
        kind: "passkey",
        name: "Passkey".to_owned(),
        description: if enabled { "Sign in with a passkey" } else { PASSKEYS_OFF }.to_owned(),
        enabled,
        url: "/api/v1/auth/passkeys/login/begin".to_owned(),
        provider: None,
    };
    HttpResponse::Ok().json(Methods { methods: [password, passkey].into_iter().chain(providers).collect() })
}

/// Makes an account, where registration is open; with the header `X-Bootstrap-Token` the first admin.
#[utoipa::path(
    post, path = "/api/v1/auth/register", tag = "auth", operation_id = "register", security(()),
    params(("X-Bootstrap-Token" = Option<String>, Header, description = "Makes the first admin")),
    request_body = Register,
    responses(
        (status = 201, description = "Made", body = Registered),
        (status = 202, description = "An admin has to confirm it", body = Pending),
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 403, description = "Registration is closed", body = Problem),
        (status = 409, description = "Name or address is taken", body = Problem)
    )
)]
pub(super) async fn register(app: Shared, request: HttpRequest, Json(body): Json<Register>) -> ApiResult {
    let wanted = Registration {
        username: read::required("username", body.username, String::is_empty)?,
        email: read::required("email", body.email, String::is_empty)?,
        password: read::required("password", body.password, Secret::is_empty)?,
        first_name: None,
        last_name: None,
    };
    let user = match read::bootstrap_token(&request)? {
        Some(token) => app.register_admin(wanted, &token).await?,
        None => match app.register(wanted).await? {
            Outcome::Made(user) => user,
            Outcome::Waits(id) => return Ok(Pending::answer(id)),
        },
    };
    Ok(HttpResponse::Created().json(Registered { user: user.into() }))
}

/// Logs in with a password.
#[utoipa::path(
    post, path = "/api/v1/auth/login", tag = "auth", operation_id = "login", security(()),
    request_body = Login,
    responses(
        (status = 200, description = "Logged in; with `browser` only `user`, `session_id` and `expires_at`", body = Tokens),
        (status = 400, description = "A field is missing", body = Problem),
        (status = 401, description = "Name or password is wrong", body = Problem),
        (status = 429, description = "Too many tries", body = Problem)
    )
)]
pub(super) async fn login(
    app: Shared,
    request: HttpRequest,
    context: RequestContext,
    Json(body): Json<Login>,
) -> ApiResult {
    let name = read::required("username", body.username, String::is_empty)?;
    let password = read::required("password", body.password, Secret::is_empty)?;
    let mut from = read::login_from(&app, &request, &context, body.code);
    from.browser = body.browser;
    let issued = app.login(&name, password, from).await;
    audit::login_tried(&app, &request, &name, &issued).await;
    let issued = issued.map_err(|error| read::login_fault(&request, error))?;
    let mut response = HttpResponse::Ok();
    read::mark_device(&app, &issued, &mut response)?;
    if body.browser {
        return Ok(in_cookie(&app, issued, response));
    }
    Ok(response.json(tokens(issued, true)))
}

/// Puts a session into a cookie: no script of a page reads it.
pub(super) fn in_cookie(app: &Shared, issued: Issued, mut response: HttpResponseBuilder) -> HttpResponse {
    let session = cookie::set(cookie::SESSION, app.by_tls(), issued.access.expose(), issued.expires_in);
    response.append_header((SET_COOKIE, session)).json(BrowserSession {
        expires_at: issued.expires_at,
        session_id: issued.session_id.to_string(),
        user: issued.user.into(),
    })
}

/// Gives a new pair of tokens for a refresh token, which is spent by it.
#[utoipa::path(
    post, path = "/api/v1/auth/refresh", tag = "auth", operation_id = "refresh", security(()),
    request_body = Refresh,
    responses(
        (status = 200, description = "A new pair", body = Tokens),
        (status = 400, description = "The token is missing", body = Problem),
        (status = 401, description = "Not a good refresh token, or one used twice", body = Problem)
    )
)]
pub(super) async fn refresh(app: Shared, Json(body): Json<Refresh>) -> ApiResult {
    let token = read::required("refresh_token", body.refresh_token, Secret::is_empty)?;
    Ok(HttpResponse::Ok().json(tokens(app.refresh(token.expose()).await?, false)))
}

/// Ends the caller's session.
#[utoipa::path(
    post, path = "/api/v1/auth/logout", tag = "auth", operation_id = "logout",
    responses((status = 200, description = "Ended", body = Message), (status = 401, body = Problem, description = "No good credential"))
)]
pub(super) async fn logout(app: Shared, caller: Caller) -> ApiResult {
    end_own_session(&app, &caller).await?;
    let gone = cookie::remove(cookie::SESSION, app.by_tls());
    Ok(HttpResponse::Ok().append_header((SET_COOKIE, gone)).json(Message { message: "Logged out successfully" }))
}

/// Ends the session of a caller that has one.
pub(super) async fn end_own_session(app: &Shared, caller: &Caller) -> roadstead_contracts::Result<()> {
    match caller.principal.credential {
        CredentialKind::Session(id) => app.end_session(caller.principal.user_id, id, "logout").await,
        CredentialKind::ApiKey(_) | CredentialKind::QueuePeer(_) => {
            Err(Error::new(Code::BadRequest, "an API key has no session; revoke the key instead"))
        }
    }
}

/// Changes the caller's password; its other sessions end.
#[utoipa::path(
    post, path = "/api/v1/auth/change-password", tag = "auth", operation_id = "changePassword",
    request_body = ChangePassword,
    responses(
        (status = 200, description = "Changed", body = Message),
        (status = 400, description = "The current password is wrong, or the new one too weak", body = Problem)
    )
)]
pub(super) async fn change_password(
    app: Shared,
    caller: Caller,
    context: RequestContext,
    Json(body): Json<ChangePassword>,
) -> ApiResult {
    caller.whole()?;
    let current = read::required("current_password", body.current_password, Secret::is_empty)?;
    let new = read::required("new_password", body.new_password, Secret::is_empty)?;
    app.change_password(&caller.principal, current, new, context.client).await?;
    Ok(HttpResponse::Ok().json(Message { message: "Password changed successfully" }))
}

/// The caller's account.
#[utoipa::path(
    get, path = "/api/v1/auth/profile", tag = "auth", operation_id = "profile",
    responses((status = 200, description = "The account", body = Profile))
)]
pub(super) async fn profile(app: Shared, caller: Caller) -> ApiResult {
    let user = app.own_user(caller.principal.user_id).await?;
    Ok(HttpResponse::Ok().json(Profile {
        id: user.id.to_string(),
        username: user.username,
        email: user.email,
        auth_source: user.auth_source,
        roles: user.roles.iter().map(|role| role.as_str()).collect(),
        active: user.active,
        created_at: user.created_at,
        updated_at: user.updated_at,
    }))
}

pub(super) fn tokens(issued: Issued, with_user: bool) -> Tokens {
    Tokens {
        access_token: issued.access.expose().to_owned(),
        refresh_token: issued.refresh.expose().to_owned(),
        expires_at: issued.expires_at,
        expires_in: issued.expires_in,
        token_type: "Bearer",
        session_id: issued.session_id.to_string(),
        user: with_user.then(|| issued.user.into()),
    }
}
