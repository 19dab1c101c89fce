//! Single sign-on. MCKMT's three routes, with what was missing there: state, nonce, PKCE, a session
//! for browsers, logins of the command line, logouts that the provider tells of.

use actix_web::http::header::{LOCATION, SET_COOKIE};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use roadstead_contracts::{Code, Error};
use roadstead_http_kit::{ApiResult, Body, Caller, Json, QueryPairs, RequestContext, cookie};
use roadstead_runtime::Secret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::mckmt::{Tokens, tokens};
use super::shapes::{Message, Problem};
use super::{Shared, audit, read};
use crate::app::{Finished, LoginWish, ProviderAnswer};
use crate::domain::Loopback;

/// How long a browser keeps what binds a login to it; the login itself ends after ten minutes.
const BINDING_SECONDS: u64 = 600;

/// Answer of logout.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LoggedOut {
    /// A sentence for people.
    message: &'static str,
    /// Where the browser ends the provider's own session too.
    #[serde(skip_serializing_if = "Option::is_none")]
    logout_url: Option<String>,
}

/// Body of exchange.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Exchange {
    /// What the browser brought.
    #[schema(value_type = String)]
    code: Secret,
    /// What the challenge was made of.
    #[schema(value_type = String)]
    verifier: Secret,
}

/// Body of device.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct DeviceWish {
    /// Which provider; the first one when left out.
    #[serde(default)]
    provider: Option<String>,
}

/// A login on another device, begun (RFC 8628 §3.2).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeviceBegun {
    /// What to ask with.
    device_code: String,
    /// What the person compares or types.
    user_code: String,
    /// Where the person goes.
    verification_uri: String,
    /// The same with the code in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    verification_uri_complete: Option<String>,
    /// Seconds until it is over.
    expires_in: u32,
    /// Seconds between two questions.
    interval: u32,
}

/// Body of device/token.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct DeviceAsk {
    /// Which provider.
    #[serde(default)]
    provider: Option<String>,
    /// What was given.
    #[schema(value_type = String)]
    device_code: Secret,
}

/// Body of a provider's logout (a form).
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct BackChannel {
    /// The logout token.
    #[schema(value_type = String)]
    logout_token: Secret,
}

/// Sends the browser to an identity provider.
#[utoipa::path(
    get, path = "/api/v1/auth/oidc/login", tag = "single sign-on", operation_id = "oidcLogin", security(()),
    params(
        ("provider" = Option<String>, Query, description = "Which provider; the first one when left out"),
        ("next" = Option<String>, Query, description = "A path of the hub: the browser gets a session in a cookie and goes there"),
        ("loopback_port" = Option<u16>, Query, description = "A program on the person's machine that waits for the login"),
        ("loopback_state" = Option<String>, Query, description = "What it recognises the answer by"),
        ("challenge" = Option<String>, Query, description = "S256 challenge of its verifier")
    ),
    responses(
        (status = 302, description = "To the provider"),
        (status = 404, description = "No such provider", body = Problem),
        (status = 503, description = "The provider does not answer", body = Problem)
    )
)]
pub(super) async fn login(app: Shared, query: QueryPairs) -> ApiResult {
    let one = |name: &str| query.one(name).map(|value| value.map(str::to_owned));
    let loopback = match (one("loopback_port")?, one("loopback_state")?, one("challenge")?) {
        (None, None, None) => None,
        (Some(port), Some(state), Some(challenge)) => {
            let port = port.parse().map_err(|_| Error::new(Code::BadRequest, "loopback_port is no port"))?;
            Some(Loopback { port, state, challenge })
        }
        _ => return Err(Error::new(Code::BadRequest, "loopback_port, loopback_state and challenge go together").into()),
    };
    let wish = LoginWish { next: one("next")?, loopback };
    let begun = app.begin_provider_login(query.one("provider")?, wish).await?;
    let binding = cookie::set(cookie::LOGIN, app.by_tls(), begun.binding.expose(), BINDING_SECONDS);
    Ok(HttpResponse::Found().insert_header((LOCATION, begun.url)).append_header((SET_COOKIE, binding)).finish())
}

/// Takes the browser back from an identity provider.
#[utoipa::path(
    get, path = "/api/v1/auth/oidc/callback", tag = "single sign-on", operation_id = "oidcCallback", security(()),
    params(
        ("state" = Option<String>, Query, description = "State"), ("code" = Option<String>, Query, description = "Code"),
        ("error" = Option<String>, Query, description = "Why there is no code"),
        ("iss" = Option<String>, Query, description = "Issuer (RFC 9207)")
    ),
    responses(
        (status = 200, description = "Logged in, for clients that read JSON", body = Tokens),
        (status = 302, description = "Logged in, for browsers"),
        (status = 401, description = "The login does not hold", body = Problem),
        (status = 403, description = "No account may be used for the person", body = Problem),
        (status = 503, description = "The provider does not answer", body = Problem)
    )
)]
pub(super) async fn callback(
    app: Shared,
    request: HttpRequest,
    context: RequestContext,
    query: QueryPairs,
) -> ApiResult {
    let one = |name: &str| query.one(name).map(|value| value.map(str::to_owned));
    let answer = ProviderAnswer {
        state: one("state")?,
        code: one("code")?.map(Secret::new),
        error: one("error")?,
        issuer: one("iss")?,
    };
    let binding = cookie::read(request.headers(), cookie::LOGIN, read::cookie_names(&app));
    let finished = app.finish_provider_login(answer, binding, read::origin(&request, &context)).await?;
    let mut response = match finished {
        Finished::Tokens(issued) => {
            audit::logged_in(&request, &issued, "oidc");
            return Ok(clear(HttpResponse::Ok(), cookie::LOGIN, &app).json(tokens(issued, true)));
        }
        Finished::Browser(issued, next) => {
            audit::logged_in(&request, &issued, "oidc");
            let seconds = app.options.refresh_lifetime.as_secs();
            let session = cookie::set(cookie::SESSION, app.by_tls(), issued.access.expose(), seconds);
            let mut response = HttpResponse::Found();
            response.insert_header((LOCATION, next)).append_header((SET_COOKIE, session));
            response
        }
        Finished::Loopback(url) => {
            let mut response = HttpResponse::Found();
            response.insert_header((LOCATION, url));
            response
        }
    };
    response.append_header((SET_COOKIE, cookie::remove(cookie::LOGIN, app.by_tls())));
    Ok(response.finish())
}

/// Ends the caller's session, and says where its browser ends the provider's.
#[utoipa::path(
    post, path = "/api/v1/auth/oidc/logout", tag = "single sign-on", operation_id = "oidcLogout",
    responses((status = 200, description = "Ended", body = LoggedOut), (status = 401, description = "No good credential", body = Problem))
)]
pub(super) async fn logout(app: Shared, caller: Caller) -> ApiResult {
    let logout_url = app.logout_at_provider(&caller.principal).await?;
    let answer = LoggedOut { message: "Logged out successfully", logout_url };
    Ok(clear(HttpResponse::Ok(), cookie::SESSION, &app).json(answer))
}

/// Ends the sessions that an identity provider says are over.
#[utoipa::path(
    post, path = "/api/v1/auth/oidc/backchannel-logout", tag = "single sign-on", operation_id = "oidcBackChannelLogout",
    security(()),
    request_body(content((BackChannel = "application/x-www-form-urlencoded"))),
    responses((status = 200, description = "Ended", body = Message), (status = 400, description = "Not a good logout token", body = Problem))
)]
pub(super) async fn back_channel(app: Shared, request: HttpRequest, body: Body) -> ApiResult {
    let body: BackChannel = read::form_or_json(&request, &body)?;
    app.back_channel_logout(body.logout_token.expose()).await.map_err(|error| {
        // The provider's own standard wants 400 (Back-Channel Logout §2.8).
        if error.code == Code::LoginRefused { Error::new(Code::BadRequest, error.detail) } else { error }
    })?;
    Ok(HttpResponse::Ok().json(Message { message: "Logged out" }))
}

/// Gives a login to the program on the person's machine that waited for it.
#[utoipa::path(
    post, path = "/api/v1/auth/oidc/exchange", tag = "single sign-on", operation_id = "oidcExchange", security(()),
    request_body = Exchange,
    responses((status = 200, description = "Logged in", body = Tokens), (status = 401, description = "Over, or fetched before", body = Problem))
)]
pub(super) async fn exchange(
    app: Shared,
    request: HttpRequest,
    context: RequestContext,
    Json(body): Json<Exchange>,
) -> ApiResult {
    let origin = read::origin(&request, &context);
    let issued = app.exchange_login_code(body.code.expose(), body.verifier.expose(), origin).await?;
    audit::logged_in(&request, &issued, "oidc");
    Ok(HttpResponse::Ok().json(tokens(issued, true)))
}

/// Begins a login that is approved on another device.
#[utoipa::path(
    post, path = "/api/v1/auth/oidc/device", tag = "single sign-on", operation_id = "oidcDevice", security(()),
    request_body = DeviceWish,
    responses((status = 200, description = "Begun", body = DeviceBegun), (status = 400, description = "The provider knows no such login", body = Problem))
)]
pub(super) async fn device(app: Shared, Json(body): Json<DeviceWish>) -> ApiResult {
    let begun = app.begin_device_login(body.provider.as_deref()).await?;
    Ok(HttpResponse::Ok().json(DeviceBegun {
        device_code: begun.device_code.expose().to_owned(),
        user_code: begun.user_code,
        verification_uri: begun.verification_uri,
        verification_uri_complete: begun.verification_uri_complete,
        expires_in: begun.expires_in,
        interval: begun.interval,
    }))
}

/// Asks whether it was approved.
#[utoipa::path(
    post, path = "/api/v1/auth/oidc/device/token", tag = "single sign-on", operation_id = "oidcDeviceToken", security(()),
    request_body = DeviceAsk,
    responses(
        (status = 200, description = "Logged in", body = Tokens),
        (status = 400, description = "Not yet: `authorization_pending`", body = Problem),
        (status = 401, description = "Refused, or over", body = Problem)
    )
)]
pub(super) async fn device_token(
    app: Shared,
    request: HttpRequest,
    context: RequestContext,
    Json(body): Json<DeviceAsk>,
) -> ApiResult {
    let origin = read::origin(&request, &context);
    let issued = app.poll_device_login(body.provider.as_deref(), &body.device_code, origin).await?;
    audit::logged_in(&request, &issued, "oidc");
    Ok(HttpResponse::Ok().json(tokens(issued, true)))
}

fn clear(mut response: HttpResponseBuilder, base: &str, app: &Shared) -> HttpResponseBuilder {
    response.append_header((SET_COOKIE, cookie::remove(base, app.by_tls())));
    response
}
