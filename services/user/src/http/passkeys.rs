//! Passkeys and security keys over HTTP: added, listed, renamed, removed, and signed in with. What goes to a browser has the form that
//! its own `PublicKeyCredential.parse…OptionsFromJSON` reads, what comes back that of `toJSON` (W3C Web Authentication §5.1).

use actix_web::http::header::SET_COOKIE;
use actix_web::{HttpRequest, HttpResponse, web};
use roadstead_auth::webauthn::{ALGORITHMS, AssertionAnswer, RegistrationAnswer};
use roadstead_contracts::audit::Resource;
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::audit::note;
use roadstead_http_kit::{ApiResult, Caller, Json, RequestContext, cookie};
use roadstead_runtime::Secret;
use serde::Deserialize;
use utoipa::ToSchema;

use super::mckmt::{self, Tokens};
use super::passkey_shapes::{
    Added, Assertion, CreationOptions, PasskeyView, PublicKeyOptions, Registration, RequestOptions,
};
use super::shapes::Problem;
use super::{Shared, audit, read};
use crate::app::{NewPasskey, PasskeyAnswer, PasskeyFault};
use crate::domain::CEREMONY_LIFE;

/// Body of begin.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct BeginPasskey {
    /// The caller's password.
    #[schema(value_type = String, format = Password)]
    password: Secret,
    /// A code of the authenticator app, or a recovery code: where there is a second proof already, and the sign-in is not of
    /// just now.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    code: Option<Secret>,
}

/// Body of add.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct AddPasskey {
    /// What it is to be called.
    name: String,
    /// What the browser answered.
    credential: Registration,
}

/// Body of rename.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct RenamePasskey {
    name: String,
}

/// Body of remove.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct RemovePasskey {
    /// A code of the authenticator app, or a recovery code; not needed when the sign-in is of just now.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    code: Option<Secret>,
}

/// Body of login/begin: name and password, or neither.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct BeginLogin {
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<Secret>,
}

/// Body of login.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct FinishLogin {
    /// What the browser answered.
    credential: Assertion,
    /// Whether the session goes into a cookie instead of into the answer.
    #[serde(default)]
    browser: bool,
}

/// The caller's passkeys, oldest first.
#[utoipa::path(
    get, path = "/api/v1/auth/passkeys", tag = "auth", operation_id = "listPasskeys",
    responses((status = 200, description = "Passkeys", body = [PasskeyView]))
)]
pub(super) async fn list(app: Shared, caller: Caller) -> ApiResult {
    let passkeys = app.passkeys(caller.principal.user_id).await?;
    let shown: Vec<PasskeyView> = passkeys.into_iter().map(PasskeyView::from).collect();
    Ok(HttpResponse::Ok().insert_header(("X-Total-Count", shown.len())).json(shown))
}

/// Begins to add a passkey to the caller's account.
#[utoipa::path(
    post, path = "/api/v1/auth/passkeys/begin", tag = "auth", operation_id = "beginPasskey",
    request_body = BeginPasskey,
    responses(
        (status = 200, description = "What the browser is asked for", body = PublicKeyOptions<CreationOptions>),
        (status = 400, description = "The password is wrong", body = Problem),
        (status = 401, description = "A second proof is asked for", body = Problem),
        (status = 403, description = "Passkeys are off, or the caller is no session", body = Problem)
    )
)]
pub(super) async fn begin(
    app: Shared,
    caller: Caller,
    context: RequestContext,
    Json(body): Json<BeginPasskey>,
) -> ApiResult {
    caller.whole()?;
    let code = body.code.as_ref().map(Secret::expose);
    let wish = app.begin_passkey(&caller.principal, body.password, code, context.client).await?;
    let options = CreationOptions::new(wish, &ALGORITHMS, CEREMONY_LIFE.num_milliseconds());
    Ok(HttpResponse::Ok().json(PublicKeyOptions { public_key: options }))
}

/// Adds what the browser answered. With an account's first second proof come recovery codes.
#[utoipa::path(
    post, path = "/api/v1/auth/passkeys", tag = "auth", operation_id = "addPasskey",
    request_body = AddPasskey,
    responses(
        (status = 201, description = "Added; logins by password ask for it, or for a code, from then on", body = Added),
        (status = 400, description = "The answer does not hold", body = Problem),
        (status = 409, description = "The challenge is over, the name or the passkey is there already, or there are too many", body = Problem)
    )
)]
pub(super) async fn add(app: Shared, request: HttpRequest, caller: Caller, Json(body): Json<AddPasskey>) -> ApiResult {
    caller.whole()?;
    let Registration { id, response } = &body.credential;
    let malformed = || Error::field(&["body", "credential"], "value_error", "this is no answer of a browser");
    let answer = RegistrationAnswer::parse(id, &response.client_data, &response.attestation).ok_or_else(malformed)?;
    let new = NewPasskey { name: body.name, answer, transports: body.credential.response.transports };
    let (passkey, codes) = app.finish_passkey(&caller.principal, new).await.map_err(|fault| noted(&request, fault))?;
    note(&request).resource(Resource::id("passkey", passkey.id));
    let recovery_codes = codes.iter().map(|code| code.expose().to_owned()).collect();
    Ok(HttpResponse::Created().json(Added { passkey: passkey.into(), recovery_codes }))
}

/// Calls one of the caller's passkeys something else.
#[utoipa::path(
    put, path = "/api/v1/auth/passkeys/{id}", tag = "auth", operation_id = "renamePasskey",
    params(("id" = String, Path, description = "Id of the passkey")),
    request_body = RenamePasskey,
    responses((status = 204, description = "Renamed"), (status = 404, description = "No such passkey of the caller", body = Problem))
)]
pub(super) async fn rename(
    app: Shared,
    caller: Caller,
    which: web::Path<String>,
    Json(body): Json<RenamePasskey>,
) -> ApiResult {
    caller.whole()?;
    app.rename_passkey(&caller.principal, &which, &body.name).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Removes one of the caller's passkeys.
#[utoipa::path(
    post, path = "/api/v1/auth/passkeys/{id}/remove", tag = "auth", operation_id = "removePasskey",
    params(("id" = String, Path, description = "Id of the passkey")),
    request_body = RemovePasskey,
    responses(
        (status = 204, description = "Removed"),
        (status = 401, description = "A code is asked for, or is wrong", body = Problem),
        (status = 404, description = "No such passkey of the caller", body = Problem)
    )
)]
pub(super) async fn remove(
    app: Shared,
    caller: Caller,
    which: web::Path<String>,
    Json(body): Json<RemovePasskey>,
) -> ApiResult {
    caller.whole()?;
    app.remove_passkey(&caller.principal, &which, body.code.as_ref().map(Secret::expose)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Removes every second factor of an account, on an admin's word: app, passkeys and recovery codes.
#[utoipa::path(
    delete, path = "/api/v1/auth/second-factors/{user}", tag = "auth", operation_id = "removeSecondFactorsOf",
    params(("user" = String, Path, description = "Id, number or name")),
    responses((status = 204, description = "Removed"), (status = 404, description = "No such account, or none", body = Problem))
)]
pub(super) async fn remove_all_of(app: Shared, caller: Caller, which: web::Path<String>) -> ApiResult {
    caller.whole()?;
    app.remove_second_factors_of(&caller.principal, &which).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Begins a sign-in with a passkey: as the second proof after name and password, or alone.
#[utoipa::path(
    post, path = "/api/v1/auth/passkeys/login/begin", tag = "auth", operation_id = "beginPasskeyLogin", security(()),
    request_body = BeginLogin,
    responses(
        (status = 200, description = "What the browser is asked for", body = PublicKeyOptions<RequestOptions>),
        (status = 401, description = "Name or password is wrong", body = Problem),
        (status = 403, description = "Passkeys are off", body = Problem),
        (status = 409, description = "The account has no passkey", body = Problem),
        (status = 429, description = "Too many tries with a password", body = Problem)
    )
)]
pub(super) async fn begin_login(
    app: Shared,
    request: HttpRequest,
    context: RequestContext,
    Json(body): Json<BeginLogin>,
) -> ApiResult {
    let from = read::login_from(&app, &request, &context, None);
    let who = match (&body.username, body.password) {
        (None, None) => None,
        (Some(name), Some(password)) if !name.is_empty() && !password.is_empty() => Some((name.as_str(), password)),
        _ => return Err(Error::new(Code::BadRequest, "username and password go together").into()),
    };
    let wish = app.begin_passkey_login(who, &from).await;
    if let Some(name) = &body.username {
        audit::about_account(&app, &request, name).await;
    }
    let wish = wish.map_err(|error| read::login_fault(&request, error))?;
    let seconds = u64::try_from(CEREMONY_LIFE.num_seconds()).unwrap_or_default();
    let binding = cookie::set(cookie::PASSKEY, app.by_tls(), wish.binding.expose(), seconds);
    let options = RequestOptions::new(wish, CEREMONY_LIFE.num_milliseconds());
    Ok(HttpResponse::Ok().append_header((SET_COOKIE, binding)).json(PublicKeyOptions { public_key: options }))
}

/// Signs in with what the browser answered.
#[utoipa::path(
    post, path = "/api/v1/auth/passkeys/login", tag = "auth", operation_id = "passkeyLogin", security(()),
    request_body = FinishLogin,
    responses(
        (status = 200, description = "Signed in", body = Tokens),
        (status = 401, description = "The answer does not hold, or the sign-in is over", body = Problem),
        (status = 403, description = "Passkeys are off", body = Problem)
    )
)]
pub(super) async fn login(
    app: Shared,
    request: HttpRequest,
    context: RequestContext,
    Json(body): Json<FinishLogin>,
) -> ApiResult {
    let answer = assertion(&body.credential)?;
    let binding = cookie::read(request.headers(), cookie::PASSKEY, read::cookie_names(&app));
    let mut from = read::login_from(&app, &request, &context, None);
    from.browser = body.browser;
    let answer = PasskeyAnswer { answer, handle: body.credential.response.user_handle, binding };
    let (issued, proven) = app.finish_passkey_login(answer, from).await.map_err(|fault| noted(&request, fault))?;
    audit::logged_in(&request, &issued, proven);
    let mut response = HttpResponse::Ok();
    response.append_header((SET_COOKIE, cookie::remove(cookie::PASSKEY, app.by_tls())));
    read::mark_device(&app, &issued, &mut response)?;
    if body.browser {
        return Ok(mckmt::in_cookie(&app, issued, response));
    }
    Ok(response.json(mckmt::tokens(issued, true)))
}

fn assertion(credential: &Assertion) -> Result<AssertionAnswer> {
    let said = &credential.response;
    AssertionAnswer::parse(&credential.id, &said.client_data, &said.authenticator_data, &said.signature)
        .ok_or_else(|| Error::field(&["body", "credential"], "value_error", "this is no answer of a browser"))
}

/// What is kept of an answer that did not hold.
fn noted(request: &HttpRequest, fault: PasskeyFault) -> Error {
    if let Some(name) = &fault.username {
        note(request).resource(Resource::named("user", name));
    }
    if let Some(reason) = fault.reason {
        note(request).detail("reason", reason);
    }
    fault.error
}
