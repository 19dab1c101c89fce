//! The doors: extra ports, metrics port, TLS.

use std::sync::Arc;

use roadstead_cluster::Links;
use roadstead_runtime::config::{MapEnv, ServiceRole, Settings};

use crate::rig::Rig;

fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn old_ports_and_a_metrics_port() {
    let (one, two, metrics) = (free_port(), free_port(), free_port());
    let ports = format!("{one},{two}");
    let rig = Rig::env(&[("COMPAT_PORTS", &ports), ("ROADSTEAD_METRICS_PORT", &metrics.to_string())]).await;
    assert_eq!(rig.service.addresses().len(), 3);
    for port in [one, two] {
        let url = format!("http://127.0.0.1:{port}/api/v3.0/cluster/agents/connected");
        let answer = rig.http.get(url).header("x-api-key", &rig.operator.key).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(rig.service.metrics_address().unwrap().port(), metrics);
    let page = rig.http.get(format!("http://127.0.0.1:{metrics}/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("mckmt_http_requests_total"));
    let other = rig.http.get(format!("http://127.0.0.1:{metrics}/api/v1/clusters")).send().await.unwrap();
    assert_eq!(other.status(), 404);
}

#[tokio::test]
async fn probes_tell_what_runs() {
    let rig = Rig::new().await;
    let version = rig.get("/version", None).await.json();
    assert_eq!(version["service"], "cluster");
    for field in ["version", "gitCommit", "buildDate"] {
        assert!(version[field].is_string(), "{field}");
    }
    assert_eq!(rig.get("/healthz", None).await.status, 200);
    assert_eq!(rig.get("/readyz", None).await.json()["status"], "ready");
}

#[test]
fn metrics_can_be_switched_off() {
    let env = MapEnv::new([("MCKMT_METRICS_ENABLED", "false")]);
    let settings = Settings::load(ServiceRole::Up, None, &env).unwrap();
    let rows = roadstead_cluster::routes(&settings);
    assert!(!rows.iter().any(|row| row.path.ends_with("/metrics")));
}

#[tokio::test]
async fn tls_as_the_seed_switches_it_on() {
    roadstead_runtime::install_crypto();
    let rig = Rig::new().await;
    let folder = tempfile::tempdir().unwrap();
    let (key, certificate) = (folder.path().join("key.pem"), folder.path().join("cert.pem"));
    let env = MapEnv::new([
        ("ROADSTEAD_SERVER_PORT", "0".to_owned()),
        ("ROADSTEAD_DATA_DIR", folder.path().display().to_string()),
        ("USE_SSL", "true".to_owned()),
        ("SSL_KEYFILE", key.display().to_string()),
        ("SSL_CERTFILE", certificate.display().to_string()),
    ]);
    let mut deps = rig.deps.clone();
    deps.settings = Arc::new(Settings::load(ServiceRole::Up, None, &env).unwrap());
    let refused = format!("{:#}", roadstead_cluster::build(deps.clone(), Links::default()).unwrap_err());
    assert!(refused.contains("key.pem"), "{refused}");

    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    let service = roadstead_cluster::build(deps, Links::default()).unwrap();
    service.start().await.unwrap();
    assert!(service.urls().hub.starts_with("https://"));
    let client = reqwest::Client::builder()
        .no_proxy()
        .add_root_certificate(reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap())
        .build()
        .unwrap();
    let url = format!("https://localhost:{}/api/v3.0/cluster/health", service.address().port());
    let answer = client.get(url).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, reqwest::Version::HTTP_2));
}
