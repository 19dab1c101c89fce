//! A cluster that is reached with what a caller gave: a server and a token, or one context of a kubeconfig. What could run a
//! program, read a file of this machine or switch checks off is refused, and the field is named.

use chrono::{DateTime, Utc};
use kube::Config;
use kube::config::{AuthInfo, Kubeconfig};
use roadstead_contracts::message::{ConnectionSource, ConnectionTls, Sensitive};
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::outgoing::Target;
use serde::{Deserialize, Serialize};

use super::certificates::{Pem, check_authority, check_pair};

/// Longest kubeconfig that is read.
const KUBECONFIG_MAX: usize = 1024 * 1024;
/// Longest token: service accounts' have a kilobyte, those of identity providers some.
const TOKEN_MAX: usize = 16 * 1024;
/// Longest name of a server in its certificate.
const SERVER_NAME_MAX: usize = 253;

/// A checked connection: what is sealed and kept.
#[derive(Clone, Serialize, Deserialize)]
pub struct Connection {
    /// `https://host:6443`; empty for the cluster that the hub runs in.
    pub server: String,
    #[serde(default)]
    token: Option<Sensitive>,
    #[serde(default)]
    certificate: Option<String>,
    #[serde(default)]
    key: Option<Sensitive>,
    #[serde(default)]
    ca: Option<String>,
    #[serde(default)]
    server_name: Option<String>,
    /// The pod's own account.
    #[serde(default)]
    pub inside: bool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Connection {
    /// Checks what a caller gave; answers where it leads, too. Whether that may be dialled is the policy's.
    pub fn check(source: &ConnectionSource, now: DateTime<Utc>) -> Result<(Self, Option<Target>)> {
        match source {
            ConnectionSource::Token { server, token, tls } => of_server(server, token.as_ref(), tls, now),
            ConnectionSource::Kubeconfig { text, context } => of_kubeconfig(text, context.as_deref(), now),
            ConnectionSource::InCluster {} => {
                let found = Config::incluster().map_err(|_| {
                    Error::field(&["body", "auth_method"], "value_error", "this hub does not run in a cluster")
                })?;
                let server = found.cluster_url.to_string();
                let inside = Self {
                    server,
                    token: None,
                    certificate: None,
                    key: None,
                    ca: None,
                    server_name: None,
                    inside: true,
                };
                Ok((inside, None))
            }
        }
    }

    /// As the client library wants it.
    pub(super) fn config(&self) -> crate::Result<Config> {
        if self.inside {
            return Config::incluster().map_err(super::cluster_error);
        }
        let mut config = Config::new(self.server.parse().map_err(super::cluster_error)?);
        config.tls_server_name.clone_from(&self.server_name);
        config.proxy_url = None;
        config.accept_invalid_certs = false;
        if let Some(ca) = &self.ca {
            let pem = Pem::read(ca).map_err(crate::Error::Cluster)?;
            config.root_cert = Some(pem.certificates);
        }
        let encoded = |text: &str| {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(text)
        };
        config.auth_info = AuthInfo {
            token: self.token.as_ref().map(|token| token.0.clone().into()),
            client_certificate_data: self.certificate.as_deref().map(encoded),
            client_key_data: self.key.as_ref().map(|key| encoded(&key.0).into()),
            ..AuthInfo::default()
        };
        Ok(config)
    }
}

fn of_server(
    server: &str,
    token: Option<&Sensitive>,
    tls: &ConnectionTls,
    now: DateTime<Utc>,
) -> Result<(Connection, Option<Target>)> {
    let target = Target::parse(server, &["body", "api_server_url"])?;
    let ca =
        tls.ca.as_deref().map(|text| check_authority(text, &["body", "tls_config", "ca_data"], now)).transpose()?;
    let place: [&[&str]; 2] = [&["body", "tls_config", "cert_data"], &["body", "tls_config", "key_data"]];
    let pair = pair(tls.certificate.as_deref(), tls.key.as_ref(), place, now)?;
    let token = token.map(|token| check_token(token, &["body", "service_account_token"])).transpose()?;
    if token.is_none() && pair.is_none() {
        return Err(Error::field(
            &["body", "service_account_token"],
            "missing",
            "a token or a client certificate is needed",
        ));
    }
    let server_name =
        tls.server_name.clone().map(|name| check_server_name(name, &["body", "tls_config", "server_name"]));
    let (certificate, key) = pair.unzip();
    let server_name = server_name.transpose()?;
    let connection = Connection { server: target.to_string(), token, certificate, key, ca, server_name, inside: false };
    Ok((connection, Some(target)))
}

fn of_kubeconfig(text: &Sensitive, context: Option<&str>, now: DateTime<Utc>) -> Result<(Connection, Option<Target>)> {
    let fault = |what: String| Error::field(&["body", "kubeconfig"], "value_error", what);
    if text.0.len() > KUBECONFIG_MAX {
        return Err(Error::of(Code::PayloadTooLarge));
    }
    // The parser's message may quote the file, tokens and all.
    let file =
        Kubeconfig::from_yaml(&text.0).map_err(|_| fault("kubeconfig is not one that can be read".to_owned()))?;
    let wanted = context.or(file.current_context.as_deref()).filter(|name| !name.is_empty());
    let wanted = wanted.ok_or_else(|| fault("kubeconfig has no current-context; name a context".to_owned()))?;
    let context = file.contexts.iter().find(|entry| entry.name == wanted).and_then(|entry| entry.context.as_ref());
    let context = context.ok_or_else(|| {
        Error::field(&["body", "kubeconfig_context"], "value_error", "kubeconfig has no context of that name")
    })?;
    let cluster =
        file.clusters.iter().find(|entry| entry.name == context.cluster).and_then(|entry| entry.cluster.as_ref());
    let cluster =
        cluster.ok_or_else(|| fault("the context names a cluster that is not in the kubeconfig".to_owned()))?;
    let user = context.user.as_deref().and_then(|name| file.auth_infos.iter().find(|entry| entry.name == name));
    let user = user.and_then(|entry| entry.auth_info.as_ref());
    let user = user.ok_or_else(|| fault("the context names a user that is not in the kubeconfig".to_owned()))?;
    refuse_cluster(cluster)?;
    refuse_user(user)?;
    let server = cluster.server.as_deref().unwrap_or_default();
    let target = Target::parse(server, &["body", "kubeconfig", "cluster.server"])?;
    let ca = cluster.certificate_authority_data.as_deref();
    let ca = ca.map(|text| check_authority(text, &["body", "kubeconfig", "cluster.certificate-authority-data"], now));
    let key = user.client_key_data.as_ref().map(|key| Sensitive(secrecy::ExposeSecret::expose_secret(key).to_owned()));
    let place: [&[&str]; 2] =
        [&["body", "kubeconfig", "user.client-certificate-data"], &["body", "kubeconfig", "user.client-key-data"]];
    let pair = pair(user.client_certificate_data.as_deref(), key.as_ref(), place, now)?;
    let token = user.token.as_ref().map(|token| Sensitive(secrecy::ExposeSecret::expose_secret(token).to_owned()));
    let token = token.as_ref().map(|token| check_token(token, &["body", "kubeconfig", "user.token"])).transpose()?;
    if token.is_none() && pair.is_none() {
        return Err(fault("the context's user has neither a token nor a client certificate".to_owned()));
    }
    let server_name = cluster.tls_server_name.clone();
    let server_name = server_name
        .map(|name| check_server_name(name, &["body", "kubeconfig", "cluster.tls-server-name"]))
        .transpose()?;
    let (certificate, key) = pair.unzip();
    let ca = ca.transpose()?;
    let connection = Connection { server: target.to_string(), token, certificate, key, ca, server_name, inside: false };
    Ok((connection, Some(target)))
}

fn refused(field: &str, why: &str) -> Error {
    Error::field(&["body", "kubeconfig", field], "value_error", format!("{field} is not accepted: {why}"))
}

const NO_FILES: &str = "it names a file, which would be one of the hub's machine; put the data in its place";

fn refuse_cluster(cluster: &kube::config::Cluster) -> Result<()> {
    if cluster.insecure_skip_tls_verify == Some(true) {
        return Err(refused(
            "cluster.insecure-skip-tls-verify",
            "the hub checks every certificate; give certificate-authority-data",
        ));
    }
    if cluster.certificate_authority.is_some() {
        return Err(refused("cluster.certificate-authority", NO_FILES));
    }
    if cluster.proxy_url.is_some() {
        return Err(refused("cluster.proxy-url", "the hub dials by itself"));
    }
    Ok(())
}

fn refuse_user(user: &AuthInfo) -> Result<()> {
    if user.exec.is_some() {
        return Err(refused("user.exec", "it would run a program on the hub's machine; give a token"));
    }
    if user.auth_provider.is_some() {
        return Err(refused("user.auth-provider", "it would run or call something else; give a token"));
    }
    for (field, set) in [
        ("user.tokenFile", user.token_file.is_some()),
        ("user.client-certificate", user.client_certificate.is_some()),
        ("user.client-key", user.client_key.is_some()),
    ] {
        if set {
            return Err(refused(field, NO_FILES));
        }
    }
    if user.username.is_some() || user.password.is_some() {
        return Err(refused("user.username", "API servers take no passwords any more; give a token"));
    }
    for (field, set) in [
        ("user.as", user.impersonate.is_some()),
        ("user.as-uid", user.impersonate_uid.is_some()),
        ("user.as-groups", user.impersonate_groups.is_some()),
        ("user.as-user-extra", user.impersonate_user_extra.is_some()),
    ] {
        if set {
            return Err(refused(field, "the hub acts as each caller by itself"));
        }
    }
    Ok(())
}

type Pair = (String, Sensitive);

/// A client certificate with its key, both or none; PEM either way.
fn pair(
    certificate: Option<&str>,
    key: Option<&Sensitive>,
    place: [&[&str]; 2],
    now: DateTime<Utc>,
) -> Result<Option<Pair>> {
    match (certificate, key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => check_pair(certificate, &key.0, place, now).map(Some),
        (Some(_), None) => Err(Error::field(place[1], "missing", "the client certificate needs its key")),
        (None, Some(_)) => Err(Error::field(place[0], "missing", "the client key needs its certificate")),
    }
}

fn check_token(token: &Sensitive, place: &[&str]) -> Result<Sensitive> {
    let text = token.0.trim();
    if text.is_empty() || text.len() > TOKEN_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::field(place, "value_error", format!("must be a token of at most {TOKEN_MAX} characters")));
    }
    Ok(Sensitive(text.to_owned()))
}

fn check_server_name(name: String, place: &[&str]) -> Result<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':');
    if name.is_empty() || name.len() > SERVER_NAME_MAX || !name.bytes().all(plain) {
        return Err(Error::field(place, "value_error", "must be the name in the server's certificate"));
    }
    Ok(name)
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
