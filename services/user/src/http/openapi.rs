//! The service's part of the OpenAPI document: canonical paths, and KubeSage's older prefix marked as deprecated.

use utoipa::OpenApi;
use utoipa::openapi::Deprecated;
use utoipa::openapi::path::PathItem;

use super::{
    ALIAS_PREFIX, access_requests, audit, kubesage_auth, kubesage_keys, kubesage_registration, kubesage_users,
    local_accounts, mckmt, oidc, passkeys, policies, service_accounts, sessions, sign_in, well_known,
};

#[derive(OpenApi)]
#[openapi(paths(
    well_known::jwks,
    mckmt::methods,
    mckmt::register,
    mckmt::login,
    mckmt::refresh,
    mckmt::logout,
    mckmt::change_password,
    mckmt::profile,
    local_accounts::show,
    local_accounts::begin,
    local_accounts::confirm,
    local_accounts::remove,
    local_accounts::remove_of,
    local_accounts::begin_reset,
    local_accounts::reset_page,
    local_accounts::finish_reset,
    passkeys::list,
    passkeys::begin,
    passkeys::add,
    passkeys::rename,
    passkeys::remove,
    passkeys::remove_all_of,
    passkeys::begin_login,
    passkeys::login,
    sign_in::page,
    sign_in::script,
    oidc::login,
    oidc::callback,
    oidc::logout,
    oidc::back_channel,
    oidc::exchange,
    oidc::device,
    oidc::device_token,
    service_accounts::create,
    service_accounts::list,
    service_accounts::delete,
    service_accounts::create_key,
    service_accounts::list_keys,
    service_accounts::rotate_key,
    service_accounts::revoke_key,
    service_accounts::link,
    policies::list,
    policies::create,
    policies::show,
    policies::replace,
    policies::delete,
    policies::import,
    policies::export,
    policies::test,
    sessions::list,
    sessions::end,
    sessions::end_others,
    access_requests::ask,
    access_requests::list,
    access_requests::show,
    access_requests::approve,
    access_requests::deny,
    access_requests::withdraw,
    access_requests::end,
    audit::search,
    audit::export,
    audit::checkpoints,
    kubesage_auth::login,
    kubesage_auth::refresh,
    kubesage_auth::logout,
    kubesage_auth::register,
    kubesage_auth::register_admin,
    kubesage_auth::check_admin,
    kubesage_auth::check_admin_exists,
    kubesage_auth::change_password,
    kubesage_registration::resend_confirm,
    kubesage_registration::confirm_page,
    kubesage_registration::confirm,
    kubesage_registration::confirmation_status,
    kubesage_registration::reset_admin_password,
    kubesage_registration::reset_status,
    kubesage_registration::license,
    kubesage_users::me,
    kubesage_users::me_by_api_key,
    kubesage_users::permissions,
    kubesage_users::list,
    kubesage_users::create,
    kubesage_users::show,
    kubesage_users::change,
    kubesage_users::delete,
    kubesage_keys::create,
    kubesage_keys::list,
    kubesage_keys::show,
    kubesage_keys::change,
    kubesage_keys::revoke,
    kubesage_keys::regenerate,
))]
struct Document;

/// Two paths of the seeds for one handler.
const TWINS: [(&str, &str); 2] = [("/auth/login", "/auth/token"), ("/auth/refresh", "/auth/token/refresh")];

/// The paths and shapes of this service; whoever merges documents adds title, servers and security schemes.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    let paths = &mut document.paths.paths;
    for (canonical, twin) in TWINS {
        if let Some(item) = paths.get(canonical).map(|item| alias(item, "Twin")) {
            paths.insert(twin.to_owned(), item);
        }
    }
    let aliases: Vec<_> = paths
        .iter()
        .filter(|(path, _)| ["/auth/", "/users", "/api-keys", "/license"].iter().any(|start| path.starts_with(start)))
        .map(|(path, item)| (format!("{ALIAS_PREFIX}{path}"), alias(item, "V10")))
        .collect();
    paths.extend(aliases);
    document
}

/// The same item, deprecated, its operations renamed: operation ids are unique in a document.
fn alias(item: &PathItem, suffix: &str) -> PathItem {
    let mut item = item.clone();
    let operations =
        [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().filter_map(Option::as_mut);
    for operation in operations {
        operation.deprecated = Some(Deprecated::True);
        if let Some(id) = operation.operation_id.as_mut() {
            id.push_str(suffix);
        }
    }
    item
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What is mounted is what is documented, the probes aside.
    #[test]
    fn every_route_is_in_the_document_and_back() {
        let document = openapi();
        let mut documented = BTreeSet::new();
        for (path, item) in &document.paths.paths {
            for (method, operation) in
                [("GET", &item.get), ("PUT", &item.put), ("POST", &item.post), ("DELETE", &item.delete)]
            {
                if operation.is_some() {
                    documented.insert(format!("{method} {path}"));
                }
            }
        }
        let probes = ["/healthz", "/readyz", "/version", "/metrics"];
        let mounted: BTreeSet<_> = super::super::routes()
            .iter()
            .filter(|row| !probes.contains(&row.path.as_str()))
            .map(|row| format!("{} {}", row.method, row.path))
            .collect();
        assert_eq!(documented, mounted);
    }

    #[test]
    fn operation_ids_are_unique() {
        let json = serde_json::to_value(openapi()).unwrap();
        let mut seen = BTreeSet::new();
        for item in json["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values() {
                let id = operation["operationId"].as_str().unwrap().to_owned();
                assert!(seen.insert(id.clone()), "{id} twice");
            }
        }
    }
}
