//! The description of the API, and a Swagger UI that loads nothing from elsewhere.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION};
use actix_web::web::Path;
use roadstead_contracts::Code;
use roadstead_http_kit::{Access, ApiResult, RateClass, Routes};
use utoipa_swagger_ui::Config;

/// Written by `cargo xtask drift` from the services' own descriptions.
const DOCUMENT: &str = include_str!("../../../../docs/openapi.json");
const DOCUMENT_PATH: &str = "/swagger/doc.json";
/// The UI's own files only. It sets style attributes, hence `unsafe-inline` for styles; scripts are files.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn add(routes: Routes) -> Routes {
    let (get, public, class) = (Method::GET, Access::Public, RateClass::Api);
    routes
        .add(get.clone(), "/api/v1/openapi.json", public, class, document)
        .add(get.clone(), DOCUMENT_PATH, public, class, document)
        .add(get.clone(), "/swagger", public, class, index)
        .add(get, "/swagger/{file:[A-Za-z0-9._-]+}", public, class, file)
}

async fn document() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").insert_header((CACHE_CONTROL, "no-cache")).body(DOCUMENT)
}

async fn index() -> HttpResponse {
    HttpResponse::Found().insert_header((LOCATION, "/swagger/index.html")).finish()
}

async fn file(path: Path<String>) -> ApiResult {
    // Without the validator badge, which would load a picture from elsewhere.
    let config = Arc::new(Config::from(DOCUMENT_PATH).validator_url("none"));
    let served = utoipa_swagger_ui::serve(&path, config).map_err(|fault| {
        tracing::error!("failed to serve a file of the Swagger UI: {fault}");
        Code::Internal
    })?;
    let file = served.ok_or(Code::NotFound)?;
    Ok(HttpResponse::Ok()
        .content_type(file.content_type)
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .body(file.bytes.into_owned()))
}
