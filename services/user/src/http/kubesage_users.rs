//! KubeSage's `/users/*`.

use actix_web::{HttpRequest, HttpResponse, web};
use roadstead_auth::token::api_key_proof;
use roadstead_contracts::message::PageRequest;
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::{ApiResult, Caller, Json, QueryPairs};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::kubesage_auth::SeedRegister;
use super::shapes::{KubesageUser, Problem, RoleNames, roles_options};
use crate::app::{KeyFault, UserPatch};
use crate::domain::{permission_words, seed_name};

/// A page of accounts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UserList {
    users: Vec<KubesageUser>,
    roles_options: Vec<&'static str>,
}

/// Permission words of a role.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Permissions {
    permissions: Vec<&'static str>,
}

/// An account that an admin makes.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct CreateUser {
    #[serde(flatten)]
    account: SeedRegister,
    /// Its roles; the hub's default when left out.
    #[serde(default)]
    roles: Option<RoleNames>,
}

/// Changes of an account. Left out = as it was; other fields are not looked at.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ChangeUser {
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    first_name: Option<String>,
    #[serde(default)]
    last_name: Option<String>,
    /// For admins.
    #[serde(default)]
    is_active: Option<bool>,
    /// For admins.
    #[serde(default)]
    roles: Option<RoleNames>,
}

/// The caller's account.
#[utoipa::path(
    get, path = "/users/me", tag = "kubesage users", operation_id = "seedMe",
    responses((status = 200, description = "The account", body = KubesageUser))
)]
pub(super) async fn me(app: Shared, caller: Caller) -> ApiResult {
    Ok(HttpResponse::Ok().json(KubesageUser::from(app.own_user(caller.principal.user_id).await?)))
}

/// Whose an API key is: the seeds' fallback when the queue does not answer.
#[utoipa::path(
    get, path = "/users/me/api-key", tag = "kubesage users", operation_id = "seedMeByApiKey", security(("api_key" = [])),
    responses(
        (status = 200, description = "The account", body = KubesageUser),
        (status = 401, description = "No key, or not a good one", body = Problem)
    )
)]
pub(super) async fn me_by_api_key(app: Shared, request: HttpRequest) -> ApiResult {
    let proof = match read_key(&request)? {
        Some(key) => api_key_proof(key).ok_or_else(|| refuse(KeyFault::Unknown))?,
        None => return Err(Error::new(Code::Unauthenticated, "API key required in X-API-Key header").into()),
    };
    let known = app.key_holder(&proof).await?.map_err(refuse)?;
    Ok(HttpResponse::Ok().json(KubesageUser::from(known)))
}

/// The one key of a request. Two credentials are none (reliability row A09).
fn read_key(request: &HttpRequest) -> Result<Option<&str>> {
    let mut values = request.headers().get_all("x-api-key");
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| refuse(KeyFault::Unknown)),
        (Some(_), Some(_)) => Err(refuse(KeyFault::Unknown)),
    }
}

fn refuse(fault: KeyFault) -> Error {
    Error::new(
        Code::InvalidCredential,
        match fault {
            KeyFault::Unknown => "Invalid API key",
            KeyFault::Expired => "API key expired",
            KeyFault::Disabled => "User account is disabled",
        },
    )
}

/// Permission words of a KubeSage role, or of the caller's.
#[utoipa::path(
    get, path = "/users/permissions", tag = "kubesage users", operation_id = "seedPermissions",
    params(("role" = Option<String>, Query, description = "Name of a role")),
    responses((status = 200, description = "Words", body = Permissions))
)]
pub(super) async fn permissions(caller: Caller, query: QueryPairs) -> HttpResponse {
    let role = query.get("role").unwrap_or_else(|| seed_name(caller.principal.highest_role()));
    HttpResponse::Ok().json(Permissions { permissions: permission_words(role).to_vec() })
}

/// A page of accounts, newest first. For admins.
#[utoipa::path(
    get, path = "/users", tag = "kubesage users", operation_id = "seedListUsers",
    params(
        ("skip" = Option<u64>, Query, description = "Accounts to skip"),
        ("limit" = Option<u32>, Query, description = "Accounts, 1 to 1,000")
    ),
    responses((status = 200, description = "Accounts", body = UserList), (status = 403, description = "Not an admin", body = Problem))
)]
pub(super) async fn list(app: Shared, query: QueryPairs) -> ApiResult {
    let offset = number(&query, "skip", 0, 0)?;
    let limit = number(&query, "limit", 1, i64::from(roadstead_store::paging::LIMIT_DEFAULT))?;
    // Too large for the type is too large for the list: the list says so.
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let page = app.users(&PageRequest { limit, offset: offset.unsigned_abs(), cursor: None }).await?;
    let users = page.items.into_iter().map(KubesageUser::from).collect();
    let list = UserList { users, roles_options: roles_options() };
    Ok(HttpResponse::Ok().insert_header(("X-Total-Count", page.total)).json(list))
}

fn number(query: &QueryPairs, name: &'static str, least: i64, otherwise: i64) -> Result<i64> {
    let number = query.integer(name)?.unwrap_or(otherwise);
    if number < least {
        let message = format!("Input should be greater than or equal to {least}");
        return Err(Error::field(&["query", name], "greater_than_equal", message));
    }
    Ok(number)
}

/// Makes an account. For admins, whether registration is open or not.
#[utoipa::path(
    post, path = "/users", tag = "kubesage users", operation_id = "createUser",
    request_body = CreateUser,
    responses(
        (status = 201, description = "Made", body = KubesageUser),
        (status = 409, description = "Name or address is taken", body = Problem)
    )
)]
pub(super) async fn create(app: Shared, caller: Caller, Json(body): Json<CreateUser>) -> ApiResult {
    caller.whole()?;
    let roles = body.roles.map(|names| names.roles()).transpose()?.unwrap_or_default();
    let user = app.create_user(&caller.principal, body.account.into(), roles).await?;
    Ok(HttpResponse::Created().json(KubesageUser::from(user)))
}

/// An account: one's own, or any for an admin.
#[utoipa::path(
    get, path = "/users/{id}", tag = "kubesage users", operation_id = "seedShowUser",
    params(("id" = String, Path, description = "Integer, id or name of the account")),
    responses((status = 200, description = "The account", body = KubesageUser), (status = 404, description = "Not found, or not yours", body = Problem))
)]
pub(super) async fn show(app: Shared, caller: Caller, which: web::Path<String>) -> ApiResult {
    Ok(HttpResponse::Ok().json(KubesageUser::from(app.visible_user(&caller.principal, &which).await?)))
}

/// Changes an account: one's own name and address, anything of anyone for an admin.
#[utoipa::path(
    put, path = "/users/{id}", tag = "kubesage users", operation_id = "seedChangeUser",
    params(("id" = String, Path, description = "Integer, id or name of the account")),
    request_body = ChangeUser,
    responses(
        (status = 200, description = "The account as it is now", body = KubesageUser),
        (status = 403, description = "Roles or state, and the caller is no admin", body = Problem),
        (status = 404, description = "Not found, or not yours", body = Problem),
        (status = 409, description = "The address is taken, or it is the last admin", body = Problem)
    )
)]
pub(super) async fn change(
    app: Shared,
    caller: Caller,
    which: web::Path<String>,
    Json(body): Json<ChangeUser>,
) -> ApiResult {
    caller.whole()?;
    let patch = UserPatch {
        email: body.email,
        first_name: body.first_name,
        last_name: body.last_name,
        active: body.is_active,
        roles: body.roles.map(|names| names.roles()).transpose()?,
    };
    let user = app.change_user(&caller.principal, &which, patch).await?;
    Ok(HttpResponse::Ok().json(KubesageUser::from(user)))
}

/// Removes an account with its sessions and keys. For admins.
#[utoipa::path(
    delete, path = "/users/{id}", tag = "kubesage users", operation_id = "seedDeleteUser",
    params(("id" = String, Path, description = "Integer, id or name of the account")),
    responses(
        (status = 204, description = "Removed"),
        (status = 400, description = "One's own", body = Problem),
        (status = 404, description = "No such account", body = Problem)
    )
)]
pub(super) async fn delete(app: Shared, caller: Caller, which: web::Path<String>) -> ApiResult {
    caller.whole()?;
    app.delete_user(&caller.principal, &which).await?;
    Ok(HttpResponse::NoContent().finish())
}
