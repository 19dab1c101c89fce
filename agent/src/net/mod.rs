//! The way to the hub: name, proxy, TCP, TLS, and one HTTP exchange over it. Each step fails as itself, with a sentence
//! about what to do, because "connection failed" helps nobody behind a proxy.

pub mod door;
pub mod http;
mod proxy;
mod tls;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::http::Uri;
use roadstead_runtime::config::Env;
use roadstead_runtime::sockets::keep_alive;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

pub use proxy::Proxies;

use crate::{Error, Result};

/// Time for a name to resolve.
const NAME_LIMIT: Duration = Duration::from_secs(5);
/// Time for one address to answer.
const TCP_LIMIT: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// Time for TLS.
const TLS_LIMIT: Duration = Duration::from_secs(10);

/// A step on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// The address itself.
    Address,
    /// The name.
    Dns,
    /// The connection.
    Tcp,
    /// The egress proxy.
    Proxy,
    /// TLS.
    Tls,
    /// The exchange over it.
    Http,
    /// This machine's time.
    Clock,
}

impl Step {
    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Dns => "DNS",
            Self::Tcp => "TCP",
            Self::Proxy => "proxy",
            Self::Tls => "TLS",
            Self::Http => "HTTP",
            Self::Clock => "clock",
        }
    }
}

/// A broken step and its fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} failed: {detail}", .step.name())]
pub struct NetError {
    /// Which step.
    pub step: Step,
    /// What happened.
    pub detail: String,
    /// What to do about it, one sentence.
    pub fix: String,
}

impl NetError {
    fn new(step: Step, detail: impl fmt::Display, fix: impl Into<String>) -> Self {
        Self { step, detail: detail.to_string(), fix: fix.into() }
    }
}

/// Anything that can carry the hub's protocol.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for T {}

/// A connection to the hub.
pub type Connection = Box<dyn Io>;

/// How to get there: proxies and trusted authorities.
#[derive(Clone)]
pub struct Way {
    tls: Arc<ClientConfig>,
    proxies: Proxies,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("proxies", &self.proxies).finish_non_exhaustive()
    }
}

impl Way {
    /// With the system's authorities, a private one besides, and the proxies of the environment.
    pub fn new(ca_file: Option<&Path>, env: &dyn Env) -> Result<Self> {
        Ok(Self { tls: tls::config(ca_file)?, proxies: Proxies::from_env(env)? })
    }

    /// Connects to the host of an address.
    pub async fn connect(&self, uri: &Uri) -> Result<Connection, NetError> {
        let target = Target::of(uri)?;
        let mut connection: Connection = match self.proxies.for_target(&target) {
            Some(proxy) => self.through(proxy, &target).await?,
            None => Box::new(tcp(&target).await?),
        };
        if target.secure {
            connection = self.wrap(connection, &target).await?;
        }
        Ok(connection)
    }

    /// Whether an address is reached through a proxy, for messages.
    pub fn proxy_of(&self, uri: &Uri) -> Option<String> {
        let target = Target::of(uri).ok()?;
        self.proxies.for_target(&target).map(|proxy| proxy.target.to_string())
    }

    async fn through(&self, proxy: &proxy::Proxy, target: &Target) -> Result<Connection, NetError> {
        let fix = "check HTTPS_PROXY, or name the hub in NO_PROXY if it needs no proxy";
        let as_proxy =
            |error: NetError| NetError::new(Step::Proxy, format!("{} ({})", error.detail, proxy.target), fix);
        let mut connection: Connection = Box::new(tcp(&proxy.target).await.map_err(as_proxy)?);
        if proxy.target.secure {
            connection = self.wrap(connection, &proxy.target).await.map_err(as_proxy)?;
        }
        proxy.open(connection, target).await.map_err(as_proxy)
    }

    async fn wrap(&self, connection: Connection, target: &Target) -> Result<Connection, NetError> {
        let name = rustls_pki_types::ServerName::try_from(target.host.clone())
            .map_err(|_| NetError::new(Step::Tls, format!("{} is not a host name", target.host), "check --hub"))?;
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&self.tls));
        let shaken = tokio::time::timeout(TLS_LIMIT, connector.connect(name, connection)).await;
        match shaken {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(tls::judge(&error, target)),
            Err(_) => Err(NetError::new(
                Step::Tls,
                format!("{target} did not answer the TLS handshake"),
                "check that the address is the hub's and that no firewall inspects it",
            )),
        }
    }
}

/// Host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether TLS comes on top.
    pub secure: bool,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Target {
    /// The host of an `http`, `https`, `ws` or `wss` address.
    pub fn of(uri: &Uri) -> Result<Self, NetError> {
        let wrong = |detail: &str| {
            NetError::new(Step::Address, format!("{uri}: {detail}"), "give --hub as https://host[:port]")
        };
        let secure = match uri.scheme_str() {
            Some("https" | "wss") => true,
            Some("http" | "ws") => false,
            _ => return Err(wrong("not an http or https address")),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Ok(Self { host, port, secure })
    }

    /// Whether it is this machine.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

async fn tcp(target: &Target) -> Result<TcpStream, NetError> {
    let resolved = tokio::time::timeout(NAME_LIMIT, tokio::net::lookup_host((target.host.as_str(), target.port))).await;
    let dns = |detail: String| {
        NetError::new(Step::Dns, detail, "check the host name in --hub and that this machine's name server knows it")
    };
    let addresses: Vec<SocketAddr> = match resolved {
        Ok(Ok(addresses)) => addresses.take(ADDRESSES_MAX).collect(),
        Ok(Err(error)) => return Err(dns(format!("{} does not resolve: {error}", target.host))),
        Err(_) => return Err(dns(format!("{} did not resolve within {} s", target.host, NAME_LIMIT.as_secs()))),
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
    for address in addresses {
        match tokio::time::timeout(TCP_LIMIT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Frames are written when they are whole; waiting for more would only delay them.
                let _ = stream.set_nodelay(true);
                let _ = keep_alive(&stream);
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "no answer"),
        }
    }
    let fix = match last.kind() {
        io::ErrorKind::ConnectionRefused => "check the port in --hub and that the hub is running",
        _ => "check that a firewall lets this machine out to the hub, or set HTTPS_PROXY",
    };
    Err(NetError::new(Step::Tcp, format!("{target} cannot be reached: {last}"), fix))
}

/// For callers that already have an error of the agent.
pub(crate) fn parse_uri(text: &str) -> Result<Uri> {
    text.parse().map_err(|_| {
        Error::Net(NetError::new(
            Step::Address,
            format!("{text} is not an address"),
            "give --hub as https://host[:port]",
        ))
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[test]
    fn targets_of_addresses() {
        let of = |text: &str| Target::of(&text.parse().unwrap()).map(|target| (target.to_string(), target.secure));
        assert_eq!(of("https://hub.example").unwrap(), ("hub.example:443".to_owned(), true));
        assert_eq!(of("ws://127.0.0.1:8007/x").unwrap(), ("127.0.0.1:8007".to_owned(), false));
        assert_eq!(of("https://[::1]:8443").unwrap(), ("[::1]:8443".to_owned(), true));
        assert!(of("ftp://hub.example").is_err() && of("/path").is_err());
    }

    async fn secure(way: &Way, address: SocketAddr) -> Step {
        way.connect(&format!("https://{address}").parse().unwrap()).await.err().unwrap().step
    }

    #[tokio::test]
    async fn each_step_fails_as_itself() {
        let way = Way::new(None, &roadstead_runtime::config::MapEnv::default()).unwrap();
        let step = async |text: &str| match way.connect(&text.parse().unwrap()).await {
            Ok(_) => panic!("{text} connected"),
            Err(error) => error.step,
        };
        assert_eq!(step("http://no-such-host.invalid:1").await, Step::Dns);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        assert!(way.connect(&format!("http://{open}").parse().unwrap()).await.is_ok());
        let plain = async {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            }
        };
        let (failed, ()) = tokio::join!(secure(&way, open), plain);
        assert_eq!(failed, Step::Tls);
        assert_eq!(step("http://127.0.0.1:1").await, Step::Tcp);
        let proxied =
            Way::new(None, &roadstead_runtime::config::MapEnv::new([("HTTPS_PROXY", "http://127.0.0.1:1")])).unwrap();
        let error = proxied.connect(&"https://hub.example".parse().unwrap()).await.err().unwrap();
        assert_eq!(error.step, Step::Proxy);
    }
}
