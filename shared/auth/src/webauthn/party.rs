//! Who the hub is to browsers: one name, one origin.

use sha2::{Digest as _, Sha256};

/// Longest name of a host (RFC 1035 §2.3.4).
const HOST_MAX: usize = 253;
/// The one host that browsers trust without TLS by its name.
const LOCAL: &str = "localhost";

/// A relying party: keys that are made for it answer to it alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    id: String,
    origin: String,
    id_hash: [u8; 32],
}

impl Party {
    /// The relying party of a hub at this address. `None` where browsers let there be none: it takes TLS and a name, or
    /// `localhost`; an IP address is no name.
    pub fn at(public_url: &str) -> Option<Self> {
        let (scheme, rest) = public_url.split_once("://")?;
        let usual = match scheme {
            "https" => "443",
            "http" => "80",
            _ => return None,
        };
        let authority = rest.split(['/', '?', '#']).next()?.to_ascii_lowercase();
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port).filter(|port| *port != usual)),
            None => (authority.as_str(), None),
        };
        let local = host == LOCAL;
        if !(is_name(host) && (scheme == "https" || local)) {
            return None;
        }
        let port = match port {
            Some(port) => format!(":{}", port.parse::<u16>().ok().filter(|number| number.to_string() == port)?),
            None => String::new(),
        };
        let origin = format!("{scheme}://{host}{port}");
        Some(Self { id: host.to_owned(), origin, id_hash: Sha256::digest(host).into() })
    }

    /// The name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where its pages are.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    pub(super) fn id_hash(&self) -> &[u8] {
        &self.id_hash
    }
}

/// Names as browsers write them in an origin: ASCII, and no address, whose last label would be a number.
fn is_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    host.len() <= HOST_MAX && host.split('.').all(label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_tls_and_a_name_or_this_machine() {
        for (url, id, origin) in [
            ("https://hub.example", "hub.example", "https://hub.example"),
            ("https://Hub.Example/", "hub.example", "https://hub.example"),
            ("https://hub.example:443/x?y", "hub.example", "https://hub.example"),
            ("https://hub.example:8443", "hub.example", "https://hub.example:8443"),
            ("https://hub-2.example", "hub-2.example", "https://hub-2.example"),
            ("http://localhost:8008", "localhost", "http://localhost:8008"),
            ("http://localhost:80/", "localhost", "http://localhost"),
            ("https://localhost", "localhost", "https://localhost"),
        ] {
            let party = Party::at(url).unwrap();
            assert_eq!((party.id(), party.origin()), (id, origin), "{url}");
        }
        for odd in [
            "",
            "hub.example",
            "http://hub.example",
            "http://hub.localhost",
            "http://127.0.0.1:8008",
            "https://192.0.2.1",
            "https://[::1]",
            "https://user@hub.example",
            "https://hub.example:0x1bb",
            "https://hub.example:",
            "https://hub.example:08443",
            "https://hub..example",
            "https://hub.example.",
            "https://",
            "https://hüb.example",
            "ftp://hub.example",
        ] {
            assert_eq!(Party::at(odd), None, "{odd}");
        }
    }
}
