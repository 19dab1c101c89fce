//! A cluster by its server's address and a token, at run time. The seed kept both in the clear and, unless asked, checked no
//! certificate; here they are sealed, the address is vetted and every certificate checked.

use actix_web::HttpResponse;
use roadstead_contracts::message::{
    ConnectionLimits, ConnectionSource, ConnectionTls, NewConnection, SeedCluster, Sensitive,
};
use roadstead_contracts::names::{ClusterName, Labels};
use roadstead_contracts::seed::kubeconfig::{ClusterDeed, HIDDEN, OnboardedCluster};
use roadstead_contracts::{Code, Error};
use roadstead_http_kit::{ApiResult, Caller, Json, RequestContext};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{PROVIDER, entry, server_url};
use crate::app::DirectCluster;
use crate::http::State;
use crate::http::v2::{Tags, details};

/// A cluster to add. Fields beside these are not looked at.
#[derive(Deserialize, ToSchema)]
pub(crate) struct OnboardClusterBody {
    /// Name: a DNS label.
    cluster_name: String,
    /// `https://host:6443`.
    server_url: String,
    /// Bearer token. Sealed at once, never shown again.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    token: Option<Sensitive>,
    /// kubeconfig context.
    #[serde(default)]
    context_name: Option<String>,
    /// Provider.
    #[serde(default)]
    provider_name: Option<String>,
    /// Tags: a list, or one text with commas.
    #[serde(default)]
    tags: Option<Tags>,
    /// Whether the TLS fields count. Certificates are checked either way.
    #[serde(default)]
    use_secure_tls: bool,
    /// Whoever issued the server's certificate; PEM, or PEM in base64.
    #[serde(default)]
    ca_data: Option<String>,
    /// Client certificate.
    #[serde(default)]
    tls_cert: Option<String>,
    /// Its key.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    tls_key: Option<Sensitive>,
}

/// Where onboarding says that something is wrong, and where the seed's body has it.
const PLACES: [(&str, &str); 5] = [
    ("api_server_url", "server_url"),
    ("service_account_token", "token"),
    ("ca_data", "ca_data"),
    ("cert_data", "tls_cert"),
    ("key_data", "tls_key"),
];

/// Adds a cluster that the hub reaches by itself.
#[utoipa::path(
    post, path = "/kubeconfig/onboard-cluster", tag = "seed 004", operation_id = "kubeconfigOnboardCluster",
    request_body = OnboardClusterBody,
    responses(
        (status = 201, body = serde_json::Value, description = "The key is `***`", example = json!({
            "id": 1, "cluster_name": "production-cluster", "server_url": "https://k8s-api.example.com:6443",
            "context_name": "production-context", "provider_name": "AWS EKS", "tags": ["production", "aws", "us-west-2"],
            "use_secure_tls": true, "ca_data": "LS0tLS1CRUdJTi...", "tls_key": "***", "tls_cert": "LS0tLS1CRUdJTi...",
            "user_id": 123, "is_operator_installed": false, "created_at": "2024-01-15T10:30:00Z",
            "updated_at": "2024-01-15T10:30:00Z", "message": "Cluster onboarded successfully"
        })),
        (status = 400, description = "The name is taken, or the address may not be dialled"),
        (status = 422, description = "A field is wrong"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn onboard(
    app: State,
    caller: Caller,
    context: RequestContext,
    body: Json<OnboardClusterBody>,
) -> ApiResult {
    let body = body.0;
    let name = ClusterName::parse(&body.cluster_name)
        .map_err(|error| Error::field(&["body", "cluster_name"], "value_error", error.detail.into_owned()))?;
    // Forms of the seeds' frontends send empty texts for what was not filled in.
    let filled = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let sealed = |secret: Option<Sensitive>| secret.filter(|secret| !secret.0.trim().is_empty());
    let (ca, certificate, key) = (filled(body.ca_data), filled(body.tls_cert), sealed(body.tls_key));
    let provider = filled(body.provider_name).unwrap_or_else(|| PROVIDER.to_owned());
    let secure = body.use_secure_tls;
    let details = details(filled(body.context_name), Some(provider.clone()), body.tags, secure, None)?;
    let tls = ConnectionTls {
        // An authority makes the check stricter, whatever else is said.
        ca: ca.clone(),
        certificate: certificate.clone().filter(|_| secure),
        key: key.clone().filter(|_| secure),
        server_name: None,
    };
    let new = DirectCluster {
        name: name.clone(),
        description: String::new(),
        labels: Labels::default(),
        details: Some(details.clone()),
        connection: NewConnection {
            source: ConnectionSource::Token { server: body.server_url, token: sealed(body.token), tls },
            limits: ConnectionLimits::default(),
        },
        profile: roadstead_contracts::message::RightsProfile::default(),
        namespaces: Vec::new(),
    };
    let made = app.connect_cluster(&caller, new, &context).await.map_err(|error| match error.code {
        // The seed answers 400 here, as its other way of onboarding does.
        Code::Conflict => Error::new(Code::BadRequest, format!("Cluster '{name}' already exists for this user")),
        _ => placed(error),
    })?;
    app.forget_agents();
    let deed = ClusterDeed::ClusterOnboarded {
        server_url: server_url(&made),
        provider_name: provider,
        use_secure_tls: secure,
    };
    app.tell_peers(&caller, &made, deed).await;
    let owner_seq = caller.principal.user_seq;
    Ok(HttpResponse::Created().json(OnboardedCluster {
        cluster: entry(SeedCluster { cluster: made, details, owner_seq }),
        ca_data: ca.filter(|_| secure),
        tls_key: key.filter(|_| secure).map(|_| HIDDEN.to_owned()),
        tls_cert: certificate.filter(|_| secure),
        user_id: owner_seq,
        message: "Cluster onboarded successfully".to_owned(),
    }))
}

/// The owner's fault at the place where the seed's body has the field.
fn placed(mut error: Error) -> Error {
    for fault in &mut error.errors {
        let place = fault.loc.last().and_then(|last| PLACES.iter().find(|(theirs, _)| theirs == last));
        if let Some((_, ours)) = place {
            fault.loc = vec!["body".to_owned(), (*ours).to_owned()];
        }
    }
    error
}
