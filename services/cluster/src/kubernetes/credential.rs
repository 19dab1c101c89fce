//! The credential of a request at the Kubernetes door: what kubectl, client libraries and browsers can send.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::Credential;
use roadstead_runtime::Secret;

use super::vet::BEARER_PROTOCOL;

/// Longest credential that is looked at: access tokens have some 700 bytes.
const CREDENTIAL_MAX: usize = 8 * 1024;
/// How API keys begin. Kubeconfigs carry only tokens, so a key comes as a bearer too.
const KEY_PREFIXES: [&str; 2] = ["rsk_", "ks_"];

/// Reads the one credential. More than one is none: the hub and whatever stands before it could disagree about which counts.
pub(crate) fn read(headers: &HeaderMap) -> Result<Credential> {
    let mut found = Vec::new();
    for key in headers.get_all("x-api-key") {
        found.push(text(key).map(|key| Credential::ApiKey(Secret::new(key)))?);
    }
    for value in headers.get_all(AUTHORIZATION) {
        let (scheme, token) = text(value)?.split_once(' ').ok_or_else(bad)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(bad());
        }
        found.push(bearer(token.trim_matches(' '))?);
    }
    for value in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        let words = value.to_str().map_err(|_| bad())?.split(',').map(str::trim);
        for encoded in words.filter_map(|word| word.strip_prefix(BEARER_PROTOCOL)) {
            let token = Some(encoded).filter(|text| text.len() <= CREDENTIAL_MAX).ok_or_else(bad)?;
            let token = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
            found.push(bearer(std::str::from_utf8(&token).map_err(|_| bad())?)?);
        }
    }
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(credential), None) => Ok(credential),
        (None, _) => Err(Code::Unauthenticated.into()),
        _ => Err(Error::new(Code::InvalidCredential, "exactly one credential is expected")),
    }
}

fn bad() -> Error {
    Code::InvalidCredential.into()
}

fn text(value: &HeaderValue) -> Result<&str> {
    value.to_str().ok().filter(|text| (1..=CREDENTIAL_MAX).contains(&text.len())).ok_or_else(bad)
}

fn bearer(token: &str) -> Result<Credential> {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(bad());
    }
    let secret = Secret::new(token);
    let key = KEY_PREFIXES.iter().any(|prefix| token.starts_with(prefix));
    Ok(if key { Credential::ApiKey(secret) } else { Credential::Bearer(secret) })
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

    use super::*;

    fn read_pairs(pairs: &[(&str, &str)]) -> Result<Credential> {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        read(&map)
    }

    #[test]
    fn kubectl_and_browsers_are_understood() {
        let key = |pairs: &[(&str, &str)]| matches!(read_pairs(pairs), Ok(Credential::ApiKey(key)) if key.expose() == "rsk_1");
        assert!(key(&[("x-api-key", "rsk_1")]));
        assert!(key(&[("authorization", "Bearer rsk_1")]));
        let protocol = format!("v5.channel.k8s.io, {BEARER_PROTOCOL}{}", URL_SAFE_NO_PAD.encode("rsk_1"));
        assert!(key(&[("sec-websocket-protocol", &protocol)]));
        assert!(matches!(read_pairs(&[("authorization", "bearer a.b.c")]), Ok(Credential::Bearer(_))));
    }

    #[test]
    fn one_credential_or_none() {
        for pairs in [
            &[("authorization", "Basic YTpi")][..],
            &[("authorization", "Bearer")],
            &[("authorization", "Bearer ")],
            &[("authorization", "Bearer a b")],
            &[("x-api-key", "a"), ("authorization", "Bearer a")],
            &[("authorization", "Bearer a"), ("authorization", "Bearer a")],
            &[("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.!!")],
        ] {
            assert_eq!(read_pairs(pairs).unwrap_err().code, Code::InvalidCredential, "{pairs:?}");
        }
        assert_eq!(
            read_pairs(&[("sec-websocket-protocol", "v5.channel.k8s.io")]).unwrap_err().code,
            Code::Unauthenticated
        );
    }
}
