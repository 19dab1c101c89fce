use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{TimeDelta, Utc};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use roadstead_contracts::message::{ConnectionSource, ConnectionTls, Sensitive};
use roadstead_runtime::{Clock as _, SystemClock};

use super::*;

fn now() -> chrono::DateTime<Utc> {
    SystemClock.now()
}

fn certificate() -> (String, String) {
    roadstead_runtime::install_crypto();
    let key = KeyPair::generate().unwrap();
    let made = CertificateParams::new(vec!["kubernetes".to_owned()]).unwrap().self_signed(&key).unwrap();
    (made.pem(), key.serialize_pem())
}

fn token(server: &str, tls: ConnectionTls) -> ConnectionSource {
    ConnectionSource::Token { server: server.to_owned(), token: Some(Sensitive("canary-token".to_owned())), tls }
}

fn field(source: &ConnectionSource) -> String {
    let fault = Connection::check(source, now()).unwrap_err();
    assert!(!format!("{fault:?}").contains("canary"), "{fault:?}");
    fault.errors.first().map(|error| error.loc.join("/")).unwrap_or_default()
}

#[test]
fn a_server_and_a_token() {
    let (ca, _) = certificate();
    let tls = ConnectionTls { ca: Some(STANDARD.encode(&ca)), ..ConnectionTls::default() };
    let (connection, target) = Connection::check(&token("https://10.0.0.1:6443/", tls), now()).unwrap();
    assert_eq!((connection.server.as_str(), target.unwrap().port()), ("https://10.0.0.1:6443", 6443));
    assert!(!format!("{connection:?}").contains("canary"));
    let kept: Connection = serde_json::from_slice(&serde_json::to_vec(&connection).unwrap()).unwrap();
    let config = kept.config().unwrap();
    assert_eq!(config.root_cert.unwrap().len(), 1);
    assert!(!config.accept_invalid_certs && config.proxy_url.is_none());
}

#[test]
fn s06_certificates_are_checked_and_no_key_comes_back() {
    let (ca, key) = certificate();
    let with = |ca: String| token("https://10.0.0.1", ConnectionTls { ca: Some(ca), ..ConnectionTls::default() });
    let expired = {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        params.self_signed(&key).unwrap().pem()
    };
    let many = ca.repeat(100);
    for bad in ["nonsense".to_owned(), STANDARD.encode("nonsense"), expired, format!("{ca}{key}"), many, key.clone()] {
        assert_eq!(field(&with(bad)), "body/tls_config/ca_data");
    }
    let (other, _) = certificate();
    let pair = |certificate: &str, key: &str| {
        let tls = ConnectionTls {
            certificate: Some(certificate.to_owned()),
            key: Some(Sensitive(key.to_owned())),
            ..ConnectionTls::default()
        };
        ConnectionSource::Token { server: "https://10.0.0.1".to_owned(), token: None, tls }
    };
    Connection::check(&pair(&ca, &key), now()).unwrap();
    assert_eq!(field(&pair(&other, &key)), "body/tls_config/key_data");
    assert_eq!(field(&pair(&ca, "nonsense")), "body/tls_config/key_data");
    assert_eq!(field(&pair(&key, &key)), "body/tls_config/cert_data");
    let alone = ConnectionTls { certificate: Some(ca), ..ConnectionTls::default() };
    assert_eq!(field(&token("https://10.0.0.1", alone)), "body/tls_config/key_data");
}

fn kubeconfig(cluster: &str, user: &str) -> ConnectionSource {
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: other\n\
         clusters: [{{name: c, cluster: {{server: 'https://10.0.0.1:6443'{cluster}}}}}, {{name: d, cluster: {{server: 'http://x'}}}}]\n\
         users: [{{name: u, user: {{{user}}}}}, {{name: w, user: {{token: canary-two, exec: {{command: x}}}}}}]\n\
         contexts: [{{name: mine, context: {{cluster: c, user: u}}}}, {{name: other, context: {{cluster: d, user: w}}}}]\n"
    );
    ConnectionSource::Kubeconfig { text: Sensitive(text), context: Some("mine".to_owned()) }
}

#[test]
fn one_context_of_a_kubeconfig_counts() {
    let (connection, _) = Connection::check(&kubeconfig("", "token: canary-one"), now()).unwrap();
    assert_eq!(connection.server, "https://10.0.0.1:6443");
    let ConnectionSource::Kubeconfig { text, .. } = kubeconfig("", "token: canary-one") else { unreachable!() };
    let at = |context: Option<&str>| ConnectionSource::Kubeconfig {
        text: text.clone(),
        context: context.map(str::to_owned),
    };
    assert_eq!(field(&at(None)), "body/kubeconfig/user.exec");
    assert_eq!(field(&at(Some("nowhere"))), "body/kubeconfig_context");
}

#[test]
fn what_is_dangerous_is_refused_by_its_name() {
    for (cluster, user, named) in [
        (", insecure-skip-tls-verify: true", "token: canary", "cluster.insecure-skip-tls-verify"),
        (", certificate-authority: /etc/passwd", "token: canary", "cluster.certificate-authority"),
        (", proxy-url: 'http://canary'", "token: canary", "cluster.proxy-url"),
        ("", "exec: {command: canary, apiVersion: client.authentication.k8s.io/v1}", "user.exec"),
        ("", "auth-provider: {name: gcp, config: {}}", "user.auth-provider"),
        ("", "tokenFile: /etc/canary", "user.tokenFile"),
        ("", "client-certificate: /a, client-key: /b", "user.client-certificate"),
        ("", "username: a, password: canary", "user.username"),
        ("", "token: canary, as: 'system:admin'", "user.as"),
        ("", "token: canary, as-groups: ['system:masters']", "user.as-groups"),
    ] {
        assert_eq!(field(&kubeconfig(cluster, user)), format!("body/kubeconfig/{named}"), "{named}");
    }
    let broken = ConnectionSource::Kubeconfig { text: Sensitive("users: [{token: canary".to_owned()), context: None };
    assert_eq!(field(&broken), "body/kubeconfig");
    // False is what every kubeconfig may say.
    Connection::check(&kubeconfig(", insecure-skip-tls-verify: false", "token: a"), now()).unwrap();
    let later = now() + TimeDelta::days(1);
    Connection::check(&kubeconfig("", "token: a"), later).unwrap();
}
