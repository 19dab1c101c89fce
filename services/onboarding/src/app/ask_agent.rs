//! Asks an agent that is here one question: a stream of its own, or a text of the seeds.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use roadstead_contracts::agent::{StreamHead, StreamTarget, VERB_ANSWER_MAX, VerbAnswer};
use roadstead_contracts::seed::kubesage::{AgentRequest, AgentUser};
use roadstead_contracts::{Code, Error, Result};
use roadstead_telemetry::metrics::labels::Outcome;
use roadstead_tunnel::{Class, Session};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, timeout_at};

use super::App;
use crate::domain::cut_text;
use crate::session::{Held, Link};

/// Who asks, as far as an agent is told.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub id: i64,
    pub username: String,
    pub email: String,
}

/// One question to one agent.
#[derive(Debug, Clone)]
pub(crate) struct Question<'a, Q> {
    /// Name of the verb.
    pub verb: &'a str,
    /// Its request.
    pub body: &'a Q,
    /// Signed identity; agents of ours refuse without one.
    pub assertion: Option<String>,
    /// For agents of the seeds, which are told names.
    pub asker: Asker,
    pub request_id: &'a str,
    pub traceparent: Option<String>,
    pub deadline: Instant,
}

impl App {
    /// Asks within the deadline. `translate` reads the answer of an agent of the seeds.
    pub(crate) async fn ask_agent<Q: Serialize, T: DeserializeOwned>(
        &self,
        held: &Arc<Held>,
        question: Question<'_, Q>,
        translate: impl FnOnce(&Value) -> Result<T>,
    ) -> Result<T> {
        let _turn = held.enter()?;
        let deadline = question.deadline;
        let asked = async {
            match &held.link {
                Link::Tunnel(session) => ask_tunnel(session, &question).await,
                Link::Seed(link) => {
                    let reply = link.ask(envelope(self, &question)).await?;
                    match reply.error.filter(|text| !text.is_empty()) {
                        Some(text) => Err(agent_error(&text)),
                        None => translate(&reply.result),
                    }
                }
            }
        };
        let answer = timeout_at(deadline, asked).await.unwrap_or_else(|_| Err(Code::Timeout.into()));
        let outcome = if answer.is_ok() { "ok" } else { "failed" };
        self.metrics.tunnel_streams.get_or_create(&Outcome { outcome }).inc();
        answer
    }
}

async fn ask_tunnel<Q: Serialize, T: DeserializeOwned>(session: &Session, question: &Question<'_, Q>) -> Result<T> {
    let left = question.deadline.saturating_duration_since(Instant::now());
    let head = StreamHead {
        target: StreamTarget::Agent { verb: question.verb.to_owned() },
        request_id: question.request_id.to_owned(),
        deadline_milliseconds: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
        traceparent: question.traceparent.clone(),
        assertion: question.assertion.clone(),
    };
    let internal = |_| Error::of(Code::Internal);
    let head = serde_json::to_vec(&head).map_err(internal)?;
    let body = serde_json::to_vec(question.body).map_err(internal)?;
    let mut stream = session.open(Bytes::from(head), Class::Interactive).map_err(|fault| match fault {
        roadstead_tunnel::Error::Closed(_) | roadstead_tunnel::Error::Exhausted => Error::of(Code::AgentOffline),
        roadstead_tunnel::Error::TooManyStreams => Error::of(Code::AgentBusy).retry_after(1),
        _ => Error::of(Code::Internal),
    })?;
    stream.write_all(&body).await.map_err(|fault| cut(&fault))?;
    stream.finish();
    let mut answer = Vec::new();
    while let Some(chunk) = stream.chunk().await.map_err(|fault| cut(&fault))? {
        if answer.len() + chunk.len() > VERB_ANSWER_MAX {
            stream.reset(roadstead_tunnel::Code::CLOSED);
            return Err(Error::new(Code::AgentError, "the agent's answer is too long"));
        }
        answer.extend_from_slice(&chunk);
    }
    match serde_json::from_slice::<VerbAnswer<T>>(&answer) {
        Ok(VerbAnswer::Ok(answer)) => Ok(answer),
        Ok(VerbAnswer::Error(fault)) => Err(judge(&fault)),
        Err(_) => Err(Error::new(Code::AgentError, "the agent's answer cannot be read")),
    }
}

/// What a stream that broke off means to the caller.
fn cut(fault: &io::Error) -> Error {
    match roadstead_tunnel::Stream::reset_code(fault) {
        Some(roadstead_tunnel::Code::REFUSED) => Error::of(Code::AgentBusy).retry_after(1),
        Some(_) => Error::new(Code::AgentError, "the agent broke the request off"),
        None => Error::of(Code::AgentOffline),
    }
}

/// An agent's own error is text from outside: only codes that it may rightly use go on, and short clean sentences.
fn judge(fault: &Error) -> Error {
    match fault.code {
        Code::IdentityRefused
        | Code::Forbidden
        | Code::AgentBusy
        | Code::Timeout
        | Code::NotFound
        | Code::Unavailable => Error::new(fault.code, cut_text(&fault.detail)),
        _ => agent_error(&fault.detail),
    }
}

/// The agent answered with an error.
pub(super) fn agent_error(text: &str) -> Error {
    Error::new(Code::AgentError, cut_text(text))
}

/// The seeds' envelope: names only, no credential and no configuration (K20, K21).
fn envelope<Q: Serialize>(app: &App, question: &Question<'_, Q>) -> AgentRequest {
    let mut request = match serde_json::to_value(question.body) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    request.insert("message".to_owned(), Value::from(question.verb));
    request.insert("include_details".to_owned(), Value::from(true));
    AgentRequest {
        // An id of ours: a caller's could be used twice at once.
        request_id: app.ids.uuid().to_string(),
        user: AgentUser {
            id: question.asker.id,
            username: question.asker.username.clone(),
            email: question.asker.email.clone(),
        },
        request,
    }
}
