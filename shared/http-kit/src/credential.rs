//! What a caller shows, and who it is.

use std::future::{Ready, ready};
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use async_trait::async_trait;
use roadstead_contracts::identity::Principal;
use roadstead_contracts::message::CredentialProof;
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::Secret;

use crate::{ApiFailure, RequestContext, cookie};

/// Longest credential that is looked at: our access tokens have some 700 bytes.
const CREDENTIAL_MAX: usize = 8 * 1024;

/// What a caller showed. The text is checked by the [`Authenticator`] only.
#[derive(Debug, Clone)]
pub enum Credential {
    /// `X-API-Key`, or a bearer that has the form of an API key.
    ApiKey(Secret),
    /// `Authorization: Bearer`.
    Bearer(Secret),
}

/// A caller whose credential is good. An extractor on every route that is not public.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who it is.
    pub principal: Arc<Principal>,
    /// What proved it, as it may be said to other services.
    pub proof: Arc<CredentialProof>,
}

impl Caller {
    /// Refuses a credential that is held to less than its account: with it nobody makes another that is held to more.
    pub fn whole(&self) -> Result<()> {
        let words = "an API key with a scope cannot change accounts or credentials";
        if self.principal.scope.is_some() { Err(Error::new(Code::Escalation, words)) } else { Ok(()) }
    }
}

/// Knows whose a credential is.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// The answer when it is at hand: such a credential is not held up by other callers' failures from its address.
    fn known(&self, _credential: &Credential) -> Option<Caller> {
        None
    }

    /// Whose credential this is; [`Code::InvalidCredential`] when nobody's.
    async fn authenticate(&self, credential: &Credential, context: &RequestContext) -> Result<Caller>;
}

impl FromRequest for Caller {
    type Error = ApiFailure;
    type Future = Ready<Result<Self, ApiFailure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // The gate of the route puts it there; on a public route there is none.
        ready(request.extensions().get::<Self>().cloned().ok_or_else(|| refuse_missing(request.path()).into()))
    }
}

/// Whether anything that could be a credential was sent in a header of its own.
pub(crate) fn in_header(headers: &HeaderMap) -> bool {
    headers.contains_key("x-api-key") || headers.contains_key(AUTHORIZATION)
}

/// The session of a browser: its cookie holds an access token. A credential in a header takes its place, because only a
/// program of ours sends one, and browsers add cookies by themselves.
pub(crate) fn of_browser(headers: &HeaderMap, forwarded: bool) -> Option<Credential> {
    if in_header(headers) {
        return None;
    }
    let names = if forwarded { cookie::Names::Both } else { cookie::Names::ByHost };
    cookie::read(headers, cookie::SESSION, names).map(Credential::Bearer)
}

/// Reads the credential of a request. More than one of them is none (reliability rows A02, A09): a proxy and we could
/// disagree about which one counts.
pub(crate) fn read(headers: &HeaderMap, path: &str) -> Result<Credential> {
    let keys: Vec<_> = headers.get_all("x-api-key").collect();
    let bearers: Vec<_> = headers.get_all(AUTHORIZATION).collect();
    match (keys.as_slice(), bearers.as_slice()) {
        ([], []) => Err(refuse_missing(path)),
        ([key], []) => {
            let key = key.to_str().ok().filter(|text| (1..=CREDENTIAL_MAX).contains(&text.len()));
            key.map(|text| Credential::ApiKey(Secret::new(text))).ok_or_else(|| refuse_api_key(path))
        }
        ([], [bearer]) => {
            let text = bearer.to_str().ok().filter(|text| text.len() <= CREDENTIAL_MAX);
            let token = text
                .and_then(|text| text.split_once(' '))
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                .map(|(_, token)| token.trim_matches(' '))
                .filter(|token| !token.is_empty() && !token.contains(' '));
            let Some(token) = token else { return Err(refuse_scheme(path)) };
            let secret = Secret::new(token);
            let is_key = ["rsk_", "ks_"].iter().any(|prefix| token.starts_with(prefix));
            Ok(if is_key { Credential::ApiKey(secret) } else { Credential::Bearer(secret) })
        }
        _ => Err(Error::new(Code::InvalidCredential, "exactly one credential is expected")),
    }
}

fn under_v1(path: &str) -> bool {
    path.starts_with("/api/v1/")
}

/// No credential: in the words of the seed whose prefix it is.
pub(crate) fn refuse_missing(path: &str) -> Error {
    let words = if under_v1(path) { "Authorization header is required" } else { "Not authenticated" };
    Error::new(Code::Unauthenticated, words)
}

fn refuse_scheme(path: &str) -> Error {
    let words = if under_v1(path) { "authorization header must start with 'Bearer '" } else { "Authentication failed" };
    Error::new(Code::InvalidCredential, words)
}

fn refuse_api_key(path: &str) -> Error {
    let words = if under_v1(path) { "Invalid API key" } else { "Authentication failed" };
    Error::new(Code::InvalidCredential, words)
}

/// A credential that is nobody's, in the words of the seed whose prefix it is.
pub(crate) fn refuse_unknown(path: &str, credential: &Credential) -> Error {
    match credential {
        Credential::ApiKey(_) => refuse_api_key(path),
        Credential::Bearer(_) if under_v1(path) => Error::new(Code::InvalidCredential, "Invalid token"),
        Credential::Bearer(_) => Error::new(Code::InvalidCredential, "Authentication failed"),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn read_pairs(pairs: &[(&str, &str)]) -> Result<Credential> {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        read(&map, "/api/v1/clusters")
    }

    #[test]
    fn both_forms_are_read() {
        assert!(
            matches!(read_pairs(&[("x-api-key", "rsk_1")]), Ok(Credential::ApiKey(key)) if key.expose() == "rsk_1")
        );
        assert!(matches!(read_pairs(&[("authorization", "bEARER a.b.c")]), Ok(Credential::Bearer(_))));
        assert!(matches!(read_pairs(&[("authorization", "Bearer rsk_1")]), Ok(Credential::ApiKey(_))));
    }

    #[test]
    fn malformed_and_doubled_credentials_are_refused() {
        let long = format!("Bearer {}", "x".repeat(64 * 1024));
        for pairs in [
            &[("authorization", "Bearer")][..],
            &[("authorization", "Bearer ")],
            &[("authorization", "")],
            &[("authorization", "Basic YTpi")],
            &[("authorization", "Bearer a b")],
            &[("authorization", &long)],
            &[("x-api-key", "")],
            &[("x-api-key", "a"), ("x-api-key", "a")],
            &[("authorization", "Bearer a"), ("authorization", "Bearer a")],
            &[("x-api-key", "a"), ("authorization", "Bearer a")],
        ] {
            let error = read_pairs(pairs).unwrap_err();
            assert_eq!(error.code, Code::InvalidCredential, "{:?}", pairs[0].0);
        }
        assert_eq!(read_pairs(&[]).unwrap_err().detail, "Authorization header is required");
    }

    proptest! {
        #[test]
        fn short_bearers_do_not_panic(text in "[ -~]{0,60}") {
            let _ = read_pairs(&[("authorization", &text)]);
        }
    }
}
