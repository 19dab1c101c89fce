//! The hub as a client of servers that it did not start: identity providers, webhooks. No redirects, no proxy from the
//! environment, bounded in time and size, and the policy for outgoing addresses is asked for each address that a name
//! resolves to, at the time of dialling (reliability rules 11; rows S01 to S05, A18).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use roadstead_runtime::Secret;
use roadstead_runtime::outgoing::Policy;

use crate::room::Share;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a whole exchange may take: somebody waits in a browser.
const EXCHANGE: Duration = Duration::from_secs(10);

/// Why there was no good answer. Never says more than whoever reads the log may know: no query, no body.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The address is no URL of the web.
    #[error("the address cannot be used")]
    Address,
    /// The policy does not let the hub dial there.
    #[error("the address is not allowed")]
    NotAllowed,
    /// Nobody answered in time.
    #[error("no answer: {0}")]
    Unreachable(String),
    /// The answer is longer than it may be.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// There was no room for the answer.
    #[error("no room for the answer")]
    NoRoom,
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub body: Bytes,
}

/// A client. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outgoing {
    client: reqwest::Client,
    guard: Arc<Guard>,
}

#[derive(Debug)]
struct Guard {
    policy: Policy,
    /// Hosts that the process's own settings name: those are not a stranger's choice.
    trusted: BTreeSet<String>,
}

impl Guard {
    fn allows(&self, host: &str, address: IpAddr) -> bool {
        self.trusted.contains(host) || self.policy.check_address(address).is_ok()
    }
}

struct Resolver(Arc<Guard>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = Arc::clone(&self.0);
        Box::pin(async move {
            let host = name.as_str().to_ascii_lowercase();
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| guard.allows(&host, address.ip())).collect();
            if allowed.is_empty() {
                return Err("no address of the name is allowed".into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

impl Outgoing {
    /// A client under a policy. The hosts of `trusted` URLs come from the settings and are dialled wherever they are.
    pub fn new<'a>(policy: Policy, trusted: impl IntoIterator<Item = &'a str>) -> reqwest::Result<Self> {
        Self::trusting(policy, trusted, None)
    }

    /// The same, with the authorities of a PEM text instead of the system's.
    pub fn trusting<'a>(
        policy: Policy,
        trusted: impl IntoIterator<Item = &'a str>,
        authorities: Option<&str>,
    ) -> reqwest::Result<Self> {
        let hosts = trusted.into_iter().filter_map(|url| Some(Url::parse(url).ok()?.host_str()?.to_ascii_lowercase()));
        let guard = Arc::new(Guard { policy, trusted: hosts.collect() });
        let mut builder = reqwest::Client::builder();
        if let Some(pem) = authorities {
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem.as_bytes())?);
        }
        let client = builder
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT)
            .timeout(EXCHANGE)
            .dns_resolver(Arc::new(Resolver(Arc::clone(&guard))))
            .user_agent(concat!("roadstead/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, guard })
    }

    /// Reads a document.
    pub async fn get(&self, url: &str, longest: usize) -> Result<Answer, Fault> {
        let url = self.check(url)?;
        self.send(self.client.get(url).header("accept", "application/json"), longest, None).await
    }

    /// Reads a document that a request names: it has its share of the room for bodies.
    pub async fn get_within(&self, url: &str, longest: usize, share: &mut Share) -> Result<Answer, Fault> {
        let url = self.check(url)?;
        self.send(self.client.get(url).header("accept", "application/json"), longest, Some(share)).await
    }

    /// Posts a form, with HTTP Basic authentication where there is a secret.
    pub async fn post_form(
        &self,
        url: &str,
        form: &[(&str, &str)],
        basic: Option<(&str, &Secret)>,
        longest: usize,
    ) -> Result<Answer, Fault> {
        let url = self.check(url)?;
        let mut request = self.client.post(url).header("accept", "application/json").form(form);
        if let Some((name, secret)) = basic {
            request = request.basic_auth(name, Some(secret.expose()));
        }
        self.send(request, longest, None).await
    }

    /// Posts JSON with headers of the caller's own.
    pub async fn post_json(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
        longest: usize,
    ) -> Result<Answer, Fault> {
        let url = self.check(url)?;
        let mut request = self.client.post(url).header("content-type", "application/json").body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request, longest, None).await
    }

    /// Whether an address could be dialled at all, before a name in it is resolved.
    pub fn vet(&self, url: &str) -> Result<(), Fault> {
        self.check(url).map(drop)
    }

    /// Literal addresses never reach the resolver.
    fn check(&self, url: &str) -> Result<Url, Fault> {
        let url = Url::parse(url).map_err(|_| Fault::Address)?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(Fault::Address);
        }
        let host = url.host_str().ok_or(Fault::Address)?;
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        if literal.is_ok_and(|address| !self.guard.allows(&host.to_ascii_lowercase(), address)) {
            return Err(Fault::NotAllowed);
        }
        Ok(url)
    }

    async fn send(
        &self,
        request: reqwest::RequestBuilder,
        longest: usize,
        mut share: Option<&mut Share>,
    ) -> Result<Answer, Fault> {
        let unreachable = |fault: reqwest::Error| Fault::Unreachable(fault.without_url().to_string());
        let mut answer = request.send().await.map_err(unreachable)?;
        let status = answer.status().as_u16();
        let mut body = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > longest {
                return Err(Fault::TooLong(longest));
            }
            if let Some(share) = share.as_deref_mut() {
                share.cover(body.len() + chunk.len(), longest).await.map_err(|_| Fault::NoRoom)?;
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, body: body.freeze() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn link_local_and_other_schemes_are_not_dialled() {
        roadstead_runtime::install_crypto();
        let client = Outgoing::new(Policy::mesh(), ["https://127.0.0.1:1/x"]).unwrap();
        for url in
            ["http://169.254.169.254/latest", "http://[fe80::1]/", "http://[::ffff:169.254.169.254]/", "http://[::1]/"]
        {
            assert!(matches!(client.get(url, 10).await, Err(Fault::NotAllowed)), "{url}");
        }
        for url in ["file:///etc/passwd", "gopher://x", "nonsense", ""] {
            assert!(matches!(client.get(url, 10).await, Err(Fault::Address)), "{url}");
        }
        // Named in the settings: dialled, though nobody is there.
        assert!(matches!(client.get("http://127.0.0.1:1/", 10).await, Err(Fault::Unreachable(_))));
        assert!(matches!(client.get("http://localhost:1/", 10).await, Err(Fault::Unreachable(_))));
    }
}
