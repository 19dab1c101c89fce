//! `GET /agent/v1/connect`: an enrolled agent dials.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::AUTHORIZATION;
use roadstead_auth::agent_key::{claimed_agent, verify_dial};
use roadstead_contracts::agent::SUBPROTOCOL;
use roadstead_contracts::ids::{AgentId, TypedId as _, parse_hyphenated};
use roadstead_contracts::{Code, Error, Result};
use roadstead_tunnel::door::Reply;
use roadstead_tunnel::ws::{self, WebSocket};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Door;
use crate::app::App;
use crate::session::{Arrival, attach};

/// How long an assertion is remembered beyond its end: the leeway with which it is checked, twice.
const REMEMBER: i64 = 120;

pub(super) async fn get<IO>(door: &Door, request: &Request<Bytes>) -> Result<Reply<IO>>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let app = &door.app;
    let accepted = ws::accept(request, &[SUBPROTOCOL]).map_err(|refusal| refused(app, refusal))?;
    if accepted.protocol != Some(SUBPROTOCOL) {
        return Err(refused(app, ws::Refusal::Protocol));
    }
    let place = door.admission.enter(app.sessions.len()).inspect_err(|_| app.count_handshake("turned_away"))?;
    app.keys.get()?;
    let arrival = admit(door, request).await.inspect_err(|_| app.count_handshake("refused"))?;
    app.count_handshake("connected");
    let app = Arc::clone(app);
    drop(place);
    let guard = Unclaimed { app, arrival, claimed: false };
    Ok(Reply::Upgrade(accepted, Box::new(move |socket: WebSocket<IO>| guard.attach(socket))))
}

/// An epoch that was given out: ended if the agent is gone before its session begins.
struct Unclaimed {
    app: Arc<App>,
    arrival: Arrival,
    claimed: bool,
}

impl Unclaimed {
    fn attach<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static>(mut self, socket: WebSocket<IO>) {
        self.claimed = true;
        attach(&self.app, self.arrival, socket);
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if !self.claimed {
            self.app.presence.disconnect(self.arrival.agent, self.arrival.epoch);
        }
    }
}

async fn admit(door: &Door, request: &Request<Bytes>) -> Result<Arrival> {
    let app = &door.app;
    let token = bearer(request)?;
    let unknown = || Error::of(Code::InvalidCredential);
    let claimed = claimed_agent(token).ok_or_else(unknown)?;
    let agent = parse_hyphenated(&claimed).map(AgentId::from_uuid).map_err(|_| unknown())?;
    let record = app.store.find_agent(agent, app.presence.cutoff()).await?.ok_or_else(unknown)?;
    let key = record.public_key.as_deref().ok_or_else(unknown)?;
    let now = app.clock.now();
    let claims = verify_dial(token, key, now).map_err(|fault| match fault {
        roadstead_auth::Error::OutOfTime => Error::new(
            Code::InvalidCredential,
            "clock_skew: the assertion is not good at the hub's time, see the Date header",
        ),
        _ => unknown(),
    })?;
    if record.agent.revoked {
        return Err(Error::new(Code::InvalidCredential, "revoked: this agent was cut off"));
    }
    let cluster = record.agent.cluster_id.ok_or_else(unknown)?;
    if !first_use(door, &claims.sub, &claims.jti, claims.exp + REMEMBER, now.timestamp()).await {
        return Err(Error::new(Code::InvalidCredential, "the assertion was used before"));
    }
    // Revoked between the look-up and here: no epoch.
    let epoch = app.presence.connect(agent).await?.ok_or_else(unknown)?;
    Ok(Arrival { agent, cluster, epoch })
}

/// The one `Authorization: Bearer` header.
fn bearer(request: &Request<Bytes>) -> Result<&str> {
    let mut values = request.headers().get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Err(Code::Unauthenticated.into()) };
    if values.next().is_some() {
        return Err(Code::InvalidCredential.into());
    }
    let token = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    token.map(|(_, token)| token).ok_or_else(|| Code::InvalidCredential.into())
}

async fn first_use(door: &Door, agent: &str, jti: &str, ends_at: i64, now: i64) -> bool {
    let key = format!("dial:{agent}:{jti}");
    let ttl = Duration::from_secs(u64::try_from(ends_at - now).unwrap_or(0).max(1));
    match door.app.kv.set_if_absent(&key, &[], Some(ttl)).await {
        Ok(first) => first,
        Err(fault) => {
            tracing::debug!("assertions are remembered here only: {fault}");
            door.replay.first(agent, jti, ends_at, now)
        }
    }
}

fn refused(app: &App, refusal: ws::Refusal) -> Error {
    app.count_handshake("no_websocket");
    match refusal {
        ws::Refusal::Origin => Error::new(Code::Forbidden, refusal.to_string()),
        _ => Error::new(Code::BadRequest, refusal.to_string()),
    }
}
