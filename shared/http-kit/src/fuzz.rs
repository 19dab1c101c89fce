//! Ways in for `fuzz/`: what is private here and reads bytes of strangers.

use actix_web::http::Method;
use actix_web::http::header::HeaderMap;
use roadstead_runtime::Secret;

use crate::Credential;

/// The credential that a request shows, when it shows one.
pub fn credential(headers: &HeaderMap, path: &str) -> Option<Secret> {
    match crate::credential::read(headers, path).ok()? {
        Credential::ApiKey(secret) | Credential::Bearer(secret) => Some(secret),
    }
}

/// Whether a change with a cookie was sent by a page of the hub.
pub fn is_own_change(method: &Method, headers: &HeaderMap) -> bool {
    crate::cookie::check_site(method, headers).is_ok()
}
