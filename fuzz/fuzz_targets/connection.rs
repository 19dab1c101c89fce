//! How a cluster is reached, as callers give it: kubeconfigs, tokens, certificates with their keys, and an identity
//! provider's document about itself. The files that read them are built in here: they are private to their crates.
//!
//! The first byte says what the rest is: `0` a kubeconfig; `1` address, token and PEM texts, with a form feed between them;
//! `2` a discovery document.
#![no_main]
#![expect(dead_code, reason = "not everything of the files is called")]

use chrono::DateTime;
use libfuzzer_sys::fuzz_target;
use roadstead_contracts::message::{ConnectionSource, ConnectionTls, Sensitive};

#[path = "../../agent/src/kubernetes/certificates.rs"]
mod certificates;
#[path = "../../agent/src/kubernetes/connection.rs"]
mod connection;
#[path = "../../services/user/src/oidc/document.rs"]
mod document;
#[path = "../../services/user/src/domain/provider.rs"]
mod domain;

// What the files name of the crates that they are of.
type Result<T> = std::result::Result<T, Error>;

#[derive(Debug)]
enum Error {
    Cluster(String),
}

fn cluster_error(error: impl std::error::Error) -> Error {
    Error::Cluster(error.to_string())
}

const ISSUER: &str = "https://id.example";

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let source = match first % 4 {
        0 => ConnectionSource::Kubeconfig { text: Sensitive(text.to_owned()), context: None },
        1 => {
            let mut parts = text.split('\u{c}').map(str::to_owned);
            let mut next = || parts.next().filter(|part| !part.is_empty());
            ConnectionSource::Token {
                server: next().unwrap_or_default(),
                token: next().map(Sensitive),
                tls: ConnectionTls { ca: next(), certificate: next(), key: next().map(Sensitive), server_name: next() },
            }
        }
        2 => {
            if let Ok(read) = document::Document::parse(rest, ISSUER) {
                assert!(domain::is_safe(&read.authorization_endpoint) && domain::is_safe(&read.token_endpoint));
                assert!(domain::is_safe(&read.jwks_uri));
                let _ = read.secret_in_form();
            }
            return;
        }
        _ => return,
    };
    let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap_or_default();
    match connection::Connection::check(&source, now) {
        Ok((connection, target)) => {
            assert!(!connection.inside && target.is_some() && connection.server.starts_with("https://"));
            // What was checked is kept as JSON, and is the same when it is read again.
            let json = serde_json::to_string(&connection).expect("a connection");
            let again: connection::Connection = serde_json::from_str(&json).expect("what was written");
            assert_eq!(serde_json::to_string(&again).expect("a connection"), json);
        }
        Err(refusal) => assert!(refusal.detail.len() < 4 * 1024, "a refusal repeats what was sent"),
    }
});
