//! A mesh whose services speak TLS: to their servers, and to each other.

use roadstead_testkit::pki::Pki;
use roadstead_testkit::servers::State;

use crate::layout::Tuning;

/// What the services are told so that they speak TLS to their servers and show a certificate.
pub(crate) fn settings(tuning: Tuning, servers: &State, pki: &Pki) -> Tuning {
    // A debug build takes a while for a handshake: one connection is opened at the start, not a dozen.
    let mut tuning = tuning.with("ROADSTEAD_DATABASE_MIN_CONNECTIONS", "1");
    if let Some(tls) = &servers.tls {
        tuning = tuning.with("ROADSTEAD_RABBITMQ_PORT", &tls.amqp.to_string());
        tuning = tuning.with("ROADSTEAD_REDIS_PORT", &tls.redis.to_string());
    }
    for section in ["DATABASE", "RABBITMQ", "REDIS"] {
        let (certificate, key) = &pki.client;
        for (name, file) in [("CA_FILE", &pki.ca), ("CERT_FILE", certificate), ("KEY_FILE", key)] {
            tuning = tuning.with(&format!("ROADSTEAD_{section}_{name}"), &file.display().to_string());
        }
    }
    let (certificate, key) = &pki.member;
    for (name, file) in [
        ("MESH_CA_FILE", &pki.ca),
        ("MESH_CERT_FILE", certificate),
        ("MESH_KEY_FILE", key),
        ("METRICS_CERT_FILE", certificate),
        ("METRICS_KEY_FILE", key),
        ("METRICS_CLIENT_CA_FILE", &pki.ca),
    ] {
        tuning = tuning.with(&format!("ROADSTEAD_{name}"), &file.display().to_string());
    }
    tuning.with("ROADSTEAD_MESH_CLIENT_NAMES", roadstead_testkit::pki::NAME)
}
