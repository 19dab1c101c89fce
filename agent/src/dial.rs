//! One dial: a fresh assertion, the handshake, and the hub's time when ours is wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use chrono::{DateTime, Duration, Utc};
use http::header::{AUTHORIZATION, DATE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use roadstead_contracts::agent::{CONNECT_PATH, SUBPROTOCOL};
use roadstead_runtime::{Clock, Ids, SharedClock};
use roadstead_tunnel::ws::{self, DialError, WebSocket};

use crate::enrol::refusal;
use crate::keep::Kept;
use crate::net::door::Door;
use crate::net::{Connection, NetError, Step, Way};
use crate::{Error, Result};

/// A difference to the hub's clock that a dial survives: assertions live a minute.
pub const SKEW_TOLERATED: Duration = Duration::seconds(20);
/// The most by which the hub's word moves our clock (reliability row F14: ten minutes). More is for people to look at.
pub const SKEW_MAX: Duration = Duration::minutes(15);

/// Our clock, corrected by the hub's when the two differ.
#[derive(Debug)]
pub struct HubClock {
    own: SharedClock,
    offset_us: AtomicI64,
}

impl HubClock {
    /// Not corrected yet.
    pub fn new(own: SharedClock) -> Arc<Self> {
        Arc::new(Self { own, offset_us: AtomicI64::new(0) })
    }

    /// How far the hub is ahead of our own clock.
    pub fn skew_to(&self, hub: DateTime<Utc>) -> Duration {
        hub - self.own.now()
    }

    /// Goes by the hub's clock from here on. Refuses a difference that is no mere drift.
    pub fn follow(&self, hub: DateTime<Utc>) -> bool {
        let skew = self.skew_to(hub);
        if skew.abs() > SKEW_MAX {
            return false;
        }
        self.offset_us.store(skew.num_microseconds().unwrap_or(0), Ordering::Relaxed);
        true
    }
}

impl Clock for HubClock {
    fn now(&self) -> DateTime<Utc> {
        self.own.now() + Duration::microseconds(self.offset_us.load(Ordering::Relaxed))
    }
}

/// Dials once; a second time when the hub's clock turns out to be another one.
pub async fn dial(way: &Way, door: &Door, kept: &Kept, clock: &HubClock, ids: &Ids) -> Result<WebSocket<Connection>> {
    let answer = match once(way, door, kept, clock, ids).await? {
        Ok(socket) => return Ok(socket),
        Err(answer) => answer,
    };
    let skewed = date_of(answer.headers())
        .filter(|hub| answer.status() == StatusCode::UNAUTHORIZED && (*hub - clock.now()).abs() > SKEW_TOLERATED);
    let Some(hub) = skewed else { return Err(refusal(&answer)) };
    let skew = clock.skew_to(hub);
    if !clock.follow(hub) {
        return Err(clock_fault(skew));
    }
    tracing::warn!("this machine's clock is {} s off the hub's; going by the hub's", skew.num_seconds());
    once(way, door, kept, clock, ids).await?.map_err(|answer| refusal(&answer))
}

pub(crate) fn clock_fault(skew: Duration) -> Error {
    Error::Net(NetError {
        step: Step::Clock,
        detail: format!("this machine's clock is {} s off the hub's", skew.num_seconds()),
        fix: "set this machine's clock (NTP)".to_owned(),
    })
}

/// One handshake. The inner error is the hub's own answer.
async fn once(
    way: &Way,
    door: &Door,
    kept: &Kept,
    clock: &HubClock,
    ids: &Ids,
) -> Result<Result<WebSocket<Connection>, Box<Response<Bytes>>>> {
    let uri = door.path(CONNECT_PATH)?;
    let io = way.connect(&uri).await?;
    let assertion = kept.key()?.sign_dial(&kept.agent_id, clock.now(), ids.token(16).expose())?;
    let mut headers = HeaderMap::new();
    let mut authorization = HeaderValue::from_str(&format!("Bearer {assertion}"))
        .map_err(|_| Error::Protocol("the assertion cannot be sent".to_owned()))?;
    authorization.set_sensitive(true);
    headers.insert(AUTHORIZATION, authorization);
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("roadstead-agent/", env!("CARGO_PKG_VERSION"))));
    match ws::client(io, &uri, SUBPROTOCOL, headers, ids).await {
        Ok(dialled) if dialled.protocol.as_deref() == Some(SUBPROTOCOL) => Ok(Ok(dialled.socket)),
        Ok(_) => Err(Error::Protocol(format!("{door} does not speak {SUBPROTOCOL}"))),
        Err(DialError::Refused(answer)) => Ok(Err(answer)),
        Err(other) => Err(Error::Protocol(format!("{door}: {other}"))),
    }
}

/// The hub's time in an answer.
pub(crate) fn date_of(headers: &HeaderMap<HeaderValue>) -> Option<DateTime<Utc>> {
    let text = headers.get(DATE)?.to_str().ok()?;
    DateTime::parse_from_rfc2822(text).ok().map(|time| time.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use roadstead_runtime::ManualClock;

    use super::*;

    #[test]
    fn the_hubs_clock_is_followed_within_reason() {
        let start = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let clock = HubClock::new(Arc::new(ManualClock::at(start)));
        assert_eq!(clock.now(), start);
        assert!(clock.follow(start + Duration::minutes(10)));
        assert_eq!(clock.now(), start + Duration::minutes(10));
        assert!(!clock.follow(start - Duration::hours(1)));
        assert_eq!(clock.now(), start + Duration::minutes(10));
    }

    #[test]
    fn dates_of_answers() {
        let mut headers = HeaderMap::new();
        assert_eq!(date_of(&headers), None);
        headers.insert(DATE, HeaderValue::from_static("Sat, 21 Nov 2026 12:00:00 GMT"));
        assert_eq!(date_of(&headers).unwrap().to_rfc3339(), "2026-11-21T12:00:00+00:00");
    }
}
