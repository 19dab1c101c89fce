//! KubeSage's `/api-keys/*`: the caller's own keys.

use std::collections::BTreeSet;

use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::scope::Scope;
use roadstead_http_kit::{ApiResult, Caller, Json, OptionalJson};
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
    /// Permission words that it is held to; all of the account's when left out.
    #[serde(default)]
    permissions: Option<BTreeSet<String>>,
    /// Ids of the clusters that it is held to.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    clusters: Option<BTreeSet<ClusterId>>,
    /// Addresses and ranges that it may be used from.
    #[serde(default)]
    sources: Option<BTreeSet<String>>,
}

impl CreateApiKey {
    /// Name, end and scope.
    pub(super) fn read(self) -> roadstead_contracts::Result<(String, Option<DateTime<Utc>>, Option<Scope>)> {
        let end = read::time("expires_at", self.expires_at.as_deref())?;
        let scope = Scope { permissions: self.permissions, clusters: self.clusters, sources: self.sources };
        Ok((self.key_name, end, (!scope.is_unlimited()).then_some(scope)))
    }
}

/// Body of regenerate; may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct RegenerateApiKey {
    /// Seconds for which the old secret works too, at most a week.
    #[serde(default)]
    pub(super) overlap_seconds: Option<u32>,
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
    /// All that it is held to from now on (`{}` = nothing); as it was when left out.
    #[serde(default)]
    scope: Option<ScopeShape>,
}

/// What a key is held to, below its account.
#[derive(Debug, Clone, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ScopeShape {
    /// Permission words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    permissions: Option<BTreeSet<String>>,
    /// Ids of clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    clusters: Option<BTreeSet<ClusterId>>,
    /// Addresses and ranges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sources: Option<BTreeSet<String>>,
}

impl From<ScopeShape> for Scope {
    fn from(shape: ScopeShape) -> Self {
        Self { permissions: shape.permissions, clusters: shape.clusters, sources: shape.sources }
    }
}

impl From<Scope> for ScopeShape {
    fn from(scope: Scope) -> Self {
        Self { permissions: scope.permissions, clusters: scope.clusters, sources: scope.sources }
    }
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
    /// What it is held to, below its account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<ScopeShape>,
    /// Until when the secret before this one works too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) previous_until: Option<DateTime<Utc>>,
}

pub(super) fn shape(key: ApiKey, user_seq: i64, text: Option<&Secret>) -> ApiKeyShape {
    ApiKeyShape {
        id: key.seq,
        key_name: key.name,
        api_key: text.map(|text| text.expose().to_owned()),
        api_key_preview: text.is_none().then_some(key.preview),
        user_id: user_seq,
        is_active: key.active,
        expires_at: key.expires_at,
        last_used_at: key.last_used_at,
        created_at: key.created_at,
        updated_at: key.updated_at,
        scope: key.scope.map(ScopeShape::from),
        previous_until: key.previous_until,
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
    caller.whole()?;
    let (name, end, scope) = body.read()?;
    let (key, text) = app.create_api_key(caller.principal.user_id, &name, end, scope).await?;
    Ok(HttpResponse::Created().json(shape(key, caller.principal.user_seq, Some(&text))))
}

/// The caller's keys, newest first.
#[utoipa::path(
    get, path = "/api-keys", tag = "kubesage api keys", operation_id = "seedListApiKeys",
    responses((status = 200, description = "Keys", body = [ApiKeyShape]))
)]
pub(super) async fn list(app: Shared, caller: Caller) -> ApiResult {
    let keys = app.api_keys(caller.principal.user_id).await?;
    let shown: Vec<_> = keys.into_iter().map(|key| shape(key, caller.principal.user_seq, None)).collect();
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
    Ok(HttpResponse::Ok().json(shape(key, caller.principal.user_seq, None)))
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
    caller.whole()?;
    let end = match &body.expires_at {
        Given::No => End::Keep,
        Given::Null => End::Never,
        Given::Text(text) => read::time("expires_at", Some(text))?.map_or(End::Never, End::At),
    };
    let scope = body.scope.map(Scope::from).map(|scope| (!scope.is_unlimited()).then_some(scope));
    let changes = ApiKeyChanges { name: body.key_name, active: body.is_active, end, scope, secret: None };
    let key = app.change_api_key(caller.principal.user_id, &which, changes).await?;
    Ok(HttpResponse::Ok().json(shape(key, caller.principal.user_seq, None)))
}

/// Removes a key: dead everywhere within seconds.
#[utoipa::path(
    delete, path = "/api-keys/{id}", tag = "kubesage api keys", operation_id = "seedRevokeApiKey",
    params(("id" = String, Path, description = "Integer or id of the key")),
    responses((status = 204, description = "Removed"), (status = 404, description = "Not found, or not yours", body = Problem))
)]
pub(super) async fn revoke(app: Shared, caller: Caller, which: web::Path<String>) -> ApiResult {
    caller.whole()?;
    app.revoke_api_key(caller.principal.user_id, &which).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Gives a key a new secret; the old one is dead, or works for the overlap too.
#[utoipa::path(
    post, path = "/api-keys/{id}/regenerate", tag = "kubesage api keys", operation_id = "seedRegenerateApiKey",
    params(("id" = String, Path, description = "Integer or id of the key")),
    request_body(content = Option<RegenerateApiKey>),
    responses((status = 200, description = "The key with its new secret", body = ApiKeyShape), (status = 404, description = "Not found, or not yours", body = Problem))
)]
pub(super) async fn regenerate(
    app: Shared,
    caller: Caller,
    which: web::Path<String>,
    OptionalJson(body): OptionalJson<RegenerateApiKey>,
) -> ApiResult {
    caller.whole()?;
    let overlap = body.overlap_seconds;
    let (key, text) = app.regenerate_api_key(caller.principal.user_id, &which, overlap).await?;
    Ok(HttpResponse::Ok().json(shape(key, caller.principal.user_seq, Some(&text))))
}
