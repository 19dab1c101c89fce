//! The audit trail at the route table: a changing route's intent is written before its handler runs, its outcome after; what
//! the gate refuses is written too. The row of the table decides, so no handler can forget it; a handler only adds what it
//! alone knows ([`note`]).

use std::borrow::Cow;
use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::USER_AGENT;
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest};
use async_trait::async_trait;
use roadstead_contracts::audit::{Actor, AuditRecord, Origin, Outcome, Resource};
use roadstead_contracts::{Code, Error, Result};

use crate::credential::Caller;
use crate::failure::Pending;
use crate::gate::Here;
use crate::{RequestContext, failure};

/// What a route does, in the trail's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// `user.login`, `api_key.create`, …
    pub action: Cow<'static, str>,
    /// Kind of what it is done to.
    pub resource: Cow<'static, str>,
    /// Whether another service records what comes of it: then only refusals of the gate are written here.
    pub elsewhere: bool,
}

impl Word {
    /// A route whose intent and outcome are written here.
    pub fn here(action: impl Into<Cow<'static, str>>, resource: impl Into<Cow<'static, str>>) -> Self {
        Self { action: action.into(), resource: resource.into(), elsewhere: false }
    }

    /// A route whose owner is another service that records everything about it, the refusals excepted that are made here.
    pub fn elsewhere(action: impl Into<Cow<'static, str>>, resource: impl Into<Cow<'static, str>>) -> Self {
        Self { elsewhere: true, ..Self::here(action, resource) }
    }
}

/// Takes the records of a table of routes.
#[async_trait]
pub trait Auditor: Send + Sync {
    /// The word of a route; nothing for one that changes nothing.
    fn word(&self, method: &str, path: &str) -> Option<Word>;

    /// Stores a record so that it is not lost; whatever fails here is not done.
    async fn write(&self, record: &AuditRecord) -> Result<()>;

    /// Stores how something ended that is done already. It must not be lost either, but nobody waits for it.
    async fn finish(&self, record: &AuditRecord) {
        if let Err(fault) = self.write(record).await {
            tracing::error!(
                action = record.action.as_str(),
                "the outcome of {} is not recorded: {fault}",
                record.action
            );
        }
    }
}

/// What a handler knows besides.
#[derive(Debug, Default, Clone)]
struct Noted {
    actor: Option<Actor>,
    resource: Option<Resource>,
    detail: Vec<(&'static str, String)>,
}

/// Adds to the record of a request.
#[derive(Debug)]
pub struct Note<'a>(&'a HttpRequest);

/// What a handler adds to the record of its request.
pub fn note(request: &HttpRequest) -> Note<'_> {
    Note(request)
}

impl Note<'_> {
    fn change(&self, change: impl FnOnce(&mut Noted)) {
        let mut extensions = self.0.extensions_mut();
        let mut noted = extensions.remove::<Noted>().unwrap_or_default();
        change(&mut noted);
        extensions.insert(noted);
    }

    /// Who it turned out to be.
    pub fn actor(&self, actor: Actor) -> &Self {
        self.change(|noted| noted.actor = Some(actor));
        self
    }

    /// What it was done to.
    pub fn resource(&self, resource: Resource) -> &Self {
        self.change(|noted| noted.resource = Some(resource));
        self
    }

    /// Something short.
    pub fn detail(&self, name: &'static str, value: impl Into<String>) -> &Self {
        self.change(|noted| noted.detail.push((name, value.into())));
        self
    }
}

/// Writes the refusal of the gate; answers what the client is told.
pub(crate) async fn refused(here: &Here, word: &Word, request: &ServiceRequest, refusal: Error) -> Error {
    // Only who may not: a full quota or a broken head is no attempt at a change.
    if !matches!(refusal.code.status(), 401 | 403) {
        return refusal;
    }
    let Some(auditor) = &here.auditor else { return refusal };
    let front = &here.front;
    let (origin, actor, resource) = about(word, request.request());
    let outcome = Outcome::of_error(&refusal);
    let record =
        AuditRecord::outcome(front.ids.next(), front.clock.now(), origin, actor, &word.action, resource, outcome);
    match auditor.write(&record).await {
        Ok(()) => refusal,
        Err(fault) => unavailable(&fault),
    }
}

/// Writes the intent, runs the handler, writes the outcome.
pub(crate) async fn recorded(
    here: &Here,
    auditor: &Arc<dyn Auditor>,
    word: &Word,
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> std::result::Result<Result<ServiceResponse<BoxBody>, (Box<ServiceRequest>, Error)>, actix_web::Error> {
    let front = &here.front;
    let (origin, actor, resource) = about(word, request.request());
    let intent = AuditRecord::intent(front.ids.next(), front.clock.now(), origin, actor, &word.action, resource);
    if let Err(fault) = auditor.write(&intent).await {
        return Ok(Err((Box::new(request), unavailable(&fault))));
    }
    let response = next.call(request).await?;
    let outcome = outcome_of(&response);
    let mut record = intent.ended(front.ids.next(), front.clock.now(), outcome);
    if let Some(noted) = response.request().extensions_mut().remove::<Noted>() {
        record.actor = noted.actor.unwrap_or(record.actor);
        record.resource = noted.resource.unwrap_or(record.resource);
        for (name, value) in noted.detail {
            record.add(name, &value);
        }
    }
    auditor.finish(&record).await;
    Ok(Ok(response))
}

/// Where from, who, and to what, as far as the head of the request tells.
fn about(word: &Word, request: &HttpRequest) -> (Origin, Actor, Resource) {
    let extensions = request.extensions();
    let context = extensions.get::<RequestContext>();
    let agent = request.headers().get(USER_AGENT).and_then(|value| value.to_str().ok());
    let origin = context.map_or_else(Origin::default, |context| {
        Origin::request(&context.request_id).from_address(context.client).by(agent)
    });
    let actor = extensions.get::<Caller>().map_or_else(Actor::anonymous, |caller| Actor::of(&caller.principal));
    // The first parameter of a path names the thing; a join token's import path never changes anything.
    let resource = match request.match_info().iter().next() {
        Some((_, name)) if !name.is_empty() => Resource::named(&word.resource, name),
        _ => Resource::kind(&word.resource),
    };
    (origin, actor, resource)
}

fn outcome_of(response: &ServiceResponse<BoxBody>) -> Outcome {
    if let Some(Pending(error)) = response.response().extensions().get::<Pending>() {
        return Outcome::of_error(error);
    }
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        return Outcome::of_error(&failure::from_status(status));
    }
    Outcome::succeeded()
}

fn unavailable(fault: &Error) -> Error {
    tracing::error!("a record of the audit trail cannot be stored, nothing is done: {fault}");
    Error::new(Code::AuditUnavailable, "the record of this change cannot be stored; nothing was done").retry_after(2)
}
