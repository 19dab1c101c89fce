//! The description of the API and its page.

use std::collections::BTreeSet;

use roadstead_http_kit::Access;
use roadstead_runtime::config::{MapEnv, ServiceRole, Settings};

use crate::rig::Rig;

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let rig = Rig::new().await;
    assert_eq!(rig.get("/swagger", None).await.header("location"), "/swagger/index.html");
    let index = rig.get("/swagger/index.html", None).await;
    assert_eq!((index.status, index.header("content-type")), (200, "text/html"));
    let policy = index.header("content-security-policy").to_owned();
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self';"), "{policy}");
    assert!(!index.text.contains("<script>") && !index.text.contains("//unpkg") && !index.text.contains("https://"));
    let names: Vec<&str> = index
        .text
        .split(['"', '\''])
        .filter(|text| [".js", ".css", ".png"].iter().any(|end| text.ends_with(end)))
        .map(|text| text.trim_start_matches("./"))
        .collect();
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        let file = rig.get(&format!("/swagger/{name}"), None).await;
        assert_eq!(file.status, 200, "{name}");
    }
    let initializer = rig.get("/swagger/swagger-initializer.js", None).await;
    assert!(initializer.text.contains("/swagger/doc.json"), "{}", initializer.text);
    for missing in ["/swagger/nothing.js", "/swagger/..%2fCargo.toml"] {
        assert!(matches!(rig.get(missing, None).await.status, 400 | 404), "{missing}");
    }
}

#[tokio::test]
async fn the_description_is_served() {
    let rig = Rig::new().await;
    for path in ["/swagger/doc.json", "/api/v1/openapi.json"] {
        let document = rig.get(path, None).await;
        assert_eq!((document.status, document.header("content-type")), (200, "application/json"));
        assert!(document.json()["openapi"].as_str().unwrap().starts_with("3.1"));
    }
}

#[test]
fn every_route_is_described() {
    let settings = Settings::load(ServiceRole::Up, None, &MapEnv::default()).unwrap();
    let document = serde_json::to_value(roadstead_cluster::openapi()).unwrap();
    let described: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    // Aliases, pages, probes; and what the user service describes itself.
    let elsewhere = |path: &str| {
        ["/swagger", "/healthz", "/readyz", "/version", "/metrics", "/api/v1/openapi.json", "/.well-known/jwks.json"]
            .iter()
            .any(|prefix| path.starts_with(prefix))
            || (path.starts_with("/api/v3.0/") && !path.starts_with("/api/v3.0/cluster/"))
            || path == "/onboard"
    };
    let routes: BTreeSet<String> = roadstead_cluster::routes(&settings)
        .iter()
        .filter(|row| row.access != Access::Delegated && !elsewhere(&row.path))
        .map(|row| format!("{} {}", row.method, row.path))
        .collect();
    assert_eq!(routes, described);
}

#[test]
fn the_description_says_who_may_call() {
    let settings = Settings::load(ServiceRole::Up, None, &MapEnv::default()).unwrap();
    let document = serde_json::to_value(roadstead_cluster::openapi()).unwrap();
    for row in roadstead_cluster::routes(&settings) {
        let operation = &document["paths"][&row.path][row.method.as_str().to_lowercase()];
        if operation.is_null() {
            continue;
        }
        let schemes = operation["security"].as_array().unwrap_or_else(|| panic!("no security on {}", row.path));
        let open = schemes.iter().any(|scheme| scheme.as_object().unwrap().is_empty());
        assert_eq!(open, matches!(row.access, Access::Public | Access::Optional), "{} {}", row.method, row.path);
        assert!(operation["responses"]["default"]["content"]["application/problem+json"].is_object());
    }
}
