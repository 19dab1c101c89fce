//! Asking: a request out, its answer back, or an error within the deadline.

use std::pin::pin;
use std::time::Duration;

use roadstead_contracts::message::Request;
use roadstead_contracts::{Code, Error};
use roadstead_runtime::kill;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::message::header;
use crate::meter::Count;
use crate::transport::Destination;
use crate::{BODY_MAX, Bus, seal};

/// Longest deadline of a request: a message may not wait in a queue for hours and then be run.
pub const CALL_DEADLINE_MAX: Duration = Duration::from_mins(5);

/// What travels with a request besides its body.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// The answer is wanted within this time; nobody works on the request after it.
    pub deadline: Duration,
    /// Id of the client's request, for logs.
    pub request_id: String,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

impl CallContext {
    /// A context without a trace.
    pub fn new(deadline: Duration, request_id: impl Into<String>) -> Self {
        Self { deadline, request_id: request_id.into(), traceparent: None }
    }
}

/// Body of an answer.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome<T> {
    /// It worked.
    Ok(T),
    /// It did not, and this is what the client may see.
    Error(Error),
}

impl Bus {
    /// Asks whoever reads the request's queue.
    pub async fn call<R: Request>(&self, request: &R, context: &CallContext) -> Result<R::Reply, Error> {
        self.call_queue(R::QUEUE.requests, request, context).await
    }

    /// Asks a replica by its own queue ([`crate::replica_queue`]).
    pub async fn call_queue<R: Request>(
        &self,
        queue: &str,
        request: &R,
        context: &CallContext,
    ) -> Result<R::Reply, Error> {
        let began = Instant::now();
        let deadline = context.deadline.min(CALL_DEADLINE_MAX);
        let Ok(answer) = tokio::time::timeout(deadline, self.ask(queue, request, context, deadline)).await else {
            self.count(Count::TimedOut, R::KIND);
            return Err(Code::Timeout.into());
        };
        let answer = answer.inspect_err(|_| self.count(Count::NotSent, R::KIND))?;
        self.count(Count::Answered, R::KIND);
        self.inner.member.meter.call_took(R::KIND, began.elapsed());
        match serde_json::from_slice(&answer) {
            Ok(Outcome::Ok(reply)) => Ok(reply),
            Ok(Outcome::Error(error)) => Err(error),
            Err(fault) => {
                tracing::error!("answer to {} cannot be read: {fault}", R::KIND);
                Err(Code::Internal.into())
            }
        }
    }

    async fn ask<R: Request>(
        &self,
        queue: &str,
        request: &R,
        context: &CallContext,
        deadline: Duration,
    ) -> crate::Result<bytes::Bytes> {
        let body = serde_json::to_vec(request).map_err(|_| crate::Error::Encode(R::KIND))?;
        if body.len() > BODY_MAX {
            return Err(crate::Error::TooLarge(body.len()));
        }
        let reply_queue = self.reply_queue().await?;
        let mut message = self.message(R::KIND, body);
        message.reply_to = Some(reply_queue.to_string());
        message.correlation_id = Some(message.id.clone());
        message.expires_in = Some(deadline);
        message.persistent = R::QUEUE.kind.carries_changes() && queue == R::QUEUE.requests;
        message.headers.insert(header::REQUEST.to_owned(), context.request_id.clone());
        if let Some(trace) = &context.traceparent {
            message.headers.insert(header::TRACE.to_owned(), trace.clone());
        }
        let until = chrono::Duration::from_std(deadline).unwrap_or(chrono::Duration::MAX);
        seal::set_deadline(&mut message, self.now() + until);
        seal::seal(&self.inner.member.mesh_key, queue, &mut message);

        // The waiter stands before the message leaves. If the reply queue was lost in between, nobody would ever fail
        // this waiter: look again.
        let mut waiter = self.inner.pending.register(message.id.clone())?;
        if self.reply_queue_now().as_deref() != Some(&*reply_queue) {
            return Err(crate::Error::Disconnected);
        }
        self.count(Count::Requested, R::KIND);
        kill::point("bus.question_ready");
        let mut sending = pin!(self.inner.transport.publish(Destination::Queue(queue.to_owned()), message));
        let answer = tokio::select! {
            biased;
            answer = waiter.answer() => answer?,
            sent = &mut sending => {
                sent?;
                waiter.answer().await?
            }
        };
        kill::point("bus.answer_received");
        Ok(answer.body)
    }
}
