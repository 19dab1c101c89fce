//! How a caller says where a cluster's API is and with which credential: the words of seed 003.

use roadstead_contracts::message::{
    ConnectionLimits, ConnectionSource, ConnectionTls, NewConnection, ReconnectCluster, Sensitive,
};
use roadstead_contracts::{Error, Result};
use roadstead_http_kit::{ApiResult, Caller, Json, RequestContext};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{NO_CLUSTER, named, reference};
use crate::http::State;
use crate::http::view::ClusterView;

/// Where a cluster's API is, and the credential for it. What is secret is sealed at once and never shown again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConnectionBody {
    /// `kubeconfig`, `token`, `service_account` or `in_cluster`.
    #[schema(example = "token")]
    auth_method: String,
    /// The kubeconfig itself, with `kubeconfig`. Data in place of files; no plugins.
    #[serde(default)]
    kubeconfig: Option<String>,
    /// Which of its contexts; the current one when left out.
    #[serde(default)]
    kubeconfig_context: Option<String>,
    /// Address of the API server, with `token` and `service_account`.
    #[serde(default)]
    #[schema(example = "https://k8s-api.example.com:6443")]
    api_server_url: Option<String>,
    /// The token.
    #[serde(default)]
    service_account_token: Option<String>,
    /// TLS to the API server.
    #[serde(default)]
    tls_config: TlsBody,
    /// Requests a second (50).
    #[serde(default)]
    qps: Option<f64>,
    /// Requests at once (100).
    #[serde(default)]
    burst: Option<u32>,
    /// How long the API server may take to begin its answer (`30s`).
    #[serde(default)]
    timeout: Option<String>,
    /// Refused: it would be a file of the hub's machine.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    kubeconfig_path: Option<serde::de::IgnoredAny>,
}

/// TLS to an API server. Certificates are PEM, or PEM in base64.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsBody {
    /// Certificates of whoever issued the server's; public authorities when left out.
    #[serde(default)]
    ca_data: Option<String>,
    /// Client certificate.
    #[serde(default)]
    cert_data: Option<String>,
    /// Its key.
    #[serde(default)]
    key_data: Option<String>,
    /// Name in the server's certificate, where it is not the host's.
    #[serde(default)]
    server_name: Option<String>,
    /// Only `false`: certificates are always checked.
    #[serde(default)]
    insecure: bool,
    /// Refused: it would be a file of the hub's machine.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    ca_file: Option<serde::de::IgnoredAny>,
    /// Refused, as `ca_file`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    cert_file: Option<serde::de::IgnoredAny>,
    /// Refused, as `ca_file`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    key_file: Option<serde::de::IgnoredAny>,
}

impl ConnectionBody {
    /// What is handed over. What does not belong to the method is refused, not passed over.
    pub(crate) fn connection(self) -> Result<NewConnection> {
        let tls = self.tls_config;
        let files = [
            ("kubeconfig_path", self.kubeconfig_path.is_some(), "put the kubeconfig itself into kubeconfig"),
            ("tls_config.ca_file", tls.ca_file.is_some(), "put the certificates into ca_data"),
            ("tls_config.cert_file", tls.cert_file.is_some(), "put the certificate into cert_data"),
            ("tls_config.key_file", tls.key_file.is_some(), "put the key into key_data"),
        ];
        for (field, set, instead) in files {
            if set {
                let why = format!("{field} is not accepted: it names a file of the hub's machine; {instead}");
                return Err(Error::field(&["body", "connection", field], "value_error", why));
            }
        }
        if tls.insecure {
            let why = "tls_config.insecure is not accepted: certificates are always checked; give ca_data";
            return Err(Error::field(&["body", "connection", "tls_config", "insecure"], "value_error", why));
        }
        let limits = limits(self.qps, self.burst, self.timeout.as_deref())?;
        let of_server = self.api_server_url.is_some() || self.service_account_token.is_some();
        let of_tls =
            tls.ca_data.is_some() || tls.cert_data.is_some() || tls.key_data.is_some() || tls.server_name.is_some();
        let of_kubeconfig = self.kubeconfig.is_some() || self.kubeconfig_context.is_some();
        let method = self.auth_method.as_str();
        let mixed = match method {
            "kubeconfig" => of_server || of_tls,
            "token" | "service_account" => of_kubeconfig,
            "in_cluster" => of_server || of_tls || of_kubeconfig,
            _ => {
                let why = "auth_method must be kubeconfig, token, service_account or in_cluster";
                return Err(Error::field(&["body", "connection", "auth_method"], "value_error", why));
            }
        };
        if mixed {
            let why = format!("fields that do not belong to auth_method {method} are not accepted");
            return Err(Error::field(&["body", "connection", "auth_method"], "value_error", why));
        }
        let missing =
            |field: &str| Error::field(&["body", "connection", field], "missing", format!("{field} is required"));
        let source = match method {
            "kubeconfig" => ConnectionSource::Kubeconfig {
                text: Sensitive(self.kubeconfig.ok_or_else(|| missing("kubeconfig"))?),
                context: self.kubeconfig_context,
            },
            "in_cluster" => ConnectionSource::InCluster {},
            _ => ConnectionSource::Token {
                server: self.api_server_url.ok_or_else(|| missing("api_server_url"))?,
                token: self.service_account_token.map(Sensitive),
                tls: ConnectionTls {
                    ca: tls.ca_data,
                    certificate: tls.cert_data,
                    key: tls.key_data.map(Sensitive),
                    server_name: tls.server_name,
                },
            },
        };
        Ok(NewConnection { source, limits })
    }
}

fn limits(qps: Option<f64>, burst: Option<u32>, timeout: Option<&str>) -> Result<ConnectionLimits> {
    let mut limits = ConnectionLimits::default();
    limits.qps = qps.unwrap_or(limits.qps);
    limits.burst = burst.unwrap_or(limits.burst);
    if let Some(text) = timeout {
        limits.timeout_seconds = seconds(text).ok_or_else(|| {
            let why = "timeout must be whole seconds or minutes, such as 30s or 2m";
            Error::field(&["body", "connection", "timeout"], "value_error", why)
        })?;
    }
    Ok(limits)
}

fn seconds(text: &str) -> Option<u32> {
    let (digits, unit) = match text.strip_suffix('m') {
        Some(digits) => (digits, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let plain = (1..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse::<u32>().ok()?.checked_mul(unit) } else { None }
}

/// Gives a directly connected cluster other credentials. Its open streams end and come back with them.
#[utoipa::path(
    put, path = "/api/v1/clusters/{cluster}/connection", tag = "clusters", operation_id = "replaceConnection",
    params(("cluster" = String, Path, description = "Id, integer or name")), request_body = ConnectionBody,
    responses(
        (status = 200, body = ClusterView),
        (status = 404, description = "Not there, or not the caller's"),
        (status = 409, description = "The cluster has an agent of its own"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn replace(
    app: State,
    caller: Caller,
    path: actix_web::web::Path<String>,
    context: RequestContext,
    body: Json<ConnectionBody>,
) -> ApiResult {
    let request = ReconnectCluster {
        principal: caller.principal.as_ref().clone(),
        cluster: reference(&path, NO_CLUSTER)?.to_owned(),
        connection: body.0.connection()?,
    };
    let cluster = app.hand_over(&request, &context).await.map_err(named(NO_CLUSTER))?;
    Ok(actix_web::HttpResponse::Ok().json(ClusterView::from(cluster)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(body: Value) -> Result<NewConnection, String> {
        let body: ConnectionBody = serde_json::from_value(body).map_err(|fault| fault.to_string())?;
        body.connection().map_err(|fault| fault.errors.first().map(|one| one.loc.join("/")).unwrap_or_default())
    }

    #[test]
    fn seed_003_says_it_so() {
        let token = json!({
            "auth_method": "service_account", "service_account_token": "t", "api_server_url": "https://a",
            "tls_config": {"insecure": false, "ca_data": "pem"}, "qps": 20.0, "burst": 40, "timeout": "1m",
        });
        let made = read(token).unwrap();
        assert_eq!(made.limits, ConnectionLimits { qps: 20.0, burst: 40, timeout_seconds: 60 });
        assert!(matches!(made.source, ConnectionSource::Token { server, .. } if server == "https://a"));
        let kubeconfig = json!({"auth_method": "kubeconfig", "kubeconfig": "x", "kubeconfig_context": "c"});
        assert!(matches!(read(kubeconfig).unwrap().source, ConnectionSource::Kubeconfig { context: Some(_), .. }));
        assert!(matches!(read(json!({"auth_method": "in_cluster"})).unwrap().source, ConnectionSource::InCluster {}));
    }

    #[test]
    fn what_is_refused_is_named() {
        for (body, named) in [
            (json!({"auth_method": "kubeconfig", "kubeconfig_path": "/x"}), "kubeconfig_path"),
            (json!({"auth_method": "token", "tls_config": {"ca_file": "/x"}}), "tls_config.ca_file"),
            (json!({"auth_method": "token", "tls_config": {"insecure": true}}), "tls_config/insecure"),
            (json!({"auth_method": "token"}), "api_server_url"),
            (json!({"auth_method": "kubeconfig"}), "kubeconfig"),
            (json!({"auth_method": "magic"}), "auth_method"),
            (json!({"auth_method": "in_cluster", "api_server_url": "https://a"}), "auth_method"),
            (json!({"auth_method": "token", "timeout": "soon"}), "timeout"),
        ] {
            assert_eq!(read(body.clone()).unwrap_err(), format!("body/connection/{named}"), "{body}");
        }
        assert!(read(json!({"auth_method": "token", "other": 1})).is_err());
    }
}
