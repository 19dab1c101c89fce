//! Connections to an address that a caller of the hub named: each address that its name has is checked when it is dialled, and
//! whoever waits learns nothing of what listens there (reliability rows S02, S05).

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_util::client::legacy::connect::dns::Name;
use roadstead_runtime::outgoing::Policy;
use tokio::time::{Instant, sleep_until, timeout_at};
use tower::{BoxError, Service};

/// How long a connection with its TLS may take, and how long every one that fails takes: a port that is closed, one that says
/// nothing and one that speaks something else look alike.
const DIAL_LIMIT: Duration = Duration::from_secs(3);
/// Most addresses of a name that are looked at.
const ADDRESSES_MAX: usize = 16;

/// Resolves names; with a policy, to addresses that may be dialled.
#[derive(Debug, Clone)]
pub(crate) struct Resolver(pub(crate) Option<Arc<Policy>>);

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let policy = self.0.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.take(ADDRESSES_MAX).collect();
            if let Some(policy) = policy {
                // One bad address makes the name bad: it would only be asked for again until the bad one comes first.
                for address in &found {
                    policy.check_address(address.ip()).map_err(|_| io::ErrorKind::PermissionDenied)?;
                }
            }
            Ok(found.into_iter())
        })
    }
}

/// A connector whose failures all take as long.
#[derive(Debug, Clone)]
pub(crate) struct Even<C> {
    connector: C,
    on: bool,
}

impl<C> Even<C> {
    /// Makes failures even, or leaves the connector as it is.
    pub(crate) fn new(connector: C, on: bool) -> Self {
        Self { connector, on }
    }
}

impl<C> Service<Uri> for Even<C>
where
    C: Service<Uri> + Send,
    C::Response: Send + 'static,
    C::Error: Into<BoxError>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialling = self.connector.call(uri);
        if !self.on {
            return Box::pin(async move { dialling.await.map_err(Into::into) });
        }
        Box::pin(async move {
            let until = Instant::now() + DIAL_LIMIT;
            let dialled = timeout_at(until, async { dialling.await.map_err(Into::<BoxError>::into) }).await;
            match dialled {
                Ok(Ok(connection)) => Ok(connection),
                Ok(Err(fault)) => {
                    tracing::debug!("an address that a caller named was not reached: {fault:?}");
                    sleep_until(until).await;
                    Err(UNREACHED.into())
                }
                Err(_) => Err(UNREACHED.into()),
            }
        })
    }
}

/// What every failure says.
const UNREACHED: &str = "no API server is reached there";

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn s02_a_name_cannot_hide_an_address() {
        let ask = |policy: Option<Policy>| {
            let mut resolver = Resolver(policy.map(Arc::new));
            async move { resolver.call("localhost".parse().unwrap()).await.map(|found| found.len()) }
        };
        assert_eq!(ask(Some(Policy::mesh())).await.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert!(ask(Some(Policy::embedded())).await.unwrap() > 0);
        assert!(ask(None).await.unwrap() > 0);
    }

    #[tokio::test]
    async fn s05_open_closed_and_silent_ports_look_alike() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ports = [silent.local_addr().unwrap().port(), closed.local_addr().unwrap().port()];
        drop(closed);
        let dial = |port: u16, after: Duration| async move {
            let began = Instant::now();
            // What a connector makes of the port: nothing within the limit, or a refusal at once.
            let mut even = Even::new(
                tower::service_fn(move |_: Uri| async move {
                    let connected = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
                    tokio::time::sleep(after).await;
                    drop(connected);
                    Err::<(), io::Error>(io::ErrorKind::InvalidData.into())
                }),
                true,
            );
            let fault = even.call(Uri::from_static("https://x")).await.unwrap_err();
            (fault.to_string(), began.elapsed())
        };
        let (open, shut, hung) = tokio::join!(
            dial(ports[0], Duration::ZERO),
            dial(ports[1], Duration::ZERO),
            dial(ports[0], DIAL_LIMIT * 2)
        );
        for (text, took) in [&open, &shut, &hung] {
            assert_eq!(text, UNREACHED);
            assert!(*took >= DIAL_LIMIT, "{took:?}");
        }
    }
}
