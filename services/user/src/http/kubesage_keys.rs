//! KubeSage's `/api-keys/*` (seeds-wire §2.9): the caller's own keys.

use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use roadstead_http_kit::{ApiResult, Caller, Json};
use roadstead_runtime::Secret;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::shapes::Problem;
use super::{Shared, read};
use crate::domain::{ApiKey, ApiKeyChanges, End};

/// Body of create.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct CreateApiKey {
    key_name: String,
    /// RFC 3339; never when left out.
    #[serde(default)]
    expires_at: Option<String>,
}

/// Body of change. Left out = as it was.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ChangeApiKey {
    #[serde(default)]
    key_name: Option<String>,
    #[serde(default)]
    is_active: Option<bool>,
    /// RFC 3339; null = never.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    expires_at: Given,
}

/// Tells a field that is null from one that is not there.
#[derive(Debug, Default)]
enum Given {
    #[default]
    No,
    Null,
    Text(String),
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map_or(Self::Null, Self::Text))
    }
}

/// An API key. `api_key` is there once, when it is made or regenerated; `api_key_preview` otherwise.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ApiKeyShape {
    /// Integer number.
    pub(super) id: i64,
    /// What it is called.
    pub(super) key_name: String,
    /// The key itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) api_key: Option<String>,
    /// Its first characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) api_key_preview: Option<String>,
    /// Integer number of the account.
    pub(super) user_id: i64,
    /// Whether it may be used.
    pub(super) is_active: bool,
    /// When it ends.
    pub(super) expires_at: Option<DateTime<Utc>>,
    /// When it was last used.
    pub(super) last_used_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub(super) created_at: DateTime<Utc>,
    /// When it was last changed.
    pub(super) updated_at: DateTime<Utc>,
}

fn shape(key: ApiKey, caller: &Caller, text: Option<&Secret>) -> ApiKeyShape {
    ApiKeyShape {
        id: key.seq,
        key_name: key.name,
        api_key: text.map(|text| text.expose().to_owned()),
        api_key_preview: text.is_none().then_some(key.preview),
        user_id: caller.principal.user_seq,
        is_active: key.active,
        expires_at: key.expires_at,
        last_used_at: key.last_used_at,
        created_at: key.created_at,
        updated_at: key.updated_at,
    }
}

/// Makes an API key. The answer is the only place where it is ever shown.
#[utoipa::path(
    post, path = "/api-keys", tag = "kubesage api keys", operation_id = "seedCreateApiKey",
    request_body = CreateApiKey,
    responses(
        (status = 201, description = "Made", body = ApiKeyShape),
        (status = 409, description = "The name is taken", body = Problem),
        (status = 422, description = "A field is wrong", body = Problem)
    )
)]
pub(super) async fn create(app: Shared, caller: Caller, Json(body): Json<CreateApiKey>) -> ApiResult {
    let end = read::time("expires_at", body.expires_at.as_deref())?;
    let (key, text) = app.create_api_key(caller.principal.user_id, &body.key_name, end).await?;
    Ok(HttpResponse::Created().json(shape(key, &caller, Some(&text))))
}

/// The caller's keys, newest first.
#[utoipa::path(
    get, path = "/api-keys", tag = "kubesage api keys", operation_id = "seedListApiKeys",
    responses((status = 200, description = "Keys", body = [ApiKeyShape]))
)]
pub(super) async fn list(app: Shared, caller: Caller) -> ApiResult {
    let keys = app.api_keys(caller.principal.user_id).await?;
    let shown: Vec<_> = keys.into_iter().map(|key| shape(key, &caller, None)).collect();
    Ok(HttpResponse::Ok().insert_header(("X-Total-Count", shown.len())).json(shown))
}

/// One of the caller's keys.
#[utoipa::path(
    get, path = "/api-keys/{id}", tag = "kubesage api keys", operation_id = "seedShowApiKey",
    params(("id" = String, Path, description = "Integer or id of the key")),
    responses((status = 200, description = "The key", body = ApiKeyShape), (status = 404, description = "Not found, or not yours", body = Problem))
)]
pub(super) async fn show(app: Shared, caller: Caller, which: web::Path<String>) -> ApiResult {
    let key = app.api_key(caller.principal.user_id, &which).await?;
    Ok(HttpResponse::Ok().json(shape(key, &caller, None)))
}

/// Renames a key, ends it, or switches it off and on.
#[utoipa::path(
    put, path = "/api-keys/{id}", tag = "kubesage api keys", operation_id = "seedChangeApiKey",
    params(("id" = String, Path, description = "Integer or id of the key")),
    request_body = ChangeApiKey,
    responses(
        (status = 200, description = "The key as it is now", body = ApiKeyShape),
        (status = 404, description = "Not found, or not yours", body = Problem),
        (status = 409, description = "The name is taken", body = Problem)
    )
)]
pub(super) async fn change(
    app: Shared,
    caller: Caller,
    which: web::Path<String>,
    Json(body): Json<ChangeApiKey>,
) -> ApiResult {
    let end = match &body.expires_at {
        Given::No => End::Keep,
        Given::Null => End::Never,
        Given::Text(text) => read::time("expires_at", Some(text))?.map_or(End::Never, End::At),
    };
    let changes = ApiKeyChanges { name: body.key_name, active: body.is_active, end, secret: None };
    let key = app.change_api_key(caller.principal.user_id, &which, changes).await?;
    Ok(HttpResponse::Ok().json(shape(key, &caller, None)))
}

/// Removes a key: dead everywhere within seconds.
#[utoipa::path(
    delete, path = "/api-keys/{id}", tag = "kubesage api keys", operation_id = "seedRevokeApiKey",
    params(("id" = String, Path, description = "Integer or id of the key")),
    responses((status = 204, description = "Removed"), (status = 404, description = "Not found, or not yours", body = Problem))
)]
pub(super) async fn revoke(app: Shared, caller: Caller, which: web::Path<String>) -> ApiResult {
    app.revoke_api_key(caller.principal.user_id, &which).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Gives a key a new secret; the old one is dead.
#[utoipa::path(
    post, path = "/api-keys/{id}/regenerate", tag = "kubesage api keys", operation_id = "seedRegenerateApiKey",
    params(("id" = String, Path, description = "Integer or id of the key")),
    responses((status = 200, description = "The key with its new secret", body = ApiKeyShape), (status = 404, description = "Not found, or not yours", body = Problem))
)]
pub(super) async fn regenerate(app: Shared, caller: Caller, which: web::Path<String>) -> ApiResult {
    let (key, text) = app.regenerate_api_key(caller.principal.user_id, &which).await?;
    Ok(HttpResponse::Ok().json(shape(key, &caller, Some(&text))))
}
