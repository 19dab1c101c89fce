//! The address that a caller named: read strictly, in one spelling (reliability rows S01 to S03, S05). What a resolver
//! would read otherwise than a person (`0x7f.1`, `2130706433`, `①②⑦.0.0.1`) is no address here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use roadstead_contracts::{Code, Error, Result};

use super::Policy;

/// Longest address: hosts have 253 bytes, and paths of clusters behind other proxies are short.
const URL_MAX: usize = 1_024;
/// Longest name (RFC 1035 §2.3.4).
const NAME_MAX: usize = 253;
/// Ports of protocols that could be talked into something by a line of HTTP or TLS. Nobody serves HTTPS there.
const NEVER_HTTPS: [u16; 21] =
    [21, 22, 23, 25, 53, 110, 111, 135, 139, 143, 445, 465, 587, 993, 995, 1433, 3306, 5432, 5672, 6379, 11211];
/// Names under which clouds serve credentials to whoever asks.
const METADATA_NAMES: [&str; 5] =
    ["metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"];

/// Where a caller wants the hub to dial, over HTTPS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    host: Host,
    port: u16,
    path: String,
}

/// A host in the one spelling that has one meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A literal address.
    Address(IpAddr),
    /// A name, lower case, whose last label has a letter.
    Name(String),
}

impl Target {
    /// Reads `https://host[:port][/path]`. `location` is the field's, for the error.
    pub fn parse(text: &str, location: &[&str]) -> Result<Self> {
        read(text).map_err(|why| Error::field(location, "value_error", why))
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(IpAddr::V6(six)) => write!(f, "https://[{six}]")?,
            Host::Address(IpAddr::V4(four)) => write!(f, "https://{four}")?,
            Host::Name(name) => write!(f, "https://{name}")?,
        }
        if self.port != 443 {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.path)
    }
}

impl Policy {
    /// Checks what can be known before anything is resolved. Names are checked again when they are dialled.
    pub fn check_target(&self, target: &Target) -> Result<()> {
        match &target.host {
            Host::Address(address) => self.check_address(*address),
            Host::Name(name) if METADATA_NAMES.contains(&name.as_str()) => Err(Error::of(Code::AddressNotAllowed)),
            Host::Name(name) if name == "localhost" || name.ends_with(".localhost") => {
                self.check_address(IpAddr::V4(Ipv4Addr::LOCALHOST))
            }
            Host::Name(_) => Ok(()),
        }
    }
}

fn read(text: &str) -> Result<Target, &'static str> {
    const SHAPE: &str = "must be https://host, with a port and a path where they are needed and nothing else";
    if text.len() > URL_MAX {
        return Err("is too long");
    }
    let rest = text
        .get(..8)
        .filter(|scheme| scheme.eq_ignore_ascii_case("https://"))
        .and_then(|_| text.get(8..))
        .ok_or("must begin with https://")?;
    if !rest.bytes().all(|byte| byte.is_ascii_graphic()) || rest.contains(['@', '#', '?', '\\', '%', '"', '<', '>']) {
        return Err(SHAPE);
    }
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let path = path.trim_end_matches('/');
    if path.contains("//") || path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(SHAPE);
    }
    let (host, port) = split_port(authority).ok_or(SHAPE)?;
    let host = host_of(host).ok_or("names no host in its plain spelling")?;
    if port == 0 || NEVER_HTTPS.contains(&port) {
        return Err("names a port at which no cluster's API is served");
    }
    Ok(Target { host, port, path: path.to_owned() })
}

fn split_port(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let plain = |port: &str| (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = match port {
        None => 443,
        Some(port) if plain(port) => port.parse().ok()?,
        Some(_) => return None,
    };
    Some((host, port))
}

fn host_of(text: &str) -> Option<Host> {
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().ok().map(|six| Host::Address(IpAddr::V6(six)));
    }
    // The standard library reads dotted decimals without leading zeroes only.
    if let Ok(four) = text.parse::<Ipv4Addr>() {
        return Some(Host::Address(IpAddr::V4(four)));
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    // What looks like a number is read as one by some resolvers.
    let numeric = last.starts_with("0x") || !last.bytes().any(|byte| byte.is_ascii_alphabetic());
    (name.len() <= NAME_MAX && name.split('.').all(label) && !numeric).then_some(Host::Name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(policy: &Policy, text: &str) -> Option<Code> {
        Target::parse(text, &["body", "server"]).and_then(|target| policy.check_target(&target)).err().map(|e| e.code)
    }

    #[test]
    fn one_spelling_goes_in_and_out() {
        for (text, shown) in [
            ("https://k8s-api.example.com:6443", "https://k8s-api.example.com:6443"),
            ("HTTPS://K8S.Example.com.:443/", "https://k8s.example.com"),
            ("https://10.1.2.3", "https://10.1.2.3"),
            ("https://[2001:db8::1]:6443/k8s/clusters/c-1", "https://[2001:db8::1]:6443/k8s/clusters/c-1"),
        ] {
            assert_eq!(Target::parse(text, &[]).unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn s01_other_schemes_and_parts_are_refused() {
        for text in [
            "http://a.example",
            "file:///etc/passwd",
            "gopher://a.example",
            "unix:///run/x",
            "https://",
            "https://:6443",
            "https:///x",
            "https://u:p@a.example",
            "https://a.example@evil.example",
            "https://a.example/#x",
            "https://a.example?x=1",
            "https://a.example\\@evil",
            "https://a.example /",
            "https://a.example:0x1bb",
            "https://a.example:99999",
            "https://a.example:",
            "https://a.example/a/../b",
            "https://a.example/%2e",
            "a.example",
            "",
        ] {
            assert_eq!(code(&Policy::embedded(), text), Some(Code::Validation), "{text:?}");
        }
    }

    #[test]
    fn s02_places_that_nobody_may_name() {
        for text in [
            "https://169.254.169.254",
            "https://[fd00:ec2::254]",
            "https://100.100.100.200",
            "https://metadata.google.internal",
            "https://METADATA",
            "https://metadata.google.internal.",
            "https://0.0.0.0",
            "https://[::ffff:169.254.169.254]",
        ] {
            for policy in [Policy::embedded(), Policy::mesh()] {
                assert_eq!(code(&policy, text), Some(Code::AddressNotAllowed), "{text}");
            }
        }
        for text in ["https://127.0.0.1:6443", "https://localhost:6443", "https://[::1]", "https://x.localhost"] {
            assert_eq!(code(&Policy::embedded(), text), None, "{text}");
            assert_eq!(code(&Policy::mesh(), text), Some(Code::AddressNotAllowed), "{text}");
        }
        assert_eq!(code(&Policy::mesh(), "https://10.0.0.1:6443"), None);
    }

    #[test]
    fn s03_numbers_in_disguise_are_no_hosts() {
        for host in
            ["2130706433", "0x7f.1", "0177.1", "127.1", "0x7f000001", "①②⑦.0.0.1", "1.2.3.4.5", "[::1%25eth0]", "[::1"]
        {
            assert_eq!(code(&Policy::embedded(), &format!("https://{host}")), Some(Code::Validation), "{host}");
        }
    }

    #[test]
    fn s05_ports_of_other_protocols() {
        for port in [22, 25, 5672, 6379, 0] {
            assert_eq!(
                code(&Policy::embedded(), &format!("https://10.0.0.1:{port}")),
                Some(Code::Validation),
                "{port}"
            );
        }
    }
}
