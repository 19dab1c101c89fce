//! Accounts of machines, and the links of people to identity providers: both are an admin's.

use actix_web::{HttpResponse, web};
use roadstead_contracts::identity::Action;
use roadstead_http_kit::{ApiResult, Caller, Json, OptionalJson};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::kubesage_keys::{ApiKeyShape, CreateApiKey, RegenerateApiKey, shape};
use super::shapes::{Problem, RoleNames};
use crate::domain::User;

/// Body of create.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct CreateServiceAccount {
    /// Name.
    username: String,
    /// Roles; the default role when left out.
    #[serde(default)]
    roles: Option<RoleNames>,
}

/// An account of a machine.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ServiceAccount {
    id: String,
    username: String,
    roles: Vec<&'static str>,
    active: bool,
    created_at: chrono::DateTime<chrono::Utc>,
    updated_at: chrono::DateTime<chrono::Utc>,
}

impl From<User> for ServiceAccount {
    fn from(user: User) -> Self {
        Self {
            id: user.id.to_string(),
            username: user.username,
            roles: user.roles.iter().map(|role| role.as_str()).collect(),
            active: user.active,
            created_at: user.created_at,
            updated_at: user.updated_at,
        }
    }
}

/// Body of link.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Link {
    /// The account: id, number or name.
    user: String,
    /// Name of the identity provider.
    provider: String,
    /// Who the person is to it (`sub`).
    subject: String,
}

/// Longest subject (OpenID Connect Core §2).
const SUBJECT_MAX: usize = 255;

/// Makes an account for a machine: it has API keys and no password.
#[utoipa::path(
    post, path = "/api/v1/service-accounts", tag = "service accounts", operation_id = "createServiceAccount",
    request_body = CreateServiceAccount,
    responses(
        (status = 201, description = "Made", body = ServiceAccount),
        (status = 403, description = "Not an admin", body = Problem),
        (status = 409, description = "The name is taken", body = Problem)
    )
)]
pub(super) async fn create(app: Shared, caller: Caller, Json(body): Json<CreateServiceAccount>) -> ApiResult {
    caller.whole()?;
    let roles = body.roles.map(|names| names.roles()).transpose()?.unwrap_or_default();
    let user = app.create_service_account(&caller.principal, &body.username, roles).await?;
    Ok(HttpResponse::Created().json(ServiceAccount::from(user)))
}

/// Accounts of machines, newest first.
#[utoipa::path(
    get, path = "/api/v1/service-accounts", tag = "service accounts", operation_id = "listServiceAccounts",
    responses((status = 200, description = "Accounts", body = [ServiceAccount]))
)]
pub(super) async fn list(app: Shared, caller: Caller) -> ApiResult {
    let users = app.service_accounts(&caller.principal).await?;
    let shown: Vec<_> = users.into_iter().map(ServiceAccount::from).collect();
    Ok(HttpResponse::Ok().insert_header(("X-Total-Count", shown.len())).json(shown))
}

/// Removes an account of a machine with its keys.
#[utoipa::path(
    delete, path = "/api/v1/service-accounts/{id}", tag = "service accounts", operation_id = "deleteServiceAccount",
    params(("id" = String, Path, description = "Id, number or name")),
    responses((status = 204, description = "Removed"), (status = 404, description = "No such account of a machine", body = Problem))
)]
pub(super) async fn delete(app: Shared, caller: Caller, which: web::Path<String>) -> ApiResult {
    caller.whole()?;
    let user = app.machine(&caller.principal, &which, Action::UsersDelete).await?;
    app.delete_user(&caller.principal, &user.id.to_string()).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Makes an API key for a machine. The answer is the only place where it is ever shown.
#[utoipa::path(
    post, path = "/api/v1/service-accounts/{id}/keys", tag = "service accounts", operation_id = "createServiceAccountKey",
    params(("id" = String, Path, description = "Id, number or name")),
    request_body = CreateApiKey,
    responses((status = 201, description = "Made", body = ApiKeyShape), (status = 404, description = "No such account of a machine", body = Problem))
)]
pub(super) async fn create_key(
    app: Shared,
    caller: Caller,
    which: web::Path<String>,
    Json(body): Json<CreateApiKey>,
) -> ApiResult {
    caller.whole()?;
    let user = app.machine(&caller.principal, &which, Action::UsersWrite).await?;
    let (name, end, scope) = body.read()?;
    let (key, text) = app.create_api_key(user.id, &name, end, scope).await?;
    Ok(HttpResponse::Created().json(shape(key, user.seq, Some(&text))))
}

/// The keys of a machine, newest first.
#[utoipa::path(
    get, path = "/api/v1/service-accounts/{id}/keys", tag = "service accounts", operation_id = "listServiceAccountKeys",
    params(("id" = String, Path, description = "Id, number or name")),
    responses((status = 200, description = "Keys", body = [ApiKeyShape]))
)]
pub(super) async fn list_keys(app: Shared, caller: Caller, which: web::Path<String>) -> ApiResult {
    let user = app.machine(&caller.principal, &which, Action::UsersRead).await?;
    let keys = app.api_keys(user.id).await?;
    let shown: Vec<_> = keys.into_iter().map(|key| shape(key, user.seq, None)).collect();
    Ok(HttpResponse::Ok().insert_header(("X-Total-Count", shown.len())).json(shown))
}

/// Gives a key of a machine a new secret; the old one is dead, or works for the overlap too.
#[utoipa::path(
    post, path = "/api/v1/service-accounts/{id}/keys/{key}/rotate", tag = "service accounts", operation_id = "rotateServiceAccountKey",
    params(("id" = String, Path, description = "Id, number or name"), ("key" = String, Path, description = "Integer or id of the key")),
    request_body(content = Option<RegenerateApiKey>),
    responses((status = 200, description = "The key with its new secret", body = ApiKeyShape), (status = 404, description = "Not found", body = Problem))
)]
pub(super) async fn rotate_key(
    app: Shared,
    caller: Caller,
    path: web::Path<(String, String)>,
    OptionalJson(body): OptionalJson<RegenerateApiKey>,
) -> ApiResult {
    caller.whole()?;
    let user = app.machine(&caller.principal, &path.0, Action::UsersWrite).await?;
    let (key, text) = app.regenerate_api_key(user.id, &path.1, body.overlap_seconds).await?;
    Ok(HttpResponse::Ok().json(shape(key, user.seq, Some(&text))))
}

/// Removes a key of a machine: dead everywhere within seconds.
#[utoipa::path(
    delete, path = "/api/v1/service-accounts/{id}/keys/{key}", tag = "service accounts", operation_id = "revokeServiceAccountKey",
    params(("id" = String, Path, description = "Id, number or name"), ("key" = String, Path, description = "Integer or id of the key")),
    responses((status = 204, description = "Removed"), (status = 404, description = "Not found", body = Problem))
)]
pub(super) async fn revoke_key(app: Shared, caller: Caller, path: web::Path<(String, String)>) -> ApiResult {
    caller.whole()?;
    let user = app.machine(&caller.principal, &path.0, Action::UsersWrite).await?;
    app.revoke_api_key(user.id, &path.1).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Links a person of an identity provider to an account.
#[utoipa::path(
    post, path = "/api/v1/auth/oidc/links", tag = "single sign-on", operation_id = "linkSubject",
    request_body = Link,
    responses(
        (status = 204, description = "Linked"),
        (status = 404, description = "No such account or provider", body = Problem),
        (status = 409, description = "The person is linked already", body = Problem)
    )
)]
pub(super) async fn link(app: Shared, caller: Caller, Json(body): Json<Link>) -> ApiResult {
    caller.whole()?;
    if body.subject.is_empty() || body.subject.len() > SUBJECT_MAX {
        let words = "subject must be 1 to 255 bytes";
        return Err(roadstead_contracts::Error::field(&["body", "subject"], "value_error", words).into());
    }
    app.link_subject(&caller.principal, &body.user, &body.provider, &body.subject).await?;
    Ok(HttpResponse::NoContent().finish())
}
