//! Routes that the user service answers: passwords, sessions, keys and tokens go to it over HTTP, never over a queue.

use actix_web::HttpRequest;
use actix_web::http::Method;
use roadstead_contracts::{Code, Error};
use roadstead_http_kit::{Access, ApiResult, Body, RateClass, RequestContext, Routes};

use super::State;
use crate::app::left;

/// Prefixes with everything below, and their class.
const BELOW: &[(&str, RateClass)] = &[
    ("/api/v1/auth", RateClass::Api),
    ("/api/v1/service-accounts", RateClass::Api),
    ("/api/v1/audit", RateClass::Api),
    ("/api/v1/policies", RateClass::Api),
    ("/api/v1/access-requests", RateClass::Api),
    ("/auth", RateClass::Seed),
    ("/api/v1.0/auth", RateClass::Seed),
    ("/users", RateClass::Seed),
    ("/api/v1.0/users", RateClass::Seed),
    ("/api-keys", RateClass::Seed),
    ("/license", RateClass::Seed),
    ("/api/v1.0/license", RateClass::Seed),
    ("/api/v1.0/api-keys", RateClass::Seed),
];
/// The key set.
const KEY_SET: &str = "/.well-known/jwks.json";
const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

pub(super) fn add(mut routes: Routes) -> Routes {
    for &(prefix, class) in BELOW {
        let below = format!("{prefix}/{{tail:.*}}");
        for path in [prefix, below.as_str()] {
            for method in METHODS {
                routes = routes.add(method, path, Access::Delegated, class, forward);
            }
        }
    }
    routes.add(Method::GET, KEY_SET, Access::Public, RateClass::Api, forward)
}

async fn forward(app: State, request: HttpRequest, context: RequestContext, body: Body) -> ApiResult {
    let sent = app.forward.send(&request, &context, body);
    // A log-in's way back asks its provider, and a change must not be left half-way.
    if request.method() != Method::GET || request.path().contains("/oidc/") {
        return sent.await;
    }
    let read = tokio::time::timeout(left(context.began.elapsed()), sent).await;
    read.unwrap_or_else(|_| Err(Error::of(Code::Timeout).into()))
}
