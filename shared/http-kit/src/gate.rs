//! What stands before a route's handler: the quota and the right to call it. The row of the route table decides, so no
//! handler can forget it.

use std::sync::{Arc, OnceLock};

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, ResponseError};
use roadstead_contracts::{Code, Error, Result};

use crate::audit::{self, Auditor, Word};
use crate::credential::{self, Caller, Credential};
use crate::frame::method_label;
use crate::meter::RouteMetrics;
use crate::rate::{Counted, RateClass, RateHeaders};
use crate::{Access, ApiFailure, Front, RequestContext};

/// Count of failed credentials from one address; sized as the seeds' class.
const FAILURES: &str = "failures";

/// A route, as its gate sees it.
pub(crate) struct Here {
    pub(crate) front: Arc<Front>,
    pub(crate) template: String,
    pub(crate) access: Access,
    pub(crate) class: RateClass,
    /// Where its records go, and what they call it; nothing for a route that changes nothing.
    pub(crate) auditor: Option<Arc<dyn Auditor>>,
    pub(crate) word: Option<Word>,
    pub(crate) meters: Meters,
}

/// Counters of a route: its own method's, and those of HEAD where it is GET.
#[derive(Default)]
pub(crate) struct Meters {
    own: OnceLock<Arc<dyn RouteMetrics>>,
    head: OnceLock<Arc<dyn RouteMetrics>>,
}

impl Here {
    /// The counters for a request by this method.
    pub(crate) fn meter(&self, method: &'static str) -> &dyn RouteMetrics {
        let kept = if method == "HEAD" { &self.meters.head } else { &self.meters.own };
        kept.get_or_init(|| self.front.metrics.route(method, &self.template)).as_ref()
    }
}

/// The route a request reached: the frame counts and logs it by this. Asking the router again would match every route
/// again.
pub(crate) struct Reached(pub(crate) Arc<Here>);

pub(crate) async fn pass(
    here: Arc<Here>,
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> std::result::Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let _flight = Flight::enter(&here, &request);
    request.extensions_mut().insert(Reached(Arc::clone(&here)));
    let (headers, verdict) = judge(&here.front, here.access, here.class, &request).await;
    if let (Some(headers), Err(error)) = (&headers, &verdict)
        && error.code == Code::RateLimited
    {
        here.front.metrics.limited(headers.name);
    }
    let mut response = match (verdict, &here.word, &here.auditor) {
        (Ok(()), Some(word), Some(auditor)) if !word.elsewhere => {
            match audit::recorded(&here, auditor, word, request, next).await? {
                Ok(response) => response,
                Err((request, refusal)) => request.into_response(ApiFailure::from(refusal).error_response()),
            }
        }
        (Ok(()), ..) => next.call(request).await?,
        (Err(refusal), Some(word), _) => {
            let refusal = audit::refused(&here, word, &request, refusal).await;
            request.into_response(ApiFailure::from(refusal).error_response())
        }
        (Err(refusal), ..) => request.into_response(ApiFailure::from(refusal).error_response()),
    };
    if let Some(headers) = headers {
        headers.write(response.headers_mut());
    }
    Ok(response)
}

/// Counts the request in its route until it leaves, also when its client goes away.
struct Flight {
    here: Arc<Here>,
    method: &'static str,
}

impl Flight {
    fn enter(here: &Arc<Here>, request: &ServiceRequest) -> Self {
        let method = method_label(request.method());
        here.meter(method).entered();
        Self { here: Arc::clone(here), method }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.here.meter(self.method).left();
    }
}

async fn judge(
    front: &Front,
    access: Access,
    class: RateClass,
    request: &ServiceRequest,
) -> (Option<RateHeaders>, Result<()>) {
    let context = request.extensions().get::<RequestContext>().cloned();
    let Some(context) = context else { return (None, Err(Error::of(Code::Internal))) };
    let address = Counted::Address(context.client);
    let forwarded = front.is_forwarded(request);
    let of_browser = credential::of_browser(request.headers(), forwarded);
    if of_browser.is_some()
        && access != Access::Public
        && !forwarded
        && let Err(refusal) = crate::cookie::check_site(request.method(), request.headers())
    {
        return (None, Err(refusal));
    }
    let is_shown = of_browser.is_some() || credential::in_header(request.headers());
    let shown = match of_browser {
        Some(credential) => Ok(credential),
        None => credential::read(request.headers(), request.path()),
    };
    let needed = match access {
        Access::Public => return open(front, class, address).await,
        Access::Optional if !is_shown => return open(front, class, address).await,
        Access::Delegated => {
            // Only to count a known caller by its credential; the service behind judges the credential itself.
            let caller = if is_shown { known(front, &context, address, request, &shown).await.ok() } else { None };
            let whose = caller.as_ref().map_or(address, |caller| Counted::Credential(&caller.proof));
            return open(front, class, whose).await;
        }
        Access::Authenticated | Access::Optional => None,
        Access::Action(action) => Some(action),
    };
    let caller = match known(front, &context, address, request, &shown).await {
        Ok(caller) => caller,
        Err((headers, error)) => return (headers, Err(error)),
    };
    let headers = front.limiter.take(class, Counted::Credential(&caller.proof)).await;
    if let Some(Err(over)) = headers.map(|headers| headers.verdict()) {
        return (headers, Err(over));
    }
    // What it is about is known to the handler: here counts whether there is anything for which it may be done.
    let verdict = needed.map(|action| roadstead_policy::gate(&caller.principal, action, front.clock.now()));
    let refusal = verdict.and_then(|verdict| verdict.check(&caller.principal).err());
    // Before the refusal: its record names the caller.
    request.extensions_mut().insert(caller);
    (headers, refusal.map_or(Ok(()), Err))
}

async fn open(front: &Front, class: RateClass, whose: Counted<'_>) -> (Option<RateHeaders>, Result<()>) {
    let headers = front.limiter.take(class, whose).await;
    (headers, headers.map_or(Ok(()), |headers| headers.verdict()))
}

/// Who is asking. Bad credentials are counted by address, so that guessing ends; a good one that is known already is
/// not held up by them (others behind the same address may be guessing).
async fn known(
    front: &Front,
    context: &RequestContext,
    address: Counted<'_>,
    request: &ServiceRequest,
    shown: &Result<Credential>,
) -> std::result::Result<Caller, (Option<RateHeaders>, Error)> {
    if let Ok(credential) = shown
        && let Some(caller) = front.authenticator.known(credential)
    {
        return Ok(caller);
    }
    let failures = front.limiter.quota(RateClass::Seed).map(|(_, limit)| RateClass::Own(FAILURES, limit));
    if let Some(class) = failures
        && let Some(over) = front.limiter.peek(class, address)
    {
        return Err((Some(over), over.verdict().err().unwrap_or_else(|| Error::of(Code::RateLimited))));
    }
    let answer = match shown {
        Ok(credential) => front.authenticator.authenticate(credential, context).await.map_err(|error| {
            if error.code == Code::InvalidCredential {
                credential::refuse_unknown(request.path(), credential)
            } else {
                error
            }
        }),
        Err(error) => Err(error.clone()),
    };
    match answer {
        Ok(caller) => Ok(caller),
        Err(error) => {
            let bad = matches!(error.code, Code::InvalidCredential | Code::Unauthenticated);
            let headers = match failures {
                Some(class) if bad => front.limiter.take(class, address).await,
                _ => None,
            };
            Err((headers, error))
        }
    }
}
