//! Addresses of servers: read from a URL, or built from parts so that any character may stand in a password.

use std::fmt::Write as _;

use roadstead_contracts::percent::escape;

use crate::Secret;

/// A URL with a server in it, taken apart and decoded.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) scheme: String,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// Without the first slash.
    pub(super) path: Option<String>,
    pub(super) query: Option<String>,
}

impl Address {
    /// Takes a URL apart. The error never repeats it: it holds a password.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let encode = "has a character that must be percent-encoded, most likely in the password (or set the parts, which need no encoding)";
        let (scheme, rest) =
            text.split_once("://").ok_or("must be a URL such as scheme://user:password@host:port/name")?;
        if rest
            .bytes()
            .any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control() || byte == b'#' || byte == b'\\')
        {
            return Err(encode.to_owned());
        }
        let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(authority_end);
        if tail.split('?').next().is_some_and(|path| path.contains('@')) || authority.matches('@').count() > 1 {
            return Err(encode.to_owned());
        }
        let (userinfo, server) = match authority.split_once('@') {
            Some((userinfo, server)) => (Some(userinfo), server),
            None => (None, authority),
        };
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (server, None),
        };
        if host.is_empty() {
            return Err("names no host".to_owned());
        }
        let port = match port {
            None | Some("") => None,
            // A password with a slash in it cuts the authority short and leaves its beginning where the port is.
            Some(port) => Some(port.parse().map_err(|_| format!("names a port that is none, or {encode}"))?),
        };
        let (user, password) = match userinfo.map(|userinfo| userinfo.split_once(':').unwrap_or((userinfo, ""))) {
            Some((user, password)) => {
                (Some(decode(user)?), (!password.is_empty()).then(|| decode(password)).transpose()?)
            }
            None => (None, None),
        };
        let (path, query) = match tail.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (tail, None),
        };
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            user: user.filter(|user| !user.is_empty()),
            password,
            host: host.to_owned(),
            port,
            path: path.strip_prefix('/').filter(|path| !path.is_empty()).map(decode).transpose()?,
            query,
        })
    }

    /// Builds the URL, everything encoded that could be misread.
    pub(super) fn build(&self) -> Secret {
        let mut text = format!("{}://", self.scheme);
        if self.user.is_some() || self.password.is_some() {
            text.push_str(&escape(self.user.as_deref().unwrap_or_default()));
            if let Some(password) = &self.password {
                let _ = write!(text, ":{}", escape(password));
            }
            text.push('@');
        }
        let bare_six = self.host.contains(':') && !self.host.starts_with('[');
        if bare_six {
            let _ = write!(text, "[{}]", self.host);
        } else {
            text.push_str(&self.host);
        }
        if let Some(port) = self.port {
            let _ = write!(text, ":{port}");
        }
        if let Some(path) = &self.path {
            let _ = write!(text, "/{}", escape(path));
        }
        if let Some(query) = &self.query {
            let _ = write!(text, "?{query}");
        }
        Secret::new(text)
    }
}

fn decode(text: &str) -> Result<String, String> {
    let fault = || "has a percent sign that begins no escape".to_owned();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).ok_or_else(fault);
            let value = digit(rest.next())? * 16 + digit(rest.next())?;
            bytes.push(u8::try_from(value).map_err(|_| fault())?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| fault())
}

/// Checks an address that is shown to people: `http` or `https`, a host, nothing else but a path.
pub(super) fn check_web(text: &str) -> Result<(), String> {
    let address = Address::parse(text)?;
    if !matches!(address.scheme.as_str(), "http" | "https") {
        return Err("must begin with http:// or https://".to_owned());
    }
    if address.user.is_some() || address.password.is_some() || address.query.is_some() {
        return Err("must hold no user, password or query".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_password_survives() {
        for password in ["p@s/w#?", "a:b", "50%", "ü ☃", "'\"\\", "[x]"] {
            let address = Address {
                scheme: "amqp".into(),
                user: Some("me".into()),
                password: Some(password.into()),
                host: "broker".into(),
                port: Some(5672),
                path: Some("/".into()),
                query: None,
            };
            let built = address.build();
            assert!(Address::parse(built.expose()).unwrap() == address, "{password}");
        }
    }

    #[test]
    fn raw_special_characters_are_refused_without_being_shown() {
        for url in [
            "amqp://u:p@s/w#?@host/",
            "amqp://u:pa/ss@host/",
            "amqp://u:p@ss@host/",
            "amqp://u:p#ss@host",
            "amqp://u:50%@host",
        ] {
            let fault = Address::parse(url).err().unwrap_or_else(|| panic!("{url} was taken"));
            assert!(!fault.contains("ss") || fault.contains("password"), "{fault}");
        }
    }

    #[test]
    fn six_is_bracketed() {
        let address = Address { scheme: "redis".into(), host: "fd00::1".into(), port: Some(1), ..Address::default() };
        assert_eq!(address.build().expose(), "redis://[fd00::1]:1");
        assert_eq!(Address::parse("redis://[fd00::1]").unwrap().host, "[fd00::1]");
    }
}
