//! The cluster's API: where it is, and requests to it as the agent itself or as a person.

mod certificates;
mod connection;
pub mod facts;
mod failure;
pub mod kinds;
pub mod namespaces;
pub mod objects;
pub(crate) mod pace;
pub mod rights;
pub(crate) mod vetted;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::header::ACCEPT;
use http::{HeaderName, HeaderValue, Method, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use roadstead_contracts::message::ConnectionLimits;
use roadstead_runtime::outgoing::Policy;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use connection::Connection;
pub use failure::Failure;

use crate::core::Identity;
use crate::forward::Forwarder;
use crate::{Error, Result};
use pace::Pace;

/// Time to connect to the API server.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Silence of the API server within one answer.
const READ_LIMIT: Duration = Duration::from_secs(30);
/// Rows of one page: what kubectl asks for.
pub const PAGE: usize = 500;

static IMPERSONATE_USER: HeaderName = HeaderName::from_static("impersonate-user");
static IMPERSONATE_GROUP: HeaderName = HeaderName::from_static("impersonate-group");

/// A cluster's API server and how to be let in.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    forwarder: Forwarder,
    reach: Reach,
    /// Address, for messages.
    pub address: String,
    /// The agent's own namespace in the cluster.
    pub namespace: String,
    /// Whether the agent runs as a pod of it.
    pub inside: bool,
}

/// How the API server may be dialled and how much it is asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reach {
    /// Of an address that a caller of the hub named.
    pub(crate) policy: Option<Arc<Policy>>,
    pub(crate) pace: Option<Arc<Pace>>,
    /// Longest wait for a turn, and for the head of an answer.
    pub(crate) limit: Option<Duration>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Cluster {
    /// From a kubeconfig file; without one: the pod's own account, else `KUBECONFIG` and `~/.kube/config`.
    pub async fn open(file: Option<&Path>, context: Option<&str>) -> Result<Self> {
        roadstead_runtime::install_crypto();
        let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
        let (config, inside) = match file {
            Some(path) => {
                let text = Kubeconfig::read_from(path).map_err(cluster_error)?;
                (Config::from_custom_kubeconfig(text, &options).await.map_err(cluster_error)?, false)
            }
            None => match Config::incluster() {
                Ok(config) if context.is_none() => (config, true),
                _ => (Config::from_kubeconfig(&options).await.map_err(cluster_error)?, false),
            },
        };
        Self::with_config(config, inside)
    }

    /// From what a caller of the hub gave. Its address is checked whenever it is dialled; redirects are not followed.
    pub fn connect(connection: &Connection, limits: ConnectionLimits, policy: Policy) -> Result<Self> {
        roadstead_runtime::install_crypto();
        let reach = Reach {
            policy: (!connection.inside).then(|| Arc::new(policy)),
            pace: Some(Arc::new(Pace::new(limits.qps, limits.burst))),
            limit: Some(Duration::from_secs(u64::from(limits.timeout_seconds))),
        };
        Self::reached(connection.config()?, connection.inside, reach)
    }

    /// From a configuration that is there already.
    pub fn with_config(config: Config, inside: bool) -> Result<Self> {
        Self::reached(config, inside, Reach::default())
    }

    fn reached(mut config: Config, inside: bool, reach: Reach) -> Result<Self> {
        config.connect_timeout = Some(CONNECT_LIMIT);
        config.read_timeout = Some(READ_LIMIT);
        // Whoever impersonates in a kubeconfig would be impersonated for every caller: the agent sets these itself.
        let user = &config.auth_info;
        if user.impersonate.is_some()
            || user.impersonate_uid.is_some()
            || user.impersonate_groups.is_some()
            || user.impersonate_user_extra.is_some()
        {
            return Err(Error::Cluster(
                "the kubeconfig impersonates a user; give the agent an account of its own".to_owned(),
            ));
        }
        let address = config.cluster_url.to_string();
        let namespace = config.default_namespace.clone();
        if let (Some(policy), Some(host)) = (&reach.policy, config.cluster_url.host()) {
            // A literal address is not resolved, so it is checked here.
            if let Ok(literal) = host.trim_matches(['[', ']']).parse() {
                policy.check_address(literal).map_err(cluster_error)?;
            }
        }
        let forwarder = Forwarder::new(&config, &reach).map_err(cluster_error)?;
        let client = match &reach.policy {
            // The library's own client would dial by itself.
            Some(_) => Client::new(Forwarder::service(&config, &reach).map_err(cluster_error)?, namespace.clone()),
            None => Client::try_from(config).map_err(cluster_error)?,
        };
        Ok(Self { client, forwarder, reach, address, namespace, inside })
    }

    /// The way for requests of persons as they come.
    pub(crate) fn forwarder(&self) -> &Forwarder {
        &self.forwarder
    }

    /// A client that is the person in everything it does.
    pub(crate) fn client_of(&self, person: &Identity) -> Result<Client, Failure> {
        let value = |text: &str| HeaderValue::from_str(text).map_err(|_| Failure::Request);
        let user = value(person.user())?;
        let groups = person.groups().map(value).collect::<Result<Vec<_>, _>>()?;
        let client = self.client.clone();
        let service = tower::service_fn(move |mut request: Request<kube::client::Body>| {
            let headers = request.headers_mut();
            headers.insert(IMPERSONATE_USER.clone(), user.clone());
            headers.remove(&IMPERSONATE_GROUP);
            for group in &groups {
                headers.append(IMPERSONATE_GROUP.clone(), group.clone());
            }
            let client = client.clone();
            async move { client.send(request).await }
        });
        Ok(Client::new(service, self.namespace.clone()))
    }

    /// Reads JSON as a person, or as the agent itself.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, person: Option<&Identity>) -> Result<T, Failure> {
        self.get_as(path, person, "application/json").await
    }

    /// Reads JSON in a certain form.
    pub async fn get_as<T: DeserializeOwned>(
        &self,
        path: &str,
        person: Option<&Identity>,
        form: &'static str,
    ) -> Result<T, Failure> {
        let mut request = Request::get(path).body(Vec::new()).map_err(|_| Failure::Request)?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(form));
        self.send(request, person).await
    }

    /// Sends JSON as the agent itself.
    pub async fn write<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        content_type: &'static str,
        body: &B,
    ) -> Result<T, Failure> {
        self.write_as(method, path, content_type, body, None).await
    }

    async fn write_as<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        content_type: &'static str,
        body: &B,
        person: Option<&Identity>,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|_| Failure::Request)?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, content_type)
            .header(ACCEPT, "application/json")
            .body(body)
            .map_err(|_| Failure::Request)?;
        self.send(request, person).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        mut request: Request<Vec<u8>>,
        person: Option<&Identity>,
    ) -> Result<T, Failure> {
        if let Some(person) = person {
            let headers = request.headers_mut();
            let value = |text: &str| HeaderValue::from_str(text).map_err(|_| Failure::Request);
            headers.insert(IMPERSONATE_USER.clone(), value(person.user())?);
            for group in person.groups() {
                headers.append(IMPERSONATE_GROUP.clone(), value(group)?);
            }
        }
        let limit = self.reach.limit.unwrap_or(READ_LIMIT).min(READ_LIMIT);
        if let Some(pace) = &self.reach.pace
            && !pace.turn(limit).await
        {
            return Err(Failure::Busy { retry_after: Some(1) });
        }
        if self.reach.policy.is_none() {
            return self.client.request(request).await.map_err(|error| Failure::judge(&error));
        }
        match tokio::time::timeout(limit, self.client.request(request)).await {
            Ok(answer) => answer.map_err(|error| Failure::judge(&error).of_a_stranger()),
            Err(_) => Err(Failure::Unreachable(String::new()).of_a_stranger()),
        }
    }
}

fn cluster_error(error: impl std::error::Error) -> Error {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    Error::Cluster(text)
}
