//! Egress proxies as curl and Go read them from the environment.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use http::Uri;
use ipnet::IpNet;
use roadstead_runtime::Secret;
use roadstead_runtime::config::Env;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Connection, NetError, Step, Target};
use crate::{Error, Result};

/// Longest answer of a proxy.
const ANSWER_MAX: usize = 8 * 1024;
/// Time for a proxy to connect.
const LIMIT: Duration = Duration::from_secs(15);

/// A proxy that speaks CONNECT.
#[derive(Debug, Clone)]
pub(super) struct Proxy {
    pub(super) target: Target,
    credential: Option<Secret>,
}

/// The proxies of an environment.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    secure: Option<Proxy>,
    plain: Option<Proxy>,
    exceptions: Vec<Exception>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Exception {
    Everything,
    Network(IpNet),
    /// A name and all below it.
    Name(String, Option<u16>),
}

impl Proxies {
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in either case; `HTTP_PROXY` is what CGI servers let
    /// clients set, so it counts only in lower case there.
    pub fn from_env(env: &dyn Env) -> Result<Self> {
        let first = |names: &[&str]| names.iter().find_map(|name| env.var(name).filter(|value| !value.is_empty()));
        let http =
            if env.var("REQUEST_METHOD").is_some() { &["http_proxy"][..] } else { &["http_proxy", "HTTP_PROXY"][..] };
        let all = first(&["ALL_PROXY", "all_proxy"]);
        let read = |value: Option<String>| value.or_else(|| all.clone()).map(|text| Proxy::parse(&text)).transpose();
        Ok(Self {
            secure: read(first(&["HTTPS_PROXY", "https_proxy"]))?,
            plain: read(first(http))?,
            exceptions: first(&["NO_PROXY", "no_proxy"]).map(|text| exceptions(&text)).unwrap_or_default(),
        })
    }

    /// The proxy for a target, if one is needed. This machine never is.
    pub(super) fn for_target(&self, target: &Target) -> Option<&Proxy> {
        let proxy = if target.secure { self.secure.as_ref() } else { self.plain.as_ref() }?;
        let direct = target.is_loopback() || self.exceptions.iter().any(|exception| exception.covers(target));
        (!direct).then_some(proxy)
    }
}

fn exceptions(text: &str) -> Vec<Exception> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(Exception::parse).collect()
}

impl Exception {
    fn parse(entry: &str) -> Self {
        if entry == "*" {
            return Self::Everything;
        }
        let address = entry.trim_start_matches('[').trim_end_matches(']');
        if let Ok(network) = address.parse::<IpNet>() {
            return Self::Network(network);
        }
        if let Ok(address) = address.parse::<IpAddr>() {
            return Self::Network(address.into());
        }
        let (name, port) = match entry.rsplit_once(':') {
            Some((name, port)) => (name, port.parse().ok()),
            None => (entry, None),
        };
        Self::Name(name.trim_start_matches("*.").trim_start_matches('.').to_ascii_lowercase(), port)
    }

    fn covers(&self, target: &Target) -> bool {
        match self {
            Self::Everything => true,
            Self::Network(network) => target.host.parse::<IpAddr>().is_ok_and(|address| network.contains(&address)),
            Self::Name(name, port) => {
                let host = target.host.to_ascii_lowercase();
                let below = host.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
                below && port.is_none_or(|port| port == target.port)
            }
        }
    }
}

impl Proxy {
    fn parse(text: &str) -> Result<Self> {
        let wrong = || Error::Settings("HTTPS_PROXY must be http://[user:password@]host:port".to_owned());
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let target = Target::of(&uri).map_err(|_| wrong())?;
        let user = uri.authority().and_then(|authority| authority.as_str().rsplit_once('@')).map(|(user, _)| user);
        let credential = user.map(|user| Secret::new(unescape(user)));
        Ok(Self { target, credential })
    }

    /// Asks for a connection to the target (RFC 9110 §9.3.6).
    pub(super) async fn open(&self, mut connection: Connection, target: &Target) -> Result<Connection, NetError> {
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some(credential) = &self.credential {
            let encoded = base64::engine::general_purpose::STANDARD.encode(credential.expose());
            request = request + "Proxy-Authorization: Basic " + &encoded + "\r\n";
        }
        request.push_str("\r\n");
        let failed = |detail: String| NetError::new(Step::Proxy, detail, "");
        let exchange = async {
            connection.write_all(request.as_bytes()).await?;
            connection.flush().await?;
            let mut answer = Vec::new();
            // The target speaks only after us, so nothing but the answer's head can be there.
            while !answer.ends_with(b"\r\n\r\n") {
                if answer.len() >= ANSWER_MAX {
                    return Err(std::io::Error::other("its answer is too long"));
                }
                answer.push(connection.read_u8().await?);
            }
            Ok(answer)
        };
        let answer = match tokio::time::timeout(LIMIT, exchange).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(failed(format!("it hung up: {error}"))),
            Err(_) => return Err(failed("it did not answer in time".to_owned())),
        };
        let status = answer.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        match status {
            [b'2', ..] => Ok(connection),
            b"407" => Err(failed("it wants a user and password".to_owned())),
            other => Err(failed(format!("it refused to connect to {target} with {}", String::from_utf8_lossy(other)))),
        }
    }
}

/// Percent-decodes a user and password.
fn unescape(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let code = after.split_at_checked(2).filter(|_| *byte == b'%');
        let decoded = code.and_then(|(code, after)| {
            let code =
                std::str::from_utf8(code).ok().filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
            Some((u8::from_str_radix(code, 16).ok()?, after))
        });
        let (byte, after) = decoded.unwrap_or((*byte, after));
        out.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use roadstead_runtime::config::MapEnv;

    use super::*;

    fn uses(env: &MapEnv, url: &str) -> bool {
        let target = Target::of(&url.parse().unwrap()).unwrap();
        Proxies::from_env(env).unwrap().for_target(&target).is_some()
    }

    #[test]
    fn the_environment_decides() {
        let env = MapEnv::new([
            ("HTTPS_PROXY", "http://user:p%40ss@proxy.corp:3128"),
            ("NO_PROXY", ".internal.example, 10.0.0.0/8,192.0.2.7,hub.other:8443"),
        ]);
        for url in ["https://hub.example", "https://8.8.8.8", "https://notinternal.example", "https://hub.other:443"] {
            assert!(uses(&env, url), "{url}");
        }
        for url in [
            "https://a.internal.example",
            "https://internal.example",
            "https://10.1.2.3",
            "https://192.0.2.7",
            "https://hub.other:8443",
            "https://localhost",
            "https://127.0.0.1:8443",
            "https://[::1]",
            // No HTTP_PROXY.
            "http://hub.example",
        ] {
            assert!(!uses(&env, url), "{url}");
        }
        assert!(!uses(&env.clone().with("NO_PROXY", "*"), "https://hub.example"));
        assert!(uses(&MapEnv::new([("all_proxy", "proxy:1")]), "http://hub.example"));
        assert!(Proxies::from_env(&MapEnv::new([("HTTPS_PROXY", "socks5://x:1")])).is_err());
    }

    #[test]
    fn passwords_are_read_and_not_shown() {
        let proxies = Proxies::from_env(&MapEnv::new([("HTTPS_PROXY", "http://user:p%40ss@proxy:1")])).unwrap();
        let credential = proxies.secure.clone().unwrap().credential.unwrap();
        assert_eq!(credential.expose(), "user:p@ss");
        assert!(!format!("{proxies:?}").contains("p@ss") && !format!("{proxies:?}").contains("p%40ss"));
    }
}
