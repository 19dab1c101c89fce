//! `GET /ws` and its aliases: an agent of the seeds dials, with its id and an API key.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request};
use roadstead_auth::token::api_key_proof;
use roadstead_bus::CallContext;
use roadstead_contracts::identity::Action;
use roadstead_contracts::ids::AgentId;
use roadstead_contracts::message::{Authenticate, CredentialProof};
use roadstead_contracts::scope::Scope;
use roadstead_contracts::{Code, Error, Result};
use roadstead_tunnel::door::Reply;
use roadstead_tunnel::ws::{self, WebSocket};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Door;
use crate::app::{self, App};
use crate::domain::AgentKind;
use crate::limits::{ASK_USER, SEED_TEXT_MAX};
use crate::session::SeedSocket;

/// Headers in which the predecessors' agents say their id; the first is what they send, proxies may drop underscores.
const ID_HEADERS: [&str; 3] = ["agent_id", "agent-id", "x-agent-id"];

pub(super) async fn get<IO>(door: &Door, request: &Request<Bytes>, request_id: &str) -> Result<Reply<IO>>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let app = &door.app;
    let accepted = ws::accept(request, &[]).map_err(|refusal| match refusal {
        ws::Refusal::Origin => Error::new(Code::Forbidden, refusal.to_string()),
        _ => Error::new(Code::BadRequest, refusal.to_string()),
    })?;
    let _place = door.admission.enter(app.sessions.len()).inspect_err(|_| app.count_handshake("turned_away"))?;
    let admitted = admit(app, request.headers(), request_id).await;
    let guard = admitted.inspect_err(|_| app.count_handshake("refused"))?;
    app.count_handshake("connected");
    Ok(Reply::Upgrade(accepted, Box::new(move |socket: WebSocket<IO>| guard.run(socket))))
}

/// An agent that was let in; its epoch is ended if it is gone before its session begins.
struct Admitted {
    app: Arc<App>,
    agent: AgentId,
    cluster: Option<roadstead_contracts::ids::ClusterId>,
    epoch: i64,
    claimed: bool,
}

impl Admitted {
    fn run<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static>(mut self, socket: WebSocket<IO>) {
        self.claimed = true;
        let socket = SeedSocket {
            socket: socket.into_text(SEED_TEXT_MAX),
            agent: self.agent,
            cluster: self.cluster,
            epoch: self.epoch,
        };
        self.app.tasks.spawn("seed-session", socket.run(Arc::clone(&self.app)));
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if !self.claimed {
            self.app.presence.disconnect(self.agent, self.epoch);
        }
    }
}

async fn admit(app: &Arc<App>, headers: &HeaderMap, request_id: &str) -> Result<Admitted> {
    let key = one(headers, "x-api-key")?.ok_or(Code::Unauthenticated)?;
    let mut id = None;
    for name in ID_HEADERS {
        id = id.or(one(headers, name)?);
    }
    let id = id.ok_or_else(|| Error::new(Code::BadRequest, "header agent_id is missing"))?;
    let credential: CredentialProof = api_key_proof(key).ok_or(Code::InvalidCredential)?;
    let request = Authenticate { credential, cluster_id: None, source: None, raise: None };
    let known = app.bus.call(&request, &CallContext::new(ASK_USER, request_id)).await?;
    // Where the agent calls from is not known here, so a key that is held to addresses is no agent's.
    let held = |scope: &Scope| scope.sources.is_some() || !scope.allows(Action::ClustersManage);
    if known.principal.scope.as_ref().is_some_and(held) {
        return Err(Code::Forbidden.into());
    }
    let record = app::agent_by_id(app, id).await;
    let record =
        record.map_err(|fault| if fault.code == Code::NotFound { Code::InvalidCredential.into() } else { fault })?;
    let its_own = record.kind == AgentKind::Seed && record.owner_id == Some(known.principal.user_id);
    if !its_own || record.agent.revoked {
        return Err(Code::InvalidCredential.into());
    }
    let epoch = app.presence.connect(record.id).await?.ok_or(Code::InvalidCredential)?;
    Ok(Admitted { app: Arc::clone(app), agent: record.id, cluster: record.agent.cluster_id, epoch, claimed: false })
}

/// A header that may be there once.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Code::InvalidCredential.into());
    }
    value.to_str().map(Some).map_err(|_| Code::InvalidCredential.into())
}
