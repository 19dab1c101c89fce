//! The page where people sign in with a browser and keep their passkeys: one form, one script of the hub's own, nothing from elsewhere.

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};

/// The page.
const PAGE: &str = include_str!("sign_in.html");
/// Its script.
const SCRIPT: &str = include_str!("sign_in.js");
/// What the page may do: run that script, which asks the hub. Forms go nowhere by themselves.
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; \
    base-uri 'none'";

/// The page.
#[utoipa::path(
    get, path = "/api/v1/auth/sign-in", tag = "auth", operation_id = "signInPage", security(()),
    responses((status = 200, description = "A page", content_type = "text/html"))
)]
pub(super) async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .body(PAGE)
}

/// Its script.
#[utoipa::path(
    get, path = "/api/v1/auth/sign-in.js", tag = "auth", operation_id = "signInScript", security(()),
    responses((status = 200, description = "A script", content_type = "text/javascript"))
)]
pub(super) async fn script() -> HttpResponse {
    HttpResponse::Ok().insert_header((CONTENT_TYPE, "text/javascript; charset=utf-8")).body(SCRIPT)
}
