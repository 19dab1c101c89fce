use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;

use super::Shared;

/// How long others may keep the key set: a new key is published ten minutes before it signs.
const KEPT: &str = "public, max-age=60";

/// The public keys of access tokens (RFC 7517). Empty where tokens are signed with a shared secret.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "keys", operation_id = "jwks", security(()),
    responses((status = 200, description = "JWK set", body = serde_json::Value))
)]
pub(super) async fn jwks(app: Shared) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, KEPT)).json(&app.keys.now().jwks)
}
